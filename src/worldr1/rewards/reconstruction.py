"""S_recon: can the video be drawn from one static 3D scene?

S_recon = 1 - perceptual distance between the video's frames and Gaussians rendered at the video's *own* estimated
poses, intrinsics and processed size, frame by frame (paper: S_recon = 1 - LPIPS(x, x_hat)). With `holdout` the
Gaussians come from the even frames and are compared with the odd ones: a frame drawn from its own depth map is
reproduced whatever its depth.

**Pixels that no Gaussian covers.** Nothing is known there (a place that only this frame saw), so there is nothing to
be consistent with: they are left out of the PSNR, and in the image that the perceptual net sees they hold the input's
own pixels. Leaving the background colour there would punish every camera that uncovers new places and so pay for
standing still. The price is that an uncovered pixel is never wrong; therefore the covered share is measured, and
below `min_coverage` the video is rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import ConfigError, InputError
from worldr1.rewards.rendering import RenderJob
from worldr1.scene.gaussians import LiftConfig, lift_videos
from worldr1.scene.image_metrics import mse, psnr_db
from worldr1.types import Reconstruction, RenderedViews

BEHIND_GREY = 0.0
"""Grey level behind the Gaussians; it is divided out of covered pixels and never seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionConfig:
    """How a video is drawn again from its own geometry."""

    holdout: bool = True
    """Gaussians from the even frames, compared with the odd ones. False: all frames with all frames."""
    covered_alpha: float = 0.5
    """A pixel counts as covered from this alpha on."""
    min_coverage: float = 0.5
    """Mean covered share of the target frames below which the video is rejected."""
    lift: LiftConfig = field(default_factory=LiftConfig)
    """How pixels become Gaussians (also for the off-path view)."""

    def __post_init__(self) -> None:
        if not 0 < self.covered_alpha <= 1 or not 0 <= self.min_coverage <= 1:
            raise ConfigError("covered_alpha must be in (0, 1] and min_coverage in [0, 1].")


@dataclass(frozen=True, kw_only=True, slots=True)
class Redrawn:
    """Target frames of a video beside what its own reconstruction says they look like."""

    drawn: Float[Tensor, "V 3 H W"]
    """Rendered; the target's own pixels where nothing covers."""
    target: Float[Tensor, "V 3 H W"]
    covered: Bool[Tensor, "V H W"]
    coverage: float
    """Covered share of all target pixels."""
    psnr_db: float
    """From the mean squared error over the covered pixels of all target frames; NaN without any."""


def split_frames(num_frames: int, *, holdout: bool) -> tuple[list[int], list[int]]:
    """Frames that give the Gaussians, and frames that are drawn; raises InputError if there is none to draw."""
    if num_frames < 2:
        raise InputError(f"A video of {num_frames} frame(s) cannot be scored in 3D: give at least 2 frames.")
    frames = list(range(num_frames))
    return (frames[0::2], frames[1::2]) if holdout else (frames, frames)


def at_size(video: Float[Tensor, "T 3 H W"], reconstruction: Reconstruction) -> Float[Tensor, "T 3 h w"]:
    """The video at the size that the reconstructor worked at: its depth, intrinsics and renders belong to that."""
    size = tuple(reconstruction.depth.shape[-2:])
    if tuple(video.shape[-2:]) == size:
        return video
    return F.interpolate(video, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def redraw_jobs(
    videos: Sequence[Float[Tensor, "T 3 H W"]],
    reconstructions: Sequence[Reconstruction],
    *,
    config: ReconstructionConfig,
) -> list[RenderJob]:
    """What to render for S_recon. videos: already `at_size`, all of one shape."""
    source, target = split_frames(len(videos[0]), holdout=config.holdout)
    scenes = lift_videos(videos, reconstructions, source, config=config.lift)
    # together: to pick frames of each by a list would send the GPU one list each
    poses = torch.stack([r.world_from_camera for r in reconstructions])[:, target]
    intrinsics = torch.stack([r.intrinsics_px for r in reconstructions])[:, target]
    return [
        RenderJob(gaussians=scene, world_from_camera=pose, intrinsics_px=k)
        for scene, pose, k in zip(scenes, poses, intrinsics, strict=True)
    ]


def compare_redrawn(video: Float[Tensor, "T 3 H W"], views: RenderedViews, *, config: ReconstructionConfig) -> Redrawn:
    """`compare_all_redrawn` of one video."""
    return compare_all_redrawn([video], [views], config=config)[0]


def compare_all_redrawn(
    videos: Sequence[Float[Tensor, "T 3 H W"]], views: Sequence[RenderedViews], *, config: ReconstructionConfig
) -> list[Redrawn]:
    """Sets the rendered target frames beside each video's own.

    videos: already `at_size`, all of one shape; views: of the target frames, over `BEHIND_GREY`.
    """
    _, frames = split_frames(len(videos[0]), holdout=config.holdout)
    target = torch.stack(list(videos))[:, frames]
    alphas = torch.stack([v.alphas for v in views]).to(target)
    colors = torch.stack([v.colors for v in views]).to(target)
    surface, covered = known_surface(colors, alphas, config.covered_alpha)
    drawn = torch.where(covered[:, :, None], surface, target)
    psnr = psnr_db(mse(_stacked(drawn), _stacked(target), covered.flatten(1, 2)))
    coverage = covered.double().mean((1, 2, 3))
    numbers = torch.stack((coverage, psnr.double()), -1).tolist()
    return [
        Redrawn(drawn=d, target=t, covered=c, coverage=share, psnr_db=db)
        for d, t, c, (share, db) in zip(drawn, target, covered, numbers, strict=True)
    ]


def known_surface(
    colors: Float[Tensor, "*views 3 H W"], alphas: Float[Tensor, "*views H W"], covered_alpha: float
) -> tuple[Float[Tensor, "*views 3 H W"], Bool[Tensor, "*views H W"]]:
    """Renders over `BEHIND_GREY` without what lies behind the Gaussians, and where there are any."""
    covered = alphas >= covered_alpha
    return (colors / alphas.clamp(min=covered_alpha).unsqueeze(-3)).clamp(0, 1), covered


def reconstruction_score(mean_distance: float) -> float:
    """S_recon in [0, 1] from the mean perceptual distance of a video's target frames."""
    return min(1.0, max(0.0, 1.0 - mean_distance))


def _stacked(frames: Float[Tensor, "B V 3 H W"]) -> Float[Tensor, "B 3 V*H W"]:
    """All frames of a video as one tall image, so that every covered pixel weighs the same."""
    return frames.movedim(1, 2).flatten(2, 3)
