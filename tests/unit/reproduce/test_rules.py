"""Every rule's every verdict, from intervals."""

import pytest

from worldr1.reproduce.claims import CLAIMS
from worldr1.reproduce.finding import Verdict
from worldr1.reproduce.intervals import Estimate
from worldr1.reproduce.rules import (
    RULES,
    Effect,
    Outcome,
    camera_control,
    data_size,
    effect,
    inference_cost,
    longer_larger,
    main_gain,
    no_3d,
    no_gen,
    no_phase,
    no_transport,
    not_beaten,
    own_metrics_fall,
)

HOLDS, PARTLY, FAILS = Verdict.HOLDS, Verdict.PARTLY, Verdict.FAILS


def outcome(value: float, *, knows_seeds: bool = True, error: float = 1.0) -> Outcome:
    """In standard errors, of many degrees of freedom: 95 % is 1.96, 97.5 % 2.24, 99 % 2.58, the half of 95 % 0.98."""
    return Outcome(Estimate(value=value, error=error, df=1e6, seeds=(value,), num=50, knows_seeds=knows_seeds), "it")


FALL, LEAN, NOTHING, LEAN_UP, RISE = (outcome(value) for value in (-2.2, -1.2, -0.5, 1.2, 2.2))
SURE_FALL, SURE_RISE = outcome(-4.0), outcome(4.0)
ONE_RUN = outcome(-4.0, knows_seeds=False)


@pytest.mark.parametrize(
    ("value", "found"),
    [(-2, -2), (-1.9, -1), (-1, -1), (-0.9, 0), (0, 0), (0.9, 0), (1, 1), (1.9, 1), (2, 2)],
)
def test_what_a_difference_shows(value: float, found: int) -> None:
    assert effect(outcome(value)) is Effect(found)


def test_what_a_difference_shows_with_one_run_or_among_many() -> None:
    assert effect(ONE_RUN) is Effect.LEANS_WORSE and effect(outcome(4.0, knows_seeds=False)) is Effect.LEANS_BETTER
    assert effect(FALL, among=2) is Effect.LEANS_WORSE and effect(outcome(-2.5), among=5) is Effect.LEANS_WORSE
    assert effect(outcome(-2.3), among=2) is Effect.WORSE and effect(outcome(-2.7), among=5) is Effect.WORSE
    unknown = outcome(-9.0, error=float("inf"))
    assert effect(unknown) is Effect.NONE


def test_main_gain() -> None:
    guards = {"words": True, "travel": True}
    assert main_gain(RISE, guards).verdict is HOLDS
    assert main_gain(outcome(4.0, knows_seeds=False), guards).verdict is HOLDS, "one run, by prompts"
    missed = main_gain(RISE, guards | {"travel": False})
    assert missed.verdict is PARTLY and "missed: travel" in missed.reason
    for gain in (LEAN_UP, NOTHING, FALL):
        assert main_gain(gain, guards).verdict is FAILS
        assert main_gain(gain, guards | {"travel": False}).verdict is FAILS


def test_camera_control() -> None:
    """Outcomes are oriented: an error that falls is a rise."""
    moves = {"push_in": RISE, "orbit_left": SURE_RISE}
    assert camera_control([RISE, RISE, RISE], moves).verdict is HOLDS
    partly = camera_control([RISE, RISE, RISE], moves | {"pan_left": LEAN_UP})
    assert partly.verdict is PARTLY and "not shown for pan_left" in partly.reason
    for one in (LEAN_UP, NOTHING, FALL):
        assert camera_control([RISE, one, RISE], moves).verdict is FAILS


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([FALL], HOLDS),
        ([LEAN], PARTLY),
        ([ONE_RUN], PARTLY),
        ([NOTHING], FAILS),
        ([RISE], FAILS),
        ([FALL, FALL], HOLDS),
        ([FALL, NOTHING], PARTLY),
        ([FALL, RISE], PARTLY),
        ([LEAN, LEAN], PARTLY),
        ([LEAN, NOTHING], FAILS),
        ([NOTHING, NOTHING], FAILS),
    ],
)
def test_a_reward_term(outcomes: list[Outcome], verdict: Verdict) -> None:
    assert own_metrics_fall(outcomes).verdict is verdict
    assert own_metrics_fall(outcomes, collapsed=True).verdict is HOLDS, "what cannot be judged any more has fallen"


