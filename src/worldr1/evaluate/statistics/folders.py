"""What two evaluations of one suite show when compared prompt by prompt: differences with intervals, wins, losses.

Twice: on the clips that are valid in both, and again with every clip that is not valid (or missing) counted as the
worst that either model showed. The first alone would reward a model that fails on the hard prompts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from worldr1.errors import InputError
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.labels import label_of
from worldr1.evaluate.statistics.differences import (
    Change,
    Counting,
    Difference,
    changes_of,
    difference_of,
    tie_margin,
    worst_value,
)
from worldr1.evaluate.statistics.intervals import CONFIDENCE, holm
from worldr1.evaluate.statistics.pairs import Pairs
from worldr1.evaluate.statistics.sampling import Unlike, unlike_settings
from worldr1.evaluate.statistics.subsets import ALL, Subset, metric_names, subsets_of
from worldr1.evaluate.statistics.values import PSNR_NAMES
from worldr1.types import Status

NUM_EXTREMES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """How many of the clips that were asked for count."""

    asked: int
    """Clips of any of the compared models, by prompt and sample."""
    valid: int
    rejected: int
    faults: int
    missing: int

    @property
    def share(self) -> float:
        """Of what was asked for."""
        return self.valid / self.asked


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """One other model against the first."""

    folder: EvaluationFolder
    by_clip: bool
    """Pairs have prompt, sample and start noise in common; else the prompt only."""
    unlike: tuple[Unlike, ...]
    """Settings that the two were sampled with differently."""
    differences: tuple[Difference, ...]
    margins: Mapping[str, float]
    """By number with a direction: the difference up to which a prompt is a tie, in its own unit."""
    gains: tuple[Change, ...]
    """Largest first, at most `NUM_EXTREMES`, clips valid in both."""
    losses: tuple[Change, ...]
    lost: tuple[tuple[int, bool, int], ...]
    """Keys of clips that are valid in the first model only."""
    won: tuple[tuple[int, bool, int], ...]
    """... in the other only."""

    def of(self, metric: str, subset: Subset = ALL, counting: Counting = Counting.VALID) -> Difference | None:
        """One difference; None if nothing has it."""
        wanted = (metric, subset, counting)
        return next((d for d in self.differences if (d.metric, d.subset, d.counting) == wanted), None)

    def verdict(self, d: Difference) -> str:
        """Of one of `differences`: "better", "worse", or "" if its interval says neither.

        "better on valid clips" ("worse ..."): with invalid clips counted worst the interval does not say so.
        """
        if not d.favours:
            return ""
        word = "better" if d.favours > 0 else "worse"
        worst = self.of(d.metric, d.subset, Counting.WORST)
        return word if worst is None or worst.favours == d.favours else f"{word} on valid clips"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderComparison:
    """Evaluations of one suite by one judge, all against the first."""

    first: EvaluationFolder
    others: tuple[PairedComparison, ...]
    metric: str
    """By which gains and losses are chosen."""
    metrics: tuple[str, ...]
    subsets: tuple[Subset, ...]
    validity: tuple[Validity, ...]
    """Of the first, then of the others."""
    num_intervals: int
    """In all of `differences`."""

    @property
    def folders(self) -> tuple[EvaluationFolder, ...]:
        """The first, then the others."""
        return self.first, *(other.folder for other in self.others)

    def as_json(self) -> dict[str, Any]:
        """What `worldr1 compare --json` prints: plain values; numbers that do not exist are null."""
        return {
            "suite": self.first.facts.suite,
            "judge": self.first.facts.judge,
            "metric": self.metric,
            "confidence": CONFIDENCE,
            "intervals": self.num_intervals,
            "models": [
                {
                    "title": folder.facts.title,
                    "judged_by_reward": folder.facts.judged_by_reward,
                    "asked": v.asked,
                    "valid": v.valid,
                    "rejected": v.rejected,
                    "faults": v.faults,
                    "missing": v.missing,
                    "seconds": dict(folder.facts.seconds),
                }
                for folder, v in zip(self.folders, self.validity, strict=True)
            ],
            "comparisons": [
                {
                    "title": other.folder.facts.title,
                    "against": self.first.facts.title,
                    "paired_by": "prompt, sample and start noise" if other.by_clip else "prompt",
                    "sampled_differently": {name: [here, there] for name, here, there in other.unlike},
                    "tie_margins": dict(other.margins),
                    "differences": [d.as_json() for d in other.differences],
                    "gains": [change.as_json() for change in other.gains],
                    "losses": [change.as_json() for change in other.losses],
                    "valid_in_first_only": [list(key) for key in other.lost],
                    "valid_in_other_only": [list(key) for key in other.won],
                }
                for other in self.others
            ],
        }


def compare_folders(
    folders: Sequence[EvaluationFolder], *, metric: str | None = None, seed: int = 0
) -> FolderComparison:
    """All folders against the first. metric: chooses gains and losses; a PSNR if None. seed: of the bootstrap.

    Raises InputError for fewer than two folders, for another suite or judge, for no prompt in common, and for a metric
    that no video has.
    """
    if len(folders) < 2:
        raise InputError("A comparison needs at least two evaluations; give two folders of `worldr1 evaluate`.")
    first, *others = folders
    for other in others:
        _check_comparable(first, other)
    names = metric_names([record for folder in folders for record in folder.records])
    if not names:
        raise InputError("No video of these evaluations has a number, so there is nothing to compare.")
    if metric is not None and metric not in names:
        raise InputError(f"No video has the metric {metric!r}; known here are: {', '.join(names)}.")
    chosen = metric or next(
        (name for name in (*PSNR_NAMES, *names) if name in names and label_of(name).better), names[0]
    )
    subsets = subsets_of({record.key: record for folder in folders for record in folder.records}.values())
    compared = [_compare(first, other, names, subsets, chosen, seed) for other in others]
    compared = _with_holm(compared)
    return FolderComparison(
        first=first,
        others=tuple(compared),
        metric=chosen,
        metrics=tuple(names),
        subsets=tuple(subsets),
        validity=tuple(validity_of(folder, folders) for folder in folders),
        num_intervals=sum(math.isfinite(d.low) for other in compared for d in other.differences),
    )


def _check_comparable(first: EvaluationFolder, other: EvaluationFolder) -> None:
    mine, theirs = first.facts, other.facts
    for name in ("suite", "judge"):
        here, there = getattr(mine, name), getattr(theirs, name)
        if here != there:
            raise InputError(
                f"{first.path} and {other.path} are of another {name} ({here} and {there}); evaluate both with one "
                "suite and judge."
            )
    if mine.suite_sha256 != theirs.suite_sha256:
        raise InputError(
            f"{first.path} and {other.path} are of other prompts, though both are called {mine.suite}: the suite "
            "changed between them; evaluate both with one version of worldr1."
        )
    texts = {record.prompt_key: record.prompt for record in first.records}
    common = [record for record in other.records if record.prompt_key in texts]
    if not common:
        raise InputError(f"{first.path} and {other.path} have no prompt in common; finish both evaluations first.")
    if different := next((r for r in common if r.prompt != texts[r.prompt_key]), None):
        raise InputError(
            f"Prompt {different.prompt_id} has another text in {other.path} than in {first.path}; evaluate both with "
            "one suite."
        )


def _compare(
    first: EvaluationFolder,
    other: EvaluationFolder,
    names: Sequence[str],
    subsets: Sequence[Subset],
    metric: str,
    seed: int,
) -> PairedComparison:
    pairs = Pairs(first, other)
    records = [record for folder in (first, other) for record in folder.records]
    margins = {name: tie_margin(first.records, name) for name in names if label_of(name).better}
    made = []
    for subset in subsets:
        keys = [key for key, record in pairs.prompts.items() if subset.has(record)]
        for name in names:
            worst = worst_value(records, name)
            valid = pairs.compared(name, keys)
            counted = {Counting.VALID: valid}
            if worst is not None and not torch.equal((lost := pairs.compared(name, keys, worst)).values, valid.values):
                counted[Counting.WORST] = lost
            for counting, found in counted.items():
                if found.values.shape[-1]:
                    made.append(difference_of(found, name, subset, counting, margins.get(name), seed))
    better = label_of(metric).better or 1
    changes = sorted(changes_of(pairs, metric), key=lambda change: change.difference * better)
    one_side = {0: [], 1: []}
    for key, pair in pairs.clips.items():
        valid = [record is not None and record.status is Status.OK for record in pair]
        if valid[0] != valid[1]:
            one_side[int(valid[1])].append(key)
    return PairedComparison(
        folder=other,
        by_clip=pairs.by_clip,
        unlike=unlike_settings(first, other),
        differences=tuple(made),
        margins=margins,
        gains=tuple(change for change in reversed(changes) if change.difference * better > 0)[:NUM_EXTREMES],
        losses=tuple(change for change in changes if change.difference * better < 0)[:NUM_EXTREMES],
        lost=tuple(one_side[0]),
        won=tuple(one_side[1]),
    )


def validity_of(folder: EvaluationFolder, folders: Sequence[EvaluationFolder]) -> Validity:
    """Against every clip that any of the models was asked for: its prompts times this folder's samples."""
    prompts = {record.prompt_key for each in folders for record in each.records}
    counts = {status: sum(record.status is status for record in folder.records) for status in Status}
    asked = max(len(prompts) * folder.facts.samples, len(folder.records))
    return Validity(
        asked=asked,
        valid=counts[Status.OK],
        rejected=counts[Status.REJECTED],
        faults=counts[Status.FAULT],
        missing=asked - len(folder.records),
    )


def _with_holm(compared: Sequence[PairedComparison]) -> list[PairedComparison]:
    every = [difference for other in compared for difference in other.differences]
    falls = iter(holm([difference.p for difference in every]))
    return [
        replace(other, differences=tuple(replace(d, survives=next(falls) and d.is_shown) for d in other.differences))
        for other in compared
    ]
