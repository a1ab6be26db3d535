"""Means and intervals of one evaluation, by hand."""

import math

import pytest

from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.subsets import estimate
from worldr1.evaluate.suites.summary import as_json, summarise, summarise_types, valid_share
from worldr1.types import Status

MOVE, STAY = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.6]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def record(prompt_id: int, sample: int = 0, *, path: list[list[float]] = MOVE, **more: object) -> VideoRecord:
    fields = {
        "prompt_id": prompt_id,
        "prompt": "Camera push in. A ball.",
        "dynamic": False,
        "tokens": ("push_in",),
        "seed": 0,
        "status": Status.OK,
        "reason": "",
        "reward": None,
        "requested_path": path,
        "sample": sample,
        "scene_type": "static",
    }
    return VideoRecord(**(fields | more))  # type: ignore[arg-type]


def test_samples_of_a_prompt_are_averaged_before_prompts_are() -> None:
    records = [record(0, s, measures={"words": x}) for s, x in enumerate((0.0, 0.0, 0.6))]
    records.append(record(1, measures={"words": 1.0}))
    found = estimate(records, "words")
    assert found is not None and found.num == 2
    assert found.mean == pytest.approx((0.2 + 1.0) / 2)
    assert (found.low, found.high) == (-math.inf, math.inf), "two prompts are too few for an interval"
    assert estimate(records, "psnr_holdout_db") is None


def test_decibels_are_averaged_as_errors() -> None:
    records = [record(0, s, measures={"psnr_holdout_db": x}) for s, x in enumerate((20.0, 60.0))]
    records.append(record(1, measures={"psnr_holdout_db": 20.0}))
    found = estimate(records, "psnr_holdout_db")
    assert found is not None
    assert found.mean == pytest.approx(-10 * math.log10(((0.01 + 1e-6) / 2 + 0.01) / 2))


def test_the_interval_is_over_prompts_and_not_over_videos() -> None:
    values = [0.1, 0.3, 0.2, 0.9, 0.8, 0.5, 0.4, 0.6]
    once = [record(i, measures={"words": x}) for i, x in enumerate(values)]
    often = [record(i, s, measures={"words": x}) for i, x in enumerate(values) for s in range(5)]
    first, second = estimate(once, "words"), estimate(often, "words")
    assert first is not None and second is not None
    assert first.low < first.mean < first.high
    assert second.mean == pytest.approx(first.mean) and second.num == 8
    assert (second.low, second.high) == pytest.approx((first.low, first.high))


def test_groups_are_by_request_and_types_by_scene() -> None:
    records = [
        record(0, measures={"image_gradient": 0.02}),
        record(1, path=STAY, status=Status.REJECTED, measures={"image_gradient": 0.9}),
        record(2, dynamic=True, scene_type="non-rigid", status=Status.FAULT),
        record(3, long_horizon=True),
    ]
    groups = {group.name: (group.num_prompts, group.valid) for group in summarise(records)}
    assert groups == {"moving": (2, 1.0), "pans and still": (1, 0.0), "dynamic": (1, 0.0)}
    types = {group.name: group.num_prompts for group in summarise_types(records)}
    assert types == {"static": 3, "non-rigid": 1, "long horizon": 1}
    assert valid_share(records) == 0.5 and math.isnan(valid_share([]))
    table, rejected = as_json(summarise(records))[:2]
    assert rejected["values"] == {}, "figures are of the valid videos"
    assert table["values"]["image_gradient"] == {"mean": 0.02, "low": None, "high": None, "num": 1}
