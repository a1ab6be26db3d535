"""Numbers by hand: pooled PSNRs, gains, changes, which prompts count and how two variants are paired."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reproduced_folders import BASE, GOOD, NUM_DYNAMIC, NUM_STATIC, TRUTH, Folder

from worldr1.reproduce.evidence import Evidence, Runs, load_evidence
from worldr1.reproduce.measures import (
    DYNAMIC_WORDS_SHOWN,
    GRADIENT,
    PSNR,
    R_GEN,
    REJECTED,
    WORDS_SHOWN,
    Measure,
    Table,
    change_of,
    difference_of,
    gain_of,
    level_of,
    run_values,
)

WORD = Measure(name="word", text="word", key="words", better=1)


def table(measure: Measure, base: list[float], trained: list[list[float]], truth: list[float]) -> Table:
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (base, trained, truth)]
    keys = tuple((i, False, f"prompt {i}") for i in range(len(base)))
    return Table(measure=measure, keys=keys, base_N=tensors[0], trained_SN=tensors[1], truth_N=tensors[2])


def test_psnr_is_of_the_mean_squared_error() -> None:
    found = table(PSNR, [0.01] * 6, [[0.001] * 3 + [0.003] * 3, [0.002] * 6], [0.001] * 6)
    assert level_of(found).value == pytest.approx(-10 * math.log10(0.002))
    assert gain_of(found).value == pytest.approx(10 * math.log10(5))
    assert run_values(found) == pytest.approx([-10 * math.log10(0.002)] * 2)


def test_a_gradient_is_a_distance_from_the_truth() -> None:
    found = table(GRADIENT, [0.04] * 6, [[0.06] * 6, [0.05] * 6], [0.05] * 6)
    assert level_of(found).value == pytest.approx(0.005), "of the runs' average"
    assert run_values(found) == pytest.approx([0.01, 0.0])
    assert gain_of(found).value == pytest.approx(0.005 - 0.01)


def test_a_relative_change_needs_a_base_above_zero() -> None:
    found = table(WORD, [0.1, 0.2] * 6, [[0.05, 0.1] * 6], [0.0] * 12)
    assert change_of(found).value == pytest.approx(-0.5) and math.isfinite(change_of(found).error)
    around_zero = table(WORD, [0.1, -0.1, 0.02] * 4, [[0.05] * 12], [0.0] * 12)
    assert change_of(around_zero).interval() == (-math.inf, math.inf)


def test_differences_are_over_the_prompts_that_both_have() -> None:
    control = table(WORD, [0.0] * 8, [[float(i) for i in range(8)], [float(i) for i in range(8)]], [0.0] * 8)
    more = control.only(control.keys[1:7])
    more = replace(more, trained_SN=more.trained_SN + torch.tensor([[1.0], [2.0]]), base_N=more.base_N + 0.5)
    found = difference_of(more, control, None)
    assert (found.value, found.num) == (pytest.approx(1.5), 6)
    assert found.seeds == pytest.approx((1.0, 2.0)), "each run less the control's mean"
    assert found.error == pytest.approx(math.sqrt((0.5 + 0.0) / 2)), "every prompt differs alike: runs alone vary"
    assert difference_of(more, control, None, gains=True).value == pytest.approx(1.0), "the base has 0.5 of it"
    assert difference_of(control.only(control.keys[:1]), more, None).num == 0


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    folder = Folder(tmp_path)
    folder.write("half")
    folder.write("no-recon", {"psnr_holdout_db": 22.4}, rejected=2, seeds=2)
    return load_evidence(folder.layout)


def test_what_is_read_from_a_folder(evidence: Evidence) -> None:
    half = evidence.runs["half"]
    assert (half.seeds, half.stream, half.shorter, len(half.own)) == ((0, 1, 2), "ablation", False, 3)
    assert list(evidence.runs) == ["half", "no-recon"] and evidence.files == {}
    moving = half.table(PSNR)
    assert len(moving.keys) == NUM_STATIC * 2 // 3 and not any(dynamic for _, dynamic, _ in moving.keys)
    assert len(half.table(WORDS_SHOWN).keys) == NUM_STATIC + NUM_DYNAMIC
    assert len(half.table(DYNAMIC_WORDS_SHOWN).keys) == NUM_DYNAMIC
    assert level_of(moving).value == pytest.approx(GOOD["psnr_holdout_db"], abs=0.3)
    sides = [float(side.mean()) for side in (half.table(WORDS_SHOWN).base_N, half.table(WORDS_SHOWN).truth_N)]
    assert sides == pytest.approx([BASE["words"], TRUTH["words"]], rel=0.02)
    own = half.table(R_GEN)
    assert (float(own.base_N.mean()), float(own.trained_SN.mean())) == pytest.approx((0.1, 0.2), rel=0.05)
    assert own.truth_N.isnan().all()


def test_a_rejected_clip_has_no_geometry_on_any_side(evidence: Evidence) -> None:
    runs = evidence.runs["no-recon"]
    assert len(runs.table(PSNR).keys) == NUM_STATIC * 2 // 3 - 2
    assert len(runs.table(WORDS_SHOWN).keys) == NUM_STATIC + NUM_DYNAMIC, "its words can be read"
    assert gain_of(runs.table(REJECTED)).value == pytest.approx(2 / (NUM_STATIC + NUM_DYNAMIC))
    found = evidence.difference("no-recon", PSNR)
    assert found.num == NUM_STATIC * 2 // 3 - 2 and found.value == pytest.approx(-0.8, abs=0.2)


def test_a_run_without_its_own_evaluations_has_no_parts(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("half", own=False, updates=60)
    half: Runs = load_evidence(folder.layout).runs["half"]
    assert half.own == () and half.table(R_GEN).keys == () and half.shorter
    assert level_of(half.table(R_GEN)).num == 0


def test_the_spread_of_others_leaves_the_pair_and_other_lengths_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name, spread in (("full", 0.3), ("half", 0.3), ("no-recon", 0.3), ("no-traj", 0.001)):
        folder.write(name, spread=spread)
    spread = load_evidence(folder.layout).spread(WORDS_SHOWN, besides=("no-recon", "half"))
    assert spread is not None and spread.df == 2 and spread.variance < 1e-5
