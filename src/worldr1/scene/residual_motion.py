"""Does anything move by itself? What a video shows beyond the motion of its camera."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.scene.frame_lookup import look_up
from worldr1.scene.gaussians import edge_pixels
from worldr1.scene.image_metrics import local_range
from worldr1.types import Reconstruction

MIN_CONFIDENCE = 0.2
"""Pixels below it are not asked whether they moved."""
EDGE_JUMP = 0.1
"""Relative depth step at which a pixel belongs to an outline (`edge_pixels`)."""
HIDDEN_MARGIN = 0.1
"""A point counts as hidden if the surface seen in its place is nearer by more than this share of its depth."""


def residual_motion(
    video: Float[Tensor, "T 3 H W"], reconstruction: Reconstruction, mask: Bool[Tensor, "T H W"] | None = None
) -> float | None:
    """How much the picture changes beyond what the camera explains, in grey levels of 0..1. video: 0..1, at the depth's
    size.

    Every frame is compared with the one a quarter of the clip before it: its pixels are looked up there as if the scene
    had stood still, and the residual of a pixel is how far its colour lies outside the range of the 3 x 3 pixels around
    the place where it is found. The range forgives what a camera path wrong by a pixel does, so a static scene stays
    near 0 however rich its texture, while things that move, swim, warp or change colour do not. The result is the mean
    over all pixels that are found; left out are sky, low confidence, depth edges, pixels outside the earlier image, and
    those hidden there behind something nearer. A pixel found *before* what the earlier frame shows is kept: that the
    place was empty then is motion.

    mask: pixels that count (say, of movers: `mini.attribute_scores.mover_masks`); all by default. A pair of pixels is
    counted if either is in it, so that the places that a mover has left count as those where it is now.

    None if no pixel can be looked up, or none in the mask. Raises InputError for fewer than two frames, another size
    than the depth's or a mask of another size than the video's.
    """
    residual = residual_map(video, reconstruction, mask)
    known = ~residual.isnan()
    return float(residual[known].mean()) if bool(known.any()) else None


def residual_map(
    video: Float[Tensor, "T 3 H W"], reconstruction: Reconstruction, mask: Bool[Tensor, "T H W"] | None = None
) -> Float[Tensor, "N H W"]:
    """`residual_motion` of every pixel of the last N frames, N = T less a quarter of the clip; NaN where it is unknown.

    Raises as `residual_motion` does.
    """
    if len(video) < 2 or tuple(video.shape[-2:]) != tuple(reconstruction.depth.shape[-2:]):
        raise InputError("Residual motion compares frames; give at least 2, at the size of the reconstruction.")
    if mask is not None and tuple(mask.shape) != (len(video), *video.shape[-2:]):
        raise InputError(f"A mask of shape {tuple(mask.shape)} does not match a video of shape {tuple(video.shape)}.")
    gap = max(1, (len(video) - 1) // 4)
    source, target = list(range(gap, len(video))), list(range(len(video) - gap))
    lookup = look_up(reconstruction, source, target)
    earlier, later = video[target], video[source]
    darkest, brightest = local_range(earlier)
    outside = torch.maximum(later - lookup.sample(brightest), lookup.sample(darkest) - later).clamp(min=0)
    surface = lookup.sample(reconstruction.depth[target][:, None].to(video))[:, 0]
    asked = lookup.seen & (surface > lookup.depth * (1 - HIDDEN_MARGIN))
    asked &= (reconstruction.confidence[source] >= MIN_CONFIDENCE) & ~edge_pixels(
        reconstruction.depth[source], EDGE_JUMP
    )
    if mask is not None:
        asked &= mask[source] | (lookup.sample(mask[target][:, None].to(video))[:, 0] > 0.5)
    return torch.where(asked, outside.mean(dim=1), math.nan)