@pytest.mark.parametrize(
    ("gain", "quality", "verdict"),
    [
        (FALL, FALL, HOLDS),
        (FALL, LEAN, PARTLY),
        (LEAN, FALL, PARTLY),
        (RISE, FALL, PARTLY),
        (LEAN, LEAN, FAILS),
        (NOTHING, RISE, FAILS),
    ],
)
def test_no_transport(gain: Outcome, quality: Outcome, verdict: Verdict) -> None:
    assert no_transport(gain, quality).verdict is verdict
    assert no_transport(gain, quality, collapsed=True).verdict is HOLDS


@pytest.mark.parametrize(
    ("psnr", "kept", "verdict"),
    [
        (NOTHING, [SURE_FALL, NOTHING, NOTHING, NOTHING, NOTHING], HOLDS),
        (RISE, [SURE_FALL, RISE, RISE, RISE, RISE], HOLDS),
        (LEAN, [SURE_FALL, NOTHING], HOLDS),
        (NOTHING, [FALL, NOTHING, NOTHING, NOTHING, NOTHING], PARTLY),
        (FALL, [SURE_FALL, NOTHING, NOTHING, NOTHING, NOTHING], PARTLY),
        (NOTHING, [LEAN, LEAN, LEAN, LEAN, LEAN], FAILS),
        (RISE, [RISE, RISE, RISE, RISE, RISE], FAILS),
        (FALL, [NOTHING, NOTHING, NOTHING, NOTHING, NOTHING], FAILS),
        (NOTHING, [ONE_RUN, NOTHING], FAILS),
    ],
)
def test_no_phase(psnr: Outcome, kept: list[Outcome], verdict: Verdict) -> None:
    assert no_phase(psnr, kept, among=len(kept)).verdict is verdict


def test_a_number_that_was_not_measured_makes_the_others_no_surer() -> None:
    """One of five is searched for by the rule, and three of them are there: still the interval of 99 %."""
    between = next(
        fall
        for fall in (Outcome(Estimate(value=-value / 100, error=1.0, df=20, seeds=(), num=20, knows_seeds=True), "")
                     for value in range(200, 300))
        if effect(fall, among=3) is Effect.WORSE and effect(fall, among=5) is not Effect.WORSE
    )  # fmt: skip
    assert no_phase(NOTHING, [between, NOTHING, NOTHING], among=3).verdict is HOLDS
    assert no_phase(NOTHING, [between, NOTHING, NOTHING], among=5).verdict is PARTLY


def test_a_number_that_was_searched_for_says_by_which_interval() -> None:
    """What is shown of it is its 95 % interval, which does not decide."""
    assert "(its interval of 99 % does not hold 0 either)" in no_phase(NOTHING, [SURE_FALL], among=5).reason
    assert "(its interval of 97.5 % does not hold 0 either)" in no_gen(FALL, [SURE_FALL, NOTHING]).reason


def test_no_phase_after_a_collapse_is_not_what_the_paper_says() -> None:
    assert no_phase(NOTHING, [SURE_FALL, NOTHING], among=2, collapsed=True).verdict is PARTLY


def test_no_3d() -> None:
    assert no_3d(FALL, 0.15).verdict is HOLDS and "15 % of the control's gain" in no_3d(FALL, 0.15).reason
    assert no_3d(FALL, 0.5).verdict is PARTLY and no_3d(FALL, -0.4).verdict is HOLDS
    assert no_3d(LEAN, 0.1).verdict is PARTLY
    assert no_3d(NOTHING, 0.9).verdict is FAILS and no_3d(RISE, 1.4).verdict is FAILS
    assert no_3d(NOTHING, 0.9, collapsed=True).verdict is HOLDS


