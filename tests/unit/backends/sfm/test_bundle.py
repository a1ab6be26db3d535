"""Bundle adjustment from guesses finds exact cameras, also among outliers, gaps and from a mirrored start."""

import numpy as np
import pytest
from synthetic_tracks import FOCAL_PX, joined, path, project

from worldr1.backends.sfm.bundle import refined, solve
from worldr1.backends.sfm.egomotion import egomotions
from worldr1.backends.sfm.estimate import path_gap, rotation_gap_deg
from worldr1.backends.sfm.resect import resected
from worldr1.backends.sfm.tracks import Tracks


@pytest.mark.parametrize("kind", ["push", "orbit", "move"])
@pytest.mark.parametrize("outliers", [0.0, 0.2])
def test_exact_points_give_exact_cameras(kind: str, outliers: float) -> None:
    truth = path(kind)
    found = solve(project(truth, num=150, outliers=outliers), FOCAL_PX)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.05
    assert path_gap(truth, found.world_from_camera) < 0.01
    assert np.array_equal(found.world_from_camera[0], np.eye(4))


def test_noise_costs_what_it_should() -> None:
    truth = path("orbit")
    found = solve(project(truth, noise_px=0.2), FOCAL_PX)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.5
    assert path_gap(truth, found.world_from_camera) < 0.03
    assert 0.5 * 2 * 0.2**2 < found.cost_px2 < 2 * 0.2**2  # two numbers per observation; a part goes into the fit


def test_it_is_the_same_bit_for_bit() -> None:
    tracks = project(path("push"), num=80, noise_px=0.2)
    first, second = solve(tracks, FOCAL_PX), solve(tracks, FOCAL_PX)
    assert np.array_equal(first.world_from_camera, second.world_from_camera)
    assert np.array_equal(first.points, second.points)


def test_a_mirrored_start_is_turned_round() -> None:
    truth = path("move")
    mirrored = truth.copy()
    mirrored[:, :3, 3] *= -1
    found = refined(project(truth), mirrored, FOCAL_PX)
    forward = (truth[1:, :3, 3] * found.world_from_camera[1:, :3, 3]).sum()
    assert forward > 0 and path_gap(truth, found.world_from_camera) < 0.01
    assert np.median(found.points[:, 2]) > 0


def test_points_at_infinity_do_not_swallow_the_scale() -> None:
    truth = path("move")
    near, sky = project(truth, num=60, noise_px=0.1), project(path("still"), num=200, noise_px=0.1, seed=1)
    places = np.concatenate([_places(near), _places(sky)], axis=1)
    found = solve(joined(places, np.isfinite(places[..., 0])), FOCAL_PX)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.1
    assert path_gap(truth, found.world_from_camera) < 0.05
    assert np.isfinite(found.points).all() and found.errors_px.max() < 2


def test_a_frame_that_loses_most_points_and_gaps_in_tracks_are_bridged() -> None:
    truth = path("orbit")
    places = _places(project(truth, num=80))
    seen = np.isfinite(places[..., 0])
    seen[7, 5:] = False
    seen[3:5, ::3] = False
    found = solve(joined(places, seen), FOCAL_PX)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.05


def test_a_frame_without_points_stays_finite() -> None:
    truth = path("move")
    places = _places(project(truth, num=80))
    seen = np.isfinite(places[..., 0])
    seen[9] = False
    found = solve(joined(places, seen), FOCAL_PX)
    assert np.isfinite(found.world_from_camera).all()
    others = np.arange(len(truth)) != 9
    assert rotation_gap_deg(truth[others], found.world_from_camera[others]) < 0.05


def test_five_frames_are_enough() -> None:
    truth = path("push", num_frames=5)
    assert path_gap(truth, solve(project(truth), FOCAL_PX).world_from_camera) < 0.01


def test_egomotion_knows_the_direction_among_outliers() -> None:
    truth = np.array((0.6, 0.0, 0.8))
    rng = np.random.default_rng(0)
    rays, inverse_depths = rng.uniform(-0.4, 0.4, (100, 2)), rng.uniform(0.3, 1.5, 100)
    step, turn = 0.05, np.array((0.0, 0.01, 0.0))
    points = np.c_[rays, np.ones(100)] / inverse_depths[:, None] - step * truth
    points -= np.cross(turn, points)
    flow = points[:, :2] / points[:, 2:] - rays
    flow[:25] = rng.normal(0, 0.05, (25, 2))
    best, *others = egomotions(rays, flow, 1 / FOCAL_PX, 3)
    assert best.direction @ truth > 0.97
    assert np.linalg.norm(best.rotation_vector - turn) < 0.02
    assert all(best.direction @ other.direction < 0.9 for other in others)


def test_a_camera_is_resected_from_far_off_and_left_alone_with_too_few_points() -> None:
    rng = np.random.default_rng(0)
    truth, guess = path("orbit")[8], np.eye(4)
    points = np.c_[rng.uniform(-1, 1, (40, 2)), rng.uniform(1, 3, 40)]
    local = points @ np.linalg.inv(truth)[:3, :3].T + np.linalg.inv(truth)[:3, 3]
    rays = local[:, :2] / local[:, 2:]
    rays[:6] += 0.2
    found, cost = resected(points, rays, guess, FOCAL_PX)
    assert np.abs(found - truth).max() < 1e-3 and cost > 0.5
    assert np.array_equal(resected(points[:5], rays[:5], guess, FOCAL_PX)[0], guess)


def _places(tracks: Tracks) -> np.ndarray:
    return np.stack([tracks.places(frame) for frame in range(tracks.num_frames)])
