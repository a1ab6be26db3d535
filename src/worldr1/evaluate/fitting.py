"""A shot as a reconstructor of one clip size wants it: the mini 3D model knows 17 frames of 64 x 96."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldr1.footage import Shot
from worldr1.protocols import Reconstructor
from worldr1.types import Reconstruction


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSize:
    """The clip that a reconstructor was trained on."""

    num_frames: int
    """A longer shot is thinned to these many frames, evenly; a shorter one is shown to the reconstructor with frames
    repeated, evenly too: the mini model, trained at one length, finds half the path in a clip of half as many."""
    height: int
    width: int


def fit(shot: Shot, size: ClipSize) -> Shot:
    """Thins a longer shot evenly, crops it about its centre to the aspect ratio and resizes it."""
    video, mask, notes = shot.video, shot.mask, []
    given, _, height, width = video.shape
    times = shot.times_s
    if given > size.num_frames:
        kept = evenly(given, size.num_frames)
        video, times = video[kept], tuple(times[i] for i in kept.tolist())
        notes.append(f"{size.num_frames} of its {given} frames were scored, evenly spaced")
    elif given < size.num_frames:
        notes.append(f"its {given} frames were repeated to make the {size.num_frames} that the 3D model knows")
    aspect = size.width / size.height
    crop_height, crop_width = min(height, round(width / aspect)), min(width, round(height * aspect))
    if (crop_height, crop_width) != (height, width):
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        rows, columns = slice(top, top + crop_height), slice(left, left + crop_width)
        video, mask = video[..., rows, columns], mask[rows, columns]
        notes.append(f"cropped from {width} x {height} to the central {crop_width} x {crop_height}")
    if (crop_height, crop_width) != (size.height, size.width):
        video, mask = _resize(video, size), _resize(mask[None, None].float(), size)[0, 0] > 0.999
        notes.append(f"resized from {crop_width} x {crop_height} to {size.width} x {size.height}")
    return replace(shot, video=video, mask=mask, times_s=times, notes=(*shot.notes, *notes))


class Repeated(NamedTuple):
    """A short video with frames repeated."""

    video: Float[Tensor, "R 3 H W"]
    first: Int[Tensor, " T"]
    """Where each frame of the short one comes first."""

    def own(self, found: Reconstruction) -> Reconstruction:
        """The reconstruction of the short video's own frames."""
        return replace(
            found,
            world_from_camera=found.world_from_camera[self.first],
            depth=found.depth[self.first],
            intrinsics_px=found.intrinsics_px[self.first],
            confidence=found.confidence[self.first],
        )


def repeat(video: Float[Tensor, "T 3 H W"], num_frames: int) -> Repeated:
    """Shown evenly until it has num_frames; a video of as many or more is left alone."""
    shown = evenly(len(video), max(len(video), num_frames))
    return Repeated(video[shown], torch.searchsorted(shown, torch.arange(len(video))))


class AtLength:
    """A `Reconstructor` of clips of one length that takes shorter ones too: their frames are shown repeatedly."""

    def __init__(self, reconstructor: Reconstructor, num_frames: int) -> None:
        self.licence = reconstructor.licence
        self._reconstructor, self._num_frames = reconstructor, num_frames

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """One reconstruction of T frames per video."""
        shown = [repeat(video, self._num_frames) for video in videos]
        found = self._reconstructor(torch.stack([one.video for one in shown]))
        return [one.own(reconstruction) for one, reconstruction in zip(shown, found, strict=True)]


def evenly(available: int, wanted: int) -> Int[Tensor, " wanted"]:
    """Indices of frames, first to last; some left out or repeated."""
    return torch.linspace(0, available - 1, wanted).round().long()


def _resize(video: Float[Tensor, "T C H W"], size: ClipSize) -> Float[Tensor, "T C h w"]:
    """Antialiased. A whole factor is averaged in squares, which undoes `write_mp4(upscale=...)` without any blur."""
    factor = video.shape[-1] // size.width
    if tuple(video.shape[-2:]) == (size.height * factor, size.width * factor):
        return F.avg_pool2d(video, factor)
    shape = (size.height, size.width)
    return F.interpolate(video, size=shape, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