def test_no_gen() -> None:
    assert no_gen(FALL, [outcome(-2.3), NOTHING]).verdict is HOLDS
    assert no_gen(FALL, [NOTHING, outcome(-2.3)]).verdict is HOLDS
    assert no_gen(FALL, [FALL, NOTHING]).verdict is PARTLY, "one of two is searched for"
    assert no_gen(FALL, [NOTHING, RISE]).verdict is PARTLY
    assert no_gen(LEAN, [NOTHING, NOTHING]).verdict is PARTLY
    assert no_gen(NOTHING, [SURE_FALL, SURE_FALL]).verdict is FAILS and no_gen(RISE, [FALL, FALL]).verdict is FAILS


def test_data_size() -> None:
    up, down = outcome(0.1), outcome(-0.1)
    assert data_size(RISE, [up, up]).verdict is HOLDS
    assert data_size(RISE, [up, down]).verdict is PARTLY
    assert data_size(LEAN_UP, [up, up]).verdict is PARTLY
    assert data_size(LEAN_UP, [up, down]).verdict is FAILS
    assert data_size(NOTHING, [up, up]).verdict is FAILS and data_size(FALL, [down, down]).verdict is FAILS


def test_longer_larger() -> None:
    assert longer_larger({"longer": RISE, "larger": RISE}).verdict is HOLDS
    assert longer_larger({"longer": RISE, "larger": LEAN_UP}).verdict is PARTLY
    assert longer_larger({"longer": "no gap", "larger": RISE}).verdict is PARTLY
    assert longer_larger({"longer": NOTHING, "larger": "no gap"}).verdict is FAILS
    assert "longer: no gap" in longer_larger({"longer": "no gap", "larger": RISE}).reason


def test_inference_cost() -> None:
    for ratio in (0.99, 1.0, 1.01):
        assert inference_cost(ratio=ratio, same_modules=True, same_parameters=True).verdict is HOLDS
    for ratio in (0.98, 1.02):
        assert inference_cost(ratio=ratio, same_modules=True, same_parameters=True).verdict is PARTLY
    assert inference_cost(ratio=1.0, same_modules=False, same_parameters=True).verdict is FAILS
    found = inference_cost(ratio=1.0, same_modules=True, same_parameters=False)
    assert found.verdict is FAILS and "number of parameters differs" in found.reason


def test_not_beaten() -> None:
    """Of three numbers one is searched for: 2.39 standard errors."""
    level = [NOTHING, NOTHING, NOTHING]
    assert not_beaten({"a": level}).verdict is HOLDS
    assert not_beaten({"a": [RISE, NOTHING, NOTHING]}).verdict is HOLDS, "one of three by chance"
    assert not_beaten({"a": [SURE_RISE, NOTHING, NOTHING]}).verdict is FAILS
    assert not_beaten({"a": [SURE_RISE, SURE_FALL, NOTHING]}).verdict is PARTLY
    assert not_beaten({"a": level, "b": [SURE_RISE, NOTHING, NOTHING]}).verdict is FAILS
    assert not_beaten({"a": [outcome(2.5), NOTHING, NOTHING]}).verdict is FAILS
    assert not_beaten({"a": [outcome(2.5), NOTHING, NOTHING], "b": level}).verdict is HOLDS, "of six: 2.64"
    one_run = outcome(4.0, knows_seeds=False)
    assert not_beaten({"a": [one_run, NOTHING, NOTHING]}).verdict is PARTLY, "by prompts alone"
    assert not_beaten({"a": [outcome(2.2, knows_seeds=False), NOTHING, NOTHING]}).verdict is HOLDS


def test_every_claim_has_one_rule() -> None:
    assert list(RULES) == list(CLAIMS)
