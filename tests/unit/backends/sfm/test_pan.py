"""Rotations from tracks alone."""

import numpy as np
import pytest
from synthetic_tracks import FOCAL_PX, path, project

from worldr1.backends.sfm.estimate import rotation_gap_deg
from worldr1.backends.sfm.pan import solve_rotation


@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_exact_rotations(outliers: float) -> None:
    truth = path("pan")
    found = solve_rotation(project(truth, outliers=outliers), FOCAL_PX)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.02
    assert np.allclose(np.linalg.det(found.world_from_camera[:, :3, :3]), 1)
    assert not found.world_from_camera[:, :3, 3].any()


def test_errors_are_pixels_and_find_the_outliers() -> None:
    exact = solve_rotation(project(path("pan")), FOCAL_PX)
    noisy = solve_rotation(project(path("pan"), noise_px=0.3), FOCAL_PX)
    assert exact.errors_px.max() < 0.05
    assert 0.2 < np.sqrt((noisy.errors_px**2).mean() / 2) < 0.32
    wrong = solve_rotation(project(path("pan"), outliers=0.3), FOCAL_PX)
    assert 0.2 < (wrong.errors_px > 2).mean() < 0.4


def test_a_moving_camera_is_not_explained() -> None:
    assert solve_rotation(project(path("move")), FOCAL_PX).cost_px2 > 1
