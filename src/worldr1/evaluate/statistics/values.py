"""The numbers of records by their names, and how they are averaged."""

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.records import VideoRecord
from worldr1.types import Status

HOLDOUT_PSNR = "psnr_holdout_db"
PSNR_NAMES = (HOLDOUT_PSNR, "psnr_db", "psnr_all_db", "psnr_fit_holdout_db", "psnr_fit_all_db")
"""Measures in dB: pooled as mean squared errors, because a mean of PSNRs is ruled by its best clips."""
REWARD, FAULTS, REJECTIONS = "reward", "fault_fraction", "rejected_fraction"
LEAST_MSE = 1e-12
"""Where a PSNR ends, 120 dB: equal pictures have an infinite one, which no mean or difference survives."""


def record_value(record: VideoRecord, name: str) -> float | None:
    """The number called `name` of one video; None if it has none (faults only have their fraction)."""
    if name == FAULTS:
        return float(record.status is Status.FAULT)
    if record.status is Status.FAULT:
        return None
    if name == REJECTIONS:
        return float(record.status is Status.REJECTED)
    if name == REWARD:
        return record.reward
    return record.parts.get(name, record.measures.get(name))


def value_names(records: Sequence[VideoRecord]) -> list[str]:
    """Every name `record_value` knows in these records: reward, parts, measures, fractions."""
    parts = dict.fromkeys(name for record in records for name in record.parts)
    measures = dict.fromkeys(name for record in records for name in record.measures)
    return list(dict.fromkeys([REWARD, *parts, *measures, FAULTS, REJECTIONS]))


def valid_value(record: VideoRecord | None, name: str) -> float | None:
    """A valid video's number, of a PSNR its mean squared error (0..1); None for every other video."""
    if record is None or record.status is not Status.OK:
        return None
    value = record_value(record, name)
    return None if value is None else to_linear(value, name)


def matched(before: Sequence[VideoRecord], after: Sequence[VideoRecord]) -> list[tuple[VideoRecord, VideoRecord]]:
    """The two records of every prompt that is in both, in the order of `after`.

    Raises InputError if a prompt's text or start noise differs between the two: they are not paired.
    """
    earlier = {record.key: record for record in before}
    pairs = [(earlier[record.key], record) for record in after if record.key in earlier]
    for first, second in pairs:
        if (first.seed, first.prompt) != (second.seed, second.prompt):
            raise InputError(
                f"Prompt {second.prompt_id} has another text or start noise before than after; evaluate both again "
                "with one seed and one prompt set."
            )
    return pairs


def to_linear(value: float, name: str) -> float:
    """What may be averaged: the mean squared error of a PSNR, `LEAST_MSE` at least; everything else as it is.

    NaN stays NaN.
    """
    return max(10 ** (-value / 10), LEAST_MSE) if name in PSNR_NAMES else value  # in this order: max(x, NaN) is x


def from_linear(values: Tensor, name: str) -> Tensor:
    """Back to the number's own unit: dB of mean squared errors, 120 at most. NaN stays NaN."""
    return -10 * torch.log10(values.clamp(min=LEAST_MSE)) if name in PSNR_NAMES else values


def pooled_mean(values: Sequence[float], name: str) -> float:
    """The mean; of PSNRs the PSNR of the mean squared error, in dB."""
    mean = fmean(to_linear(value, name) for value in values)
    return float(from_linear(torch.tensor(mean, dtype=torch.float64), name))


def finite(value: float) -> float | None:
    """For JSON, which has no infinity: None instead."""
    return value if math.isfinite(value) else None
