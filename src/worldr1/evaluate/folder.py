"""The folder of `worldr1 evaluate`: what was evaluated, one record per video, the videos, and what pages show.

- evaluation.json: `Facts`: the model or the videos, suite, judge, settings, cost
- records.jsonl: one `VideoRecord` per line, appended as soon as a video is judged: a killed evaluation goes on; a
  later line of one video, measured by more, stands for the earlier one
- videos/NAME.mp4: `VideoRecord.video`
- redrawn/NAME.mp4: of the shown videos: every frame drawn again from the geometry of the frames of other parity,
  striped where nothing is known; NAME.png says where that is; NAME-seen.mp4 is what the judge saw, where that has other
  frames or another shape than videos/NAME.mp4 (`pages.pictures`)
- points/NAME.json: of the shown videos: a light cloud of points, `{"points": base64 of float32 [N, 3] in depth units,
  first camera's frame, "colours": base64 of uint8 [N, 3]}`
- report.html
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from worldr1.errors import InputError
from worldr1.evaluate.records import VideoRecord, read_records, save_json

FACTS_FILE, RECORDS_FILE = "evaluation.json", "records.jsonl"
VIDEOS, REDRAWN, POINTS = "videos", "redrawn", "points"
MODELS_OWN = "the model's own"
"""Of `Facts.settings`: a shift that nobody gave; the videos' comments have the number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What an evaluation says of itself. Two of one suite, `suite_sha256` and judge may be compared."""

    title: str
    """What tables call the model."""
    source: Mapping[str, str]
    """{"model": ..., "lora": ..., "lora_sha256": ...} or {"videos": folder's name}."""
    suite: str
    suite_sha256: str
    """Of its prompts, ids and requested paths."""
    clip: tuple[int, int, int]
    """Frames, height, width that are judged."""
    samples: int
    """Videos per prompt."""
    judge: str
    """The 3D model that measures."""
    reward_model: str | None
    """The 3D model that the evaluated weights were rewarded by; "" if none, None if nobody can say."""
    settings: Mapping[str, str | int | float]
    """Of sampling: guidance, strength, transport, steps, shift, seed; empty for videos made elsewhere."""
    worldr1: str
    """Version of this package."""
    machine: str = ""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Of each entry of `seconds`: "cuda": they are GPU-seconds (one GPU works); "cpu": seconds of `machine`'s CPU."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time so far: "sampling", "judging"; loading models is not counted."""
    notes: tuple[str, ...] = ()
    """What a reader must know: the judge is the reward's own, prompts without videos, how videos were fitted."""

    @property
    def judged_by_reward(self) -> bool:
        """Whether the judge is the 3D model that the weights were rewarded by."""
        return bool(self.reward_model) and self.judge == self.reward_model


class EvaluationFolder:
    """An evaluation on disk, being made or read."""

    def __init__(self, path: Path, facts: Facts, records: tuple[VideoRecord, ...]) -> None:
        """As `create` and `load` make it."""
        self.path, self.facts = path, facts
        self._records = {record.key: record for record in records}

    @classmethod
    def create(cls, path: Path, facts: Facts) -> Self:
        """A new folder, or one begun with the same facts (cost and machine aside), whose records are kept.

        Raises InputError if an evaluation of something else is there.
        """
        if (path / FACTS_FILE).exists():
            begun = cls.load(path)
            if other := _differences(begun.facts, facts):
                raise InputError(
                    f"{path} holds another evaluation (it differs in {', '.join(other)}): "
                    "give another --out, or delete the folder."
                )
            records = path / RECORDS_FILE
            if records.exists():  # a line that a kill cut off must not grow together with the next
                os.truncate(records, sum(len(line) + 1 for line in _lines(records)))
            return begun
        for name in (VIDEOS, REDRAWN, POINTS):
            (path / name).mkdir(parents=True, exist_ok=True)
        made = cls(path, facts, ())
        made.save_facts(facts)
        return made

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what is there; a line cut off at the end of records.jsonl (a kill) is dropped.

        Raises InputError if the folder is none, or damaged.
        """
        path = Path(path)
        if not (path / FACTS_FILE).is_file():
            raise InputError(f"There is no {path / FACTS_FILE}; give a folder that `worldr1 evaluate` made.")
        try:
            facts = _facts(json.loads((path / FACTS_FILE).read_text(encoding="utf-8")))
            records = read_records([json.loads(line) for line in _lines(path / RECORDS_FILE)])
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged or of another version ({error}); evaluate again.") from error
        return cls(path, facts, records)

    @property
    def records(self) -> tuple[VideoRecord, ...]:
        """Of the videos judged so far, in the order of prompts and samples."""
        return tuple(self._records[key] for key in sorted(self._records))

    def video(self, record: VideoRecord) -> Path | None:
        """The file of a record's video; None if it was not kept."""
        return None if record.video is None else self.path / VIDEOS / record.video

    def append(self, record: VideoRecord) -> None:
        """Adds a record, or puts it in the place of its video's, and has it on the disk when it returns."""
        line = json.dumps(asdict(record), allow_nan=False) + "\n"
        with (self.path / RECORDS_FILE).open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._records[record.key] = record

    def save_facts(self, facts: Facts) -> None:
        """Writes evaluation.json whole or not at all."""
        save_json(self.path / FACTS_FILE, asdict(facts))
        self.facts = facts


def _lines(path: Path) -> list[bytes]:
    """Whole lines of a file; none if it does not exist."""
    if not path.exists():
        return []
    return path.read_bytes().split(b"\n")[:-1]


def _facts(table: Any) -> Facts:
    known = {f.name for f in fields(Facts)}
    if not isinstance(table, Mapping):
        raise ValueError(f"{FACTS_FILE} holds no JSON object")
    if wrong := sorted(known ^ set(table)):
        raise ValueError(f"{FACTS_FILE} lacks or does not know the field {wrong[0]!r}")
    return Facts(**{**table, "clip": tuple(table["clip"]), "notes": tuple(table["notes"])})


def _differences(first: Facts, second: Facts) -> list[str]:
    loose = ("machine", "devices", "seconds", "notes", "worldr1")
    return [f.name for f in fields(Facts) if f.name not in loose and getattr(first, f.name) != getattr(second, f.name)]
