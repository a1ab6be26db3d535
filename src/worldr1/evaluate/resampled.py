"""Videos of another length or size than a judge's 3D model knows, shown to it as clips that it knows.

The mini 3D models and the probe have learnt a place per cell and a time per frame, so they cannot look at longer or
larger clips as they are. A longer one is thinned evenly: its path is the same, seen at fewer moments. A larger one of
the same aspect ratio is made smaller with antialiasing: its rays are the same. What happens between those moments, and
detail finer than the judge's pixels, it does not see. The truth goes the same way, and says what that costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.fitting import ClipSize, evenly
from worldr1.evaluate.judging.judge import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """A `Source` whose videos are of `size`, made from another one's, which are of `clip`."""

    source: Source
    clip: tuple[int, int, int]
    """Frames, height, width of what it films."""
    size: ClipSize

    def __call__(self, tasks: Sequence[Task]) -> Float[Tensor, "B T 3 H W"]:
        """tasks: as `judged` makes them; the source is asked for the whole paths."""
        frames = self.clip[0]
        videos = self.source([task._replace(path=requested_path(task.tokens, frames)) for task in tasks])
        return resample(videos, self.size)

    def judged(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks as the judge sees them: of every path the poses of the frames that are kept."""
        kept = evenly(self.clip[0], self.size.num_frames)
        return [
            task
            if task.path is None
            else task._replace(path=replace(task.path, world_from_camera=task.path.world_from_camera[kept]))
            for task in tasks
        ]


def check_resampling(clip: tuple[int, int, int], size: ClipSize) -> None:
    """Raises InputError for clips (frames, height, width) that cannot be shown to a judge of clips of `size`."""
    frames, height, width = clip
    if frames < size.num_frames or height < size.height or width < size.width:
        raise InputError(
            f"The judge knows clips of {size.num_frames} frames of {size.height} x {size.width}, and shorter or "
            "smaller ones say less than that: give at least as many frames and pixels."
        )
    if height * size.width != width * size.height:
        raise InputError(
            f"{height} x {width} is no {size.height} x {size.width} made larger, and the judge knows one field of view "
            f"only: give {height} x {height * size.width // size.height}."
        )


def resample(videos: Float[Tensor, "B T 3 H W"], size: ClipSize) -> Float[Tensor, "B t 3 h w"]:
    """Thinned evenly and made smaller with antialiasing; what is of that size already is left alone."""
    if videos.shape[1] != size.num_frames:
        videos = videos[:, evenly(videos.shape[1], size.num_frames)]
    shape = size.height, size.width
    if tuple(videos.shape[-2:]) == shape:
        return videos
    flat = F.interpolate(videos.flatten(0, 1), size=shape, mode="bilinear", antialias=True, align_corners=False)
    return flat.clamp(0, 1).unflatten(0, videos.shape[:2])
