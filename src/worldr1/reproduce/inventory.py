"""What is there of every variant: its finished runs, how long they took, and what was judged of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldr1.reproduce.layout import Layout
from worldr1.reproduce.ledger import Ledger
from worldr1.reproduce.runs import adapter_of, is_shorter, read_judging
from worldr1.reproduce.variants import UPDATES, Variant
from worldr1.train.checkpoint import RECIPE_FILE
from worldr1.train.runlog import read_metrics

NOT_TOLD = ("command", "host", "pid", "log")
"""Of the ledger: paths and names of one machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run."""

    seed: int
    folder: Path
    updates: int
    """Of metrics.jsonl; 0 if that is not there."""
    minutes: float
    """Of those updates."""

    @property
    def adapter(self) -> Path:
        """Its result."""
        return adapter_of(self.folder)


def finished_runs(layout: Layout, variant: Variant) -> list[Run]:
    """The runs of a variant that have a recipe, and a result or all their updates, lowest seed first.

    Where records alone were brought here, the adapter has stayed on the machine that made it.
    """
    found = []
    for folder in layout.run(variant, 0).parent.glob("seed-*"):
        seed = folder.name.removeprefix("seed-")
        if not seed.isdecimal() or not (folder / RECIPE_FILE).is_file():
            continue
        rows = read_metrics(folder)
        seconds = math.fsum(row.get("seconds", 0.0) for row in rows)
        run = Run(seed=int(seed), folder=folder, updates=len(rows), minutes=seconds / 60)
        if run.adapter.is_file() or not is_shorter(run.updates, UPDATES[variant.length]):
            found.append(run)
    return sorted(found, key=lambda run: run.seed)


def all_runs(layout: Layout, variants: Mapping[str, Variant]) -> dict[str, list[Run]]:
    """Of every variant that has any, by its name."""
    found = {name: finished_runs(layout, variant) for name, variant in variants.items()}
    return {name: runs for name, runs in found.items() if runs}


def is_short(run: Run, variant: Variant) -> bool:
    """Whether it had fewer updates than its variant asks for."""
    return run.updates > 0 and is_shorter(run.updates, UPDATES[variant.length])


def what_was_run(runs: Mapping[str, Sequence[Run]], ledger: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Numbers of finished runs, of their seeds and updates, their minutes; machines and commits of the ledger."""
    every = [run for of in runs.values() for run in of]
    if not every:
        return {"runs": "none finished"}
    told = {
        "runs": f"{len(every)}, of {len(runs)} variant{'s' if len(runs) != 1 else ''}",
        "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in every})),
        "updates": f"{sum(run.updates for run in every):,}",
        "minutes of training": f"{sum(run.minutes for run in every):.1f}",
    }
    for name, key in (("machine", "device"), ("commit", "commit")):
        found = dict.fromkeys(str(entry[key]) for entry in ledger if entry.get(key))
        told |= {name: ", ".join(found)} if found else {}
    return told


def shortened(runs: Mapping[str, Sequence[Run]], variants: Mapping[str, Variant]) -> list[str]:
    """What to say of runs with fewer updates than their variants ask for."""
    short = [name for name, of in runs.items() if any(is_short(run, variants[name]) for run in of)]
    if not short:
        return []
    return [
        f"Runs of {', '.join(short)} had fewer updates than their variant asks for: their numbers are not those of the "
        "published runs."
    ]


def num_judged(layout: Layout, variant: Variant) -> int:
    """Prompts that its runs were judged on; 0 if they were not."""
    return int(read_judging(layout.judged(variant)).get("num_prompts", 0))


def judged_in_words(layout: Layout, variant: Variant) -> str:
    """How many of its runs were judged, on how many prompts; of some the adapter alone may have been brought here."""
    adapters, prompts = read_judging(layout.judged(variant)).get("adapters_sha256", []), num_judged(layout, variant)
    if not prompts:
        return "not judged"
    return f"{len(adapters)} run{'s' if len(adapters) != 1 else ''}, {prompts} prompts"


def read_ledger(layout: Layout) -> tuple[list[dict[str, Any]], int]:
    """The attempts without `NOT_TOLD`, and the number of lines that cannot be read (a kill cuts one off)."""
    attempts = Ledger(layout.ledger, layout.under_way).read()
    text = layout.ledger.read_text(encoding="utf-8", errors="replace") if layout.ledger.is_file() else ""
    num_lines = sum(bool(line.strip()) for line in text.splitlines())
    told = [{k: v for k, v in asdict(attempt).items() if k not in NOT_TOLD} for attempt in attempts]
    return told, num_lines - len(told)
