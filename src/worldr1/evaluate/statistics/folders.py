"""What two evaluations of one suite show when compared prompt by prompt: differences with intervals, wins, losses.

Twice: on the clips that are valid in both, and again with every clip that is not valid (or missing) counted as the
worst that either model showed. The first alone would reward a model that fails on the hard prompts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.labels import label_of
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.before_after import CONFIDENCE, MIN_PAIRS, PSNR_NAMES, bootstrap_interval
from worldr1.evaluate.statistics.subsets import (
    ALL,
    Subset,
    finite,
    from_linear,
    metric_names,
    prompt_means,
    subsets_of,
    valid_value,
)
from worldr1.types import Status

TIE_SHARE = 0.1
"""Of the first model's standard deviation over prompts: a prompt whose difference is at most this is a tie."""
NUM_EXTREMES = 10

Key = tuple[int, bool]
"""Of a prompt: `VideoRecord.prompt_key`."""


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
    """Ends of the 95 % interval; infinite with fewer than `before_after.MIN_PAIRS` prompts."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """One other model against the first."""

    folder: EvaluationFolder
    by_clip: bool
    """Pairs have prompt, sample and start noise in common; else the prompt only."""
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
                    "tie_margins": dict(other.margins),
                    "differences": [_difference_json(d) for d in other.differences],
                    "gains": [_change_json(change) for change in other.gains],
                    "losses": [_change_json(change) for change in other.losses],
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
    what = ("suite", "suite", "judge")
    mine, theirs = first.facts.comparable, other.facts.comparable
    for name, here, there in zip(what, mine, theirs, strict=True):
        if here != there:
            shown = f" ({here} and {there})" if here not in ("", there) and len(str(here)) < 40 else ""
            raise InputError(
                f"{first.path} and {other.path} are of another {name}{shown}; evaluate both with one suite and judge."
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


# --------------------------------------------------------------------------------------------------------- one pair


class _Pairs:
    """The clips of two models, prompt by prompt."""

    def __init__(self, first: EvaluationFolder, other: EvaluationFolder) -> None:
        here, there = ({record.key: record for record in folder.records} for folder in (first, other))
        seeds = [(here[key].seed, there[key].seed) for key in here if key in there]
        made_here = all("videos" not in folder.facts.source for folder in (first, other))
        self.by_clip = made_here and all(a == b for a, b in seeds)
        samples = min(first.facts.samples, other.facts.samples)
        self.clips: dict[tuple[int, bool, int], tuple[VideoRecord | None, VideoRecord | None]] = {
            key: (here.get(key), there.get(key))
            for key in sorted({*here, *there})
            if not self.by_clip or key[2] < samples
        }
        self.prompts: dict[Key, VideoRecord] = {}
        for pair in self.clips.values():
            for record in pair:
                if record is not None:
                    self.prompts.setdefault(record.prompt_key, record)

    def compared(self, name: str, keys: Sequence[Key], worst: float | None = None) -> "_Compared":
        """One number of some prompts. worst: stands in for a clip that lacks it where the other model has it."""
        clips: dict[Key, list[_Clip]] = {key: [] for key in keys}
        for (prompt_id, dynamic, _), pair in self.clips.items():
            if (prompt_id, dynamic) in clips:
                clips[prompt_id, dynamic].append(_Clip(*pair, *(valid_value(record, name) for record in pair)))
        rows = [row for key in sorted(clips) if (row := self._prompt(clips[key], worst)) is not None]
        means = torch.tensor([row[:2] for row in rows], dtype=torch.float64).reshape(-1, 2).T
        return _Compared(means, torch.tensor([row[2] for row in rows], dtype=torch.float64))

    def _prompt(self, clips: Sequence["_Clip"], worst: float | None) -> tuple[float, float, int] | None:
        """First, other, and how many more clips the other has the number of; None if there is nothing to compare."""
        if self.by_clip:
            pairs = [(clip.here, clip.there) for clip in clips if (clip.here, clip.there) != (None, None)]
            if worst is None:
                pairs = [pair for pair in pairs if None not in pair]
            here, there = [a for a, _ in pairs], [b for _, b in pairs]
        else:
            here = [clip.here for clip in clips if clip.first is not None]
            there = [clip.there for clip in clips if clip.other is not None]
            if worst is not None and all(value is None for value in (*here, *there)):
                return None
            if worst is not None:  # a prompt that one of them lacks altogether
                here, there = here or [None], there or [None]
        mine, theirs = _filled(here, worst), _filled(there, worst)
        if not mine or not theirs:
            return None
        share = [sum(value is not None for value in side) / len(side) for side in (here, there)]
        return fmean(mine), fmean(theirs), 0 if worst is None else (share[1] > share[0]) - (share[1] < share[0])


class _Clip(NamedTuple):
    """One sample of a prompt."""

    first: VideoRecord | None
    other: VideoRecord | None
    here: float | None
    """The first's number, if it is valid."""
    there: float | None


class _Compared(NamedTuple):
    """One number of N prompts, averaged over samples, linear."""

    values: Float[Tensor, "2 N"]
    """First, other."""
    lead: Float[Tensor, " N"]
    """Sign of: the other has the number of more clips than the first; 0 where such clips were left out."""


