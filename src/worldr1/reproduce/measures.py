"""What is measured of a variant's runs, and the numbers that rules need: levels, gains, changes and differences.

Values are per prompt; PSNRs as mean squared errors, whose mean is given in dB again (`statistics.values.to_linear`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.metrics.catalogue import DYNAMIC_WORDS, MOVER_MOTION, WORDS
from worldr1.evaluate.records import Evaluation, MotionGroup, VideoRecord
from worldr1.evaluate.statistics.intervals import MIN_PAIRS, bootstrap_interval
from worldr1.evaluate.statistics.values import REJECTIONS, from_linear, record_value, to_linear
from worldr1.reproduce.intervals import Estimate, Spread, difference_estimate, mean_estimate, prompt_spread
from worldr1.types import Status


class Source(StrEnum):
    """Who measured it."""

    JUDGE = "judge"
    """Of `mini judge`, which no reward met."""
    OWN = "own"
    """The run's own reward, on its unseen prompts before and after training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number of a video and how a model's is made of it."""

    name: str
    text: str
    key: str
    """Of the record."""
    better: int
    """+1: more, -1: less."""
    source: Source = Source.JUDGE
    group: MotionGroup | None = None
    """None: all prompts."""
    valid_only: bool = True
    """Only where every side's video is valid."""
    from_truth: bool = False
    """How far the mean is from the rendered truth's, not the mean."""
    decimals: int = 3
    unit: str = ""
    percent: bool = False
    """A share, written in points."""


MOVING, DYNAMIC = MotionGroup.MOVING, MotionGroup.DYNAMIC
PSNR = Measure(
    name="psnr",
    text="hold-out PSNR of moving clips",
    key="psnr_holdout_db",
    better=1,
    group=MOVING,
    decimals=2,
    unit="dB",
)
MVCS = Measure(
    name="mvcs",
    text="depth agreement (MVCS) of moving clips",
    key="mvcs_scale_free",
    better=1,
    group=MOVING,
    decimals=4,
)
ROTATION = Measure(
    name="rotation",
    text="rotation error of moving clips",
    key="rotation_error_deg",
    better=-1,
    group=MOVING,
    unit="deg",
)
TRANSLATION = Measure(
    name="translation", text="translation error of moving clips", key="translation_error", better=-1, group=MOVING,
    unit="of the path", decimals=4,
)  # fmt: skip
WORDS_SHOWN = Measure(name="words", text="words shown", key=WORDS, better=1, valid_only=False, percent=True)
DYNAMIC_WORDS_SHOWN = Measure(
    name="dynamic_words", text="dynamic words shown", key=DYNAMIC_WORDS, better=1, group=DYNAMIC, valid_only=False,
    percent=True,
)  # fmt: skip
MOTION_IN_MOVERS = Measure(
    name="mover_motion", text="motion inside movers", key=MOVER_MOTION, better=1, group=DYNAMIC, decimals=4
)
RESIDUAL_MOTION = Measure(
    name="residual_motion", text="residual motion of dynamic clips", key="residual_motion", better=1, group=DYNAMIC,
    decimals=4,
)  # fmt: skip
GRADIENT = Measure(
    name="gradient", text="image gradient, distance from the truth's", key="image_gradient", better=-1, group=MOVING,
    from_truth=True, decimals=4,
)  # fmt: skip
TRAVEL = Measure(name="travel", text="travel, recovered / requested", key="travel_ratio", better=1, group=MOVING)
REJECTED = Measure(name="rejected", text="rejected clips", key=REJECTIONS, better=-1, valid_only=False, percent=True)
_OWN = Source.OWN
S_META = Measure(name="s_meta", text="S_meta (the run's own)", key="s_meta", better=1, source=_OWN)
S_RECON = Measure(name="s_recon", text="S_recon (the run's own)", key="s_recon", better=1, source=_OWN)
S_TRAJ = Measure(name="s_traj", text="S_traj (the run's own)", key="s_traj", better=1, source=_OWN)
R_GEN = Measure(name="r_gen", text="R_gen (the run's own)", key="r_gen", better=1, source=_OWN)
BESIDE = (
    PSNR, ROTATION, TRANSLATION, WORDS_SHOWN, GRADIENT, TRAVEL, DYNAMIC_WORDS_SHOWN, MOTION_IN_MOVERS, RESIDUAL_MOTION,
    REJECTED, S_META, S_RECON, S_TRAJ, R_GEN,
)  # fmt: skip
"""What every variant is shown with."""

Key = tuple[int, bool, str]
"""Of a prompt: id, dynamic, text."""
Statistic = Callable[[Tensor], Tensor]
"""Of [K, ..., N], one number per leading dimension after K."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One measure's values of the prompts that have it on every side."""

    measure: Measure
    keys: tuple[Key, ...]
    base_N: Float[Tensor, " N"]
    trained_SN: Float[Tensor, "S N"]
    """Per run."""
    truth_N: Float[Tensor, " N"]
    """NaN where nobody asked the truth (`Source.OWN`)."""

    def only(self, keys: Sequence[Key]) -> "Table":
        """Of these prompts, in this order."""
        at = {key: column for column, key in enumerate(self.keys)}
        columns = torch.tensor([at[key] for key in keys], dtype=torch.long)
        return replace(
            self,
            keys=tuple(keys),
            base_N=self.base_N[columns],
            trained_SN=self.trained_SN[:, columns],
            truth_N=self.truth_N[columns],
        )


