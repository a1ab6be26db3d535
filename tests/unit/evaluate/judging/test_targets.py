"""The targets' numbers by hand, which prompts count, and when nothing can be said."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from worldr1.errors import InputError
from worldr1.evaluate.judging.tables import markdown_table, means_table, rows_as_json
from worldr1.evaluate.judging.targets import TARGETS, TargetRow, Trial, Verdict, target_rows
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.evaluate.statistics.intervals import bootstrap_interval
from worldr1.types import Status

MOVES = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.6]]
STAYS = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
SIDES = ("base", "trained", "truth")


def db(error: float) -> float:
    return -10 * math.log10(error)


def record(prompt_id: int, measures: dict[str, float], **fields: Any) -> VideoRecord:
    defaults: dict[str, Any] = {
        "prompt": f"prompt {prompt_id}",
        "dynamic": False,
        "tokens": ("push_in",),
        "seed": 10 + prompt_id,
        "status": Status.OK,
        "reason": "",
        "requested_path": MOVES,
    }
    return VideoRecord(prompt_id=prompt_id, reward=None, measures=measures, **(defaults | fields))


def evaluation(records: Sequence[VideoRecord]) -> Evaluation:
    return Evaluation(records=tuple(records), seconds=1.0, guidance=1.0, strength=0.5)


def trial(values: Mapping[str, Sequence[Sequence[float]]], **fields: Any) -> Trial:
    """By measure: the values of base, trained and truth, one per prompt."""
    num = len(next(iter(values.values()))[0])
    sides = [
        evaluation([record(i, {name: v[side][i] for name, v in values.items()}, **fields) for i in range(num)])
        for side in range(3)
    ]
    return Trial(*sides)


def psnr_trial(base: Sequence[float], trained: Sequence[float], truth: Sequence[float]) -> Trial:
    """From mean squared errors."""
    return trial({"psnr_holdout_db": [[db(error) for error in side] for side in (base, trained, truth)]})


def row_of(name: str, *trials: Trial) -> TargetRow:
    return next(row for row in target_rows(trials) if row.name == name)


BASE, TRUTH = [0.010, 0.014, 0.008, 0.012, 0.016, 0.012], [0.002, 0.004, 0.003, 0.005, 0.004, 0.006]


def test_the_share_of_the_gap_is_one_of_pooled_errors() -> None:
    trained = [0.006, 0.006, 0.006, 0.006, 0.006, 0.006]
    row = row_of("gap_closed", psnr_trial(BASE, trained, TRUTH))
    # means: 0.012, 0.006, 0.004
    assert row.value == pytest.approx((0.012 - 0.006) / (0.012 - 0.004))
    assert (row.base, row.trained, row.truth) == pytest.approx((db(0.012), db(0.006), db(0.004)))
    assert row.low < row.value < row.high
    assert (row.num, row.verdict, row.reason) == (6, Verdict.MET, "")
    assert row_of("gap_closed", psnr_trial(BASE, [0.008] * 6, TRUTH)).verdict is Verdict.MISSED  # a half
    assert row_of("gap_closed", psnr_trial(BASE, BASE, TRUTH)).value == 0.0


def test_an_error_below_the_truths_is_deleted_content() -> None:
    close, far = ([0.004 * factor] * 6 for factor in (10**-0.04, 10**-0.06))  # 0.4 and 0.6 dB above the truth
    rows = [row_of("above_truth_db", psnr_trial(BASE, trained, TRUTH)) for trained in (close, far)]
    assert [row.value for row in rows] == pytest.approx([0.4, 0.6])
    assert [row.verdict for row in rows] == [Verdict.MET, Verdict.MISSED]


@pytest.mark.parametrize(
    "truth", [BASE, [2 * error for error in BASE], [0.002, 0.028, 0.004, 0.010, 0.020, 0.006]], ids=str
)
def test_without_a_gap_there_is_no_share_of_it(truth: list[float]) -> None:
    """None, a negative one, and one that a few prompts decide."""
    row = row_of("gap_closed", psnr_trial(BASE, [0.006] * 6, truth))
    assert math.isnan(row.value) and row.verdict is Verdict.OPEN
    assert "no gap to close" in row.reason
    assert "no gap to close" in markdown_table([row])
    assert row_of("above_truth_db", psnr_trial(BASE, [0.006] * 6, truth)).verdict is not Verdict.OPEN


def test_few_prompts_have_a_value_and_no_verdict() -> None:
    row = row_of("gap_closed", psnr_trial(BASE[:5], [0.006] * 5, TRUTH[:5]))
    assert row.value == pytest.approx((0.012 - 0.006) / (0.012 - 0.0036))
    assert (row.low, row.high, row.verdict, row.reason) == (-math.inf, math.inf, Verdict.OPEN, "5 prompts are too few")
    for name in ("words", "dynamic_words", "mover_motion"):
        other = row_of(name, psnr_trial(BASE, BASE, TRUTH))
        assert (other.num, other.verdict, other.reason) == (0, Verdict.OPEN, "not measured")


def test_only_moving_clips_that_are_valid_in_all_three_count() -> None:
    values = {"psnr_holdout_db": ([20.0] * 12, [22.0] * 12, [25.0] * 12)}
    fair = trial(values)
    spoilt = {
        "still": {"requested_path": STAYS},
        "dynamic": {"dynamic": True},
        "no words": {"requested_path": None},
    }
    whole = [list(side.records) for side in fair]
    for side, records in enumerate(whole):
        for offset, change in enumerate(spoilt.values()):
            records[offset] = record(offset, {"psnr_holdout_db": 60.0}, **change)
        records[3 + side] = record(3 + side, {"psnr_holdout_db": 60.0}, status=Status.REJECTED)
        records[6 + side] = record(6 + side, {"psnr_holdout_db": 60.0}, status=Status.FAULT)
        records[9 + side] = record(9 + side, {})
    row = row_of("above_truth_db", Trial(*(evaluation(records) for records in whole)))
    assert row.num == 0
    whole = [records[:3] + list(side.records)[3:] for records, side in zip(whole, fair, strict=True)]
    row = row_of("above_truth_db", Trial(*(evaluation(records) for records in whole)))
    assert (row.num, row.trained) == (9, pytest.approx(22.0))


def test_path_errors_change_relative_to_the_base() -> None:
    base = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]
    for factor, verdict in ((0.69, Verdict.MET), (0.71, Verdict.MISSED)):
        after = [factor * error for error in base]
        values = {name: (base, after, [0.1] * 6) for name in ("rotation_error_deg", "translation_error")}
        for name in ("rotation_error", "translation_error"):
            row = row_of(name, trial(values))
            assert (row.value, row.verdict) == (pytest.approx(factor - 1), verdict)
            assert (row.low, row.high) == pytest.approx((factor - 1, factor - 1)), "paired: every prompt changed alike"
    zero = row_of("rotation_error", trial({"rotation_error_deg": ([0.0] * 6, [0.1] * 6, [0.0] * 6)}))
    assert math.isnan(zero.value) and "may be 0" in zero.reason


@pytest.mark.parametrize(
    ("base", "trained", "verdict"),
    [(0.04, 0.06, Verdict.MET), (0.04, 0.0601, Verdict.MISSED), (0.04, 0.039, Verdict.MISSED)],
)
def test_the_image_gradient_may_pass_the_truth_but_not_get_farther(
    base: float, trained: float, verdict: Verdict
) -> None:
    row = row_of("image_gradient", trial({"image_gradient": ([base] * 6, [trained] * 6, [0.05] * 6)}))
    assert row.verdict is verdict or row.value == pytest.approx(0, abs=1e-12)
    assert row.value == pytest.approx(abs(trained - 0.05) - abs(base - 0.05))


@pytest.mark.parametrize(
    ("base", "trained", "verdict"),
    [
        (1.0, 0.91, Verdict.MET),
        (0.6, 0.8, Verdict.MET),
        (0.6, 1.3, Verdict.MET),
        (0.85, 0.8, Verdict.MISSED),
        (1.2, 1.3, Verdict.MISSED),
    ],
)
def test_travel_is_near_the_request_or_nearer_than_before(base: float, trained: float, verdict: Verdict) -> None:
    row = row_of("travel", trial({"travel_ratio": ([base] * 6, [trained] * 6, [1.0] * 6)}))
    assert (row.value, row.verdict) == (pytest.approx(trained), verdict)


def test_words_are_held_by_the_interval_and_motion_by_its_share() -> None:
    sure, unsure = [0.79] * 8, [0.99, 0.59] * 4
    rows = [row_of("words", trial({"words": ([0.8] * 8, after, [0.9] * 8)})) for after in (sure, unsure)]
    assert [row.value for row in rows] == pytest.approx([-0.01, -0.01])
    assert [row.verdict for row in rows] == [Verdict.MET, Verdict.MISSED]
    for share, verdict in ((0.91, Verdict.MET), (0.89, Verdict.MISSED)):
        values = {name: ([0.4] * 6, [0.4 * share] * 6, [0.5] * 6) for name in ("motion", "mover_motion")}
        for name in ("dynamic_words", "mover_motion"):
            row = row_of(name, trial(values, dynamic=True))
            assert (row.value, row.verdict) == (pytest.approx(share), verdict)
            assert row_of(name, trial(values)).num == 0, "static prompts ask for no motion"


def test_rejected_clips_of_all_prompts_count_and_faults_do_not() -> None:
    sides = [[record(i, {}, requested_path=STAYS) for i in range(8)] for _ in SIDES]
    sides[1][0] = record(0, {}, requested_path=STAYS, status=Status.REJECTED)
    sides[1][1] = record(1, {}, requested_path=STAYS, status=Status.FAULT)
    row = row_of("rejected", Trial(*(evaluation(side) for side in sides)))
    assert (row.num, row.value, row.verdict) == (7, pytest.approx(1 / 7), Verdict.MISSED)


def test_runs_of_one_prompt_are_averaged_and_shown_one_by_one() -> None:
    first = psnr_trial(BASE, [0.006] * 6, TRUTH)
    second = psnr_trial(BASE, [0.010] * 6, TRUTH)
    row = row_of("gap_closed", first, second)
    assert row.num == 6, "two videos of a prompt are no two prompts"
    assert row.value == pytest.approx((0.012 - 0.008) / 0.008)
    assert row.trials == pytest.approx((0.75, 0.25))
    same = row_of("gap_closed", first, first)
    alone = row_of("gap_closed", first)
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high)), "repeating a run makes nothing surer"


def test_the_interval_of_a_ratio_covers_what_it_says() -> None:
    statistic = next(target.statistic for target in TARGETS if target.name == "gap_closed")
    generator, hits, repeats = torch.Generator().manual_seed(3), 0, 300
    for repeat in range(repeats):
        scene = torch.rand(24, generator=generator, dtype=torch.float64)  # hard scenes are hard for all three
        own = torch.rand(3, 24, generator=generator, dtype=torch.float64)
        errors = torch.tensor([[10.0], [7.0], [5.0]]) + 4 * scene + 3 * own
        low, high = bootstrap_interval(statistic, errors, seed=repeat, num_resamples=600)
        hits += low <= 0.6 <= high
    assert 0.91 <= hits / repeats <= 0.985, f"covers the true share in {hits / repeats:.1%} of the cases"


def test_videos_that_are_not_of_the_same_prompts_are_refused() -> None:
    fair = psnr_trial(BASE, BASE, TRUTH)
    with pytest.raises(InputError, match="not of the same prompts"):
        target_rows([fair._replace(truth=evaluation(fair.truth.records[1:]))])
    with pytest.raises(InputError, match="another text or start noise"):
        target_rows([fair._replace(trained=evaluation([record(i, {}, seed=99) for i in range(6)]))])
    with pytest.raises(InputError, match="at least one trial"):
        target_rows([])


def test_tables_are_strict_json_and_say_what_is_open() -> None:
    judged = psnr_trial(BASE, [0.006] * 6, TRUTH)
    rows = target_rows([judged, judged])
    table = json.loads(json.dumps(rows_as_json(rows), allow_nan=False))
    assert table[0]["value"] == pytest.approx(0.75) and table[0]["verdict"] == "met"
    assert next(row for row in table if row["name"] == "words")["low"] is None
    text = markdown_table(rows)
    assert "| 19.21 | 22.22 | 23.98 | +75.0 % (+75.0 %, +75.0 %) |" in text
    assert text.count("**open**: not measured") == 7
    means = means_table({side: getattr(judged, side).records for side in SIDES})
    assert "| PSNR of held-out frames (dB) | 19.21 | 22.22 | 23.98 |" in means
