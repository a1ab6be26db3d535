"""Videos, point clouds and camera paths as a page carries them: small, and decoded only when they are looked at."""

import io
import json
import tempfile
from base64 import b64decode, b64encode
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.folder import POINTS, REDRAWN, EvaluationFolder
from worldr1.evaluate.pages.score_pictures import paint
from worldr1.evaluate.records import VideoRecord
from worldr1.video_io import read_mp4, video_facts, write_mp4

VIDEO_BYTES = 9_000_000
"""Of all videos of a page together; base64 makes them a third larger."""
LEAST_VIDEO_BYTES = 20_000
SMALLER = ((640, 18), (640, 23), (416, 21), (320, 21), (256, 23), (192, 23), (192, 28), (160, 34))
"""Longest side in pixels and x264's rate factor, tried in this order until a video is small enough."""
MAX_WIDTH_OF_POSTER = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """What a card shows of one record."""

    data: dict[str, Any]
    """JSON for the page's script: "video", "redrawn" (base64 mp4), "unseen" (base64 png), "points" (see `_points`),
    "requested", "recovered" ([x, y, z, yaw in degrees] per frame); what does not exist is left out."""
    poster: str
    """data:image/webp of the first frame; "" without a video."""
    num_frames: int
    fps: float
    aspect: float
    """Width / height."""


def embed(folder: EvaluationFolder, record: VideoRecord, *, video_bytes: int) -> Embedded:
    """Reads a record's files, makes its videos smaller if they need it. video_bytes: of each of its two videos.

    Raises InputError for a file that is damaged. A video that was not kept, or whose file is gone, is left out.
    """
    data: dict[str, Any] = {}
    poster, num_frames, fps, aspect = "", 0, 1.0, 1.5
    path = folder.video(record)
    if path is not None and path.is_file():
        redrawn = folder.path / REDRAWN / path.name
        seen = redrawn.with_stem(f"{redrawn.stem}-seen")
        path = seen if seen.is_file() else path
        frames, rate = read_mp4(path), video_facts(path).frames_per_second
        data["video"] = _base64(small_video(path, frames, rate, video_bytes))
        poster, num_frames, fps = _poster(frames), len(frames), float(rate)
        aspect = frames.shape[-1] / frames.shape[-2]
        if redrawn.is_file():
            again = read_mp4(redrawn)
            if len(again) != num_frames:
                raise InputError(f"{redrawn} has {len(again)} frames and its video {num_frames}; evaluate again.")
            data["redrawn"] = _base64(small_video(redrawn, again, rate, video_bytes))
            unseen = redrawn.with_suffix(".png")
            if unseen.is_file():
                data["unseen"] = _base64(unseen.read_bytes())
    if record.video is not None:
        points = folder.path / POINTS / f"{PurePath(record.video).stem}.json"
        if points.is_file():
            data["points"] = _points(points)
    for name in ("requested", "recovered"):
        path_and_yaw = getattr(record, f"{name}_path"), getattr(record, f"{name}_yaw_deg")
        if all(path_and_yaw):
            data[name] = [[*place, yaw] for place, yaw in zip(*path_and_yaw, strict=True)]
            num_frames = num_frames or len(data[name])
    return Embedded(data=data, poster=poster, num_frames=num_frames, fps=fps, aspect=aspect)


def video_budget(num_records: int) -> int:
    """Bytes of each video on a page that shows so many records with two videos each."""
    return max(LEAST_VIDEO_BYTES, VIDEO_BYTES // max(1, 2 * num_records))


def small_video(path: Path, frames: Float[Tensor, "T 3 H W"], rate: Fraction, most: int) -> bytes:
    """The file as it is if it is small enough, else encoded again, ever smaller; the last step whatever its size."""
    data = path.read_bytes()
    if len(data) <= most and path.suffix == ".mp4":
        return data
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "small.mp4"
        for side, rate_factor in SMALLER:
            write_mp4(file, _at_most(frames, side), fps=rate, rate_factor=rate_factor)
            if file.stat().st_size <= most:
                break
        return file.read_bytes()


def _at_most(frames: Float[Tensor, "T 3 H W"], side: int) -> Float[Tensor, "T 3 h w"]:
    """Of even sizes, the longer at most `side`."""
    scale = min(1.0, side / max(frames.shape[-2:]))
    size = [max(2, 2 * round(length * scale / 2)) for length in frames.shape[-2:]]
    if size == list(frames.shape[-2:]):
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _poster(frames: Float[Tensor, "T 3 H W"]) -> str:
    image = Image.fromarray(paint(_at_most(frames[:1], MAX_WIDTH_OF_POSTER))[0].numpy())
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=70, method=4)
    return f"data:image/webp;base64,{_base64(file.getvalue())}"


def _points(path: Path) -> dict[str, Any]:
    """{"low", "step": [x, y, z], "places": base64 uint16 [N, 3], "colours": base64 uint8 [N, 3]}: low + step * place.

    Half the bytes of the folder's float32; a place is off by less than a ten-thousandth of the cloud's size.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        points_N3 = np.frombuffer(b64decode(table["points"], validate=True), dtype="<f4").reshape(-1, 3)
        colours_N3 = np.frombuffer(b64decode(table["colours"], validate=True), dtype=np.uint8).reshape(-1, 3)
        if len(points_N3) != len(colours_N3) or not np.isfinite(points_N3).all():
            raise ValueError("points and colours do not match")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no point cloud of an evaluation ({error}); evaluate again.") from error
    if len(points_N3) == 0:
        return {"low": [0, 0, 0], "step": [1, 1, 1], "places": "", "colours": ""}
    low = points_N3.min(axis=0).astype(np.float64)
    step = np.maximum((points_N3.max(axis=0) - low) / 65535, 1e-9)
    places_N3 = np.clip(np.rint((points_N3 - low) / step), 0, 65535).astype("<u2")
    return {
        "low": [float(f"{x:.6g}") for x in low],
        "step": [float(f"{x:.6g}") for x in step],
        "places": _base64(places_N3.tobytes()),
        "colours": _base64(colours_N3.tobytes()),
    }


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