def _filled(values: Sequence[float | None], worst: float | None) -> list[float]:
    return [filled for value in values if (filled := worst if value is None else value) is not None]


def _compare(
    first: EvaluationFolder,
    other: EvaluationFolder,
    names: Sequence[str],
    subsets: Sequence[Subset],
    metric: str,
    seed: int,
) -> PairedComparison:
    pairs = _Pairs(first, other)
    records = [record for folder in (first, other) for record in folder.records]
    margins = {name: _tie_margin(first.records, name) for name in names if label_of(name).better}
    made = []
    for subset in subsets:
        keys = [key for key, record in pairs.prompts.items() if subset.has(record)]
        for name in names:
            worst = _worst(records, name)
            valid = pairs.compared(name, keys)
            counted = {Counting.VALID: valid}
            if worst is not None and not torch.equal((lost := pairs.compared(name, keys, worst)).values, valid.values):
                counted[Counting.WORST] = lost
            for counting, found in counted.items():
                if found.values.shape[-1]:
                    made.append(_difference(found, name, subset, counting, margins.get(name), seed))
    better = label_of(metric).better or 1
    changes = sorted(_changes(pairs, metric), key=lambda change: change.difference * better)
    one_side = {0: [], 1: []}
    for key, pair in pairs.clips.items():
        valid = [record is not None and record.status is Status.OK for record in pair]
        if valid[0] != valid[1]:
            one_side[int(valid[1])].append(key)
    return PairedComparison(
        folder=other,
        by_clip=pairs.by_clip,
        differences=tuple(made),
        margins=margins,
        gains=tuple(change for change in reversed(changes) if change.difference * better > 0)[:NUM_EXTREMES],
        losses=tuple(change for change in changes if change.difference * better < 0)[:NUM_EXTREMES],
        lost=tuple(one_side[0]),
        won=tuple(one_side[1]),
    )


def _difference(
    found: _Compared, name: str, subset: Subset, counting: Counting, margin: float | None, seed: int
) -> Difference:
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
        p=_jackknife_p(statistic, values_2N) if num >= MIN_PAIRS else math.nan,
        num=num,
        wins=wins,
        ties=ties,
        losses=losses,
    )


def _jackknife_p(statistic: Any, values_2N: Float[Tensor, "2 N"]) -> float:
    """Two-sided p of "no difference": Student's t of the jackknife's pseudo-values (Tukey 1958).

    A bootstrap of some thousand draws cannot tell p below 0.001 apart, which Holm's steps over hundreds of intervals
    need.
    """
    num = values_2N.shape[-1]
    kept = torch.arange(num).expand(num, num)[~torch.eye(num, dtype=torch.bool)].reshape(num, num - 1)
    pseudo = num * statistic(values_2N) - (num - 1) * statistic(values_2N[:, kept])
    mean, spread = float(pseudo.mean()), float(pseudo.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (spread / math.sqrt(num)), num - 1))


def _tie_margin(records: Sequence[VideoRecord], name: str) -> float:
    """In the number's own unit."""
    means_N = from_linear(prompt_means(records, name)[0], name)
    return TIE_SHARE * float(means_N.std(correction=0)) if len(means_N) > 1 else 0.0


def _worst(records: Sequence[VideoRecord], name: str) -> float | None:
    """The worst number that a valid video has, linear; None for one that is neither good nor bad."""
    better = label_of(name).better
    values = [value for record in records if (value := valid_value(record, name)) is not None]
    if not better or not values:
        return None
    high_is_good = better > 0 and name not in PSNR_NAMES  # a PSNR is held as its error
    return min(values) if high_is_good else max(values)


def _changes(pairs: _Pairs, name: str) -> list[Change]:
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


# ------------------------------------------------------------------------------------------------- many at once, JSON


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which hypotheses fall when all shall hold together at `level` (Holm 1979). NaN never does, and does not count."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    rejected = [False] * len(p_values)
    for rank, (p, index) in enumerate(tested):
        if p > level / (len(tested) - rank):
            break
        rejected[index] = True
    return rejected


def _with_holm(compared: Sequence[PairedComparison]) -> list[PairedComparison]:
    every = [difference for other in compared for difference in other.differences]
    falls = iter(holm([difference.p for difference in every]))
    return [
        replace(other, differences=tuple(replace(d, survives=next(falls) and d.is_shown) for d in other.differences))
        for other in compared
    ]


def _difference_json(d: Difference) -> dict[str, Any]:
    return {
        "metric": d.metric,
        "subset_kind": d.subset.kind or "all",
        "subset": d.subset.name,
        "counting": d.counting.value,
        "first": d.first,
        "other": d.other,
        "difference": d.mean,
        "low": finite(d.low),
        "high": finite(d.high),
        "p": finite(d.p),
        "survives_holm": d.survives,
        "prompts": d.num,
        "wins": d.wins,
        "ties": d.ties,
        "losses": d.losses,
    }


def _change_json(change: Change) -> dict[str, Any]:
    prompt_id, dynamic, sample = change.key
    return {
        "prompt_id": prompt_id,
        "dynamic": dynamic,
        "sample": sample,
        "metric": change.metric,
        "first": change.first,
        "other": change.other,
        "difference": change.difference,
    }
