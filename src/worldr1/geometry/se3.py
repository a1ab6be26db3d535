"""Rotations and rigid poses as plain matrices, batched over leading dimensions, in any floating dtype.

Frames as in docs/conventions.md section 1: OpenCV axes (x right, y down, z forward); a pose `a_from_b` maps b to a.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError


def rotation_y(angle_rad: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation about the y (down) axis; a positive angle turns the forward axis toward +x: the camera looks right."""
    cos, sin = torch.cos(angle_rad), torch.sin(angle_rad)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = ((cos, zero, sin), (zero, one, zero), (-sin, zero, cos))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def make_pose(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """The homogeneous matrix [R t; 0 1]."""
    top = torch.cat((rotation, translation.unsqueeze(-1)), dim=-1)
    bottom = top.new_tensor((0.0, 0.0, 0.0, 1.0)).expand(*top.shape[:-2], 1, 4)
    return torch.cat((top, bottom), dim=-2)


def inverse(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of a rigid pose: [R^T, -R^T t]."""
    rotation = pose[..., :3, :3].mT
    return make_pose(rotation, -(rotation @ pose[..., :3, 3:]).squeeze(-1))


def relative_to_first(world_from_camera: Float[Tensor, "*batch T 4 4"]) -> Float[Tensor, "*batch T 4 4"]:
    """The same path seen from its first camera; frame 0 becomes the exact identity."""
    first_from_world = inverse(world_from_camera[..., :1, :, :])
    rest = first_from_world @ world_from_camera[..., 1:, :, :]
    identity = torch.eye(4, dtype=rest.dtype, device=rest.device).expand_as(first_from_world)
    return torch.cat((identity, rest), dim=-3)


def geodesic_rad(
    rotation_a: Float[Tensor, "*#batch 3 3"], rotation_b: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle in [0, pi] of the rotation between a and b: 2 asin(|Ra - Rb|_F / (2 sqrt 2)).

    Unlike acos((trace - 1) / 2) it keeps full precision at small angles, where the trajectory reward lives.
    """
    chord = torch.linalg.matrix_norm(rotation_a - rotation_b) / (2 * math.sqrt(2))
    return 2 * torch.asin(chord.clamp(max=1.0))


def look_at(
    eye: Float[Tensor, "*batch 3"], target: Float[Tensor, "*batch 3"], up: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """`world_from_camera` of a camera at `eye` that looks at `target`.

    up: the world's upward direction, (0, -1, 0) in OpenCV axes; any length.
    Raises InputError if eye and target coincide or the view is along `up`.
    """
    view = target - eye
    right = torch.linalg.cross(view, up)
    if not bool((torch.linalg.vector_norm(right, dim=-1) > 0).all()):
        raise InputError("look_at needs a target away from the eye and a view direction that is not along `up`")
    forward = torch.nn.functional.normalize(view, dim=-1)
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    return make_pose(torch.stack((right, down, forward), dim=-1), eye)
