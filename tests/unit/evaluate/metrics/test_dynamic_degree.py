"""VBench's statistic on pictures that slide by a known number of pixels."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worldr1.errors import InputError
from worldr1.evaluate.metrics.dynamic_degree import flow_motion, is_dynamic

SIDE = 128


def texture() -> Tensor:
    coarse = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (SIDE, 192), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def sliding(px: int, frames: int = 9, height: int = SIDE) -> Tensor:
    """The uppermost `height` rows slide right by so many pixels a frame; the others stand."""
    image = texture()
    video = torch.stack([image.clone() for _ in range(frames)])
    for i in range(frames):
        video[i, :, :height] = image.roll(px * i, -1)[:, :height]
    return video


def test_a_still_video_has_none() -> None:
    found = flow_motion(sliding(0), 8)
    assert found.motion_px == 0 and not found.dynamic


def test_lengths_are_pixels_of_a_short_side_of_256() -> None:
    """4 px of 128 are 8 of 256: above the threshold of 6."""
    found = flow_motion(sliding(4), 8)
    assert found.motion_px == pytest.approx(8, rel=0.15) and found.dynamic


def test_the_largest_five_percent_decide() -> None:
    """A strip of a tenth of the picture slides: the mean flow is small, the statistic is not."""
    assert flow_motion(sliding(4, height=16), 8).motion_px > 5


def test_small_frames_are_enlarged_and_measured_alike() -> None:
    small = F.interpolate(sliding(4), scale_factor=0.5, mode="area")
    assert flow_motion(small, 8).motion_px == pytest.approx(flow_motion(sliding(4), 8).motion_px, rel=0.2)


def test_frames_are_sampled_at_eight_per_second() -> None:
    """24 frames per second: every third one, so three times the motion."""
    once, thrice = flow_motion(sliding(1, 13), 8), flow_motion(sliding(1, 13), 24)
    assert thrice.motion_px == pytest.approx(3 * once.motion_px, rel=0.2)


def test_a_quarter_of_the_frames_must_move() -> None:
    """16 frames: 4 pairs above 6 px are enough, 3 are not, and 6 px itself is not above."""
    assert is_dynamic([7.0] * 4 + [0.0] * 11, 16)
    assert not is_dynamic([7.0] * 3 + [6.0] * 12, 16)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="positive"):
        flow_motion(sliding(0), 0)
    with pytest.raises(InputError, match="two frames"):
        flow_motion(sliding(0, 2), 24)
