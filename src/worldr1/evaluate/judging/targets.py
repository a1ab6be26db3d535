"""Did training help? A model before and after beside the rendered truth of the same prompts, held against targets.

The rows are those of issue 4. Geometry is compared on *moving* clips (a still one reconstructs to 60 dB whatever it
shows) that are valid in all three. Intervals resample prompts; a prompt's videos of several runs or start noises are
averaged first, so that they do not count as independent ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.metrics.catalogue import DYNAMIC_WORDS, MOVER_MOTION, WORDS
from worldr1.evaluate.records import Evaluation, MotionGroup, VideoRecord
from worldr1.evaluate.statistics.intervals import MIN_PAIRS, bootstrap_interval
from worldr1.evaluate.statistics.values import HOLDOUT_PSNR, REJECTIONS, from_linear, matched, record_value, to_linear
from worldr1.types import Status

GAP_CLOSED, ABOVE_TRUTH_DB, PATH_CHANGE = 0.6, 0.5, -0.3
WORDS_LOST, KEPT_SHARE, TRAVEL_RATIO = 0.03, 0.9, (0.9, 1.1)
TINY = 1e-12
"""A denominator below it is zero."""


class Trial(NamedTuple):
    """One run judged with one start noise: three evaluations of the same prompts."""

    base: Evaluation
    trained: Evaluation
    truth: Evaluation


class Verdict(StrEnum):
    """Whether a target is reached. The value decides, not its interval, except where the target names the interval."""

    MET = "met"
    MISSED = "missed"
    OPEN = "open"
    """Not measured, undefined, or of too few prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetRow:
    """One line of the table. Numbers that do not exist are NaN."""

    name: str
    text: str
    """What is measured."""
    base: float
    trained: float
    truth: float
    """The three means (errors of PSNRs are averaged as mean squared errors, and given in dB)."""
    value: float
    """What the target is about."""
    low: float
    high: float
    """Its 95 % interval over prompts; infinite with too few."""
    trials: tuple[float, ...]
    """The value of each trial alone."""
    num: int
    """Prompts."""
    target: str
    verdict: Verdict
    reason: str
    """Why the verdict is open."""
    decimals: int
    """With which the means are written."""
    percent: bool
    """The value is a share, written in per cent."""


class _Means(NamedTuple):
    """Means over prompts, in the measure's own unit, as floats."""

    base: float
    trained: float
    truth: float


class _Estimate(NamedTuple):
    value: float
    low: float
    high: float


