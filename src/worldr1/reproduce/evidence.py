"""What lies in a folder of `worldr1 reproduce`: runs of variants, as the judge and as their own reward saw them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldr1.errors import InputError
from worldr1.evaluate.judging.targets import Trial
from worldr1.evaluate.pages.report import AFTER, BEFORE, PREVIEWS
from worldr1.evaluate.records import RECORDS_FILE, Evaluation, VideoRecord
from worldr1.reproduce.intervals import Estimate, Spread, pooled
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.measures import Measure, Source, Table, difference_of, make_table, run_values
from worldr1.reproduce.runs import is_shorter
from worldr1.reproduce.variants import UPDATES, VARIANTS, Variant
from worldr1.train.runlog import METRICS_FILE

JUDGE, JUDGING_FILE = "judge", "judging.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """A run's own evaluations by its reward, on its unseen prompts."""

    before: Evaluation
    after: Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """All runs of one variant that were judged together."""

    variant: Variant
    seeds: tuple[int, ...]
    base: tuple[Evaluation, ...]
    """Per start noise, as the others; by the judge."""
    truth: tuple[Evaluation, ...]
    trained: tuple[tuple[Evaluation, ...], ...]
    """Per seed."""
    own: tuple[Own, ...]
    """Per seed; empty if a run's are missing."""
    updates: tuple[int | None, ...]
    """Per seed, that it trained; None if it does not say."""
    adapters_sha256: tuple[str, ...]
    """Per seed."""
    stream: str
    prompts_sha256: str
    num_prompts: int

    @property
    def shorter(self) -> bool:
        """Whether a run is shorter than its variant is meant to be."""
        return any(num is not None and is_shorter(num, UPDATES[self.variant.length]) for num in self.updates)

    @property
    def trials(self) -> list[Trial]:
        """For `targets.target_rows`: one per run and start noise."""
        return [
            Trial(base, trained, truth)
            for run in self.trained
            for base, trained, truth in zip(self.base, run, self.truth, strict=True)
        ]

    def table(
        self,
        measure: Measure,
        only: Callable[[VideoRecord], bool] = lambda record: True,
        value: Callable[[VideoRecord], float | None] | None = None,
    ) -> Table:
        """A measure's values, as `make_table`; without prompts if the runs' own evaluations are not there."""
        if measure.source is Source.OWN:
            if not self.own:
                return make_table(measure, (), [() for _ in self.seeds], None)
            # the base's own videos differ from run to run by nothing but the GPU's rounding
            before, after = self.own[0].before, [(own.after,) for own in self.own]
            return make_table(measure, (before,), after, None, only, value)
        return make_table(measure, self.base, self.trained, self.truth, only, value)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The runs that are there, by variant."""

    runs: Mapping[str, Runs]
    files: Mapping[str, Any] = field(default_factory=dict)
    """Other measurements: what a file of `FILES` holds, by name."""
    _tables: dict[tuple[str, Measure], Table] = field(default_factory=dict, compare=False, repr=False)

    def table(self, variant: str, measure: Measure) -> Table:
        """A measure's values of a variant's runs; made once."""
        if (variant, measure) not in self._tables:
            self._tables[variant, measure] = self.runs[variant].table(measure)
        return self._tables[variant, measure]

    def difference(
        self, variant: str, measure: Measure, *, gains: bool = False, control: str | None = None
    ) -> Estimate:
        """Of a variant less its control (`measures.difference_of`), with the spread of all variants of its length."""
        less = control or VARIANTS[variant].control or ""
        others = self.spread(measure, besides=(variant, less))
        return difference_of(self.table(variant, measure), self.table(less, measure), others, gains=gains)

    def spread(self, measure: Measure, *, besides: Sequence[str]) -> Spread | None:
        """How much runs of one variant differ, from all as long as the first of `besides`, without these."""
        length = VARIANTS[besides[0]].length
        alike = [name for name in self.runs if name not in besides and VARIANTS[name].length is length]
        return pooled([run_values(self.table(name, measure)) for name in alike])


FILES: Mapping[str, str] = {
    "longer": f"measured/longer/{JUDGING_FILE}",
    "larger": f"measured/larger/{JUDGING_FILE}",
    "inference": "measured/inference.json",
}
"""What is measured beside the runs, by name: paths in the folder."""


def load_evidence(layout: Layout) -> Evidence:
    """All that is there. Raises InputError for a file that is damaged."""
    found = {name: load_runs(layout, variant) for name, variant in VARIANTS.items()}
    files = {name: _read(layout.root / path) for name, path in FILES.items() if (layout.root / path).is_file()}
    return Evidence({name: runs for name, runs in found.items() if runs is not None}, files)


def load_runs(layout: Layout, variant: Variant) -> Runs | None:
    """What is known of a variant's runs; None if they were not judged. Raises InputError for damaged files."""
    folder = layout.judged(variant)
    if not (folder / JUDGING_FILE).is_file():
        return None
    seeds = _seeds(_facts(folder))
    return read_judged(folder, variant, seeds, [layout.run(variant, seed) for seed in seeds])


def read_judged(folder: Path, variant: Variant, seeds: Sequence[int], runs: Sequence[Path]) -> Runs:
    """A folder of `mini judge`. runs: the run folders in its order, whose own evaluations are read where they are.

    Raises InputError for a file that is missing or damaged.
    """
    facts = _facts(folder)
    noises = facts["seeds"]

    def side(name: str) -> tuple[Evaluation, ...]:
        return tuple(Evaluation.load(folder / "records" / JUDGE / f"{name}-noise-{noise}") for noise in noises)

    own = [_own(run) for run in runs]
    return Runs(
        variant=variant,
        seeds=tuple(seeds),
        base=side("base"),
        truth=side("truth"),
        trained=tuple(side(f"trained-{number}") for number in range(len(seeds))),
        own=tuple(each for each in own if each is not None) if all(each is not None for each in own) else (),
        updates=tuple(_updates(run) for run in runs),
        adapters_sha256=tuple(facts["adapters_sha256"]),
        stream=facts["stream"],
        prompts_sha256=facts["prompts_sha256"],
        num_prompts=facts["num_prompts"],
    )


def _own(run: Path) -> Own | None:
    before, after = run / PREVIEWS / BEFORE, run / PREVIEWS / AFTER
    if not all((folder / RECORDS_FILE).is_file() for folder in (before, after)):
        return None
    return Own(before=Evaluation.load(before), after=Evaluation.load(after))


def _updates(run: Path) -> int | None:
    path = run / METRICS_FILE
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as lines:
        return sum(1 for line in lines if line.strip())


def _facts(folder: Path) -> Mapping[str, Any]:
    """Raises InputError for a judging.json of another form."""
    facts = _read(folder / JUDGING_FILE)
    needed = ("runs", "adapters_sha256", "seeds", "stream", "prompts_sha256", "num_prompts")
    lacking = [name for name in needed if not isinstance(facts, Mapping) or name not in facts]
    if lacking:
        raise InputError(f"{folder / JUDGING_FILE} lacks {lacking[0]!r}; remove its folder and judge again.")
    return facts


def _seeds(facts: Mapping[str, Any]) -> list[int]:
    """From the names of the run folders, seed-N."""
    names = [Path(run).name for run in facts["runs"]]
    found = [re.fullmatch(r"seed-(\d+)", name) for name in names]
    return [int(match[1]) if match else number for number, match in enumerate(found)]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it and run again.") from error
