"""Comparisons of evaluations: hand-computed differences, honest intervals, and no way to win by losing clips."""

import json
import math
from pathlib import Path

import pytest
import torch
from evaluated_folders import folder_of, record
from scipy import stats

from worldr1.errors import InputError
from worldr1.evaluate.records import MotionGroup
from worldr1.evaluate.statistics.differences import Counting
from worldr1.evaluate.statistics.folders import NUM_EXTREMES, compare_folders
from worldr1.evaluate.statistics.subsets import ALL, Subset

PSNR, TURN = "psnr_holdout_db", "rotation_error_deg"


def mse(db: float) -> float:
    return 10 ** (-db / 10)


def noise(num: int, seed: int = 0) -> list[float]:
    return torch.randn(num, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def test_differences_are_paired_and_psnr_is_pooled_as_mean_squared_error(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {0: {PSNR: 20.0, TURN: 2.0}, 1: {PSNR: 30.0, TURN: 4.0}})
    b = folder_of(tmp_path / "b", {0: {PSNR: 22.0, TURN: 1.0}, 1: {PSNR: 29.0, TURN: 4.5}})
    other = compare_folders([a, b]).others[0]
    psnr, turn = other.of(PSNR), other.of(TURN)
    assert psnr and turn and other.by_clip
    before = -10 * math.log10((mse(20) + mse(30)) / 2)
    after = -10 * math.log10((mse(22) + mse(29)) / 2)
    assert (psnr.first, psnr.other, psnr.mean) == pytest.approx((before, after, after - before))
    assert (turn.first, turn.other, turn.mean, turn.num) == pytest.approx((3.0, 2.75, -0.25, 2))
    assert psnr.low == -math.inf and math.isnan(psnr.p) and not psnr.is_shown  # of two prompts nothing is said


def test_samples_of_a_prompt_are_averaged_before_prompts_are(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {(0, 0): {TURN: 1.0}, (0, 1): {TURN: 3.0}, (1, 0): {TURN: 5.0}}, samples=2)
    b = folder_of(tmp_path / "b", {(0, 0): {TURN: 2.0}, (0, 1): {TURN: 4.0}, (1, 0): {TURN: 9.0}}, samples=2)
    turn = compare_folders([a, b]).others[0].of(TURN)
    assert turn and turn.num == 2
    assert (turn.first, turn.other, turn.mean) == pytest.approx((3.5, 6.0, 2.5))  # not (1 + 1 + 4) / 3


def test_a_clip_counts_only_beside_its_own_sample(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {(0, 0): {TURN: 1.0}, (0, 1): {TURN: 100.0}}, samples=2)
    b = folder_of(tmp_path / "b", {(0, 0): {TURN: 2.0}, (0, 1): None}, samples=2)
    turn = compare_folders([a, b]).others[0].of(TURN)
    assert turn and turn.mean == pytest.approx(1.0)


def test_a_model_that_loses_its_hard_clips_does_not_win(tmp_path: Path) -> None:
    hard = {i: {PSNR: 14.0 + 0.01 * i} for i in range(10)}
    easy = {i: {PSNR: 26.0 + 0.1 * i} for i in range(10, 20)}
    a = folder_of(tmp_path / "a", {**hard, **easy})
    b = folder_of(tmp_path / "b", {**dict.fromkeys(range(10)), **{i: {PSNR: 27.0 + 0.1 * i} for i in range(10, 20)}})
    comparison = compare_folders([a, b])
    other = comparison.others[0]
    valid, worst = other.of(PSNR), other.of(PSNR, ALL, Counting.WORST)
    assert valid and worst and valid.mean > 0.3 and valid.is_shown and (valid.wins, valid.num) == (10, 10)
    assert worst.num == 20 and worst.mean <= 0 and not worst.low > 0
    # the lost clips take the worst PSNR that either model showed, 14.00
    assert worst.other == pytest.approx(
        -10 * math.log10((10 * mse(14.0) + sum(mse(27.0 + 0.1 * i) for i in range(10, 20))) / 20)
    )
    assert len(other.lost) == 10 and not other.won
    assert [v.share for v in comparison.validity] == [1.0, 0.5]
    assert (worst.wins, worst.ties, worst.losses) == (10, 0, 10)  # a lost clip is no tie, near as it is to the worst


@pytest.mark.parametrize(("name", "better"), [(PSNR, 1), (TURN, -1)])
def test_a_clip_that_is_missing_is_lost_too(tmp_path: Path, name: str, better: int) -> None:
    a = folder_of(tmp_path / "a", {i: {name: 20.0 + i} for i in range(8)})
    b = folder_of(tmp_path / "b", {i: {name: 20.0 + i} for i in range(7)})
    comparison = compare_folders([a, b])
    worst = comparison.others[0].of(name, ALL, Counting.WORST)
    assert comparison.validity[1].missing == 1
    if better > 0:
        assert worst and worst.num == 8 and worst.mean < 0
    else:  # the one that is missing had the worst number itself
        assert comparison.others[0].of(name, ALL, Counting.VALID) and (worst is None or worst.mean == 0)


def test_counted_worst_is_left_out_where_it_changes_nothing(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {i: {PSNR: 20.0 + i} for i in range(8)})
    b = folder_of(tmp_path / "b", {i: {PSNR: 21.0 + i} for i in range(8)})
    comparison = compare_folders([a, b])
    assert comparison.others[0].of(PSNR, ALL, Counting.WORST) is None
    assert comparison.num_intervals == sum(math.isfinite(d.low) for d in comparison.others[0].differences)


def test_wins_ties_and_losses_by_the_stated_margin(tmp_path: Path) -> None:
    spread = [0.0, 2.0] * 4  # standard deviation 1, margin 0.1
    change = [-0.5, -0.11, -0.09, 0.0, 0.09, 0.11, 0.5, 0.6]
    a = folder_of(tmp_path / "a", {i: {TURN: x} for i, x in enumerate(spread)})
    b = folder_of(tmp_path / "b", {i: {TURN: x + d} for i, (x, d) in enumerate(zip(spread, change, strict=True))})
    other = compare_folders([a, b]).others[0]
    turn = other.of(TURN)
    assert other.margins[TURN] == pytest.approx(0.1)
    assert turn and (turn.wins, turn.ties, turn.losses) == (2, 3, 3)  # fewer degrees are better


def test_p_is_the_paired_t_test_where_a_mean_is_compared(tmp_path: Path) -> None:
    before, after = noise(12), [x + 0.4 + 0.5 * y for x, y in zip(noise(12), noise(12, 1), strict=True)]
    a = folder_of(tmp_path / "a", {i: {TURN: x} for i, x in enumerate(before)})
    b = folder_of(tmp_path / "b", {i: {TURN: x} for i, x in enumerate(after)})
    turn = compare_folders([a, b]).others[0].of(TURN)
    assert turn and turn.p == pytest.approx(float(stats.ttest_rel(after, before).pvalue))


def test_what_survives_is_counted_over_all_intervals(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(30)]
    rows = {name: noise(20, seed) for seed, name in enumerate(names)}
    a = folder_of(tmp_path / "a", {i: dict.fromkeys(names, 0.0) for i in range(20)})
    b = folder_of(tmp_path / "b", {i: {name: rows[name][i] + 5 * (name == "m0") for name in names} for i in range(20)})
    comparison = compare_folders([a, b])
    survivors = {d.metric for d in comparison.others[0].differences if d.survives}
    shown = {d.metric for d in comparison.others[0].differences if d.is_shown}
    assert comparison.num_intervals >= 30 and survivors == {"m0"} and len(shown) > 1


def test_intervals_cover_the_truth_with_samples_inside_prompts(tmp_path: Path) -> None:
    """Prompts differ by N(0, 1), samples inside them by N(0, 1): over prompts resampled, 95 % must mean it."""
    trials, prompts, samples = 150, 16, 3
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(prompts, 1, trials, generator=generator)
    change = (shared + torch.randn(prompts, samples, trials, generator=generator)).tolist()
    names = [f"trial{trial}" for trial in range(trials)]
    keys = [(4 * i, s) for i in range(prompts) for s in range(samples)]  # every fourth: of one token
    a = folder_of(tmp_path / "a", dict.fromkeys(keys, dict.fromkeys(names, 0.0)), samples=samples)
    b = folder_of(
        tmp_path / "b", {(i, s): dict(zip(names, change[i // 4][s], strict=True)) for i, s in keys}, samples=samples
    )
    other = compare_folders([a, b]).others[0]
    covered = [d.low <= 0 <= d.high for d in other.differences if d.subset == ALL]
    assert len(covered) == trials and 0.90 <= sum(covered) / trials <= 0.985


def test_subsets_are_motion_tokens_and_scene_types(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {i: {TURN: float(i)} for i in range(8)})
    b = folder_of(tmp_path / "b", {i: {TURN: 2.0 * i} for i in range(8)})
    comparison = compare_folders([a, b])
    assert comparison.subsets == (
        ALL,
        Subset("motion", MotionGroup.MOVING.value),
        Subset("motion", MotionGroup.STILL.value),
        Subset("token", "push_in"),
        Subset("token", "move_left"),
        Subset("token", "pan_left"),
        Subset("token", "orbit_right"),
        Subset("scene type", "single object"),
        Subset("scene type", "multi object"),
    )
    pans = comparison.others[0].of(TURN, Subset("token", "pan_left"))
    assert pans and (pans.num, pans.mean) == (2, 5.0)  # prompts 3 and 7
    types = comparison.others[0].of(TURN, Subset("scene type", "multi object"))
    assert types and (types.num, types.mean) == (4, 4.0)


def test_gains_and_losses_are_the_largest_and_in_the_better_direction(tmp_path: Path) -> None:
    change = [-3.0, 2.0, -1.0, *(0.01 * i for i in range(1, 13)), 0.0]
    a = folder_of(tmp_path / "a", {i: {TURN: 10.0} for i in range(len(change))})
    b = folder_of(tmp_path / "b", {i: {TURN: 10.0 + d} for i, d in enumerate(change)})
    other = compare_folders([a, b], metric=TURN).others[0]
    assert [change.key[0] for change in other.gains] == [0, 2]  # fewer degrees: a gain; no change is neither
    assert other.losses[0].key[0] == 1 and len(other.losses) == NUM_EXTREMES
    assert all(x.difference >= y.difference for x, y in zip(other.losses, other.losses[1:], strict=False))


def test_videos_made_elsewhere_are_paired_by_prompt_alone(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {(0, 0): {TURN: 1.0}, (0, 1): {TURN: 3.0}, (1, 0): {TURN: 2.0}}, samples=2)
    b = folder_of(tmp_path / "b", {0: {TURN: 4.0}, 1: None}, source={"videos": "closed-model"}, settings={})
    other = compare_folders([a, b]).others[0]
    turn, worst = other.of(TURN), other.of(TURN, ALL, Counting.WORST)
    assert not other.by_clip and turn and worst
    assert (turn.num, turn.first, turn.other) == (1, 2.0, 4.0)  # both samples of the first, the one of the other
    assert (worst.num, worst.first, worst.other) == (2, 2.0, 4.0)  # its rejected clip takes the worst, 4.0
    assert compare_folders([a, b], metric=TURN).others[0].losses[0].difference == pytest.approx(2.0)


def test_other_start_noises_are_no_pairs_of_clips(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {0: {TURN: 1.0}})
    b = folder_of(tmp_path / "b", {})
    b.append(record(0, seed=999, measures={TURN: 2.0}))
    assert not compare_folders([a, b]).others[0].by_clip


def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {0: {TURN: 1.0}})
    for facts, sentence in (
        ({"suite": "paper"}, r"another suite \(mini and paper\); evaluate both with one suite and judge"),
        ({"judge": "da3"}, r"another judge \(judge and da3\); evaluate both with one suite and judge"),
        ({"suite_sha256": "11"}, "of other prompts, though both are called mini"),
    ):
        other = folder_of(tmp_path / "-".join(facts), {0: {TURN: 1.0}}, **facts)
        with pytest.raises(InputError, match=sentence):
            compare_folders([a, other])
    with pytest.raises(InputError, match="no prompt in common"):
        compare_folders([a, folder_of(tmp_path / "x", {1: {TURN: 1.0}})])
    with pytest.raises(InputError, match="at least two"):
        compare_folders([a])
    b = folder_of(tmp_path / "b", {0: {TURN: 1.0}})
    with pytest.raises(InputError, match="'fid'; known here are: rotation_error_deg"):
        compare_folders([a, b], metric="fid")
    texts = folder_of(tmp_path / "texts", {})
    texts.append(record(0, prompt="Camera push in. Another.", measures={TURN: 1.0}))
    with pytest.raises(InputError, match="another text"):
        compare_folders([a, texts])


def test_the_json_is_strict_and_says_what_it_means(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "a", {i: {PSNR: 20.0 + i} for i in range(3)})
    b = folder_of(tmp_path / "b", {0: {PSNR: 21.0}, 1: None, 2: {PSNR: 22.5}})
    table = json.loads(json.dumps(compare_folders([a, b]).as_json(), allow_nan=False))
    assert [model["valid"] for model in table["models"]] == [3, 2]
    (whole,) = [
        d
        for d in table["comparisons"][0]["differences"]
        if (d["metric"], d["subset_kind"], d["counting"]) == (PSNR, "all", "valid in both")
    ]
    assert whole["low"] is None and whole["p"] is None and whole["prompts"] == 2
    assert table["comparisons"][0]["valid_in_first_only"] == [[1, False, 0]]
