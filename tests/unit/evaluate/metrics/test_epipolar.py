"""The Sampson error: hand-computed distances, exact geometry, and videos of known damage."""

import math

import cv2
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.metrics.epipolar import epipolar_error, sampson_px
from worldr1.geometry.pinhole import project
from worldr1.geometry.se3 import inverse
from worldr1.mini.render import render
from worldr1.mini.scenes import sample_scenes
from worldr1.pretrain.corpus import warp
from worldr1.types import intrinsics_px

HEIGHT, WIDTH, FRAMES = 112, 176, 9


@pytest.fixture(scope="module")
def orbit() -> Tensor:
    """A clean clip of a room without repeated patterns."""
    scenes = sample_scenes(24, generator=torch.Generator().manual_seed(3))[4:5]
    path = synthesize(("orbit_left",), FRAMES).world_from_camera
    return render(scenes, path[None], height=HEIGHT, width=WIDTH).video[0]


def texture(seed: int, height: int = HEIGHT, width: int = 2 * WIDTH) -> Tensor:
    """Rich and without repetition: noise of two scales."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    fine = torch.rand(1, 3, height // 2, width // 2, generator=generator)
    up = [torch.nn.functional.interpolate(x, (height, width), mode="bicubic") for x in (coarse, fine)]
    return (0.6 * up[0] + 0.4 * up[1])[0].clamp(0, 1)


def sideways(*speeds_px: int, hop_px: int = 0) -> Tensor:
    """A camera that goes sideways past bands of textures, the lowest the nearest: a rigid scene of as many planes.

    hop_px: the second band hops down by so much in every fourth frame.
    """
    band = HEIGHT // len(speeds_px)
    pictures = [texture(seed, band + 8) for seed in range(len(speeds_px))]
    frames = []
    for i in range(FRAMES):
        tops = [4 - (hop_px if index == 1 and i % 4 == 0 else 0) for index in range(len(speeds_px))]
        parts = [
            picture[:, top : top + band, i * speed : i * speed + WIDTH]
            for picture, top, speed in zip(pictures, tops, speeds_px, strict=True)
        ]
        frames.append(torch.cat(parts, 1))
    return torch.stack(frames)


def essential(rotation: Tensor, translation: Tensor) -> Tensor:
    x, y, z = translation.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64) @ rotation


def test_sampson_distance_by_hand() -> None:
    # a camera that goes sideways: lines are rows, 3 px apart in y
    rows = torch.tensor([[0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    first, second = torch.tensor([[10.0, 20.0], [1.0, 2.0]]).double(), torch.tensor([[14.0, 23.0], [9.0, 2.0]]).double()
    torch.testing.assert_close(sampson_px(first, second, rows), torch.tensor([3 / math.sqrt(2), 0.0]).double())
    # y = 2 y': residual 10 - 2 * 3, slopes 2 and 1; the figure does not depend on the matrix's scale
    halved = torch.tensor([[0, 0, 0], [0, 0, -2], [0, 1, 0]], dtype=torch.float64)
    point, match = torch.tensor([[0.0, 10.0]]).double(), torch.tensor([[5.0, 3.0]]).double()
    for scale in (1.0, -1e-3):
        assert float(sampson_px(point, match, scale * halved)) == pytest.approx(4 / math.sqrt(5))


@given(seed=st.integers(0, 10_000), off_px=st.floats(0.01, 3.0))
def test_exact_matches_have_none_and_noise_across_the_line_counts(seed: int, off_px: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(30, 3, generator=generator, dtype=torch.float64)
    points = (draw - torch.tensor([0.5, 0.5, 0.0])) * torch.tensor([2.0, 1.5, 3.0]) + torch.tensor([0.0, 0.0, 1.5])
    tokens = ("pull_left", "orbit_right", "push_in")[seed % 3]
    second_from_first = inverse(synthesize((tokens,), 5).world_from_camera)[1 + seed % 4]
    k = intrinsics_px(HEIGHT, WIDTH)
    first, _ = project(points, k)
    second, _ = project(points @ second_from_first[:3, :3].T + second_from_first[:3, 3], k)
    back = torch.linalg.inv(k)
    fundamental = back.T @ essential(second_from_first[:3, :3], second_from_first[:3, 3]) @ back
    assert float(sampson_px(first, second, fundamental).max()) < 1e-9
    homogeneous = torch.cat((first, torch.ones(30, 1)), 1)
    lines = homogeneous @ fundamental.T
    normals = lines[:, :2] / lines[:, :2].norm(dim=1, keepdim=True)
    moved = second + off_px * normals
    slope = (torch.cat((moved, torch.ones(30, 1)), 1) @ fundamental)[:, :2].norm(dim=1)
    forward = lines[:, :2].norm(dim=1)
    torch.testing.assert_close(
        sampson_px(first, moved, fundamental), off_px * forward / (forward.square() + slope.square()).sqrt()
    )


def test_a_rigid_scene_of_two_depths_has_next_to_none() -> None:
    found = epipolar_error(sideways(3, 6))
    assert found is not None and found.error_px < 0.05 and not found.degenerate
    assert found.num_pairs == FRAMES - 2 and found.num_matches > 20 * found.num_pairs


def test_a_part_that_hops_costs_its_share() -> None:
    """A third of the points 2 px off their rows in 4 of 7 pairs: 0.27 px on average if the rest are fitted."""
    clean, hopping = epipolar_error(sideways(3, 5, 6)), epipolar_error(sideways(3, 5, 6, hop_px=2))
    assert clean is not None and hopping is not None
    assert clean.error_px < 0.05 and hopping.error_px == pytest.approx(2 / math.sqrt(2) / 3 * 4 / 7, rel=0.3)


def test_warps_grow_the_error_of_a_mini_clip(orbit: Tensor) -> None:
    errors = []
    for amplitude_px in (0.0, 1.0, 4.0):
        damaged = warp(orbit[None], torch.tensor([amplitude_px]), torch.Generator().manual_seed(0))[0]
        found = epipolar_error(damaged)
        assert found is not None and not found.degenerate
        errors.append(found.error_px)
    assert errors[0] < 0.3 and errors[0] + 0.15 < errors[1] < errors[2] - 0.15


def test_the_figure_is_repeatable_whatever_opencv_drew_before(orbit: Tensor) -> None:
    warped = warp(orbit[None], torch.tensor([3.0]), torch.Generator().manual_seed(0))[0]
    first = epipolar_error(warped)
    cv2.setRNGSeed(12345)
    assert first == epipolar_error(warped) and first is not None


def test_still_and_turning_and_flat_are_degenerate(orbit: Tensor) -> None:
    still = epipolar_error(orbit[:1].expand(FRAMES, -1, -1, -1))
    flat = epipolar_error(sideways(4, 4))
    assert still is not None and still.degenerate and still.error_px < 1e-6
    assert flat is not None and flat.degenerate and flat.error_px < 0.1


def test_nothing_to_match_is_none(orbit: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    assert epipolar_error(torch.full_like(orbit, 0.5)) is None
    assert epipolar_error(torch.rand(orbit.shape, generator=generator)) is None
    assert epipolar_error(orbit, mask=torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)) is None


def test_a_mask_leaves_an_overlay_out() -> None:
    clean = sideways(3, 6)
    covered = clean.clone()
    covered[:, :, 20:76, 60:110] = texture(3, 56, 50)  # stands still while the scene moves, which breaks no line,
    covered[1::2, :, 20:76, 60:110] = covered[1::2, :, 20:76, 60:110].roll(3, dims=2)  # and hops up and down
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[12:84, 52:118] = False
    seen, hidden = epipolar_error(covered[:6]), epipolar_error(covered[:6], mask=mask)
    assert seen is not None and hidden is not None
    assert hidden.error_px < 0.05 and seen.error_px > 3 * hidden.error_px


def test_wrong_input_is_refused(orbit: Tensor) -> None:
    with pytest.raises(InputError, match="at least 2"):
        epipolar_error(orbit[:1])
    with pytest.raises(InputError, match="mask"):
        epipolar_error(orbit, mask=torch.ones(3, 4, dtype=torch.bool))