def make_table(
    measure: Measure,
    base: Sequence[Evaluation],
    trained: Sequence[Sequence[Evaluation]],
    truth: Sequence[Evaluation] | None,
    only: Callable[[VideoRecord], bool] = lambda record: True,
    value: Callable[[VideoRecord], float | None] | None = None,
) -> Table:
    """Evaluations per start noise; a prompt's value is the mean over them.

    truth None: not asked. only: which records count beside the measure's own group. value: instead of the measure's.
    """
    sides = [base, *trained, *([truth] if truth is not None else [])]
    found = [_values(measure, side, only, value) for side in sides]
    keys = tuple(sorted(set.intersection(*(set(values) for values in found))))
    rows = torch.tensor([[values[key] for key in keys] for values in found], dtype=torch.float64)
    rows = rows.reshape(len(sides), len(keys))
    num = len(trained)
    truth_N = rows[1 + num] if truth is not None else torch.full_like(rows[0], math.nan)
    return Table(measure=measure, keys=keys, base_N=rows[0], trained_SN=rows[1 : 1 + num], truth_N=truth_N)


def _values(
    measure: Measure,
    evaluations: Sequence[Evaluation],
    only: Callable[[VideoRecord], bool],
    value: Callable[[VideoRecord], float | None] | None,
) -> dict[Key, float]:
    found: dict[Key, list[float]] = {}
    for evaluation in evaluations:
        for record in evaluation.records:
            if measure.group is not None and record.group is not measure.group:
                continue
            if (measure.valid_only and record.status is not Status.OK) or not only(record):
                continue
            number = record_value(record, measure.key) if value is None else value(record)
            if number is not None:
                found.setdefault((*record.prompt_key, record.prompt), []).append(to_linear(number, measure.key))
    return {key: fmean(numbers) for key, numbers in found.items() if len(numbers) >= len(evaluations)}


# ------------------------------------------------------------------------------------------------------------ numbers


def level(measure: Measure, side: Float[Tensor, "... N"], truth: Float[Tensor, "... N"]) -> Float[Tensor, "..."]:
    """The number of a model: a mean, in dB for PSNRs, or its distance from the truth's mean."""
    mean = side.mean(dim=-1)
    return (mean - truth.mean(dim=-1)).abs() if measure.from_truth else from_linear(mean, measure.key)


def level_of(table: Table, others: Spread | None = None) -> Estimate:
    """Of the trained runs."""
    return _of_one(table, lambda rows: level(table.measure, rows[1], rows[2]), others)


def gain_of(table: Table, others: Spread | None = None) -> Estimate:
    """Trained less base."""
    return _of_one(table, _gain(table.measure), others)


def change_of(table: Table) -> Estimate:
    """Trained / base - 1. Infinitely uncertain where the base's number may be 0."""
    estimate = _of_one(table, lambda rows: rows[1].mean(dim=-1) / rows[0].mean(dim=-1) - 1, None)
    is_sure = (
        estimate.num >= MIN_PAIRS and bootstrap_interval(lambda rows: rows[0].mean(dim=-1), _rows(table), 0)[0] > 0
    )
    return estimate if is_sure else replace(estimate, error=math.inf)


def difference_of(table: Table, control: Table, others: Spread | None, *, gains: bool = False) -> Estimate:
    """Of a variant's level (or gain over its own base) less its control's, on the prompts that both have.

    `seeds` are each of its runs' values less the control's mean.
    """
    known = set(control.keys)
    shared = [key for key in table.keys if key in known]
    table, control, measure = table.only(shared), control.only(shared), table.measure
    one = _gain(measure) if gains else lambda rows: level(measure, rows[1], rows[2])
    rows = torch.cat([_rows(table), _rows(control)])
    if not shared:
        return _nothing()
    spread = _prompt_spread(lambda rows: one(rows[:3]) - one(rows[3:]), rows)
    runs, controls = _runs(table, one), _runs(control, one)
    value = float(one(rows[:3]) - one(rows[3:]))
    estimate = difference_estimate(value, runs, controls, spread, len(shared), others)
    return replace(estimate, seeds=tuple(run - fmean(controls) for run in runs))


def run_values(table: Table) -> list[float]:
    """Each run's own level."""
    return _runs(table, lambda rows: level(table.measure, rows[1], rows[2])) if table.keys else []


def _gain(measure: Measure) -> Statistic:
    return lambda rows: level(measure, rows[1], rows[2]) - level(measure, rows[0], rows[2])


def _of_one(table: Table, one: Statistic, others: Spread | None) -> Estimate:
    if not table.keys:
        return _nothing()
    rows = _rows(table)
    spread = _prompt_spread(one, rows)
    return mean_estimate(float(one(rows)), _runs(table, one), spread, len(table.keys), others)


def _nothing() -> Estimate:
    return Estimate(value=math.nan, error=math.inf, df=1, seeds=(), num=0, knows_seeds=False)


def _rows(table: Table) -> Float[Tensor, "3 N"]:
    """Base, the runs' average, truth."""
    return torch.stack([table.base_N, table.trained_SN.mean(dim=0), table.truth_N])


def _runs(table: Table, one: Statistic) -> list[float]:
    return [float(one(torch.stack([table.base_N, run_N, table.truth_N]))) for run_N in table.trained_SN]


def _prompt_spread(one: Statistic, rows: Float[Tensor, "K N"]) -> Spread:
    num = rows.shape[-1]
    low, high = bootstrap_interval(one, rows, 0)
    return prompt_spread(low, high, num)
