"""The true geometric error of a damaged clip of known geometry, in pixels: docs/metric_trust.md, "The true error".

A damage says of every frame k which frame s(k) of the clean clip it shows, and a displacement field b_k: the damaged
frame's pixel q shows what the clean frame s(k) has at q + b_k(q). Nothing here looks at a picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldr1.geometry.pinhole import project, unproject
from worldr1.geometry.se3 import inverse
from worldr1.types import intrinsics_px

POINT_FRAMES = 4
"""Scene points are taken from every so many frames of the clean clip,"""
POINT_STRIDE_PX = 4
"""and there from the middle of every so many rows and columns."""
HIDDEN_MARGIN = 0.02
"""A point is hidden in a frame whose surface at its place is nearer by more than this share of its depth."""
INVERSION_STEPS, INVERSION_PX = 40, 0.05
"""Fixed-point steps that look for a point in a damaged frame, and how near they must come to it."""
NEAR = 0.05
"""Depth units: a true position nearer to the camera than this is no position."""
MIN_POINTS = 12
"""Visible points of a frame under which no camera is fitted to it; its points then count in neither error."""
CAMERA_STEPS = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """The clean clip's."""

    depth: Float[Tensor, "T H W"]
    """z-depth through the pixels' centres, in depth units."""
    sky: Bool[Tensor, "T H W"]
    world_from_camera: Float[Tensor, "T 4 4"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What was done to a clip."""

    kind: str
    strength: float
    """In the kind's own unit."""
    source: Int[Tensor, " T"]
    """s(k)."""
    displacement_px: Float[Tensor, "T 2 H W"]
    """b_k: (x, y) at every pixel's centre, bilinear between them."""


class TrueError(NamedTuple):
    """RMS over points and pairs of frames, in pixels; NaN where nothing is seen twice."""

    error_px: float
    """Damaged against true correspondences: everything that is wrong, the camera's path included."""
    deformation_px: float
    """What is left when every frame gets the camera that explains it best: no rigid scene has it."""
    lost: float
    """Share of the looks at a point that the damage ends: folded away, or pushed out of the image."""


def true_error(geometry: Geometry, damage: Damage) -> TrueError:
    """Both errors of one damaged clip. Sky has no depth and no part in them."""
    height, width = geometry.depth.shape[-2:]
    k = intrinsics_px(height, width)
    poses = geometry.world_from_camera.double()
    points_N3 = _scene_points(geometry, k)
    camera_from_world = inverse(poses)
    true_TN2, true_depth_TN = _seen_at(points_N3, camera_from_world, k)
    clean_TN2, depth_TN = true_TN2[damage.source], true_depth_TN[damage.source]
    in_clean = _visible(geometry, damage.source, clean_TN2, depth_TN)
    shown_TN2, found = _invert(damage.displacement_px.double(), clean_TN2)
    inside = (shown_TN2 > 0).all(-1) & (shown_TN2[..., 0] < width) & (shown_TN2[..., 1] < height)
    counted = in_clean & found & inside & (true_depth_TN > NEAR)
    counted &= (counted.sum(1) >= MIN_POINTS)[:, None]
    fitted_TN2 = _best_cameras(points_N3, camera_from_world[damage.source], k, shown_TN2, counted)
    return TrueError(
        error_px=_pair_rms(shown_TN2 - true_TN2, counted),
        deformation_px=_pair_rms(shown_TN2 - fitted_TN2, counted),
        lost=1 - float(counted.sum()) / max(1, int(in_clean.sum())),
    )


def _scene_points(geometry: Geometry, k: Float[Tensor, "3 3"]) -> Float[Tensor, "N 3"]:
    half = POINT_STRIDE_PX // 2
    frames = slice(None, None, POINT_FRAMES)
    depth, poses = geometry.depth[frames].double(), geometry.world_from_camera[frames].double()
    points = unproject(depth, k.expand(len(depth), 3, 3))
    points = torch.einsum("tij,thwj->thwi", poses[:, :3, :3], points) + poses[:, None, None, :3, 3]
    grid = (slice(None), slice(half, None, POINT_STRIDE_PX), slice(half, None, POINT_STRIDE_PX))
    return points[grid][~geometry.sky[frames][grid]]


def _seen_at(
    points_N3: Float[Tensor, "N 3"], camera_from_world: Float[Tensor, "T 4 4"], k: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "T N 2"], Float[Tensor, "T N"]]:
    points = torch.einsum("tij,nj->tni", camera_from_world[:, :3, :3], points_N3) + camera_from_world[:, None, :3, 3]
    return project(points, k.expand(len(camera_from_world), 3, 3))


