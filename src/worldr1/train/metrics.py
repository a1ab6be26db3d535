"""What a line of `metrics.jsonl` is made of, in one place: docs/architecture.md has every field.

Two kinds of fields. Most are functions of the seed, equal in two runs on one CPU to the bit. Measurements of the
machine (`is_timing`) are not, and are absent where they cannot be made: no GPU memory on a CPU, rather than 0.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from worldr1.rollout.collector import GroupScores, reward_metrics
from worldr1.train.startup import checksum
from worldr1.types import RewardResult, Status

Metrics = dict[str, float | int | str]
"""One line of `metrics.jsonl`."""

TIMING_PREFIXES = ("seconds", "memory_", "mfu")
"""How the names of all fields begin that say what the machine did rather than what was computed."""
QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
"""Suffix -> share of the valid members that is below."""
GIB = 2**30


def is_timing(key: str) -> bool:
    """Whether a field of `metrics.jsonl` is a measurement of the machine: no two runs share its value."""
    return key.startswith(TIMING_PREFIXES)


def untimed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `metrics.jsonl` without such fields: of two runs with one seed these are to be equal."""
    return {key: value for key, value in row.items() if not is_timing(key)}


def scored_metrics(groups: Sequence[GroupScores]) -> dict[str, float]:
    """What the rewards of an update say: means, spreads, quantiles, measures and how many videos count for what."""
    return reward_metrics(groups) | _quantiles(groups) | _mean_measures(groups) | _counts(groups) | _first_steps(groups)


def parameter_hash(parameters: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of `startup.checksum`: equal for equal names and values to the bit, on any device.

    Text, because not every reader of JSON keeps 63 bits of a number.
    """
    return f"{checksum(parameters):016x}"


class UpdateMeter:
    """Seconds by stage, and the GPU's memory, of one update; it begins when it is made.

    A GPU works behind our back: each stage ends by waiting for it, else its seconds would be counted in the stage that
    happens to ask for a number first. That is a handful of waits per update.
    """

    def __init__(self, device: torch.device, on_stage: Callable[[str], None] = lambda name: None) -> None:
        """on_stage: is told the name of every stage as it begins (`train.watchdog`)."""
        self._device, self._on_stage = device, on_stage
        self._seconds: dict[str, float] = {}
        self._start = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what is done inside to `seconds_<name>`."""
        self._on_stage(name)
        start = time.monotonic()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - start

    def measured(self) -> dict[str, float]:
        """`seconds` so far and of every stage; on a GPU `memory_peak_gib` (of tensors) and `memory_reserved_gib`
        (what the allocator took for them)."""
        found = {"seconds": time.monotonic() - self._start}
        found |= {f"seconds_{name}": seconds for name, seconds in self._seconds.items()}
        if self._device.type == "cuda":
            found["memory_peak_gib"] = torch.cuda.max_memory_allocated(self._device) / GIB
            found["memory_reserved_gib"] = torch.cuda.max_memory_reserved(self._device) / GIB
        return found


def _members(groups: Sequence[GroupScores]) -> Iterator[tuple[RewardResult, bool]]:
    """Every member's result, and whether it is valid."""
    for group in groups:
        yield from zip(group.rewards, group.valid.tolist(), strict=True)


def _quantiles(groups: Sequence[GroupScores]) -> dict[str, float]:
    """Of the reward and every part over all valid members: a mean hides that a few videos are paid for everything."""
    values: dict[str, list[float]] = {}
    for result, valid in _members(groups):
        for name, value in {"reward": result.value, **result.parts}.items() if valid else ():
            values.setdefault(name, []).append(value)
    shares = torch.tensor(list(QUANTILES.values()), dtype=torch.float64)
    found: dict[str, float] = {}
    for name, numbers in sorted(values.items()):
        cuts = torch.tensor(numbers, dtype=torch.float64).quantile(shares).tolist()
        found |= {f"{name}_{suffix}": cut for suffix, cut in zip(QUANTILES, cuts, strict=True)}
    return found


def _mean_measures(groups: Sequence[GroupScores]) -> dict[str, float]:
    """Mean over valid members of what is measured and not rewarded."""
    values: dict[str, list[float]] = {}
    for result, valid in _members(groups):
        for name, value in result.measures.items() if valid else ():
            values.setdefault(name, []).append(value)
    return {name: fmean(numbers) for name, numbers in sorted(values.items())}


def _counts(groups: Sequence[GroupScores]) -> dict[str, int]:
    """Of members: all, why some are not valid, and how many the loss does not see."""
    members = list(_members(groups))
    faults = sum(result.status is Status.FAULT for result, _ in members)
    return {
        "videos": len(members),
        "faults": faults,
        "invalid": sum(not valid for _, valid in members) - faults,
        "rejected": sum(result.status is Status.REJECTED for result, _ in members),
        "masked": sum(not (valid and group.kept) for group in groups for valid in group.valid.tolist()),
    }


def _first_steps(groups: Sequence[GroupScores]) -> dict[str, float]:
    """How long the groups share their steps: what an update costs hangs on it (`planning.utilisation`)."""
    first = [group.first_step for group in groups if group.first_step is not None]
    return {"first_sde_step": fmean(first)} if first else {}
