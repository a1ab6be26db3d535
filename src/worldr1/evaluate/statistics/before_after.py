"""Means per kind of request, and what two paired evaluations show: a difference with its interval, or nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.intervals import MIN_PAIRS, bootstrap_interval
from worldr1.evaluate.statistics.values import (
    PSNR_NAMES,
    REWARD,
    from_linear,
    matched,
    pooled_mean,
    record_value,
    to_linear,
    value_names,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Means over the videos of one kind of request."""

    group: MotionGroup
    num: int
    """Videos, faults included."""
    values: dict[str, float]
    """By name: reward, the parts, the measures (over the videos that have them), fault_fraction, rejected_fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """After minus before over prompts that have the value in both."""

    mean: float
    """NaN without pairs."""
    low: float
    high: float
    """Ends of the 95 % interval; infinite with fewer than `MIN_PAIRS` pairs."""
    num: int
    """Pairs."""

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def summarise(records: Sequence[VideoRecord]) -> list[Row]:
    """One row per kind of request that occurs, in `MotionGroup`'s order."""
    rows = []
    for group in MotionGroup:
        members = [record for record in records if record.group is group]
        values = {name: _values(members, name) for name in value_names(members)}
        means = {name: pooled_mean(found, name) for name, found in values.items() if found}
        if members:
            rows.append(Row(group=group, num=len(members), values=means))
    return rows


def paired_difference(
    before: Sequence[VideoRecord], after: Sequence[VideoRecord], name: str, *, seed: int, num_resamples: int = 2000
) -> PairedDifference:
    """Difference of `pooled_mean` with a 95 % bootstrap interval over prompts.

    Prompts are resampled (`bootstrap_interval`), so the interval is about other prompts like these, for these two
    models and start noises. seed: of the resampling. Raises InputError as `matched`.
    """
    pairs = _pairs(before, after, name)
    if not pairs:
        return PairedDifference(mean=math.nan, low=-math.inf, high=math.inf, num=0)
    linear_2N = torch.tensor([[to_linear(value, name) for value in pair] for pair in pairs], dtype=torch.float64).T
    mean, num = float(_difference(linear_2N, name)), len(pairs)
    low, high = bootstrap_interval(lambda linear: _difference(linear, name), linear_2N, seed, num_resamples)
    return PairedDifference(mean=mean, low=low, high=high, num=num)


def headline(before: Sequence[VideoRecord], after: Sequence[VideoRecord], *, seed: int = 0) -> str:
    """One honest line: the reward over all prompts and the PSNR of moving clips, each with its interval."""
    moving_before, moving_after = ([r for r in records if r.group is MotionGroup.MOVING] for records in (before, after))
    psnr = next((name for name in PSNR_NAMES if _pairs(moving_before, moving_after, name)), None)
    sentences = [_sentence("Reward", before, after, REWARD, seed)]
    if psnr:
        sentences.append(_sentence("PSNR of moving clips (dB)", moving_before, moving_after, psnr, seed))
    return " ".join(sentences)


def _sentence(label: str, before: Sequence[VideoRecord], after: Sequence[VideoRecord], name: str, seed: int) -> str:
    pairs = _pairs(before, after, name)
    if not pairs:
        return f"{label}: no prompt has a value both before and after, so nothing is shown."
    start, end = (pooled_mean(values, name) for values in zip(*pairs, strict=True))
    change = paired_difference(before, after, name, seed=seed)
    digits = 2 if name in PSNR_NAMES else 3
    text = f"{label}: {start:.{digits}f} before, {end:.{digits}f} after; difference {change.mean:+.{digits}f}"
    if change.num < MIN_PAIRS:
        return f"{text} over {change.num} prompts, too few for an interval: nothing is shown."
    text += f", 95 % interval {change.low:+.{digits}f} to {change.high:+.{digits}f} over {change.num} prompts"
    return f"{text}." if change.is_shown else f"{text}, which contains 0: no change is shown."


def _values(records: Sequence[VideoRecord], name: str) -> list[float]:
    return [value for record in records if (value := record_value(record, name)) is not None]


def _pairs(before: Sequence[VideoRecord], after: Sequence[VideoRecord], name: str) -> list[tuple[float, float]]:
    """(before, after) of every prompt that has the value in both."""
    values = [(record_value(b, name), record_value(a, name)) for b, a in matched(before, after)]
    return [(b, a) for b, a in values if b is not None and a is not None]


def _difference(linear: Tensor, name: str) -> Tensor:
    """After minus before of `pooled_mean` along the last dimension; linear: [2, ..., N]."""
    before, after = from_linear(linear.mean(dim=-1), name)
    return after - before
