"""How much moves, camera and scene together: VBench's dynamic-degree statistic on another optical flow.

VBench (arXiv 2311.17982, vbench/dynamic_degree.py of 0.1.5): every round(fps / 8)-th frame; RAFT flow between
neighbours; of each pair the mean of the largest 5 % of the flow's lengths; a pair counts if that exceeds
6 px * short side / 256; a video of n frames is dynamic if at least round(n / 4) pairs count. RAFT's weights are no
part of this package: ours is the DIS flow of OpenCV (Kroeger et al. 2016), so these are *not* VBench's numbers, and are
not called so. The real ones: `metrics.vbench`.
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError

SAMPLED_FPS, TOP_SHARE = 8, 0.05
THRESHOLD_PX, REFERENCE_PX = 6.0, 256.0
"""A pair counts above so many pixels, of a short side of so many."""
MIN_SIDE_PX = 128
"""Smaller frames are enlarged: DIS looks at patches of 8 px on a pyramid."""


class FlowMotion(NamedTuple):
    """Of one video."""

    motion_px: float
    """Mean over the pairs of the mean length of the largest 5 %, in pixels of a frame whose short side is 256."""
    dynamic: bool
    """VBench's rule."""


def flow_motion(video: Float[Tensor, "T 3 H W"], fps: float) -> FlowMotion:
    """Of a video in 0..1. Raises InputError for fewer than two sampled frames or a rate that is not positive."""
    if fps <= 0:
        raise InputError(f"Frames per second must be positive, not {fps}.")
    sampled = video[:: max(1, round(fps / SAMPLED_FPS))]
    if len(sampled) < 2:
        raise InputError(f"Motion needs two frames at {SAMPLED_FPS} per second; the video has {len(video)} at {fps}.")
    frames, scale = _grey(sampled)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = (flow.calc(a, b, np.zeros((*a.shape, 2), np.float32)) for a, b in pairwise(frames))  # it fills what it gets
    lengths = [_top_mean(np.linalg.norm(one, axis=-1)) * scale for one in flows]
    return FlowMotion(float(np.mean(lengths)), is_dynamic(lengths, len(frames)))


def is_dynamic(lengths_px: list[float], num_frames: int) -> bool:
    """VBench's rule. lengths_px: of every pair, in pixels of a short side of 256."""
    return sum(length > THRESHOLD_PX for length in lengths_px) >= round(num_frames / 4)


def _top_mean(lengths: np.ndarray) -> float:
    """Mean of the largest 5 %."""
    count = max(1, int(lengths.size * TOP_SHARE))
    return float(np.partition(lengths, lengths.size - count, axis=None)[-count:].mean())


def _grey(video: Float[Tensor, "T 3 H W"]) -> tuple[list[np.ndarray], float]:
    """8-bit frames, and what a pixel of theirs is of a short side of 256."""
    factor = max(1.0, MIN_SIDE_PX / min(video.shape[-2:]))
    video = video.detach().float().cpu().clamp(0, 1)
    if factor > 1:
        size = [round(side * factor) for side in video.shape[-2:]]
        video = F.interpolate(video, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
    pixels = (video * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pixels], REFERENCE_PX / min(video.shape[-2:])
