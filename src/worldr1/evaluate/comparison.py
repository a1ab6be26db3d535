"""Two evaluations of one run, as found in its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worldr1.errors import InputError
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.evaluate.statistics import matched


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two."""

    title: str
    """"before" or "after"."""
    folder: Path
    evaluation: Evaluation | None

    @property
    def records(self) -> tuple[VideoRecord, ...]:
        """None of them if the evaluation is missing."""
        return self.evaluation.records if self.evaluation else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Before and after training, either of which may be missing, and what there is to say about that."""

    before: Side
    after: Side
    notes: tuple[str, ...]
    """A sentence for everything that is missing, damaged or not comparable."""

    @classmethod
    def load(cls, before: Path, after: Path) -> Self:
        """From two folders of `save_evaluation`. Two evaluations that are not paired count as `before` alone."""
        sides, notes = [], []
        for title, folder in (("before", before), ("after", after)):
            evaluation = None
            try:
                evaluation = Evaluation.load(folder)
            except InputError as error:
                notes.append(str(error) if folder.exists() else f"There is no evaluation {title} training yet.")
            sides.append(Side(title=title, folder=folder, evaluation=evaluation))
        first, second = sides
        try:
            matched(first.records, second.records)
        except InputError as error:
            second = Side(title=second.title, folder=second.folder, evaluation=None)
            notes.append(f"The evaluation after training is left out: {error}")
        return cls(before=first, after=second, notes=tuple(notes))

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that exist."""
        return tuple(side for side in (self.before, self.after) if side.evaluation)
