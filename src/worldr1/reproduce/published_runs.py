"""What three runs of ours let expect of a new one: `published_intervals.json`, with where each number came from.

A run by a stranger is another seed on another machine, judged on the same 600 prompts: that is what a prediction
interval is about (`intervals`). Three runs make it wide, which is honest.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from worldr1.reproduce.finding import Measured
from worldr1.reproduce.intervals import Interval, prediction_interval

FILE = Path(__file__).parent / "published_intervals.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRun:
    """Where one run's numbers came from."""

    seed: int
    commit: str
    command: str
    machine: str
    updates: int
    adapter_sha256: str
    judging_sha256: str
    """Of the judging.json that its records were judged with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRuns:
    """All of them."""

    command: str
    """Of the judging."""
    stream: str
    prompts_sha256: str
    num_prompts: int
    runs: tuple[PublishedRun, ...]
    values: Mapping[str, tuple[float, ...]]
    """By number (`claims.gain.rows_of`), one per run."""

    @property
    def intervals(self) -> dict[str, Interval]:
        """Where 95 % of new runs lie, by number. Without those that did not vary at all: of 600 clips none was rejected
        in any run, which does not say that no clip ever will be."""
        return {name: prediction_interval(values) for name, values in self.values.items() if len(set(values)) > 1}


def values_of(numbers: Sequence[Measured]) -> dict[str, tuple[float, ...]]:
    """Per-run values, rounded to what JSON shows."""
    return {number.name: tuple(round(value, 6) for value in number.seeds) for number in numbers}


def save_published_runs(published: PublishedRuns, path: Path = FILE) -> None:
    """Writes the file; its intervals are there to be read, and are computed anew when it is loaded."""
    ends = {name: [round(end, 6) for end in interval] for name, interval in published.intervals.items()}
    table: dict[str, Any] = asdict(published) | {"prediction_intervals": ends}
    path.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@cache
def load_published_runs(path: Path = FILE) -> PublishedRuns:
    """Raises ValueError if a number has not one finite value per run, or an interval is not that of its values."""
    table = json.loads(path.read_text(encoding="utf-8"))
    ends = table.pop("prediction_intervals")
    runs = tuple(PublishedRun(**run) for run in table.pop("runs"))
    values = {name: tuple(found) for name, found in table.pop("values").items()}
    published = PublishedRuns(runs=runs, values=values, **table)
    for name, found in values.items():
        if len(found) != len(runs) or not all(math.isfinite(value) for value in found):
            raise ValueError(f"{name} has not one number for each of {len(runs)} runs")
        interval = published.intervals.get(name)
        if interval is not None and max(abs(a - b) for a, b in zip(ends[name], interval, strict=True)) > 2e-6:
            raise ValueError(f"the interval of {name} is not that of its values")
    return published


def intervals_as_markdown() -> str:
    """The published runs' values and what they let expect of a new one: a table of docs/reproduction.md."""
    published = load_published_runs()
    lines = ["| number | runs (seeds 0, 1, 2) | 95 % prediction interval of one new run |", "|---|---|---|"]
    for name, (low, high) in published.intervals.items():
        runs = ", ".join(f"{value:.4g}" for value in published.values[name])
        lines.append(f"| `{name}` | {runs} | {low:.4g} to {high:.4g} |")
    return "\n".join(lines)
