"""What the 3D model is trained towards, against brute force."""

import math

import pytest
import torch

from worldr1.camera.trajectory import synthesize
from worldr1.mini.networks.reconstructor import Geometry
from worldr1.pretrain.reconstructor import CELL, Truth, geometry_loss, true_matches
from worldr1.types import FOCAL_PER_WIDTH

HEIGHT, WIDTH, FRAMES = 16, 24, 3


def _clip(*moves: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth = 0.7 + torch.rand(len(moves), FRAMES, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    return depth, torch.stack([synthesize((move,), FRAMES).world_from_camera for move in moves])


def test_true_matches_equal_a_projection_point_by_point() -> None:
    depth, poses = _clip("orbit_left", "pull_right")
    matches, matched = true_matches(depth, poses)
    assert matches.shape == (2, FRAMES, 4, HEIGHT // CELL, WIDTH // CELL)
    focal = FOCAL_PER_WIDTH * WIDTH
    outside = 0
    for b in range(2):
        for t in range(FRAMES):
            for row in range(HEIGHT // CELL):
                for column in range(WIDTH // CELL):
                    v, u = row * CELL + CELL // 2, column * CELL + CELL // 2
                    z = float(depth[b, t, v, u])
                    x, y = u + 0.5, v + 0.5
                    right, down = (x - WIDTH / 2) / focal * z, (y - HEIGHT / 2) / focal * z
                    point = torch.tensor([right, down, z, 1.0], dtype=torch.float64)
                    inside = True
                    for k, reference in enumerate((0, max(t - 1, 0))):
                        seen = torch.linalg.inv(poses[b, reference]) @ poses[b, t] @ point
                        found_x = float(seen[0] / seen[2]) * focal + WIDTH / 2
                        found_y = float(seen[1] / seen[2]) * focal + HEIGHT / 2
                        inside &= 0 <= found_x < WIDTH and 0 <= found_y < HEIGHT
                        expected = [(found_x - x) / CELL, (found_y - y) / CELL]
                        assert matches[b, t, 2 * k : 2 * k + 2, row, column].tolist() == pytest.approx(
                            expected, abs=1e-9
                        )
                    assert bool(matched[b, t, 0, row, column]) == inside
                    outside += not inside
    assert 0 < outside < 2 * FRAMES * 24


def _truth(offset_z: float = 0.0) -> tuple[Geometry, Truth]:
    depth, poses = _clip("push_in", "pan_left")
    matches, matched = true_matches(depth, poses)
    sky = torch.zeros_like(depth)
    sky[:, :, :2] = 1
    truth = Truth(depth.log(), sky, poses, matches, matched)
    found = torch.cat([matches[:, :, :2], matched, matches[:, :, 2:], matched], 2)
    moved = poses.clone()
    moved[:, 1:, 2, 3] += offset_z
    perfect = Geometry(depth.log(), 60 * (sky - 0.5), torch.full_like(depth, -6.0), moved, found)
    return perfect, truth


def test_the_truth_has_no_loss_but_its_error_estimate() -> None:
    loss, log = geometry_loss(*_truth())
    assert all(float(value) == pytest.approx(0, abs=1e-9) for value in log.values()), log
    assert float(loss) == pytest.approx(0.05 * -6)


def test_each_error_is_seen_in_its_own_number() -> None:
    _, log = geometry_loss(*_truth(offset_z=0.1))
    assert float(log["translation"]) == pytest.approx(0.1)
    assert float(log["rotation_deg"]) == pytest.approx(0, abs=1e-6)
    perfect, truth = _truth()
    deeper = Geometry(
        perfect.log_depth + 0.2, perfect.sky_logit, perfect.log_error, perfect.world_from_camera, perfect.matches
    )
    assert float(geometry_loss(deeper, truth)[1]["log_depth"]) == pytest.approx(0.2)
    still = torch.eye(4).double().expand_as(perfect.world_from_camera)
    unmoved = Geometry(perfect.log_depth, perfect.sky_logit, perfect.log_error, still, perfect.matches)
    log = geometry_loss(unmoved, truth)[1]
    # frames 1 and 2 of 3: half of the way and all of it; one clip moves 0.6, the other pans 14 degrees
    assert float(log["translation"]) == pytest.approx(0.6 * 0.75 / 2)
    assert float(log["rotation_deg"]) == pytest.approx(14 * 0.75 / 2)


def test_the_error_estimate_is_best_at_the_true_error() -> None:
    perfect, truth = _truth()
    off = perfect.log_depth + 0.2

    def loss(log_error: float) -> float:
        guess = Geometry(
            off,
            perfect.sky_logit,
            torch.full_like(off, log_error),
            perfect.world_from_camera,
            perfect.matches,
        )
        return float(geometry_loss(guess, truth)[0])

    best = loss(math.log(0.2))
    assert best < loss(math.log(0.2) + 0.2)
    assert best < loss(math.log(0.2) - 0.2)
