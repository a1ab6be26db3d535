"""The parts of a suite that are told apart, and a model's means over their prompts with intervals.

Start noises are nested in prompts: sample 1 of one prompt has nothing in common with sample 1 of another. So samples
of a prompt are averaged first and prompts alone are resampled: a prompt's mean carries the noise of its samples, and
resampling them again would count it twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.motion import TOKENS
from worldr1.evaluate.labels import in_table_order
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.intervals import bootstrap_interval
from worldr1.evaluate.statistics.values import (
    FAULTS,
    REJECTIONS,
    from_linear,
    record_value,
    valid_value,
    value_names,
)

LONG_HORIZON = "long horizon"
"""Beside the types of scene, with which it overlaps."""


class Subset(NamedTuple):
    """Some prompts of a suite."""

    kind: str
    """ "" for all, "motion", "token" or "scene type"."""
    name: str

    def has(self, record: VideoRecord) -> bool:
        """Whether a record's prompt belongs to it; a sequence of moves belongs to each of its tokens."""
        match self.kind:
            case "motion":
                return record.group.value == self.name
            case "token":
                return self.name in record.tokens
            case "scene type":
                return record.long_horizon if self.name == LONG_HORIZON else record.scene_type == self.name
            case _:
                return True


ALL = Subset("", "all prompts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One model's mean over prompts."""

    metric: str
    subset: Subset
    mean: float
    """Of PSNRs that of the mean squared errors, in dB."""
    low: float
    high: float
    """Ends of the 95 % interval; infinite with fewer than `intervals.MIN_PAIRS` prompts."""
    num: int
    """Prompts that have the number."""


def subsets_of(records: Iterable[VideoRecord]) -> list[Subset]:
    """All prompts, then the kinds of motion, camera tokens and scene types that occur; not one that holds them all."""
    records = list(records)
    types = [*dict.fromkeys(record.scene_type for record in records if record.scene_type), LONG_HORIZON]
    found = [Subset("motion", group.value) for group in MotionGroup]
    found += [Subset("token", token) for token in TOKENS]
    found += [Subset("scene type", name) for name in types]
    counts = {subset: sum(subset.has(record) for record in records) for subset in found}
    alone = {kind for kind in ("motion", "scene type") if sum(bool(n) for s, n in counts.items() if s.kind == kind) < 2}
    return [ALL, *(subset for subset, num in counts.items() if num and subset.kind not in alone)]


def metric_names(records: Sequence[VideoRecord]) -> list[str]:
    """The numbers that videos have, in the tables' order; whether a video is valid is no number of its own."""
    has = {name for name in value_names(records) if any(record_value(record, name) is not None for record in records)}
    return in_table_order(name for name in value_names(records) if name in has - {FAULTS, REJECTIONS})


def estimates(records: Sequence[VideoRecord], *, seed: int) -> list[Estimate]:
    """Every number's mean over every subset that has it, over valid videos. seed: of the bootstrap."""
    made = []
    for subset in subsets_of(records):
        members = [record for record in records if subset.has(record)]
        found = (estimate(members, name, subset=subset, seed=seed) for name in metric_names(members))
        made += [one for one in found if one is not None]
    return made


def estimate(records: Sequence[VideoRecord], name: str, *, subset: Subset = ALL, seed: int = 0) -> Estimate | None:
    """The number's mean over the prompts that valid ones of these videos have it for; None without any.

    subset: what the videos are of. seed: of the bootstrap.
    """
    means_1N = prompt_means(records, name)
    if means_1N.shape[-1] == 0:
        return None

    def statistic(values: Float[Tensor, "1 *batch N"]) -> Tensor:
        return from_linear(values.mean(dim=-1), name)[0]

    low, high = bootstrap_interval(statistic, means_1N, seed)
    mean = float(statistic(means_1N))
    return Estimate(metric=name, subset=subset, mean=mean, low=low, high=high, num=int(means_1N.shape[-1]))


def prompt_means(records: Sequence[VideoRecord], name: str) -> Float[Tensor, "1 N"]:
    """Over a prompt's valid samples, for every prompt that has one with this number; linear."""
    found: dict[tuple[int, bool], list[float]] = {}
    for record in records:
        if (value := valid_value(record, name)) is not None:
            found.setdefault(record.prompt_key, []).append(value)
    return torch.tensor([[fmean(found[key]) for key in sorted(found)]], dtype=torch.float64)
