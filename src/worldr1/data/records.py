"""One scene of a prompt set: its plan, its texts and its camera; a line of JSON in the set's file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from worldr1.camera.motion import camera_sentence
from worldr1.errors import InputError

CAMERA_CLASSES = ("none", "still", "intra", "inter", "composite")
INTRA = ("push_in", "orbit_left", "orbit_right")
"""Moves that keep looking at the scene they started with; every other single move shows what was not in the picture."""


def camera_class(tokens: Sequence[str]) -> str:
    """WorldScore's class of a camera plan (arXiv 2504.00983): one of CAMERA_CLASSES; "none" for no camera words."""
    if not tokens:
        return "none"
    if len(tokens) > 1:
        return "composite"
    if tokens[0] == "fixed":
        return "still"
    return "intra" if tokens[0] in INTRA else "inter"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenePlan:
    """What a scene was written from."""

    place: str
    subject: str
    foreground: str
    light: str
    material: str
    """"" where the plan named none."""
    scale: str
    mood: str
    weather: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneRecord:
    """One line of a set."""

    id: str
    split: Literal["train", "test"]
    domain: str
    subdomain: str
    """Of the domain; for dynamic records the tag."""
    tags: tuple[str, ...]
    """What moves (`taxonomy.DYNAMIC_TAGS`); empty in the world set."""
    camera: tuple[str, ...]
    """Tokens of the camera's moves, in order."""
    camera_class: str
    plan: ScenePlan
    scene: str
    """About 15 words, without camera words."""
    enriched: str | None
    """About 80 words on the same scene, where there are any."""

    def text(self, *, enriched: bool = False) -> str:
        """The prompt: the camera's sentence in canonical form, then the scene (the long text if asked for)."""
        scene = self.enriched if enriched and self.enriched else self.scene
        return f"{camera_sentence(self.camera)} {scene}" if self.camera else scene

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str, *, where: str) -> "SceneRecord":
        """Read a line. where: for the message. Raises InputError for what is no record."""
        try:
            values: Any = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not JSON ({error}); mend or drop the line.") from error
        _require_keys(values, cls, where)
        _require_keys(values["plan"], ScenePlan, f"the plan of {where}")
        texts = [values[name] for name in ("id", "split", "domain", "subdomain", "camera_class", "scene")]
        lists = [values["tags"], values["camera"]]
        if not all(isinstance(x, str) for x in (*texts, *values["plan"].values())) or not all(
            isinstance(x, list) and all(isinstance(item, str) for item in x) for x in lists
        ):
            raise InputError(
                f"{where} has a value of the wrong kind: text everywhere, lists of text in tags and camera."
            )
        if not isinstance(values["enriched"], str | None):
            raise InputError(f"{where} has a value of the wrong kind: enriched is text or null.")
        values |= {
            "tags": tuple(values["tags"]),
            "camera": tuple(values["camera"]),
            "plan": ScenePlan(**values["plan"]),
        }
        return cls(**values)


def _require_keys(values: Any, kind: type[SceneRecord] | type[ScenePlan], where: str) -> None:
    wanted = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != wanted:
        raise InputError(f"{where} needs exactly the keys {', '.join(sorted(wanted))}.")


def read_records(path: Path) -> list[SceneRecord]:
    """Every record of a set's file. Raises InputError for a file that is missing or has a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    return parse_records(lines, path.name)


def parse_records(lines: Sequence[str], name: str) -> list[SceneRecord]:
    """The record of every line that is not blank. name: of the file, for the message. Raises InputError."""
    return [
        SceneRecord.from_json(line, where=f"{name} line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def write_records(path: Path, records: Sequence[SceneRecord]) -> None:
    """One line each."""
    path.write_text("".join(f"{record.to_json()}\n" for record in records), encoding="utf-8")
