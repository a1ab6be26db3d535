"""RotErr, TransErr and CamMC of paths that can be summed by hand."""

import math

import pytest
import torch
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.metrics.camera_path import camera_path_metrics, camera_sums
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.types import Reconstruction, Trajectory, intrinsics_px


def path(x: list[float], yaw_deg: list[float] | None = None) -> Tensor:
    angles = torch.tensor(yaw_deg or [0.0] * len(x), dtype=torch.float64).deg2rad()
    zero = torch.zeros(len(x), dtype=torch.float64)
    return make_pose(rotation_y(angles), torch.stack([torch.tensor(x, dtype=torch.float64), zero, zero], -1))


def test_each_path_is_scaled_by_its_own_length() -> None:
    """[0, 1, 4] / 4 against [0, 0.1, 0.2] / 0.2: |0.25 - 0.5| + |1 - 1|."""
    found = camera_sums(path([0, 1, 4]), path([0, 0.1, 0.2]))
    assert found == {
        "rot_err_sum_rad": pytest.approx(0, abs=1e-9),
        "trans_err_sum": pytest.approx(0.25),
        "cam_mc_sum": pytest.approx(0.25),
    }


def test_rotations_are_summed_in_radians_and_cam_mc_takes_both() -> None:
    """Turned by 10 and 20 degrees; |R - I|_F of a turn by a is 2 sqrt(2) sin(a / 2)."""
    found = camera_sums(path([0, 1, 2], [0, 10, 20]), path([0, 1, 2]))
    turns = [math.radians(10), math.radians(20)]
    assert found["rot_err_sum_rad"] == pytest.approx(sum(turns))
    assert found["trans_err_sum"] == pytest.approx(0)
    assert found["cam_mc_sum"] == pytest.approx(sum(2 * math.sqrt(2) * math.sin(a / 2) for a in turns))


def test_cam_mc_is_one_norm_of_rotation_and_translation() -> None:
    found = camera_sums(path([0, 0.5, 1], [0, 90, 0]), path([0, 1, 1]))
    assert found["cam_mc_sum"] == pytest.approx(math.sqrt(4 + 0.25))  # |R - I|_F = 2 of a right angle


def test_requests_that_go_nowhere_are_named_apart_and_jitter_is_not_blown_up() -> None:
    """A pan with 0.022 depth units of drift: a tenth of the 0.22 that drift is divided by."""
    found = camera_sums(path([0, 0.011, 0.022], [0, 5, 10]), path([0, 0, 0], [0, 5, 10]))
    assert set(found) == {"rot_err_sum_rad", "trans_err_sum_still", "cam_mc_sum_still"}
    assert found["trans_err_sum_still"] == pytest.approx(0.05 + 0.1)


def test_a_camera_that_never_moved_on_a_moving_request_has_finite_errors() -> None:
    found = camera_sums(path([0, 0, 0]), path([0, 1, 2]))
    assert found["trans_err_sum"] == pytest.approx(1.5)


def test_paths_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="3 frames but its requested path has 2"):
        camera_sums(path([0, 1, 2]), path([0, 1]))


def lifted(poses: Tensor) -> Reconstruction:
    shape = (len(poses), 8, 12)
    intrinsics = intrinsics_px(8, 12).expand(len(poses), 3, 3)
    return Reconstruction(
        world_from_camera=poses, depth=torch.full(shape, 2.0), intrinsics_px=intrinsics, confidence=torch.ones(shape)
    )


def test_a_right_path_in_another_scale_has_no_error() -> None:
    requested = synthesize(("orbit_left",), 5)
    poses = requested.world_from_camera.clone()
    poses[:, :3, 3] *= 2  # the depth is 2: in depth units it is the request
    found = camera_path_metrics(lifted(poses), requested)
    assert found.pop("travel_ratio") == pytest.approx(1)
    assert found.pop("travel_deg") == pytest.approx(24)
    assert found.pop("travel_depth_units") == pytest.approx(2 * math.sin(math.radians(12)))
    assert found == {name: pytest.approx(0, abs=1e-6) for name in found} and "cam_mc_sum" in found


def test_without_a_request_there_is_travel_alone() -> None:
    assert set(camera_path_metrics(lifted(path([0, 1, 2])), None)) == {"travel_depth_units", "travel_deg"}


def test_a_request_need_not_start_at_the_identity() -> None:
    start = path([7.0], [30.0])[0]
    requested = Trajectory(world_from_camera=start @ path([0, 1, 2]))
    found = camera_path_metrics(lifted(path([0, 2, 4])), requested)
    assert found["trans_err_sum"] == pytest.approx(0, abs=1e-6) and found["rot_err_sum_rad"] < 1e-6
