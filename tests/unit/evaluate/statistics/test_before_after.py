"""Means and intervals against hand values; the interval covers what it says it covers."""

import math
from typing import Any

import pytest
import torch

from worldr1.errors import InputError
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.before_after import headline, paired_difference, summarise
from worldr1.evaluate.statistics.values import matched
from worldr1.types import Status

MOVES = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.6]]
STAYS = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def record(prompt_id: int, reward: float | None = 1.0, **fields: Any) -> VideoRecord:
    defaults: dict[str, Any] = {
        "prompt": f"prompt {prompt_id}",
        "dynamic": False,
        "tokens": ("push_in",),
        "seed": 10 + prompt_id,
        "status": Status.OK,
        "reason": "",
        "requested_path": MOVES,
        "requested_yaw_deg": [0.0, 0.0],
    }
    return VideoRecord(prompt_id=prompt_id, reward=reward, **(defaults | fields))


def records(rewards: list[float], **fields: Any) -> list[VideoRecord]:
    return [record(index, reward, **fields) for index, reward in enumerate(rewards)]


def with_psnr(values: list[float]) -> list[VideoRecord]:
    return [record(index, measures={"psnr_holdout_db": value}) for index, value in enumerate(values)]


def test_kinds_of_request_are_kept_apart() -> None:
    rows = summarise(
        [
            record(0, 1.0),
            record(1, 3.0),
            record(2, 5.0, requested_path=STAYS),
            record(0, 7.0, dynamic=True, requested_path=STAYS),
            record(3, 9.0, requested_path=None),
        ]
    )
    assert [(row.group, row.num, row.values["reward"]) for row in rows] == [
        (MotionGroup.MOVING, 2, 2.0),
        (MotionGroup.STILL, 1, 5.0),
        (MotionGroup.DYNAMIC, 1, 7.0),
        (MotionGroup.FREE, 1, 9.0),
    ]


def test_psnr_is_pooled_as_mean_squared_error() -> None:
    (row,) = summarise(with_psnr([20.0, 60.0]))  # 1e-2 and 1e-6: a still clip must not pull the mean to 40 dB
    assert row.values["psnr_holdout_db"] == pytest.approx(-10 * math.log10((1e-2 + 1e-6) / 2))


def test_faults_count_in_their_fraction_only_and_rejected_videos_in_all() -> None:
    fault = record(0, None, status=Status.FAULT, measures={"travel_deg": 99.0})
    rejected = record(1, 0.0, status=Status.REJECTED, parts={"s_traj": 0.0})
    fine = [record(2, 2.0, parts={"s_traj": 0.8}, measures={"travel_deg": 4.0}), record(3, 2.0, parts={"s_traj": 0.4})]
    (row,) = summarise([fault, rejected, *fine])
    assert row.num == 4
    assert row.values == pytest.approx(
        {
            "reward": 4 / 3,
            "s_traj": 0.4,
            "travel_deg": 4.0,
            "fault_fraction": 1 / 4,
            "rejected_fraction": 1 / 3,
        }
    )


