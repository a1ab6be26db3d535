"""The analysis: hand-counted votes, known tastes, careless participants, keys and votes that were changed."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from study_folders import Rater, make_study, study_key, votes_of

from worldr1.errors import InputError
from worldr1.study.analysis import analyse, analyse_folder, check_passed, interval_words, preference_of_b, summary
from worldr1.study.design import Pair, Rules, Study
from worldr1.study.intervals import NO_INTERVAL, Interval
from worldr1.study.key import DESTROYED, REAL, SAME, Key, PairKey, write_key
from worldr1.study.making import StudyPlan
from worldr1.study.report import analysis_json, report_page
from worldr1.study.votes import VOTES_FILE, Vote, VoteStore

TASTE = {"geometry": 0.8, "camera": 0.5, "overall": 0.65, "editable": 0.7}


def invented(
    num_pairs: int, *, questions: tuple[str, ...] = tuple(TASTE), checks: tuple[str, ...] = ()
) -> tuple[Study, Key]:
    """A study without videos: every second real pair has A first."""
    kinds = (REAL,) * num_pairs + checks
    first = {REAL: ("A", "B"), SAME: ("", ""), DESTROYED: ("intact", "destroyed")}
    pairs = tuple(Pair(first=f"f{i}", second=f"s{i}", prompt="p", camera="c", clip_ms=2000) for i in range(len(kinds)))
    keys = tuple(
        PairKey(
            kind=kind,
            first_is=first[kind][i % 2],
            prompt=(i, False, 0),
            scene_type=("static", "non-rigid")[i % 2],
            tokens=("push_in",),
            valid=(True, True),
        )
        for i, kind in enumerate(kinds)
    )
    study = Study(
        title="t",
        questions=questions,
        pairs=pairs,
        participants=1,
        seed=11,
        key_sha256="0",
        rules=Rules(),
        created="",
        worldr1="0",
    )
    return study, Key(a="base <b>", b="tuned", pairs=keys, seed=0, salt="")


def by_hand(
    pair: int, answer: str, *, first_is_left: bool, slot: int = 0, ms: int = 60_000, question: str = "overall"
) -> Vote:
    left, right = (f"f{pair}", f"s{pair}") if first_is_left else (f"s{pair}", f"f{pair}")
    return Vote(
        slot=slot, position=0, pair=pair, left=left, right=right, answers={question: answer}, ms=ms, loops=(1, 1)
    )


def test_a_vote_for_a_side_is_a_vote_for_the_model_that_was_there():
    study, key = invented(2, questions=("overall",))  # pair 0: A first; pair 1: B first
    for pair, first_is_left, answer, expected in [
        (0, True, "left", 0.0),
        (0, True, "right", 1.0),
        (0, False, "left", 1.0),
        (1, True, "left", 1.0),
        (1, False, "left", 0.0),
        (1, False, "tie", 0.5),
    ]:
        assert preference_of_b(study, key, by_hand(pair, answer, first_is_left=first_is_left), "overall") == expected


def test_win_rates_counted_by_hand():
    study, key = invented(4, questions=("overall",))
    answers = [(0, "right", True), (1, "left", True), (2, "tie", True), (3, "right", True)]  # B, B, tie, A
    votes = [by_hand(pair, answer, first_is_left=left) for pair, answer, left in answers]
    (found,) = analyse(study, key, votes, votes_sha256="", num_invited=1).kept
    win = found.win
    assert (win.b, win.a, win.ties, win.num) == (2, 1, 1, 4)
    assert win.share == 2.5 / 4 and win.decided_share == pytest.approx(2 / 3) and win.tie_share == 0.25
    assert found.left_share == pytest.approx(1 / 3)
    assert (found.by_type["static"].b, found.by_type["static"].ties, found.by_type["non-rigid"].b) == (1, 1, 1)
    assert "no interval" in summary(analyse(study, key, votes, votes_sha256="", num_invited=1))


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_of_raters_with_bias_and_lazy_ones_is_recovered(seed):
    study, key = invented(30, checks=(SAME, DESTROYED, DESTROYED))
    raters = [
        Rater(study, key, slot, TASTE, side_bias=0.15, lazy=slot >= 24, dice=random.Random(100 * seed + slot))
        for slot in range(28)
    ]
    analysis = analyse(study, key, [v for r in raters for v in votes_of(r)], votes_sha256="", num_invited=30)
    assert {p.slot for p in analysis.participants if p.excluded} == {24, 25, 26, 27}
    for result in analysis.kept:
        truth = raters[0].truth(result.question)
        assert result.win.clustered.low <= truth <= result.win.clustered.high
        assert abs(result.win.share - truth) < 0.05
        assert result.left_share > 0.5 and result.left_p < 0.05
    shown = {result.question: result.win.clustered.excludes_half for result in analysis.kept}
    assert shown["geometry"] and shown["overall"] and shown["editable"]
    everybody = {result.question: result.win.share for result in analysis.everybody}
    kept = {result.question: result.win.share for result in analysis.kept}
    assert everybody["geometry"] < kept["geometry"]
    assert "4 of 28 excluded" in summary(analysis)


def test_checks_and_speed_exclude_by_the_rules():
    study, key = invented(6, questions=("geometry", "overall"), checks=(SAME, DESTROYED, DESTROYED))
    fast = 2000 + 2 * study.rules.fast_ms_per_question
    base = Rater(study, key, 0, TASTE)
    careful = [replace(vote, ms=fast) for vote in votes_of(base)]

    def excluded(votes: list[Vote]) -> str:
        return analyse(study, key, votes, votes_sha256="", num_invited=1).participants[0].excluded

    def with_answers(kind: str, answers: dict[str, str], num: int) -> list[Vote]:
        out, left = [], num
        for vote in careful:
            if key.pairs[vote.pair].kind == kind and left:
                out.append(replace(vote, answers=answers))
                left -= 1
            else:
                out.append(vote)
        return out

    assert excluded(careful) == ""
    assert excluded(with_answers(SAME, {"geometry": "left", "overall": "tie"}, 1)) == ""
    assert excluded(with_answers(SAME, {"geometry": "left", "overall": "left"}, 1)) == ""  # one of three may fail
    assert "failed 2 of 3" in excluded(with_answers(DESTROYED, {"geometry": "tie", "overall": "tie"}, 2))
    quick = [replace(vote, ms=fast - 1) for vote in careful]
    assert excluded([*quick[:4], *careful[4:]]) == ""
    assert "answered 5 of 9 pairs faster" in excluded([*quick[:5], *careful[5:]])


def test_preferring_a_destroyed_video_anywhere_fails_its_check():
    study, key = invented(0, checks=(DESTROYED, DESTROYED), questions=("geometry", "overall"))

    def passed(pair: int, *, first_is_left: bool, **answers: str) -> bool:
        vote = by_hand(pair, "tie", first_is_left=first_is_left)
        return check_passed(study, key.pairs[pair], replace(vote, answers=answers))

    assert passed(0, first_is_left=True, geometry="left", overall="left")  # of pair 0 the first is intact
    assert passed(0, first_is_left=False, geometry="right", overall="tie")
    assert passed(1, first_is_left=True, geometry="right", overall="right")
    assert not passed(0, first_is_left=True, geometry="left", overall="right")
    assert not passed(0, first_is_left=True, geometry="tie", overall="tie")
    assert not passed(1, first_is_left=True, geometry="left", overall="left")


def test_a_participant_who_stopped_counts_with_what_was_submitted():
    study, key = invented(10)
    votes = [v for slot in range(8) for v in votes_of(Rater(study, key, slot, TASTE, dice=random.Random(slot)))]
    analysis = analyse(study, key, [v for v in votes if v.slot != 7 or v.position < 3], votes_sha256="", num_invited=9)
    assert [person.pairs for person in analysis.participants] == [10] * 7 + [3]
    assert analysis.kept[0].win.num == 73


def test_json_and_page_say_the_same_and_escape_names():
    study, key = invented(8, checks=(SAME,))
    votes = [v for slot in range(7) for v in votes_of(Rater(study, key, slot, TASTE, dice=random.Random(slot)))]
    analysis = analyse(study, key, votes, votes_sha256="abc", num_invited=9)
    table = json.loads(json.dumps(analysis_json(analysis), allow_nan=False))
    assert table["results"][0]["win"]["b"] == analysis.kept[0].win.b
    assert table["summary"] == summary(analysis)
    page = report_page(analysis)
    assert "base <b>" not in page and "base &lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert analysis.study.key_sha256 in page and "abc" in page


def test_an_interval_that_just_leaves_one_half_is_not_rounded_into_it():
    assert interval_words(Interval(low=0.502, high=0.66)) == "50.2 to 66 %"
    assert interval_words(Interval(low=0.34, high=0.498)) == "34 to 49.8 %"
    assert interval_words(NO_INTERVAL) == "no interval"


def test_nobody_left_and_nobody_at_all_are_said():
    study, key = invented(6, checks=(SAME, DESTROYED, DESTROYED))
    lazy = votes_of(Rater(study, key, 0, TASTE, lazy=True, dice=random.Random(3)))
    analysis = analyse(study, key, lazy, votes_sha256="", num_invited=1)
    assert analysis.num_kept == 0 and "No participant is left by the rules" in summary(analysis)
    assert "<h1>" in report_page(analysis)
    with pytest.raises(InputError, match="Nobody has voted"):
        analyse(study, key, [], votes_sha256="", num_invited=1)
    with pytest.raises(InputError, match=r"of no pair"):
        analyse(study, key, [replace(lazy[0], left="other")], votes_sha256="", num_invited=1)


def test_the_folder_is_opened_only_closed_and_with_its_own_key(tmp_path: Path):
    study = make_study(tmp_path, StudyPlan(pairs=2, checks=0, participants=1, seed=1))
    folder = tmp_path / "study"
    key = study_key(folder)
    store = VoteStore(folder / VOTES_FILE)
    for vote in votes_of(Rater(study, key, 0, TASTE)):
        store.add(vote)
    with pytest.raises(InputError, match=r"study close"):
        analyse_folder(folder)
    store.seal()
    assert analyse_folder(folder).kept[0].win.num == 2
    flipped = replace(key, a=key.b, b=key.a)
    forged = write_key(folder, flipped)
    with pytest.raises(InputError, match="not the key that was sealed"):
        analyse_folder(folder)
    replace(study, key_sha256=forged).save(folder)  # who changes study.json too
    with pytest.raises(InputError, match="not the key that was sealed"):
        analyse_folder(folder)
    store.close()
