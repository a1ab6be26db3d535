"""What a reconstruction tells beyond re-rendering: do the frames' depths agree, and does anything move by itself?

Both measures look a frame's pixels up in an earlier or later frame through depth and pose, and neither counts the sky
(confidence 0), which has no depth.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.pinhole import project, unproject
from worldr1.geometry.se3 import inverse
from worldr1.scene.gaussians import edge_pixels
from worldr1.scene.image_metrics import local_range
from worldr1.types import Reconstruction

MIN_CONFIDENCE = 0.2
"""Pixels below it are not asked whether they moved."""
EDGE_JUMP = 0.1
"""Relative depth step at which a pixel belongs to an outline (`edge_pixels`)."""
HIDDEN_MARGIN = 0.1
"""A point counts as hidden if the surface seen in its place is nearer by more than this share of its depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiViewConsistency:
    """MVCS in (0, 1]; 1 is best, and what a still video always has; 0 where no pixel of a frame lies in the next."""

    score: float
    """exp(-e) with depths in the reconstructor's own scale: comparable only between videos lifted by one model."""
    scale_free: float
    """exp(-e / m^2), m the median depth of frame 0: the same whatever the scale."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Where the pixels of N source frames lie in N target frames."""

    grid: Float[Tensor, "N H W 2"]
    """For `grid_sample`: -1..1 from border to border of the target."""
    depth: Float[Tensor, "N H W"]
    """z-depth that the point has in the target's camera."""
    seen: Bool[Tensor, "N H W"]
    """The pixel is no sky and its point lies in the target's image."""

    def sample(self, maps: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Bilinear values of target maps at the source's pixels."""
        return F.grid_sample(maps, self.grid.to(maps), padding_mode="border", align_corners=False)


def multi_view_consistency(reconstruction: Reconstruction) -> MultiViewConsistency:
    """MVCS by the formula of VideoGPA (metrics/mvcs.py; research/reward3d.md 3b), and its scale-free variant.

    Every pixel of frame i is moved into frame i + 1; e is the mean over the frames of the mean squared difference
    between its z-depth there and that frame's own depth. As in the original only neighbours are compared and nothing
    is tested for occlusion; unlike there, sky is left out. Raises InputError for fewer than two frames.
    """
    num_frames = len(reconstruction.depth)
    if num_frames < 2:
        raise InputError("Multi-view consistency compares frames; give a video of at least 2.")
    source, target = list(range(num_frames - 1)), list(range(1, num_frames))
    lookup = _look_up(reconstruction, source, target)
    maps = torch.stack((reconstruction.depth[target], (reconstruction.confidence[target] > 0).float()), dim=1)
    depth, solid = lookup.sample(maps.double()).unbind(dim=1)
    compared = lookup.seen & (solid > 0.999)  # all four neighbours have a depth
    errors = ((depth - lookup.depth).square() * compared).sum(dim=(-2, -1)) / compared.sum(dim=(-2, -1))
    error = errors[compared.any(dim=-1).any(dim=-1)].mean()
    if not bool(error.isfinite()):
        return MultiViewConsistency(score=0.0, scale_free=0.0)
    return MultiViewConsistency(
        score=float(torch.exp(-error)), scale_free=float(torch.exp(-error / reconstruction.median_depth**2))
    )


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
    if len(video) < 2 or tuple(video.shape[-2:]) != tuple(reconstruction.depth.shape[-2:]):
        raise InputError("Residual motion compares frames; give at least 2, at the size of the reconstruction.")
    if mask is not None and tuple(mask.shape) != (len(video), *video.shape[-2:]):
        raise InputError(f"A mask of shape {tuple(mask.shape)} does not match a video of shape {tuple(video.shape)}.")
    gap = max(1, (len(video) - 1) // 4)
    source, target = list(range(gap, len(video))), list(range(len(video) - gap))
    lookup = _look_up(reconstruction, source, target)
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
    return float(outside.mean(dim=1)[asked].mean()) if bool(asked.any()) else None


def _look_up(reconstruction: Reconstruction, source: list[int], target: list[int]) -> _Lookup:
    """Pixels of the source frames in the target frames, pairwise, in float64."""
    poses, intrinsics = (
        part.to(reconstruction.depth.device, torch.float64)
        for part in (reconstruction.world_from_camera, reconstruction.intrinsics_px)
    )
    target_from_source = inverse(poses[target]) @ poses[source]
    points = unproject(reconstruction.depth[source].double(), intrinsics[source])
    points = torch.einsum("nij,nhwj->nhwi", target_from_source[:, :3, :3], points)
    points = points + target_from_source[:, None, None, :3, 3]
    pixels, depth = project(points, intrinsics[target])
    height, width = reconstruction.depth.shape[-2:]
    grid = pixels / pixels.new_tensor((width, height)) * 2 - 1
    inside = (grid.abs() <= 1).all(dim=-1) & (depth > 0)
    return _Lookup(grid, depth, inside & (reconstruction.confidence[source] > 0))