def _visible(
    geometry: Geometry, source: Tensor, pixels_TN2: Float[Tensor, "T N 2"], depth_TN: Float[Tensor, "T N"]
) -> Bool[Tensor, "T N"]:
    """Inside the clean frame, before the camera, and not behind what the nearest pixel sees."""
    height, width = geometry.depth.shape[-2:]
    column, row = pixels_TN2.floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth_TN > NEAR)
    frame = source[:, None].expand_as(column)
    surface = geometry.depth[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)].double()
    return inside & (surface > depth_TN * (1 - HIDDEN_MARGIN))


def _invert(
    displacement: Float[Tensor, "T 2 H W"], clean_TN2: Float[Tensor, "T N 2"]
) -> tuple[Float[Tensor, "T N 2"], Bool[Tensor, "T N"]]:
    """q with q + b(q) = x by q <- x - b(q), and whether it was found."""
    height, width = displacement.shape[-2:]
    size = clean_TN2.new_tensor((width, height))

    def at(q: Tensor) -> Tensor:
        grid = (q / size * 2 - 1)[:, None]
        return F.grid_sample(displacement, grid, padding_mode="border", align_corners=False)[:, :, 0].movedim(1, -1)

    q = clean_TN2
    for _ in range(INVERSION_STEPS):
        q = clean_TN2 - at(q)
    return q, (q + at(q) - clean_TN2).norm(dim=-1) < INVERSION_PX


def _best_cameras(
    points_N3: Float[Tensor, "N 3"],
    start: Float[Tensor, "T 4 4"],
    k: Float[Tensor, "3 3"],
    shown_TN2: Float[Tensor, "T N 2"],
    counted: Bool[Tensor, "T N"],
) -> Float[Tensor, "T N 2"]:
    """Where the points lie in the camera of six degrees of freedom that fits a frame best (least squares)."""
    focal = k[0, 0]
    poses, weight = start.clone(), counted.double()[..., None]
    damping = 1e-9 * torch.eye(6, dtype=poses.dtype)
    for _ in range(CAMERA_STEPS):
        points = torch.einsum("tij,nj->tni", poses[:, :3, :3], points_N3) + poses[:, None, :3, 3]
        x, y, z = points[..., 0], points[..., 1], points[..., 2].clamp(min=NEAR)
        zero = torch.zeros_like(x)
        # of the image position by a small translation (three) and rotation (three) in the camera's frame
        across = torch.stack([1 / z, zero, -x / z**2, -x * y / z**2, 1 + x**2 / z**2, -y / z], -1)
        down = torch.stack([zero, 1 / z, -y / z**2, -1 - y**2 / z**2, x * y / z**2, x / z], -1)
        jacobian = focal * torch.stack([across, down], -2) * weight[..., None]
        residual = (shown_TN2 - _seen_at(points_N3, poses, k)[0]) * weight
        normal = torch.einsum("tnci,tncj->tij", jacobian, jacobian)
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)[:, None, None]
        right = torch.einsum("tnci,tnc->ti", jacobian, residual)
        poses = torch.linalg.matrix_exp(_twist(torch.linalg.solve(normal + damping * scale, right))) @ poses
    return _seen_at(points_N3, poses, k)[0]


def _twist(v: Float[Tensor, "T 6"]) -> Float[Tensor, "T 4 4"]:
    out = v.new_zeros(len(v), 4, 4)
    out[:, :3, 3] = v[:, :3]
    a, b, c = v[:, 3:].unbind(-1)
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -c, b, -a
    out[:, 1, 0], out[:, 2, 0], out[:, 2, 1] = c, -b, a
    return out


def _pair_rms(deviation_TN2: Float[Tensor, "T N 2"], counted: Bool[Tensor, "T N"]) -> float:
    """Of d_j - d_i over all points and all pairs i < j of frames that show them:
    the sum over pairs of |d_j - d_i|^2 is n sum |d|^2 - |sum d|^2."""
    d = torch.where(counted[..., None], deviation_TN2, 0.0)
    num = counted.sum(0).double()
    squares = num * d.square().sum((0, 2)) - d.sum(0).square().sum(-1)
    return float((squares.sum() / (num * (num - 1) / 2).sum()).clamp(min=0).sqrt())