def test_the_difference_is_over_prompts_that_have_the_value_in_both() -> None:
    before = [*records([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), record(6, None, status=Status.FAULT), record(7, 50.0)]
    after = [record(6, 9.0), *reversed(records([1.5, 2.5, 3.5, 4.5, 5.5, 6.5]))]
    change = paired_difference(before, after, "reward", seed=0)
    assert (change.mean, change.num) == (0.5, 6)
    assert (change.low, change.high) == pytest.approx(
        (0.5, 0.5)
    )  # every prompt gained the same, so the pairing leaves no doubt
    assert change.is_shown


def test_the_difference_of_psnr_is_that_of_the_pooled_ones() -> None:
    change = paired_difference(
        with_psnr([20.0] * 4 + [60.0]), with_psnr([30.0] * 4 + [60.0]), "psnr_holdout_db", seed=0
    )
    pooled = [-10 * math.log10((4 * mse + 1e-6) / 5) for mse in (1e-2, 1e-3)]
    assert change.mean == pytest.approx(pooled[1] - pooled[0])


def test_equal_pictures_before_or_after_leave_a_difference() -> None:
    change = paired_difference(with_psnr([math.inf] * 6), with_psnr([60.0] * 6), "psnr_holdout_db", seed=0)
    assert (change.mean, change.low, change.high) == pytest.approx((-60.0, -60.0, -60.0))


def test_the_interval_is_that_of_students_t_for_well_behaved_numbers() -> None:
    gains = torch.randn(200, generator=torch.Generator().manual_seed(3)).double() + 0.3
    change = paired_difference(records([0.0] * 200), records(gains.tolist()), "reward", seed=1, num_resamples=20000)
    half = 1.972 * float(gains.std()) / math.sqrt(200)  # t quantile of 199 degrees of freedom
    assert change.low == pytest.approx(change.mean - half, abs=0.05 * half)
    assert change.high == pytest.approx(change.mean + half, abs=0.05 * half)
    assert change == paired_difference(
        records([0.0] * 200), records(gains.tolist()), "reward", seed=1, num_resamples=20000
    )


@pytest.mark.parametrize(("num", "least"), [(6, 0.92), (12, 0.935)])
def test_the_interval_covers_the_truth_as_often_as_it_says(num: int, least: float) -> None:
    """Also with few prompts, where the plain percentile interval covers 86 and 91 %."""
    draws = torch.randn(1500, num, generator=torch.Generator().manual_seed(num)).double() + 0.7
    before = records([0.0] * num)
    hits = 0
    for index, gains in enumerate(draws):
        change = paired_difference(before, records(gains.tolist()), "reward", seed=index, num_resamples=1000)
        hits += change.low <= 0.7 <= change.high
    assert least <= hits / 1500 <= 0.97


def test_few_pairs_give_no_interval_and_show_nothing() -> None:
    change = paired_difference(records([0.0] * 5), records([1.0] * 5), "reward", seed=0)
    assert (change.mean, change.low, change.high, change.num) == (1.0, -math.inf, math.inf, 5)
    assert not change.is_shown
    nothing = paired_difference([], records([1.0]), "reward", seed=0)
    assert math.isnan(nothing.mean) and nothing.num == 0 and not nothing.is_shown


def test_evaluations_from_other_noise_or_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="another text or start noise"):
        matched(records([1.0]), records([1.0], seed=99))
    with pytest.raises(InputError, match="another text or start noise"):
        matched(records([1.0]), records([1.0], prompt="another"))


def test_a_static_and_a_dynamic_prompt_of_one_id_are_two_prompts() -> None:
    pairs = matched([record(0, 1.0), record(0, 2.0, dynamic=True)], [record(0, 3.0, dynamic=True), record(0, 4.0)])
    assert [(first.reward, second.reward) for first, second in pairs] == [(2.0, 3.0), (1.0, 4.0)]


def test_the_headline_says_what_is_shown_and_what_is_not() -> None:
    before = [record(i, 1.0, measures={"psnr_db": 20.0}) for i in range(6)]
    after = [record(i, 1.25, measures={"psnr_db": 20.0 + (-1) ** i}) for i in range(6)]
    text = headline(before, after)
    reward, psnr = text.split(" PSNR of moving clips")
    assert (
        reward == "Reward: 1.000 before, 1.250 after; difference +0.250, 95 % interval +0.250 to +0.250 over 6 prompts."
    )
    assert psnr.endswith("over 6 prompts, which contains 0: no change is shown.")
    assert "too few for an interval: nothing is shown" in headline(before[:3], after[:3])
    assert "nothing is shown" in headline([], after)


def test_the_headlines_psnr_leaves_still_clips_out() -> None:
    before = [*with_psnr([20.0] * 6), record(9, requested_path=STAYS, measures={"psnr_holdout_db": 60.0})]
    after = [*with_psnr([23.0] * 6), record(9, requested_path=STAYS, measures={"psnr_holdout_db": 10.0})]
    assert "(dB): 20.00 before, 23.00 after; difference +3.00" in headline(before, after)
