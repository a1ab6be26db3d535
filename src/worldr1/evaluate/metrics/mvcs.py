"""MVCS: do the depths of neighbouring frames agree?

Frames' pixels are looked up in one another through depth and pose (`scene.frame_lookup`); the sky, which has no depth,
does not count. The video itself has no say: it is the 3D model that answers, so its name belongs to every value
(`depth_model_note`). Whether anything moves by itself: `scene.residual_motion`.
"""

from dataclasses import dataclass

import torch

from worldr1.errors import InputError
from worldr1.scene.frame_lookup import look_up
from worldr1.types import Reconstruction


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiViewConsistency:
    """MVCS in (0, 1]; 1 is best, and what a still video always has; 0 where no pixel of a frame lies in the next."""

    score: float
    """exp(-e) with depths in the reconstructor's own scale: comparable only between videos lifted by one model."""
    scale_free: float
    """exp(-e / m^2), m the median depth of frame 0: the same whatever the scale."""


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
    lookup = look_up(reconstruction, source, target)
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


def depth_model_note(judge: str, reward_model: str | None) -> str:
    """What a table says of values that a 3D model decides. reward_model: "" if there is none, None if unknown."""
    note = f"Depth and poses by {judge}."
    if reward_model is None:
        return f"{note} Which 3D model the reward used is not known."
    if judge == reward_model:
        return f"{note} Warning: it is the 3D model that the reward used, so training has aimed at these values."
    return note
