"""When jobs that share slots are all done."""

import pytest

from worldr1.reproduce.schedule import Planned, minutes_until_done


def test_one_slot_does_one_after_the_other_and_many_no_sooner_than_the_longest() -> None:
    jobs = [Planned("a", 3), Planned("b", 5), Planned("c", 4)]
    assert minutes_until_done(jobs, {}, 1) == 12
    assert minutes_until_done(jobs, {}, 2) == 7  # c after a
    assert minutes_until_done(jobs, {}, 8) == 5
    assert minutes_until_done([], {}, 2) == 0


def test_what_waits_is_passed_over_and_begins_when_what_it_waits_for_is_done() -> None:
    jobs = [Planned("train", 5), Planned("judge", 2, after="train"), Planned("films", 1, after="train")]
    assert minutes_until_done(jobs, {}, 2) == 7
    assert minutes_until_done([*jobs, Planned("other", 6)], {}, 2) == 7, "films after other"
    assert minutes_until_done([*jobs, Planned("other", 8)], {}, 2) == 8, "other before both"
    assert minutes_until_done(jobs[1:], {}, 2) == 2, "it is done already"
    assert minutes_until_done(jobs[1:], {"train": 4}, 2) == 6, "it runs"


def test_running_jobs_hold_their_slots_and_late_ones_end_at_once() -> None:
    jobs = [Planned("c", 3), Planned("d", 1)]
    assert minutes_until_done(jobs, {"a": 2, "b": 9}, 2) == 9
    assert minutes_until_done([*jobs, Planned("e", 4)], {"a": 2, "b": 9}, 2) == 10
    assert minutes_until_done(jobs, {"a": 0, "b": 0}, 2) == 3
    assert minutes_until_done([], {"a": 2}, 1) == 2


def test_it_lies_between_what_no_order_beats_and_what_every_order_keeps() -> None:
    minutes = [7, 3, 3, 2, 2, 2, 1, 9]
    jobs = [Planned(str(number), one) for number, one in enumerate(minutes)]
    for slots in (1, 2, 3, 5):
        least = max(max(minutes), sum(minutes) / slots)
        assert least <= minutes_until_done(jobs, {}, slots) <= sum(minutes) / slots + max(minutes) * (1 - 1 / slots)
    assert minutes_until_done(jobs, {}, 1) == pytest.approx(sum(minutes))
