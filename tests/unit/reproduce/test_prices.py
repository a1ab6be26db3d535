"""Prices against what was measured, and how they follow what a folder's jobs took."""

from collections.abc import Mapping

import pytest

from worldr1.build import load_experiment
from worldr1.reproduce.plan import CLIPS, Plan
from worldr1.reproduce.prices import (
    CPU_THREAD,
    H200,
    Kind,
    Pace,
    Prices,
    inference_minutes,
    judging_minutes,
    measuring_minutes,
    on_card,
    on_cpu,
    run_minutes,
    training_minutes,
)
from worldr1.reproduce.variants import VARIANTS

BESIDE_THREE = on_card(4, mps=True)


def training(prices: Prices, variant: str) -> float:
    plan = Plan.make("cuda")
    return 60 * training_minutes(prices, load_experiment(plan.recipe, plan.overrides(VARIANTS[variant], 0)))


def judging(prices: Prices, sides: int, num_prompts: int) -> float:
    return 60 * judging_minutes(prices, sides=sides, prompts=(num_prompts, 0))


MEASURED: Mapping[str, tuple[float, float]] = {
    # seconds of whole processes on H200s, 2026-11-30, and what they are priced at
    "published seed 2, without its judge's looks": (305 - 14, training(H200, "full")),
    "600 prompts, one run": (82, judging(H200, 3, 600)),
    "600 prompts, three runs": (114, judging(H200, 5, 600)),
    # four jobs a card with MPS: medians of the first `reproduce`
    "half runs, seed 0": (401, training(BESIDE_THREE, "half")),
    "half runs, seed 1": (384, training(BESIDE_THREE, "half")),
}


@pytest.mark.parametrize("what", MEASURED)
def test_a_price_is_what_was_measured(what: str) -> None:
    seconds, priced = MEASURED[what]
    assert priced == pytest.approx(seconds, rel=0.15)


def test_the_first_judgings_were_between_alone_and_beside_three_at_work() -> None:
    """192 prompts for base, truth and two runs took 60 s: the card's other jobs were mostly starting and failing."""
    assert judging(H200, 4, 192) < 60 < judging(BESIDE_THREE, 4, 192)


def test_the_inference_cost_beside_four_trainings_took_no_longer_than_its_price_there() -> None:
    assert 60 * inference_minutes(H200) < 151 < 60 * inference_minutes(on_card(5, mps=True))


def test_a_shared_card_slows_videos_not_starts_and_mps_gains_two_thirds_more_updates() -> None:
    assert on_card(1, mps=True) == on_card(1, mps=False) == H200
    shared, sliced = on_card(4, mps=True), on_card(4, mps=False)
    assert shared.start_s == sliced.start_s == H200.start_s
    assert 4 * H200.trained_video_s / shared.trained_video_s == pytest.approx(1.7, abs=0.05)
    assert 4 * H200.trained_video_s / sliced.trained_video_s == pytest.approx(1.0), "processes take turns"


def test_threads_share_all_but_the_start() -> None:
    four = on_cpu(4)
    assert four.start_s == CPU_THREAD.start_s
    assert 4 * four.trained_video_s == CPU_THREAD.trained_video_s and 4 * four.films_s == CPU_THREAD.films_s


def test_longer_and_larger_clips_cost_their_pixels() -> None:
    usual = judging_minutes(H200, sides=5, prompts=(144, 48)) - H200.start_s / 60
    for name, frames, height, width in ((name, *clip) for name, clip in CLIPS.items()):
        pixels = frames * height * width / (17 * 64 * 96)
        assert measuring_minutes(name, 3) - H200.start_s / 60 == pytest.approx(usual * pixels)
    assert measuring_minutes("inference", 3) == inference_minutes(H200) < run_minutes("half")


def test_a_slow_job_of_one_kind_leaves_the_price_of_the_others() -> None:
    pace = Pace()
    assert all(pace.factor(kind) == 1.0 for kind in Kind)
    pace.add(Kind.INFERENCE, taken=2.5, priced=0.8)
    assert pace.factor(Kind.INFERENCE) == pytest.approx(2.5 / 0.8)
    assert all(pace.factor(kind) == 1.0 for kind in Kind if kind is not Kind.INFERENCE)


def test_one_job_that_met_a_busy_machine_does_not_move_the_price_of_its_kind() -> None:
    pace = Pace()
    for taken in (1.1, 40.0, 0.9, 1.0, 1.2):
        pace.add(Kind.JUDGE, taken=taken, priced=1.0)
    assert pace.factor(Kind.JUDGE) == 1.1


def test_jobs_of_a_ledger_without_prices_tell_nothing() -> None:
    pace = Pace()
    pace.add(Kind.TRAIN, taken=7.0, priced=0.0)
    assert pace.factor(Kind.TRAIN) == 1.0
