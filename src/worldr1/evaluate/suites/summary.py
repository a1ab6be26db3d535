"""What `worldr1 evaluate` prints, per kind of request and per type of scene: means with intervals over prompts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.subsets import LONG_HORIZON, Estimate, Subset, estimate, metric_names
from worldr1.evaluate.statistics.values import finite
from worldr1.evaluate.suites.suite import SCENE_TYPES
from worldr1.types import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSummary:
    """Some videos of one evaluation."""

    name: str
    num_prompts: int
    num_videos: int
    valid: float
    """Share of the videos whose geometry the judge believes."""
    values: dict[str, Estimate]
    """By measure, over the valid videos that have it."""


def summarise(records: Sequence[VideoRecord]) -> list[GroupSummary]:
    """One per kind of request that occurs (`MotionGroup`): moving and still clips are never averaged together."""
    return _groups(records, [Subset("motion", group.value) for group in MotionGroup])


def summarise_types(records: Sequence[VideoRecord]) -> list[GroupSummary]:
    """One per type of scene that occurs, as the paper's Table G, whatever the camera does; and long horizon."""
    return _groups(records, [Subset("scene type", name) for name in (*SCENE_TYPES, LONG_HORIZON)])


def valid_share(records: Sequence[VideoRecord]) -> float:
    """Of the videos; NaN of none."""
    return fmean(record.status is Status.OK for record in records) if records else math.nan


def as_json(groups: Sequence[GroupSummary]) -> list[dict[str, Any]]:
    """As strict JSON: an end of an interval that is infinite becomes null."""
    return [
        {
            "name": group.name,
            "num_prompts": group.num_prompts,
            "num_videos": group.num_videos,
            "valid": group.valid,
            "values": {
                name: {"mean": one.mean, "low": finite(one.low), "high": finite(one.high), "num": one.num}
                for name, one in group.values.items()
            },
        }
        for group in groups
    ]


def _groups(records: Sequence[VideoRecord], subsets: Sequence[Subset]) -> list[GroupSummary]:
    members = [(subset, [record for record in records if subset.has(record)]) for subset in subsets]
    return [
        GroupSummary(
            name=subset.name,
            num_prompts=len({record.prompt_key for record in found}),
            num_videos=len(found),
            valid=valid_share(found),
            values={
                name: one for name in metric_names(found) if (one := estimate(found, name, subset=subset)) is not None
            },
        )
        for subset, found in members
        if found
    ]
