"""The whole work on one video, as the worker process does it."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pycolmap
from jaxtyping import Float, UInt8

from worldr1.backends.sfm.estimate import EstimateConfig, Motion, estimate
from worldr1.backends.sfm.sweep import SweepConfig, dense_depth

_NEAREST, _FARTHEST = 0.005, 0.98
"""Quantiles of the points' depths between which the sweep looks, a little widened."""
_WIDENED = 1.3
_NEAR, _BEFORE_NEAR = 0.05, 3.0
"""Quantile of the points' depths, and how many times nearer the sweep looks at most: a few wrong points lie in the
lens."""
_MIN_TRUSTED, _MIN_TRUSTED_FIRST = 0.2, 0.1
"""Share of all pixels, and of the first frame's, whose depth must agree with another frame's. The first frame's median
depth is the path's unit."""
_TRUST = 0.2
_SKY = 10.0
"""Median depths beyond which parallax says nothing of how far a thing is: drawn as sky, not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SfmConfig:
    """How cameras and depth are found."""

    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    timeout_s: float = 120.0
    """Per video; a hang becomes a fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifted:
    """What the worker sends back."""

    world_from_camera: Float[np.ndarray, "T 4 4"]
    """In units of the points' median depth."""
    focal_px: float
    depth: Float[np.ndarray, "T H W"]
    confidence: Float[np.ndarray, "T H W"]
    reason: str
    """Why there is no geometry; empty if there is."""
    note: str
    """What is known of the focal length, if it was asked for."""


def lift(frames: UInt8[np.ndarray, "T H W"], config: SfmConfig) -> Lifted:
    """The whole work on one video's grey frames. Runs in the worker; sets OpenCV's threads to one."""
    cv2.setNumThreads(1)
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR)
    found = estimate(list(frames), config.estimate)
    poses = found.world_from_camera.copy()
    depth, confidence = np.ones(frames.shape, np.float32), np.ones(frames.shape, np.float32)
    reason = found.reason
    if reason:
        confidence[:] = 0
    elif found.motion is Motion.MOVES:
        nearest, near, middle, far = np.quantile(found.point_depths, (_NEAREST, _NEAR, 0.5, _FARTHEST)).tolist()
        poses[:, :3, 3] /= middle  # bundle adjustment may end at any scale, renderers have a near plane
        nearest = max(nearest / _WIDENED, near / _BEFORE_NEAR)
        bounds = (nearest / middle, min(far / middle * _WIDENED, _SKY))
        dense = dense_depth(frames, poses, found.focal_px, *bounds, config=config.sweep)
        trusted = dense.confidence > _TRUST
        if trusted.mean() < _MIN_TRUSTED or trusted[0].mean() < _MIN_TRUSTED_FIRST:
            reason = (
                f"only {min(trusted.mean(), trusted[0].mean()):.0%} of the picture has a depth that frames agree on"
            )
        depth, confidence = dense.depth, np.where(dense.depth > _SKY, 0, dense.confidence)
    return Lifted(
        world_from_camera=poses,
        focal_px=found.focal_px,
        depth=depth,
        confidence=confidence,
        reason=reason,
        note=found.note,
    )
