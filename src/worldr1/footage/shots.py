"""Any video file as shots of one 3D scene each, all on the same budget of frames and pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import ConfigError, InputError
from worldr1.footage.cleaning import clean
from worldr1.footage.decoding import MIN_SIDE_PX, VideoFile
from worldr1.footage.squares import square_size, without_squares
from worldr1.footage.survey import Survey, survey
from worldr1.video_io import FRAMES_PER_SECOND

_HELD_SCALE = 2
"""Chosen frames are held at so many times the working size until the bars are cropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FootageConfig:
    """How much of a video is taken. Raises ConfigError for impossible values."""

    num_frames: int = 24
    """At most so many frames of a shot, evenly spaced in time; a shorter shot gives all it has."""
    longest_side_px: int = 416
    """The longer side at most; a smaller video keeps its size."""
    min_frames: int = 5
    """Shots of fewer frames are left out."""
    max_shots: int = 32
    """Later shots are left out; each takes 28 MB at 416 x 234."""
    max_frames: int = 18_000
    """So much of a file is read: ten minutes at 30 frames per second."""
    max_pixels: int = 8192 * 4320
    """Frames with more are refused before any is decoded."""

    def __post_init__(self) -> None:
        if not 2 <= self.min_frames <= self.num_frames <= self.max_frames:
            raise ConfigError(
                f"min_frames {self.min_frames}, num_frames {self.num_frames} and max_frames {self.max_frames} must be "
                "at least 2 and ascend."
            )
        if self.longest_side_px < MIN_SIDE_PX or self.max_shots < 1 or self.max_pixels < 1:
            raise ConfigError(
                f"longest_side_px {self.longest_side_px} must be at least {MIN_SIDE_PX}, max_shots {self.max_shots} "
                f"and max_pixels {self.max_pixels} at least 1."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """A stretch of video without a cut, ready to be reconstructed."""

    video: Float[Tensor, "T 3 H W"]
    """0..1, RGB, upright, without bars, at working size; H and W are even."""
    times_s: tuple[float, ...]
    """Of the T frames, after the file's first frame."""
    mask: Bool[Tensor, "H W"]
    """True on the scene; False on a fixed overlay such as a logo or a caption."""
    index: int
    """Among the file's shots that are long enough, from 0."""
    num_shots: int
    start_s: float
    """Time of the shot's first frame."""
    end_s: float
    """Time of its last frame."""
    notes: tuple[str, ...]
    """What was done to it and what could not be; sentences without a full stop."""


def read_shots(path: str | Path, config: FootageConfig) -> list[Shot]:
    """All shots of a video file, in order. Decodes it twice and never holds more than one shot's frames undiminished.

    Raises InputError, one sentence that names the file and says what to do, for whatever is no video of at least one
    shot of `min_frames` frames.
    """
    found = survey(path, max_frames=config.max_frames, max_pixels=config.max_pixels)
    spans = [span for span in found.spans if len(span) >= config.min_frames]
    if not spans:
        raise InputError(_too_short(path, found, config.min_frames))
    kept = spans[: config.max_shots]
    chosen = [_evenly(found.times_s, span, config.num_frames) for span in kept]
    shots = []
    for index, video in enumerate(_decode(path, chosen, config)):
        span, frames = kept[index], chosen[index]
        notes = [*found.notes, *_omissions(found, span, config.min_frames)]
        if len(kept) < len(spans):
            notes.append(f"only the first {len(kept)} of the file's {len(spans)} shots were read")
        try:
            shot = _shot(video, found.times_s, span, frames, config=config, size=found.size, notes=notes)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        shots.append(replace(shot, index=index, num_shots=len(kept)))
    if len(shots) < len(kept):
        raise InputError(f"{path} decodes differently from one time to the next: it is damaged; convert it first.")
    return shots


def shot_of(video: Float[Tensor, "T 3 H W"], config: FootageConfig, *, fps: float = FRAMES_PER_SECOND) -> Shot:
    """A video in memory (0..1) as one shot: thinned, cropped, masked and resized like a file's.

    Raises InputError for another shape, values outside 0..1, or fewer than `min_frames` frames.
    """
    if video.ndim != 4 or video.shape[1] != 3 or min(video.shape[-2:]) < MIN_SIDE_PX:
        raise InputError(
            f"a video of shape {tuple(video.shape)} cannot be used; give [T, 3, H, W], H and W at least 16."
        )
    if len(video) < config.min_frames:
        raise InputError(f"a video of {len(video)} frames is too short; give at least {config.min_frames}.")
    video = video.detach().float().cpu()
    if not bool(((video >= 0) & (video <= 1)).all()):
        raise InputError("the video has values outside 0..1; scale it first.")
    times_s = [index / fps for index in range(len(video))]
    span = range(len(video))
    frames = _evenly(times_s, span, config.num_frames)
    height, width = video.shape[-2:]
    return _shot(video[frames], times_s, span, frames, config=config, size=(width, height), notes=[])


def _shot(
    video: Float[Tensor, "T 3 H W"],
    times_s: Sequence[float],
    span: range,
    frames: Sequence[int],
    *,
    config: FootageConfig,
    size: tuple[int, int],
    notes: list[str],
) -> Shot:
    """The only shot, cleaned. video: its frames `frames`. times_s: of all frames. size: width and height as seen."""
    if (squares := square_size(video)) > 1:
        notes.append(f"its pixels had been enlarged to squares of {squares} x {squares}; they were taken back")
        video = without_squares(video, squares)
    cleaned = clean(video, longest_side_px=config.longest_side_px)
    if len(frames) < len(span):
        notes.append(f"{len(frames)} of its {len(span)} frames were taken, evenly spaced in time")
    height, width = cleaned.video.shape[-2:]
    if (width, height) != size:
        notes.append(f"its pictures of {size[0]} x {size[1]} became {width} x {height}")
    return Shot(
        video=cleaned.video,
        times_s=tuple(times_s[frame] for frame in frames),
        mask=cleaned.mask,
        index=0,
        num_shots=1,
        start_s=times_s[span[0]],
        end_s=times_s[span[-1]],
        notes=(*notes, *cleaned.notes),
    )


def _omissions(found: Survey, span: range, min_frames: int) -> list[str]:
    """Notes on the shots beside this one that are too short."""
    beside = [other for other in found.spans if other.stop == span.start or other.start == span.stop]
    return [
        f"the shot {'before' if other.start < span.start else 'after'} it was left out: {len(other)} frames are too few"
        for other in beside
        if len(other) < min_frames
    ]


def _too_short(path: str | Path, found: Survey, min_frames: int) -> str:
    total, count = len(found.times_s), len(found.spans)
    if count == 1:
        held = f"{total} frame{'s' if total > 1 else ''}"
        return f"{path} holds only {held} that can be decoded; give a whole video of at least {min_frames}."
    longest = max(len(span) for span in found.spans)
    return (
        f"{path} has {count} shots, the longest of {longest} frames; give a video with at least {min_frames} frames "
        "between two cuts."
    )


def _evenly(times_s: Sequence[float], span: range, num_frames: int) -> list[int]:
    """At most `num_frames` frames of a span, ascending, each the nearest free one to its even place in time."""
    if len(span) <= num_frames:
        return list(span)
    times = np.asarray(times_s[span.start : span.stop])
    wanted = np.linspace(times[0], times[-1], num_frames)
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    nearest = after - (wanted - times[after - 1] <= times[after] - wanted)
    # Where the rate varies several places may have one nearest frame: its neighbours are taken then.
    place = np.arange(num_frames)
    ascending = np.maximum.accumulate(nearest - place) + place
    return (span.start + np.minimum(ascending, len(span) - num_frames + place)).tolist()


def _decode(
    path: str | Path, chosen: Sequence[Sequence[int]], config: FootageConfig
) -> Iterator[Float[Tensor, "T 3 H W"]]:
    """Pass 2: the chosen frames of one shot after the other, upright, at most twice the working size."""
    shots = iter(chosen)
    wanted: Sequence[int] | None = next(shots)
    held: list[np.ndarray] = []
    with VideoFile(path, max_pixels=config.max_pixels) as file:
        for timed in file:
            if timed.number != wanted[len(held)]:
                continue
            seen_width, seen_height = file.upright.size
            scale = min(1.0, _HELD_SCALE * config.longest_side_px / max(seen_width, seen_height))
            width, height = (max(1, round(side * scale)) for side in (seen_width, seen_height))
            held.append(file.picture(timed.frame, width=width, height=height))
            if len(held) == len(wanted):
                yield torch.from_numpy(np.stack(held)).permute(0, 3, 1, 2).float() / 255.0
                held.clear()
                wanted = next(shots, None)
                if wanted is None:
                    return
