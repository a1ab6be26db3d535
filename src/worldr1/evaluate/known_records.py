"""Records of earlier judgings, taken over where the very same videos would be made and judged the same way.

Beside each side's records.json lies source.json with everything that decided it: recipe of the videos, prompts, judges,
device, start noise and adapter. Equal facts, equal records: on a CPU to the bit, on GPUs up to what two judgings there
differ in anyhow.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.records import Evaluation

SOURCE_FILE = "source.json"


@dataclass(frozen=True, slots=True)
class KnownRecords:
    """What earlier folders hold, read at once: one of them may be the folder that is written anew."""

    facts: Mapping[str, Any]
    """JSON: what decides a record but for the side and the start noise."""
    sources: Mapping[str, str]
    """Side -> the sha256 of its adapter, "" without one. Other sides are neither found nor marked."""
    found: Sequence[tuple[str, dict[str, Any], Evaluation]]
    """Judge, source.json and records."""

    @classmethod
    def read(cls, folders: Iterable[Path], facts: Mapping[str, Any], sources: Mapping[str, str]) -> Self:
        """folders: that `mini judge` wrote; damaged files in them count for nothing. Raises InputError for one that
        is none."""
        found = []
        facts = json.loads(json.dumps(facts))  # tuples are lists there
        for folder in folders:
            if not (folder / "records").is_dir():
                raise InputError(f"{folder} holds no judging to use again: give the --out of an earlier mini judge.")
            for file in sorted((folder / "records").glob(f"*/*/{SOURCE_FILE}")):
                try:
                    source = json.loads(file.read_text(encoding="utf-8"))
                    if isinstance(source, dict) and source.get("facts") == facts:
                        found.append((file.parent.parent.name, source, Evaluation.load(file.parent)))
                except ValueError:  # a kill cut it short (an InputError is one too): its videos are judged anew
                    continue
        return cls(facts, sources, found)

    def find(self, side: str, seed: int, judges: Iterable[str], tasks: Sequence[Task]) -> dict[str, Evaluation] | None:
        """By judge, the records of a side's videos from one start noise; None unless every judge has them all."""
        if side not in self.sources:
            return None
        wanted = self._source(side, seed)
        asked = [(t.prompt.id, t.prompt.dynamic, t.prompt.text, t.seed) for t in tasks]
        known = {
            judge: evaluation
            for judge, source, evaluation in self.found
            if source == wanted and [(r.prompt_id, r.dynamic, r.prompt, r.seed) for r in evaluation.records] == asked
        }
        judges = list(judges)
        return {judge: known[judge] for judge in judges} if all(judge in known for judge in judges) else None

    def save(self, evaluation: Evaluation, folder: Path, side: str, seed: int) -> None:
        """Writes the records and, when they are there, what decided them."""
        (folder / SOURCE_FILE).unlink(missing_ok=True)  # it is of the records that are replaced
        evaluation.save(folder)
        if side in self.sources:
            (folder / SOURCE_FILE).write_text(json.dumps(self._source(side, seed), indent=1) + "\n", encoding="utf-8")

    def _source(self, side: str, seed: int) -> dict[str, Any]:
        kind = "trained" if self.sources[side] else side
        return {"facts": self.facts, "kind": kind, "adapter_sha256": self.sources[side], "noise_seed": seed}
