"""Residual motion of a part of the picture."""

import pytest
import torch

from worldr1.errors import InputError
from worldr1.scene.residual_motion import residual_motion
from worldr1.types import Reconstruction, intrinsics_px

FRAMES, SIZE = 3, 24


def jumping_square() -> tuple[torch.Tensor, Reconstruction, torch.Tensor]:
    """A square that jumps by more than its width before a camera that stands still; and its pixels."""
    video, mask = torch.full((FRAMES, 3, SIZE, SIZE), 0.2), torch.zeros(FRAMES, SIZE, SIZE, dtype=torch.bool)
    for frame in range(FRAMES):
        mask[frame, 10:14, 2 + 6 * frame : 6 + 6 * frame] = True
    video[mask[:, None].expand_as(video)] = 0.8
    found = Reconstruction(
        world_from_camera=torch.eye(4).expand(FRAMES, 4, 4),
        depth=torch.ones(FRAMES, SIZE, SIZE),
        intrinsics_px=intrinsics_px(SIZE, SIZE).expand(FRAMES, 3, 3),
        confidence=torch.ones(FRAMES, SIZE, SIZE),
    )
    return video, found, mask


def test_the_mover_and_the_place_it_left_are_counted() -> None:
    video, found, mask = jumping_square()
    # 16 new pixels and the 16 that it left, of which the 2 x 2 inside have no background near them
    assert residual_motion(video, found, mask) == pytest.approx((16 + 4) * 0.6 / 32, rel=1e-4)


def test_what_moves_outside_the_mask_is_not_counted() -> None:
    video, found, mask = jumping_square()
    elsewhere = torch.zeros_like(mask)
    elsewhere[:, 16:20, 4:20] = True
    assert residual_motion(video, found, elsewhere) == 0.0
    video[1, :, 18, 10] = 0.5
    assert residual_motion(video, found, elsewhere) == pytest.approx(0.3 / (2 * 64), rel=1e-4)


def test_every_pixel_is_the_same_as_no_mask() -> None:
    video, found, mask = jumping_square()
    assert residual_motion(video, found, torch.ones_like(mask)) == residual_motion(video, found)


def test_an_empty_mask_has_no_motion_to_tell() -> None:
    video, found, mask = jumping_square()
    assert residual_motion(video, found, torch.zeros_like(mask)) is None


def test_a_mask_of_another_size_is_refused() -> None:
    video, found, mask = jumping_square()
    with pytest.raises(InputError, match="mask"):
        residual_motion(video, found, mask[:, ::2])
