"""Lifting reconstructions that bring Gaussians of their own: frames, confidence, and videos of both kinds together."""

from dataclasses import replace

import pytest
import torch

from worldr1.errors import InputError
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth, lift_videos
from worldr1.types import Gaussians, Reconstruction, intrinsics_px

FRAMES, HEIGHT, WIDTH = 4, 3, 5
PIXELS = FRAMES * HEIGHT * WIDTH
CONFIG = LiftConfig(stride_px=2, min_confidence=0.2)
"""Strides and scales are for lifted depth: own Gaussians must not care."""


def numbered() -> Gaussians:
    """Gaussian n says n everywhere, so that every one can be told."""
    n = torch.arange(PIXELS, dtype=torch.float64)
    quats = torch.stack([torch.ones_like(n), n, n, n], -1)
    columns = n[:, None].repeat(1, 3)
    return Gaussians(means=columns, quats=quats, scales=columns + 0.5, opacities=n / PIXELS, colors=columns / PIXELS)


def reconstruction(gaussians: Gaussians | None) -> Reconstruction:
    """A wall with steps in depth, so that lifting it would drop edges."""
    depth = torch.ones(FRAMES, HEIGHT, WIDTH)
    depth[:, :, 2:] = 3.0
    return Reconstruction(
        world_from_camera=torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1),
        depth=depth,
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).repeat(FRAMES, 1, 1),
        confidence=torch.ones(FRAMES, HEIGHT, WIDTH),
        gaussians=gaussians,
    )


VIDEO = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def test_the_chosen_frames_give_their_gaussians_in_the_order_of_the_choice() -> None:
    scene = gaussians_from_depth(VIDEO, reconstruction(numbered()), [2, 0], config=CONFIG)
    per_frame = HEIGHT * WIDTH
    chosen = torch.cat([torch.arange(2 * per_frame, 3 * per_frame), torch.arange(per_frame)])
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(scene, name), getattr(numbered(), name)[chosen].float())


def test_low_confidence_is_dropped_and_sky_kept() -> None:
    found = reconstruction(numbered())
    confidence = found.confidence.clone()
    confidence[1, 2, 3] = 0.19
    confidence[1, 0, 1] = 0.2
    confidence[1, 1, 4] = 0.0
    scene = gaussians_from_depth(VIDEO, replace(found, confidence=confidence), [1], config=CONFIG)
    dropped = HEIGHT * WIDTH + 2 * WIDTH + 3
    assert scene.means[:, 0].tolist() == [n for n in range(15, 30) if n != dropped]


def test_videos_with_and_without_keep_their_places() -> None:
    kinds = [reconstruction(None), reconstruction(numbered()), reconstruction(None)]
    videos = [VIDEO, VIDEO.flip(0), VIDEO.flip(1)]
    together = lift_videos(videos, kinds, range(FRAMES), config=CONFIG)
    for scene, video, kind in zip(together, videos, kinds, strict=True):
        alone = gaussians_from_depth(video, kind, range(FRAMES), config=CONFIG)
        torch.testing.assert_close(scene.means, alone.means)
        torch.testing.assert_close(scene.colors, alone.colors)
    assert len(together[1].means) == PIXELS
    assert len(together[0].means) < PIXELS / 2


def test_another_number_of_gaussians_is_said() -> None:
    few = Gaussians(
        **{name: getattr(numbered(), name)[1:] for name in ("means", "quats", "scales", "opacities", "colors")}
    )
    with pytest.raises(InputError, match="one per pixel, not 59"):
        gaussians_from_depth(VIDEO, reconstruction(few), [0], config=CONFIG)


def test_frames_that_do_not_exist_are_said() -> None:
    with pytest.raises(InputError, match=r"0\.\.3"):
        gaussians_from_depth(VIDEO, reconstruction(numbered()), [4], config=CONFIG)
