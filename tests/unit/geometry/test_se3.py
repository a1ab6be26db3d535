"""The laws of rigid poses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import geodesic_rad, inverse, look_at, make_pose, relative_to_first, rotation_y

IDENTITY = torch.eye(4, dtype=torch.float64)


def vectors(bound: float) -> st.SearchStrategy[Tensor]:
    number = st.floats(-bound, bound)
    return st.tuples(number, number, number).map(lambda v: torch.tensor(v, dtype=torch.float64))


def rotation_about(axis_angle: Tensor) -> Tensor:
    x, y, z = axis_angle.tolist()
    return torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))


rotations = vectors(2.0).map(rotation_about)
poses = st.builds(make_pose, rotations, vectors(5.0))
laws = settings(max_examples=40, deadline=None)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    return float((a - b).abs().max()) < tolerance


@laws
@given(poses, poses)
def test_inverse_undoes_and_reverses_products(a: Tensor, b: Tensor) -> None:
    assert close(inverse(a) @ a, IDENTITY)
    assert close(inverse(a @ b), inverse(b) @ inverse(a), 1e-11)
    assert close(inverse(torch.stack((a, b)))[1], inverse(b))  # products of a batch may round otherwise


@laws
@given(poses, poses, poses)
def test_relative_path_starts_at_the_identity_and_forgets_the_world(a: Tensor, b: Tensor, world: Tensor) -> None:
    path = torch.stack((a, b, a))
    relative = relative_to_first(path)
    assert torch.equal(relative[0], IDENTITY)
    assert close(a @ relative[1], b, 1e-11)
    assert close(relative_to_first(world @ path), relative, 1e-11)


@laws
@given(rotations, rotations, rotations)
def test_geodesic_is_a_metric_that_rotations_leave_alone(a: Tensor, b: Tensor, c: Tensor) -> None:
    assert float(geodesic_rad(a, a)) < 1e-7
    assert float(geodesic_rad(a, b)) == float(geodesic_rad(b, a))
    assert float(geodesic_rad(a, c)) <= float(geodesic_rad(a, b) + geodesic_rad(b, c)) + 1e-7
    assert float(geodesic_rad(c @ a, c @ b)) == pytest.approx(float(geodesic_rad(a, b)), abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.3, 2.0, 3.1, math.pi])
def test_geodesic_measures_the_angle_even_where_acos_is_blind(angle: float) -> None:
    a, b = rotation_y(torch.tensor([0.4, 0.4 + angle], dtype=torch.float64))
    assert float(geodesic_rad(a, b)) == pytest.approx(angle, rel=1e-6, abs=1e-15)


def test_geodesic_broadcasts_and_never_leaves_the_domain_of_asin() -> None:
    turns = rotation_y(torch.linspace(-math.pi, math.pi, 1001)) * 1.0001  # an estimated rotation is never quite one
    angles = geodesic_rad(turns, torch.eye(3).expand(1, 3, 3))
    assert torch.isfinite(angles).all()
    assert float(angles.max()) == pytest.approx(math.pi, abs=1e-3)


def test_positive_yaw_looks_right() -> None:
    forward = rotation_y(torch.tensor(0.1, dtype=torch.float64)) @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert forward.tolist() == pytest.approx([math.sin(0.1), 0.0, math.cos(0.1)])


@laws
@given(vectors(3.0), vectors(3.0))
def test_look_at_puts_the_target_on_the_axis_and_up_up(eye: Tensor, target: Tensor) -> None:
    up = torch.tensor([0.0, -2.0, 0.0], dtype=torch.float64)
    view = target - eye
    if float(torch.linalg.vector_norm(view[[0, 2]])) < 1e-3:  # along `up`: refused, tested below
        return
    pose = look_at(eye, target, up)
    seen = inverse(pose) @ torch.cat((target, torch.ones(1, dtype=torch.float64)))
    assert seen[:3].tolist() == pytest.approx([0.0, 0.0, float(view.norm())], abs=1e-9)
    assert close(pose[:3, :3].mT @ pose[:3, :3], IDENTITY[:3, :3])
    assert float(torch.linalg.det(pose[:3, :3])) == pytest.approx(1.0)
    assert float(pose[:3, 1] @ up) < 0.0, "the camera's y axis points down"
    assert abs(float(pose[1, 0])) < 1e-12, "no roll"


def test_look_at_refuses_views_without_a_horizon() -> None:
    eye, up = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
    with pytest.raises(InputError, match="not along"):
        look_at(eye, 3 * up, up)
    with pytest.raises(InputError, match="away from the eye"):
        look_at(eye, eye, up)
