"""What one shot of a labelled clip (score_cases.py) gave: its score, its errors against the truth, its cost."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.scoring.scorer import ShotScore
from worldr1.geometry.se3 import geodesic_rad

WRONG_ROTATION_DEG, WRONG_DIRECTION_DEG, WRONG_SHAPE = 5.0, 30.0, 0.5
MOVES = 0.05
"""Depth units that a camera goes that is asked for its direction. The shortest move of a sequence goes 0.08."""
INVENTED_TRAVEL = 0.11
TURNS_DEG = 1.0

Motion = Literal["goes", "creeps", "turns", "stands", ""]


@dataclass(frozen=True, kw_only=True, slots=True)
class PathErrors:
    """A recovered path against the true one, poses relative to frame 0, means over frames 1 to T - 1."""

    rotation_deg: float
    translation: float
    """Depth units: |t - t*|, each path in its own median depth of frame 0."""
    shape: float | None
    """A share: |t / s - t* / s*|, each path by its own largest distance s (free scale). A path that stands still where
    it should go has about 0.53, one that goes the other way about 1.06. None, as the direction, where the true camera
    goes no more than `MOVES`."""
    direction_deg: float | None
    """Between t and t*, over the frames with |t*| of at least half its largest."""
    true_travel: float
    """Largest distance from the first camera, depth units."""
    travel: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One shot; None where there is no truth or no valid reconstruction."""

    name: str
    """Of the case; with "/" and its number for a shot of a cut one."""
    kind: str
    tokens: tuple[str, ...]
    texture: str
    surfaces: str
    height: int
    width: int
    num_frames: int
    has_truth: bool
    motion: Motion
    """`motion_of` the truth or, without one, of the move that was asked for; "" where there is none."""
    reconstructor: str
    status: Literal["ok", "invalid", "fault", "crash"]
    """fault: of the reconstructor's; crash: an exception of ours."""
    reason: str = ""
    split_right: bool | None = None
    """Whether the file of a cut case was cut where it should be."""
    reconstruct_s: float | None = None
    reconstruct_cpu_s: float | None = None
    """With the reconstructor's own process; None after a fault, which may have ended it."""
    score_s: float | None = None
    """From the shot to its score, with the reconstruction."""
    score_cpu_s: float | None = None
    errors: PathErrors | None = None
    depth_error: float | None = None
    """Median of |z / z* - 1|, both in depth units, over confident pixels of all frames, sky excluded; None also where
    no travel was found and so no depth."""
    score: ShotScore | None = None

    @property
    def valid(self) -> bool:
        """Whether the score is to be believed."""
        return self.status == "ok"

    @property
    def wrong_rotation(self) -> bool:
        """Rule R: confident and wrong."""
        return self.errors is not None and self.errors.rotation_deg > WRONG_ROTATION_DEG

    @property
    def wrong(self) -> bool:
        """Rule R + T."""
        if self.errors is None or self.errors.direction_deg is None or self.errors.shape is None:
            return self.wrong_rotation
        off = self.errors.direction_deg > WRONG_DIRECTION_DEG or self.errors.shape > WRONG_SHAPE
        return self.wrong_rotation or off

    @property
    def invented(self) -> bool:
        """A path where the camera stays."""
        return self.errors is not None and self.errors.true_travel <= MOVES and self.errors.travel > INVENTED_TRAVEL

    @property
    def headline(self) -> float | None:
        """The consistency."""
        return self.figure("consistency")

    def figure(self, field: str) -> float | None:
        """A figure of the score."""
        return None if self.score is None else getattr(self.score, field)

    @property
    def line(self) -> str:
        """The shot in one line."""
        seconds = "" if self.score_s is None else f", {self.score_s:.1f} s"
        rotation = "" if self.errors is None else f", {self.errors.rotation_deg:.2f} deg off"
        share = "" if self.headline is None else f", consistency {self.headline:.2f}"
        return f"{self.name}: {self.status}{rotation}{', WRONG' if self.wrong else ''}{share}{seconds} {self.reason}"


def path_errors(recovered: Float[Tensor, "T 4 4"], truth: Float[Tensor, "T 4 4"]) -> PathErrors:
    """Errors of a path; both relative to frame 0 and in depth units, float64."""
    t, target = recovered[1:, :3, 3], truth[1:, :3, 3]
    travel, true_travel = float(t.norm(dim=-1).max()), float(target.norm(dim=-1).max())
    shape = direction = None
    if true_travel > MOVES:
        shape = float((t / max(travel, 1e-12) - target / true_travel).norm(dim=-1).mean())
        far = target.norm(dim=-1) >= true_travel / 2
        cosine = torch.nn.functional.cosine_similarity(t[far], target[far], dim=-1)
        direction = float(cosine.clamp(-1, 1).acos().rad2deg().mean())
    return PathErrors(
        rotation_deg=math.degrees(float(geodesic_rad(recovered[1:, :3, :3], truth[1:, :3, :3]).mean())),
        translation=float((t - target).norm(dim=-1).mean()),
        shape=shape,
        direction_deg=direction,
        true_travel=true_travel,
        travel=travel,
    )


def motion_of(path: Float[Tensor, "T 4 4"]) -> Motion:
    """What a camera does, relative to frame 0 and in depth units: it goes (beyond `MOVES`), creeps, turns or stands."""
    travel = float(path[:, :3, 3].norm(dim=-1).max())
    if travel > 1e-4:
        return "goes" if travel > MOVES else "creeps"
    turned = math.degrees(float(geodesic_rad(path[:, :3, :3], path[:1, :3, :3].expand(len(path), 3, 3)).max()))
    return "turns" if turned > TURNS_DEG else "stands"


def append_records(path: Path, records: Sequence[Record]) -> None:
    """One JSON object per line; a last line that was not finished makes room."""
    held = path.read_bytes() if path.exists() else b""
    if not held.endswith(b"\n"):
        path.write_bytes(held[: held.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def read_records(path: Path) -> list[Record]:
    """What a file holds, but for crashes, which are to be tried again; a last line that was not finished is left."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    records = (_record(json.loads(line)) for line in lines)
    return [record for record in records if record.status != "crash"]


def _record(row: dict[str, Any]) -> Record:
    parts: dict[str, Any] = {"tokens": tuple(row["tokens"])}
    if row["errors"] is not None:
        parts["errors"] = PathErrors(**row["errors"])
    if row["score"] is not None:
        parts["score"] = ShotScore(**row["score"])
    return Record(**(row | parts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(records: Sequence[Record], value: Callable[[Record], float | None], digits: int = 2) -> str:
    """Median and 90 % quantile of what is there."""
    found = [x for record in records if (x := value(record)) is not None]
    if not found:
        return "-"
    high = float(torch.tensor(found, dtype=torch.float64).quantile(0.9))
    return f"{median(found):.{digits}f} / {high:.{digits}f}"
