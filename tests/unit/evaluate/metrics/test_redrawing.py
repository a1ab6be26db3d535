"""PSNR, SSIM and perceptual distance of a flat wall of known greys, by hand."""

import math

import pytest
import torch
from torch import Tensor

from worldr1.evaluate.metrics import JudgedClip, measure
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, intrinsics_px

FRAMES, HEIGHT, WIDTH = 5, 24, 32


def wall(greys: list[float]) -> JudgedClip:
    """A grey wall one unit ahead of a camera that stands still, another grey in every frame."""
    video = torch.tensor(greys)[:, None, None, None].expand(len(greys), 3, HEIGHT, WIDTH).contiguous()
    found = Reconstruction(
        world_from_camera=torch.eye(4).expand(len(greys), 4, 4),
        depth=torch.ones(len(greys), HEIGHT, WIDTH),
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).expand(len(greys), 3, 3),
        confidence=torch.ones(len(greys), HEIGHT, WIDTH),
    )
    return JudgedClip(video=video, fps=8, reconstruction=found)


class MeanDifference:
    """A perceptual distance that can be computed by hand."""

    licence = "none"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((1, 2, 3))


def test_held_out_frames_are_drawn_from_the_even_ones() -> None:
    """Even frames 0.5, odd ones 0.6: 20 dB, and SSIM is its luminance term alone."""
    names = ["psnr_holdout_db", "ssim_holdout", "perceptual_holdout", "coverage"]
    clip = wall([0.5, 0.6, 0.5, 0.6, 0.5])
    found = measure([clip], renderer=SplatRenderer(), perceptual=MeanDifference(), names=names)[0]
    c1 = 0.01**2
    assert found["psnr_holdout_db"] == pytest.approx(20.0, abs=0.01)
    assert found["ssim_holdout"] == pytest.approx((2 * 0.5 * 0.6 + c1) / (0.5**2 + 0.6**2 + c1), abs=1e-3)
    assert found["perceptual_holdout"] == pytest.approx(0.1, abs=1e-3)
    assert found["coverage"] == 1.0
    assert list(found) == ["psnr_holdout_db", "ssim_holdout", "perceptual_holdout", "coverage"]


def test_all_frames_are_partly_compared_with_themselves() -> None:
    """All frames' Gaussians lie in one place: the first ones are seen, by every frame."""
    names = ["psnr_all_db", "psnr_holdout_db", "coverage_all"]
    clip = wall([0.5, 0.6, 0.5, 0.6, 0.5])
    found = measure([clip], renderer=SplatRenderer(), names=names)[0]
    # drawn is one grey g between 0.5 and 0.6: (3 (g - 0.5)^2 + 2 (g - 0.6)^2) / 5 is at least 0.0024 and below 0.006
    assert -10 * math.log10(0.006) < found["psnr_all_db"] <= -10 * math.log10(0.0024) + 0.01
    assert found["psnr_all_db"] > found["psnr_holdout_db"]
    assert found["coverage_all"] == 1.0


def test_without_a_network_there_is_no_perceptual_distance() -> None:
    found = measure([wall([0.5] * 5)], renderer=SplatRenderer(), names=["psnr_all_db", "perceptual_all"])[0]
    assert list(found) == ["psnr_all_db"] and found["psnr_all_db"] > 50
