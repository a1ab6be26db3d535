"""The evaluations of one run, as found in its folder: the base model's, and those of what is compared with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from worldr1.errors import InputError
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.evaluate.statistics.values import matched

BASE, THIS_RUN = "base", "this run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One model's evaluation."""

    title: str
    """What the report calls the model."""
    folder: Path
    evaluation: Evaluation | None

    @property
    def records(self) -> tuple[VideoRecord, ...]:
        """None of them if the evaluation is missing."""
        return self.evaluation.records if self.evaluation else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Before and after training, either of which may be missing, other models, and what there is to say about that."""

    before: Side
    after: Side
    others: tuple[Side, ...]
    """Further models, filmed with the same prompts and start noises."""
    notes: tuple[str, ...]
    """A sentence for everything that is missing, damaged or not comparable."""

    @classmethod
    def load(
        cls, before: Path, after: Path, *, trained: str = THIS_RUN, others: Mapping[str, Path] | None = None
    ) -> Self:
        """From folders of `save_evaluation`. An evaluation that is not paired with those in front of it is left out.

        trained: title of the model after training. others: folders by title; one that does not exist is no loss.
        """
        expected = {"before training": (BASE, before), "after training": (trained, after)}
        further = {f"of {title}": (title, folder) for title, folder in (others or {}).items() if folder.exists()}
        sides, notes = [], []
        for which, (title, folder) in (expected | further).items():
            side = Side(title=title, folder=folder, evaluation=None)
            try:
                side = replace(side, evaluation=Evaluation.load(folder))
            except InputError as error:
                notes.append(str(error) if folder.exists() else f"There is no evaluation {which} yet.")
            try:
                for earlier in sides:
                    matched(earlier.records, side.records)
            except InputError as error:
                side = replace(side, evaluation=None)
                notes.append(f"The evaluation {which} is left out: {error}")
            sides.append(side)
        return cls(before=sides[0], after=sides[1], others=tuple(sides[2:]), notes=tuple(notes))

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that exist."""
        return tuple(side for side in (self.before, self.after, *self.others) if side.evaluation)

    @property
    def compared(self) -> tuple[Side, ...]:
        """Those that can be compared with the base: none if the base's evaluation is missing."""
        return tuple(side for side in self.sides if side is not self.before) if self.before.evaluation else ()
