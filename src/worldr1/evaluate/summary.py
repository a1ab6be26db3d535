"""What an evaluation found, per kind of request and per type of scene: means with intervals over prompts."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics import FAULTS, PSNR_NAMES, REJECTIONS, bootstrap_interval, record_value, value_names
from worldr1.evaluate.suites import SCENE_TYPES
from worldr1.types import Status

LONG_HORIZON = "long horizon"
"""Beside the scene types, with which it overlaps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over prompts; the videos of one prompt are averaged first (in dB: as mean squared errors)."""

    mean: float
    low: float
    high: float
    """Ends of the 95 % interval; infinite with fewer than `statistics.MIN_PAIRS` prompts."""
    num: int
    """Prompts that have the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSummary:
    """Some videos of one evaluation."""

    name: str
    num_prompts: int
    num_videos: int
    valid: float
    """Share of the videos whose geometry the judge believes."""
    values: dict[str, Estimate]
    """By measure, over the videos that have it: the valid ones, but for what needs no geometry."""


def summarise(records: Sequence[VideoRecord]) -> list[GroupSummary]:
    """One per kind of request that occurs (`MotionGroup`): moving and still clips are never averaged together."""
    return _groups([(group.value, [r for r in records if r.group is group]) for group in MotionGroup])


def summarise_types(records: Sequence[VideoRecord]) -> list[GroupSummary]:
    """One per type of scene that occurs, as the paper's Table G, whatever the camera does; and long horizon."""
    types = [(kind, [r for r in records if r.scene_type == kind]) for kind in SCENE_TYPES]
    return _groups([*types, (LONG_HORIZON, [r for r in records if r.long_horizon])])


def valid_share(records: Sequence[VideoRecord]) -> float:
    """Of the videos; NaN of none."""
    return fmean(record.status is Status.OK for record in records) if records else math.nan


def estimate(records: Sequence[VideoRecord], name: str, *, seed: int = 0) -> Estimate | None:
    """The measure's mean with its interval; None if no video has it. seed: of the bootstrap."""
    found: dict[tuple[int, bool], list[float]] = {}
    in_db = name in PSNR_NAMES
    for record in records:
        if (value := record_value(record, name)) is not None:
            found.setdefault(record.prompt_key, []).append(10 ** (-value / 10) if in_db else value)
    if not found:
        return None
    values_1N = torch.tensor([[fmean(found[key]) for key in sorted(found)]], dtype=torch.float64)

    def statistic(values: Tensor) -> Tensor:
        mean = values[0].mean(dim=-1)
        return -10 * torch.log10(mean) if in_db else mean

    low, high = bootstrap_interval(statistic, values_1N, seed)
    return Estimate(mean=float(statistic(values_1N)), low=low, high=high, num=len(found))


def as_json(groups: Sequence[GroupSummary]) -> list[dict[str, Any]]:
    """As strict JSON: an end of an interval that is infinite becomes null."""
    tables = [asdict(group) for group in groups]
    for table in tables:
        table["values"] = {
            name: {key: x if math.isfinite(x) else None for key, x in value.items()}
            for name, value in table["values"].items()
        }
    return tables


def _groups(members: Sequence[tuple[str, Sequence[VideoRecord]]]) -> list[GroupSummary]:
    return [
        GroupSummary(
            name=name,
            num_prompts=len({record.prompt_key for record in records}),
            num_videos=len(records),
            valid=valid_share(records),
            values={
                measure: value
                for measure in value_names(records)
                if measure not in (FAULTS, REJECTIONS) and (value := estimate(records, measure)) is not None
            },
        )
        for name, records in members
        if records
    ]