Statistic = Callable[[Tensor], Tensor]
"""Of [3, ..., N] (base, trained, truth; mean squared errors instead of PSNRs), one number per leading dimension."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """How one row is computed."""

    name: str
    text: str
    measure: str
    target: str
    statistic: Statistic
    is_met: Callable[[_Estimate, _Means], bool]
    denominator: Statistic | None = None
    """Of a ratio: if its interval reaches 0 the ratio means nothing."""
    undefined: str = "it would be divided by something that may be 0"
    group: MotionGroup | None = MotionGroup.MOVING
    """None: all prompts."""
    valid_only: bool = True
    """Only where all three videos are valid."""
    decimals: int = 3
    percent: bool = False


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=-1)


def _gap_closed(values: Tensor) -> Tensor:
    base, trained, truth = _mean(values)
    return (base - trained) / (base - truth)


def _gap(values: Tensor) -> Tensor:
    base, _, truth = _mean(values)
    return base - truth


def _above_truth_db(values: Tensor) -> Tensor:
    _, trained, truth = from_linear(_mean(values), HOLDOUT_PSNR)
    return trained - truth


def _change(values: Tensor) -> Tensor:
    base, trained, _ = _mean(values)
    return trained / base - 1


def _ratio(values: Tensor) -> Tensor:
    base, trained, _ = _mean(values)
    return trained / base


def _base(values: Tensor) -> Tensor:
    return _mean(values)[0]


def _trained(values: Tensor) -> Tensor:
    return _mean(values)[1]


def _difference(values: Tensor) -> Tensor:
    base, trained, _ = _mean(values)
    return trained - base


def _farther_from_truth(values: Tensor) -> Tensor:
    base, trained, truth = _mean(values)
    return (trained - truth).abs() - (base - truth).abs()


def _travel_is_right(estimate: _Estimate, means: _Means) -> bool:
    low, high = TRAVEL_RATIO
    return low <= estimate.value <= high or abs(estimate.value - 1) < abs(means.base - 1)


TARGETS: Sequence[_Target] = (
    _Target(
        name="gap_closed",
        text="Hold-out error: share of the gap to the truth that is closed (means: PSNR, dB)",
        measure=HOLDOUT_PSNR,
        target="at least 60 %",
        statistic=_gap_closed,
        is_met=lambda e, _: e.value >= GAP_CLOSED,
        denominator=_gap,
        undefined="the base model's hold-out error is not shown to be above the truth's, so there is no gap to close",
        decimals=2,
        percent=True,
    ),
    _Target(
        name="above_truth_db",
        text="Hold-out PSNR above the truth's, dB (more is deleted content)",
        measure=HOLDOUT_PSNR,
        target="at most +0.5",
        statistic=_above_truth_db,
        is_met=lambda e, _: e.value <= ABOVE_TRUTH_DB,
        decimals=2,
    ),
    _Target(
        name="rotation_error",
        text="Rotation error (degrees): relative change",
        measure="rotation_error_deg",
        target="at most -30 %",
        statistic=_change,
        is_met=lambda e, _: e.value <= PATH_CHANGE,
        denominator=_base,
        percent=True,
    ),
    _Target(
        name="translation_error",
        text="Translation error (share of the path): relative change",
        measure="translation_error",
        target="at most -30 %",
        statistic=_change,
        is_met=lambda e, _: e.value <= PATH_CHANGE,
        denominator=_base,
        percent=True,
    ),
    _Target(
        name="words",
        text="Attribute words shown: difference",
        measure=WORDS,
        target="interval above -3 points",
        statistic=_difference,
        is_met=lambda e, _: e.low > -WORDS_LOST,
        group=None,
        valid_only=False,
        percent=True,
    ),
    _Target(
        name="image_gradient",
        text="Image gradient: distance to the truth's, more than the base's",
        measure="image_gradient",
        target="at most 0",
        statistic=_farther_from_truth,
        is_met=lambda e, _: e.value <= 0,
        decimals=4,
    ),
    _Target(
        name="travel",
        text="Travel: recovered / requested",
        measure="travel_ratio",
        target="0.9 to 1.1, or nearer 1 than the base's",
        statistic=_trained,
        is_met=_travel_is_right,
    ),
    _Target(
        name="dynamic_words",
        text="Dynamic words shown (dynamic prompts): share of the base's",
        measure=DYNAMIC_WORDS,
        target="at least 90 %",
        statistic=_ratio,
        is_met=lambda e, _: e.value >= KEPT_SHARE,
        denominator=_base,
        group=MotionGroup.DYNAMIC,
        valid_only=False,
        percent=True,
    ),
    _Target(
        name="mover_motion",
        text="Motion inside named movers (dynamic prompts): share of the base's",
        measure=MOVER_MOTION,
        target="at least 90 %",
        statistic=_ratio,
        is_met=lambda e, _: e.value >= KEPT_SHARE,
        denominator=_base,
        group=MotionGroup.DYNAMIC,
        decimals=4,
        percent=True,
    ),
    _Target(
        name="rejected",
        text="Rejected clips (all prompts): difference",
        measure=REJECTIONS,
        target="at most 0",
        statistic=_difference,
        is_met=lambda e, _: e.value <= 0,
        group=None,
        valid_only=False,
        percent=True,
    ),
)


def target_rows(trials: Sequence[Trial], *, seed: int = 0) -> list[TargetRow]:
    """Every target's row, in the issue's order. seed: of the bootstrap.

    Raises InputError for no trials, or for evaluations that are not of the same prompts and start noises.
    """
    if not trials:
        raise InputError("Give at least one trial: a base, a trained and a true evaluation.")
    return [_row(target, trials, seed) for target in TARGETS]


def _row(target: _Target, trials: Sequence[Trial], seed: int) -> TargetRow:
    values_3N = _per_prompt(target, trials)
    num = values_3N.shape[-1]
    means = _Means(*(_mean(values_3N).tolist() if num else [math.nan] * 3))
    estimate, reason = _estimate(target, values_3N, seed)
    verdict = Verdict.OPEN
    if not reason:
        verdict = Verdict.MET if target.is_met(estimate, means) else Verdict.MISSED
    shown = _Means(*from_linear(torch.tensor(means, dtype=torch.float64), target.measure).tolist())
    alone = [_per_prompt(target, [trial]) for trial in trials]
    return TargetRow(
        name=target.name,
        text=target.text,
        **shown._asdict(),
        **estimate._asdict(),
        trials=tuple(_estimate(target, values, seed)[0].value for values in alone),
        num=num,
        target=target.target,
        verdict=verdict,
        reason=reason,
        decimals=target.decimals,
        percent=target.percent,
    )


def _estimate(target: _Target, values_3N: Float[Tensor, "3 N"], seed: int) -> tuple[_Estimate, str]:
    """The value with its interval, and why nothing can be said of it ("" if something can)."""
    nothing, num = _Estimate(math.nan, -math.inf, math.inf), values_3N.shape[-1]
    if num == 0:
        return nothing, "not measured"
    if target.denominator is not None:
        smallest = float(target.denominator(values_3N))
        if num >= MIN_PAIRS:
            smallest = min(smallest, bootstrap_interval(target.denominator, values_3N, seed)[0])
        if smallest <= TINY:
            return nothing, target.undefined
    low, high = bootstrap_interval(target.statistic, values_3N, seed)
    too_few = f"{num} prompts are too few" if num < MIN_PAIRS else ""
    return _Estimate(float(target.statistic(values_3N)), low, high), too_few


def _per_prompt(target: _Target, trials: Sequence[Trial]) -> Float[Tensor, "3 N"]:
    """Base, trained and truth of every prompt that has the measure in all three: means over its trials."""
    found: dict[tuple[int, bool], list[list[float]]] = {}
    for trial in trials:
        for triple in _triples(trial):
            if target.group is not None and triple[0].group is not target.group:
                continue
            if target.valid_only and any(record.status is not Status.OK for record in triple):
                continue
            values = [record_value(record, target.measure) for record in triple]
            there = [to_linear(value, target.measure) for value in values if value is not None]
            if len(there) == len(triple):
                found.setdefault(triple[0].prompt_key, []).append(there)
    if not found:
        return torch.zeros(3, 0, dtype=torch.float64)
    means = [[fmean(column) for column in zip(*found[key], strict=True)] for key in sorted(found)]
    return torch.tensor(means, dtype=torch.float64).T


def _triples(trial: Trial) -> list[tuple[VideoRecord, VideoRecord, VideoRecord]]:
    """The three records of every prompt, which must be in all three evaluations."""
    trained = matched(trial.base.records, trial.trained.records)
    truth = matched(trial.base.records, trial.truth.records)
    if not len(trained) == len(truth) == len(trial.base.records):
        raise InputError("The base, the trained and the true videos are not of the same prompts; judge them together.")
    of_truth = {record.key: record for _, record in truth}
    return [(base, after, of_truth[base.key]) for base, after in trained]
