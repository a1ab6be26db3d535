"""Intervals and sizes against hand-computed numbers, and intervals against studies whose truth is known."""

import math

import numpy as np
import pytest

from worldr1.study.intervals import (
    NO_INTERVAL,
    clustered,
    design_effect,
    participants_needed,
    pigeonhole,
    prompts_needed,
    two_way_spread,
    votes_needed,
    wilson,
)


def simulated(rng: np.random.Generator, *, people: float, prompts: float, size: tuple[int, int] = (25, 30)):
    """Votes whose log odds have a person's and a prompt's part (standard deviations), one in ten a tie."""
    odds = 0.7 + rng.normal(0, people, (size[0], 1)) + rng.normal(0, prompts, (1, size[1]))
    votes = (rng.random(size) < 1 / (1 + np.exp(-odds))).astype(float)
    votes[rng.random(size) < 0.1] = 0.5
    return votes


def truth(*, people: float, prompts: float) -> float:
    odds = 0.7 + np.random.default_rng(1).normal(0, math.hypot(people, prompts), 400_000)
    return 0.05 + 0.9 * float((1 / (1 + np.exp(-odds))).mean())


def test_wilson_by_hand():
    # p = 9/10, z = 1.96: centre (0.9 + 0.19207) / 1.38415 = 0.78898,
    # half 1.96 sqrt(0.009 + 0.0096036) / 1.38415 = 0.19314
    found = wilson(0.9, 10)
    assert found.low == pytest.approx(0.5958, abs=2e-4) and found.high == pytest.approx(0.9821, abs=2e-4)
    assert wilson(1.0, 20).high == 1.0 and wilson(1.0, 20).low < 1.0
    assert wilson(math.nan, 0) == NO_INTERVAL


def test_votes_that_are_needed_by_hand():
    # ((1.95996 / 2 + 0.84162 sqrt(p (1 - p))) / (p - 1/2))^2
    assert [math.ceil(votes_needed(p)) for p in (0.6, 0.65, 0.55, 0.4)] == [194, 85, 783, 194]
    assert votes_needed(0.5) == math.inf


def test_the_spread_finds_where_votes_vary():
    rng = np.random.default_rng(0)
    people = np.repeat(rng.normal(0, 1, (40, 1)), 30, axis=1)
    noise = rng.normal(0, 0.5, (40, 30))
    found = two_way_spread(people + noise)
    assert found.participants == pytest.approx(people[:, 0].var(ddof=1), rel=0.15)
    assert found.prompts < 0.01
    assert found.mean == pytest.approx(people[:, 0].var(ddof=1) / 40, rel=0.15)
    swapped = two_way_spread((people + noise).T)
    assert swapped.prompts == pytest.approx(found.participants, rel=0.1) and swapped.participants < 0.01


def test_missing_votes_are_no_votes():
    rng = np.random.default_rng(2)
    votes = simulated(rng, people=0.5, prompts=0.5)
    padded = np.full((27, 32), math.nan)
    padded[1:26, 1:31] = votes
    for interval in (clustered, pigeonhole):
        assert interval(padded).low == pytest.approx(interval(votes).low, abs=0.01)
        assert interval(padded).high == pytest.approx(interval(votes).high, abs=0.01)


def test_few_participants_or_prompts_give_no_interval_and_unanimity_gives_one():
    assert clustered(np.ones((5, 30))) == pigeonhole(np.ones((30, 5))) == NO_INTERVAL
    found = clustered(np.ones((8, 10)))
    # Eight people who always agree are eight votes: 8 / (8 + t^2) with t = 2.3646
    assert found.low == pytest.approx(8 / (8 + 2.3646**2), abs=1e-3) and found.high == pytest.approx(1.0)
    assert clustered(np.full((8, 10), 0.5)).excludes_half is False


@pytest.mark.parametrize(("people", "prompts"), [(0.7, 0.7), (1.5, 0.2), (0.0, 0.0)])
def test_the_two_way_interval_contains_the_truth_as_often_as_it_says(people, prompts):
    rng, expected, num = np.random.default_rng(3), truth(people=people, prompts=prompts), 120
    studies = [simulated(rng, people=people, prompts=prompts) for _ in range(num)]
    found = [clustered(votes) for votes in studies]
    naive = [wilson(float(votes.mean()), votes.size) for votes in studies]
    covered = sum(interval.low <= expected <= interval.high for interval in found) / num
    assert covered >= 0.89  # 95 % less three standard errors
    if people:
        assert sum(interval.low <= expected <= interval.high for interval in naive) / num < 0.85
    else:  # and not by being wide: as wide as independent votes need, but for Student's t
        widths = [interval.high - interval.low for interval in found], [i.high - i.low for i in naive]
        assert np.mean(widths[0]) < 1.2 * np.mean(widths[1])


def test_owens_interval_is_the_wider_one():
    votes = simulated(np.random.default_rng(4), people=0.3, prompts=0.3)
    wide, found = pigeonhole(votes), clustered(votes)
    assert wide.low < found.low and found.high < wide.high


def test_a_study_of_the_size_that_is_said_to_be_needed_finds_what_is_there_four_times_in_five():
    rng = np.random.default_rng(5)
    pilot = simulated(rng, people=0.7, prompts=0.3, size=(200, 200))
    spread = two_way_spread(pilot)
    share = 0.5 + 0.09
    people = math.ceil(participants_needed(share, spread, 30))
    shown = 0
    for _ in range(150):
        votes = simulated(rng, people=0.7, prompts=0.3, size=(people, 30))
        shown += clustered(_shifted(votes, rng, share)).excludes_half
    assert 0.68 < shown / 150 < 0.92


def _shifted(votes: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Votes for B turned into votes for A until the expected share is `share`."""
    wins = votes == 1.0
    expected = truth(people=0.7, prompts=0.3)
    return np.where(wins & (rng.random(votes.shape) < (expected - share) / (expected - 0.05)), 0.0, votes)


def test_more_people_do_not_help_where_prompts_decide():
    rng = np.random.default_rng(6)
    votes = np.repeat((rng.random((1, 12)) < 0.6).astype(float), 30, axis=0)  # everybody agrees about every prompt
    spread = two_way_spread(votes)
    assert participants_needed(0.6, spread, 12) == math.inf
    assert prompts_needed(0.6, spread, 30) == pytest.approx(votes_needed(0.6), rel=0.15)
    assert design_effect(votes, spread) == pytest.approx(30, rel=0.1)
