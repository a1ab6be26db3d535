"""One camera from points that are known: Gauss-Newton steps, robust, from a guess."""

import cv2
import numpy as np
from jaxtyping import Float

_STEPS = 12
_WIDEST_PX, _SCALE_PX = 8.0, 1.0
"""Of the Cauchy weights: halved from the first to the second."""
_MIN_POINTS = 6
_NEAR = 1e-6


def resected(
    points: Float[np.ndarray, "M 3"],
    rays: Float[np.ndarray, "M 2"],
    world_from_camera: Float[np.ndarray, "4 4"],
    focal_px: float,
) -> tuple[Float[np.ndarray, "4 4"], float]:
    """world_from_camera, and the mean Cauchy cost in px^2; the guess itself where there are fewer than 6 points.

    rays: x / z and y / z of the points as the camera sees them.
    """
    pose = np.linalg.inv(world_from_camera)
    spread = _WIDEST_PX
    if len(points) >= _MIN_POINTS:
        for _ in range(_STEPS):
            pose = _step(points, rays, pose, spread / focal_px)
            spread = max(spread / 2, _SCALE_PX)
    local = points @ pose[:3, :3].T + pose[:3, 3]
    ahead = local[:, 2] > _NEAR
    depths = np.where(ahead, local[:, 2], 1.0)
    errors = np.where(ahead, np.linalg.norm(local[:, :2] / depths[:, None] - rays, axis=1) * focal_px, np.inf)
    cost = np.minimum(np.log1p((errors / _SCALE_PX) ** 2), 10.0).mean() if len(errors) else 0.0
    return np.linalg.inv(pose), float(cost)


def _step(points: np.ndarray, rays: np.ndarray, pose: np.ndarray, scale: float) -> Float[np.ndarray, "4 4"]:
    """camera_from_world after one step; scale: of the Cauchy weights, in rays."""
    local = points @ pose[:3, :3].T + pose[:3, 3]
    ahead = local[:, 2] > _NEAR
    x, y = (local[:, :2] / np.where(ahead, local[:, 2], 1.0)[:, None]).T
    inverse, zero, one = 1 / np.where(ahead, local[:, 2], 1.0), np.zeros(len(x)), np.ones(len(x))
    by_turn = np.stack([np.stack([-x * y, 1 + x * x, -y], -1), np.stack([-1 - y * y, x * y, x], -1)], 1)
    by_way = np.stack([np.stack([one, zero, -x], -1), np.stack([zero, one, -y], -1)], 1) * inverse[:, None, None]
    jacobian = np.concatenate((by_turn, by_way), -1)
    error = np.stack((x, y), -1) - rays
    weights = np.where(ahead, 1 / (1 + (error**2).sum(1) / scale**2), 0.0)
    normal = np.einsum("n,nki,nkj->ij", weights, jacobian, jacobian)
    normal += np.diag(1e-6 * np.diag(normal) + 1e-12)
    change = np.linalg.solve(normal, -np.einsum("n,nki,nk->i", weights, jacobian, error))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = cv2.Rodrigues(change[:3])[0], change[3:]
    return moved @ pose
