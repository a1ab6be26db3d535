"""Does turning alone explain a clip? Then there is no parallax, and no depth to be found."""

import numpy as np
from jaxtyping import Float

from worldr1.backends.sfm.bundle import Structure
from worldr1.backends.sfm.tracks import Tracks

_ROUNDS = 40
_SCALE_PX = 0.5
"""Errors beyond it weigh less and less (Cauchy)."""


def solve_rotation(tracks: Tracks, focal_px: float) -> Structure:
    """Cameras that only turn, points infinitely far (unit directions): each fitted to the other in turns, robustly."""
    centre = np.array((tracks.width / 2, tracks.height / 2))
    rays = np.c_[(tracks.xy - centre) / focal_px, np.ones(len(tracks.xy))]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rotations = _chained(tracks, rays)
    weights = np.ones(len(rays))
    for _ in range(_ROUNDS):
        directions = _directions(tracks, rays, rotations, weights)
        errors_px = _angles(tracks, rays, rotations, directions) * focal_px
        weights = 1 / (1 + (errors_px / _SCALE_PX) ** 2)
        for frame in range(tracks.num_frames):
            rows = tracks.frame == frame
            rotations[frame] = _aligned(rays[rows], directions[tracks.track[rows]], weights[rows])
        rotations = rotations[0].T @ rotations
    directions = _directions(tracks, rays, rotations, weights)
    poses = np.tile(np.eye(4), (tracks.num_frames, 1, 1))
    poses[:, :3, :3] = rotations
    return Structure(
        world_from_camera=poses,
        points=directions,
        focal_px=focal_px,
        errors_px=_angles(tracks, rays, rotations, directions) * focal_px,
    )


def _chained(tracks: Tracks, rays: Float[np.ndarray, "O 3"]) -> Float[np.ndarray, "T 3 3"]:
    """A start: each frame aligned with the one before by the points that both see."""
    rotations = np.tile(np.eye(3), (tracks.num_frames, 1, 1))
    following = np.flatnonzero((tracks.track[1:] == tracks.track[:-1]) & (tracks.frame[1:] == tracks.frame[:-1] + 1))
    for frame in range(1, tracks.num_frames):
        rows = following[tracks.frame[following] == frame - 1]
        step, weights = np.eye(3), np.ones(len(rows))
        for _ in range(5):
            step = _aligned(rays[rows + 1], rays[rows], weights)
            apart = np.linalg.norm(rays[rows + 1] @ step.T - rays[rows], axis=1)
            weights = 1 / (1 + (apart / max(float(np.median(apart)) if len(apart) else 0.0, 1e-6)) ** 2)
        rotations[frame] = rotations[frame - 1] @ step
    return rotations


def _aligned(rays: np.ndarray, directions: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """The rotation that takes rays to directions, least squares (Kabsch); the identity for fewer than two."""
    if len(rays) < 2:
        return np.eye(3)
    u, _, vt = np.linalg.svd((directions * weights[:, None]).T @ rays)
    return u @ np.diag((1.0, 1.0, np.sign(np.linalg.det(u @ vt)))) @ vt


def _directions(
    tracks: Tracks, rays: np.ndarray, rotations: np.ndarray, weights: np.ndarray
) -> Float[np.ndarray, "N 3"]:
    total = np.zeros((tracks.num, 3))
    np.add.at(total, tracks.track, weights[:, None] * np.einsum("nij,nj->ni", rotations[tracks.frame], rays))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _angles(tracks: Tracks, rays: np.ndarray, rotations: np.ndarray, directions: np.ndarray) -> Float[np.ndarray, " O"]:
    """Small angles between every ray and its point's direction, in radians."""
    return np.linalg.norm(np.einsum("nij,nj->ni", rotations[tracks.frame], rays) - directions[tracks.track], axis=1)
