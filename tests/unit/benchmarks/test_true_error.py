"""The true error of damages for which it can be said by hand."""

import math

import pytest
import torch
from damage_table import Case
from torch import Tensor
from true_error import Damage, Geometry, true_error

FRAMES, HEIGHT, WIDTH = 17, 64, 96


@pytest.fixture(scope="module")
def geometry() -> Geometry:
    clips = Case(1, seed=3).film(moves=["move_right"])
    return Geometry(depth=clips.depth[0], sky=clips.sky[0], world_from_camera=clips.world_from_camera[0])


def damage(field: Tensor | float = 0.0, source: Tensor | None = None) -> Damage:
    field = torch.zeros(FRAMES, 2, HEIGHT, WIDTH) + field
    return Damage(kind="", strength=0, source=torch.arange(FRAMES) if source is None else source, displacement_px=field)


def wall() -> Geometry:
    """A wall one depth unit ahead of a camera that stands still."""
    shape = (FRAMES, HEIGHT, WIDTH)
    return Geometry(
        depth=torch.ones(shape),
        sky=torch.zeros(shape, dtype=torch.bool),
        world_from_camera=torch.eye(4).expand(FRAMES, 4, 4),
    )


def test_what_is_not_damaged_has_no_error(geometry: Geometry) -> None:
    found = true_error(geometry, damage())
    assert found.error_px < 1e-6 and found.deformation_px < 1e-6 and found.lost == 0


def test_a_displacement_that_all_frames_share_is_no_error(geometry: Geometry) -> None:
    assert true_error(geometry, damage(2.0)).error_px < 1e-6


def test_two_halves_apart_by_three_pixels() -> None:
    """9 frames at 0 and 8 at 3 px: 72 of 136 pairs differ by 3."""
    field = torch.zeros(FRAMES, 2, 1, 1)
    field[9:, 0] = 3.0
    found = true_error(wall(), damage(field))
    # points within 3 px of the border are seen by one half only and have no pairs across: compare loosely
    assert found.error_px == pytest.approx(3 * math.sqrt(72 / 136), rel=0.03)
    assert found.deformation_px < 1e-6, "a wall moved sideways is a camera that moved"


def test_what_no_camera_explains_stays() -> None:
    """The upper half slides by 2 px from the second half of the clip on."""
    field = torch.zeros(FRAMES, 2, HEIGHT, WIDTH)
    field[9:, 0, : HEIGHT // 2] = 2.0
    found = true_error(wall(), damage(field))
    assert found.error_px == pytest.approx(2 * math.sqrt(72 / 136 / 2), rel=0.05)
    assert found.deformation_px > 0.25 * found.error_px


def test_the_shown_position_undoes_the_displacement() -> None:
    """b = 0.1 x in later frames: the point of clean x is shown at x / 1.1."""
    x = torch.arange(WIDTH) + 0.5
    field = torch.zeros(FRAMES, 2, HEIGHT, WIDTH)
    field[9:, 0] = 0.1 * x
    points = torch.arange(2, WIDTH, 4) + 0.5
    moved = points - points / 1.1
    expected = math.sqrt(float(moved.square().mean()) * 72 / 136)
    assert true_error(wall(), damage(field)).error_px == pytest.approx(expected, rel=0.01)


def test_another_order_is_another_camera_and_no_deformation(geometry: Geometry) -> None:
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    found = true_error(geometry, damage(source=order))
    assert found.error_px > 3 and found.deformation_px < 0.02


def test_a_still_clip_has_the_true_flow_as_error(geometry: Geometry) -> None:
    """The camera goes 0.22 to the right at constant speed: a point at depth z moves 1.2 x 96 x 0.22 / z pixels in all,
    and the rms of |i - j| / 16 over pairs is known."""
    found = true_error(geometry, damage(source=torch.zeros(FRAMES, dtype=torch.long)))
    i = torch.arange(FRAMES).double() / 16
    pairs = (i[:, None] - i).square().sum() / (FRAMES * (FRAMES - 1))
    keep = ~geometry.sky[0]
    grid = (slice(2, None, 4), slice(2, None, 4))
    flow = (1.2 * WIDTH * 0.22 / geometry.depth[0])[grid][keep[grid]].double()
    assert found.error_px == pytest.approx(math.sqrt(float(flow.square().mean() * pairs)), rel=0.1)
    assert found.deformation_px < 0.02


def test_folds_are_lost_and_not_guessed() -> None:
    x = torch.arange(WIDTH) + 0.5
    field = torch.zeros(FRAMES, 2, HEIGHT, WIDTH)
    field[9:, 0] = -8 * torch.sin(x / 2)
    assert true_error(wall(), damage(field)).lost > 0.1


def test_a_hidden_point_does_not_count() -> None:
    """Something near covers the left half in frames that give no points; there the picture jumps by 3 px, which nobody
    sees."""
    geometry, frames = wall(), [9, 10, 11, 13, 14, 15]
    depth = geometry.depth.clone()
    depth[frames, :, : WIDTH // 2] = 0.5
    field = torch.zeros(FRAMES, 2, HEIGHT, WIDTH)
    field[frames, 0, :, : WIDTH // 2 - 4] = 3.0
    hidden = Geometry(depth=depth, sky=geometry.sky, world_from_camera=geometry.world_from_camera)
    all_seen, some = true_error(geometry, damage(field)), true_error(hidden, damage(field))
    assert all_seen.error_px > 1 and some.error_px < 0.25 * all_seen.error_px
