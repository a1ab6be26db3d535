"""PSNR, SSIM and perceptual distance between a video and its own 3D scene, feed-forward: no optimisation.

Two protocols that papers call by one name. **All frames**: every frame is drawn at its own pose from the Gaussians of
all frames, its own among them (VideoGPA's, and what a re-rendering reward pays for): a frame is partly compared with
itself, so a wrong depth costs little. **Held out**: Gaussians of the even frames, compared with the odd ones. Neither
the World-R1 paper nor its release says which one its table T2 has.

Pixels that no Gaussian covers are left out of the PSNR and count as equal in the other two (`rewards.reconstruction`).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.protocols import PerceptualDistance, Renderer
from worldr1.rewards.reconstruction import (
    BEHIND_GREY,
    ReconstructionConfig,
    Redrawn,
    at_size,
    compare_all_redrawn,
    redraw_jobs,
)
from worldr1.rewards.rendering import render_jobs
from worldr1.scene.image_metrics import ssim
from worldr1.types import Reconstruction

HOLDOUT, ALL = "holdout", "all"


def redraw(
    clips: Sequence[JudgedClip], renderer: Renderer, *, holdout: bool, config: ReconstructionConfig | None = None
) -> list[Redrawn]:
    """The target frames beside their re-rendering; all clips have one shape and a reconstruction."""
    return redraw_clips(*at_depth_size(clips), renderer, config=config or ReconstructionConfig(holdout=holdout))


def redraw_clips(
    videos: Sequence[Float[Tensor, "T 3 h w"]],
    found: Sequence[Reconstruction],
    renderer: Renderer,
    *,
    config: ReconstructionConfig,
) -> list[Redrawn]:
    """The same of videos at the size of their depth, all in one pass of the renderer."""
    jobs = redraw_jobs(videos, found, config=config)
    height, width = videos[0].shape[-2:]
    background = videos[0].new_full((3,), BEHIND_GREY)
    views = render_jobs(renderer, jobs, height=height, width=width, background=background)
    return compare_all_redrawn(videos, views, config=config)


def compare_images(redrawn: Redrawn, suffix: str, perceptual: PerceptualDistance | None) -> dict[str, float]:
    """psnr_SUFFIX_db, ssim_SUFFIX and, with a network, perceptual_SUFFIX."""
    found = {
        f"psnr_{suffix}_db": redrawn.psnr_db,
        f"ssim_{suffix}": float(ssim(redrawn.drawn, redrawn.target).mean()),
    }
    if perceptual is not None:
        found[f"perceptual_{suffix}"] = float(perceptual(redrawn.drawn, redrawn.target).mean())
    return found


def at_depth_size(clips: Sequence[JudgedClip]) -> tuple[list[Float[Tensor, "T 3 h w"]], list[Reconstruction]]:
    """Videos at the size of their depth, and their reconstructions."""
    found = [clip.reconstruction for clip in clips if clip.reconstruction is not None]
    return [at_size(clip.video, one) for clip, one in zip(clips, found, strict=True)], found
