"""What an evaluation remembers: one record per video, kept as strict JSON (an interface: names stay as they are).

records.json:
    {"guidance": 1.0, "strength": 1.0, "seconds": 61.2, "records": [{"prompt_id": 0, "prompt": "...", ...}, ...]}
with the fields of `Evaluation` and `VideoRecord`. Numbers are finite; what does not exist is null or missing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Self

from worldr1.errors import InputError
from worldr1.rewards.trajectory import STILL_TRANSLATION
from worldr1.types import Status

RECORDS_FILE = "records.json"
LATER_FIELDS = frozenset({"scene_type", "sample", "long_horizon"})
"""Of a `VideoRecord`: files of before 2026-11-30 lack them."""


class MotionGroup(StrEnum):
    """Kinds of request that are never averaged together: a still clip reconstructs to 60 dB whatever it shows."""

    MOVING = "moving"
    """The requested camera translates."""
    STILL = "pans and still"
    """The requested camera stays in its place."""
    DYNAMIC = "dynamic"
    """The scene moves, whatever the camera does."""
    FREE = "no camera words"


def motion_group(requested_path: Sequence[Sequence[float]] | None, *, dynamic: bool) -> MotionGroup:
    """The kind of a request. requested_path: [x, y, z] per frame in depth units; None without camera words."""
    if dynamic:
        return MotionGroup.DYNAMIC
    if requested_path is None:
        return MotionGroup.FREE
    moves = max(math.hypot(*position) for position in requested_path) > STILL_TRANSLATION
    return MotionGroup.MOVING if moves else MotionGroup.STILL


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRecord:
    """One prompt's video."""

    prompt_id: int
    prompt: str
    dynamic: bool
    tokens: tuple[str, ...]
    """The requested camera moves in order; empty without camera words."""
    seed: int
    """Of the start noise; 0 for a video made elsewhere."""
    status: Status
    reason: str
    """Why the status is not "ok"."""
    reward: float | None
    """The weighted sum of the parts; None for a fault, and where a judge looked, who gives no reward."""
    parts: dict[str, float] = field(default_factory=dict)
    """As `RewardResult.parts`; empty for a fault."""
    measures: dict[str, float] = field(default_factory=dict)
    """As `RewardResult.measures`."""
    requested_path: list[list[float]] | None = None
    """[x, y, z] of the camera in every frame, relative to frame 0, in depth units (conventions section 1)."""
    requested_yaw_deg: list[float] | None = None
    """Its heading in every frame; positive looks right."""
    recovered_path: list[list[float]] | None = None
    """What the 3D model found; None for a video it cannot reconstruct, or was not asked about."""
    recovered_yaw_deg: list[float] | None = None
    video: str | None = None
    """Name of its mp4 in the folder of records.json; None if it was not kept."""
    scene_type: str = ""
    """Of a suite's prompt: what the scene holds, for example "non-rigid"; "" where prompts have no types."""
    sample: int = 0
    """Which of the videos of one prompt, each from its own start noise."""
    long_horizon: bool = False
    """Of a suite's prompt: three moves or more through a large place, beside its scene's type."""

    @property
    def group(self) -> MotionGroup:
        """The kind of its request."""
        return motion_group(self.requested_path, dynamic=self.dynamic)

    @property
    def key(self) -> tuple[int, bool, int]:
        """What a video is recognised by: ids count from 0 in the static and in the dynamic prompts."""
        return self.prompt_id, self.dynamic, self.sample

    @property
    def prompt_key(self) -> tuple[int, bool]:
        """What its prompt is recognised by."""
        return self.prompt_id, self.dynamic


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All videos of one model."""

    records: tuple[VideoRecord, ...]
    seconds: float
    """Wall time."""
    guidance: float
    """Of the sampler; 1 is none."""
    strength: float
    """Of the transported start noise."""

    def save(self, folder: str | Path) -> Path:
        """Writes records.json into `folder` (made if missing) and returns its path."""
        path = Path(folder) / RECORDS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        save_json(path, asdict(self))
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What `save` wrote. Raises InputError if the file is missing, no JSON, or of other fields."""
        path = Path(folder) / RECORDS_FILE
        if not path.is_file():
            raise InputError(f"There is no {path}; give the folder of an evaluation.")
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            _check_fields(cls, table)
            records = read_records(table["records"])
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged or of another version ({error}); evaluate again.") from error
        return cls(**{**table, "records": records})


def save_json(path: Path, table: Mapping[str, Any]) -> None:
    """Writes strict JSON, whole or not at all. Raises ValueError for numbers that are not finite."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_records(entries: Sequence[Mapping[str, Any]]) -> tuple[VideoRecord, ...]:
    """Records as JSON has them. Raises ValueError or TypeError for what are none."""
    return tuple(_record(entry) for entry in entries)


def _record(entry: Mapping[str, Any]) -> VideoRecord:
    _check_fields(VideoRecord, entry)
    video = entry["video"]
    if video is not None and (
        not isinstance(video, str) or PurePath(video).name != video or video in ("", "..") or "\\" in video
    ):
        raise ValueError(f"the video {video!r} is not the name of a file beside it")  # a report would embed any file
    return VideoRecord(**{**entry, "tokens": tuple(entry["tokens"]), "status": Status(entry["status"])})


def _check_fields(cls: type[Evaluation] | type[VideoRecord], table: Any) -> None:
    """Raises ValueError unless `table` has exactly the fields of the dataclass."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{cls.__name__} is no JSON object")
    known = {f.name for f in fields(cls)}
    given = set(table) | (known & LATER_FIELDS)
    if wrong := sorted(known ^ given):
        raise ValueError(f"{cls.__name__} lacks or does not know the field {wrong[0]!r}")
