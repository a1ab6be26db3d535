"""Depth and pose of the rendered clips are exact: points seen from one frame land where the other frame sees them."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worldr1.camera.trajectory import synthesize
from worldr1.geometry.pinhole import project, unproject
from worldr1.geometry.se3 import inverse
from worldr1.mini.render import FLOOR, Clips, render
from worldr1.mini.scenes import sample_scenes
from worldr1.types import intrinsics_px

HEIGHT, WIDTH, FRAMES, SCENES = 48, 72, 3, 8
PAIRS = list(itertools.permutations(range(FRAMES), 2))


@pytest.fixture(scope="module", params=["orbit_left", "push_in", "pull_right", "pan_left"])
def clips(request: pytest.FixtureRequest) -> Clips:
    scenes = sample_scenes(SCENES, generator=torch.Generator().manual_seed(5))
    paths = synthesize((request.param,), FRAMES).world_from_camera.float().expand(SCENES, -1, -1, -1)
    return render(scenes, paths, height=HEIGHT, width=WIDTH, supersample=1)


def _land(clips: Clips, source: int, target: int, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Where the points of frame `source` land in frame `target`: as a `grid_sample` grid, and their z-depth there."""
    k = intrinsics_px(HEIGHT, WIDTH).expand(SCENES, 3, 3)
    points = unproject(clips.depth[:, source].double(), k)
    relative = inverse(poses[:, target]) @ poses[:, source]
    moved = torch.einsum("bij,bhwj->bhwi", relative[:, :3, :3], points) + relative[:, None, None, :3, 3]
    pixels, z = project(moved, k)
    return pixels / torch.tensor([WIDTH, HEIGHT], dtype=torch.float64) * 2 - 1, z


def _sample(maps: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    return F.grid_sample(maps.double(), grid, mode=mode, padding_mode="border", align_corners=False)


def _seen_from_both(clips: Clips, source: int, target: int, grid: Tensor, z: Tensor) -> Tensor:
    """Not sky, inside the target's picture, and not hidden there."""
    inside = (grid.abs() < 1).all(-1) & (z > 0)
    nearest = _sample(clips.depth[:, target, None], grid, "nearest")[:, 0]
    return inside & ~clips.sky[:, source] & ((z / nearest - 1).abs() < 0.03)


def test_planes_are_seen_at_the_same_depth_from_every_frame(clips: Clips) -> None:
    """Inverse depth of a plane is linear in the picture, so interpolating it between pixels is exact."""
    worst, total = 0.0, 0
    for source, target in PAIRS:
        grid, z = _land(clips, source, target, clips.world_from_camera.double())
        found = _sample(1 / clips.depth[:, target, None], grid)[:, 0]
        is_floor = clips.surface == FLOOR
        around = _sample(is_floor[:, target, None], grid)[:, 0] > 0.9999
        both = is_floor[:, source] & around & (grid.abs() < 1 - 2 / HEIGHT).all(-1)
        errors = (z * found - 1).abs()[both]
        worst, total = max(worst, float(errors.quantile(0.999))), total + int(both.sum())
    assert total > 10_000
    assert worst < 2e-5, f"relative depth error {worst:.2e}"


def _colour_errors(clips: Clips, poses: Tensor) -> Tensor:
    errors = []
    for source, target in PAIRS:
        grid, _ = _land(clips, source, target, poses)
        true_grid, z = _land(clips, source, target, clips.world_from_camera.double())
        keep = _seen_from_both(clips, source, target, true_grid, z)
        difference = (_sample(clips.video[:, target], grid) - clips.video[:, source]).abs().mean(1)
        errors.append(difference[keep])
    return torch.cat(errors)


def test_a_point_has_the_same_colour_in_every_frame_that_sees_it(clips: Clips) -> None:
    exact = clips.world_from_camera.double()
    errors = _colour_errors(clips, exact)
    still = torch.eye(4, dtype=torch.float64).expand_as(exact)
    unmoved = _colour_errors(clips, still)
    assert errors.numel() > 30_000
    measured = (
        f"mean colour error {errors.mean():.4f}, median {errors.median():.4f}; without poses {unmoved.mean():.4f}"
    )
    print(measured)
    assert errors.median() < 0.002, measured
    assert errors.mean() < 0.25 * unmoved.mean(), measured
