"""What another model has more or less of than the first: one number over one subset, and clip by clip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.labels import label_of
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.intervals import MIN_PAIRS, bootstrap_interval, jackknife_p
from worldr1.evaluate.statistics.pairs import Compared, Pairs
from worldr1.evaluate.statistics.subsets import Subset, prompt_means
from worldr1.evaluate.statistics.values import PSNR_NAMES, finite, from_linear, valid_value

TIE_SHARE = 0.1
"""Of the first model's standard deviation over prompts: a prompt whose difference is at most this is a tie."""


class Counting(StrEnum):
    """What is done with clips that are not valid."""

    VALID = "valid in both"
    WORST = "invalid counted worst"
    """Left out where it is the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Another model minus the first, of one number over one subset."""

    metric: str
    subset: Subset
    counting: Counting
    first: float
    """The first model's mean over the compared prompts; NaN without any."""
    other: float
    mean: float
    """other - first."""
    low: float
    high: float
    """Ends of the 95 % interval; infinite with fewer than `intervals.MIN_PAIRS` prompts."""
    p: float
    """Two-sided, by Student's t of the jackknife's pseudo-values; NaN without an interval."""
    num: int
    """Prompts."""
    wins: int
    ties: int
    losses: int
    """Prompts that the other model wins, ...; all 0 for a number that is neither good nor bad."""
    survives: bool = False
    """The interval excludes 0, and it still would if all intervals of the comparison were to hold together (Holm)."""

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def favours(self) -> int:
        """+1 if the interval says that the other model is better, -1 if worse, 0 if it says nothing."""
        gain = self.mean * label_of(self.metric).better
        return 0 if not self.is_shown else (gain > 0) - (gain < 0)

    def as_json(self) -> dict[str, Any]:
        """Plain values; numbers that do not exist are None."""
        return {
            "metric": self.metric,
            "subset_kind": self.subset.kind or "all",
            "subset": self.subset.name,
            "counting": self.counting.value,
            "first": self.first,
            "other": self.other,
            "difference": self.mean,
            "low": finite(self.low),
            "high": finite(self.high),
            "p": finite(self.p),
            "survives_holm": self.survives,
            "prompts": self.num,
            "wins": self.wins,
            "ties": self.ties,
            "losses": self.losses,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One clip's difference."""

    key: tuple[int, bool, int]
    """`VideoRecord.key`."""
    metric: str
    first: float
    other: float

    @property
    def difference(self) -> float:
        """other - first."""
        return self.other - self.first

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        prompt_id, dynamic, sample = self.key
        return {
            "prompt_id": prompt_id,
            "dynamic": dynamic,
            "sample": sample,
            "metric": self.metric,
            "first": self.first,
            "other": self.other,
            "difference": self.difference,
        }


def difference_of(
    found: Compared, name: str, subset: Subset, counting: Counting, margin: float | None, seed: int
) -> Difference:
    """Of what was compared. margin: up to which a prompt is a tie; None: nobody wins. seed: of the bootstrap."""

    def statistic(values: Float[Tensor, "2 *batch N"]) -> Tensor:
        first, other = from_linear(values.mean(dim=-1), name)
        return other - first

    values_2N, num = found.values, found.values.shape[-1]
    low, high = bootstrap_interval(statistic, values_2N, seed)
    first, other = from_linear(values_2N.mean(dim=-1), name).tolist()
    better = label_of(name).better
    wins = ties = losses = 0
    if better and margin is not None:
        here, there = from_linear(values_2N, name)
        gain = (there - here) * better
        result = torch.where(gain.abs() > margin, gain.sign(), found.lead)  # a lost clip is no tie
        wins, losses = int((result > 0).sum()), int((result < 0).sum())
        ties = num - wins - losses
    return Difference(
        metric=name,
        subset=subset,
        counting=counting,
        first=first,
        other=other,
        mean=other - first,
        low=low,
        high=high,
        p=jackknife_p(statistic, values_2N) if num >= MIN_PAIRS else math.nan,
        num=num,
        wins=wins,
        ties=ties,
        losses=losses,
    )


def tie_margin(records: Sequence[VideoRecord], name: str) -> float:
    """In the number's own unit."""
    means_N = from_linear(prompt_means(records, name)[0], name)
    return TIE_SHARE * float(means_N.std(correction=0)) if len(means_N) > 1 else 0.0


def worst_value(records: Sequence[VideoRecord], name: str) -> float | None:
    """The worst number that a valid video has, linear; None for one that is neither good nor bad."""
    better = label_of(name).better
    values = [value for record in records if (value := valid_value(record, name)) is not None]
    if not better or not values:
        return None
    high_is_good = better > 0 and name not in PSNR_NAMES  # a PSNR is held as its error
    return min(values) if high_is_good else max(values)


def changes_of(pairs: Pairs, name: str) -> list[Change]:
    """Per clip; where only prompts are shared, per prompt, under the key of its first clip that both have."""
    made = []
    if pairs.by_clip:
        for key, pair in pairs.clips.items():
            here, there = (valid_value(record, name) for record in pair)
            if here is not None and there is not None:
                made.append(_change(key, name, here, there))
        return made
    for key in pairs.prompts:
        values_2N = pairs.compared(name, [key]).values
        clip = next((clip for clip, pair in pairs.clips.items() if clip[:2] == key and all(pair)), None)
        if values_2N.shape[-1] and clip is not None:
            made.append(_change(clip, name, *values_2N[:, 0].tolist()))
    return made


def _change(key: tuple[int, bool, int], name: str, here: float, there: float) -> Change:
    first, other = from_linear(torch.tensor([here, there], dtype=torch.float64), name).tolist()
    return Change(key=key, metric=name, first=first, other=other)
