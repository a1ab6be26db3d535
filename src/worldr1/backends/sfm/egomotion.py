"""Where a camera first went, from how points moved between two frames: the guesses that bundle adjustment starts from.

For a short way, flow is linear in rotation and inverse depth once the direction of travel is known (Heeger and Jepson,
IJCV 1992), and directions are few enough to try them all: no start is missed for want of a guess.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_DIRECTIONS = 200
_ROUNDS = 8
_WIDEST = 8.0
"""Scales: of the weights at first."""
_TINY = 1e-9
"""Keeps the rotation defined for one or two points."""
_NEAR_FOCUS = 0.03
"""Rays per depth unit; flow nearer to the focus of expansion says nothing about the direction."""
_APART = 0.8
"""Cosine between two directions from which on they are one guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Egomotion:
    """A camera's motion between two frames, its way being one unit long."""

    rotation_vector: Float[np.ndarray, "3"]
    direction: Float[np.ndarray, "3"]


def egomotions(
    rays: Float[np.ndarray, "N 2"], flow: Float[np.ndarray, "N 2"], scale: float, num: int
) -> list[Egomotion]:
    """The best `num` motions that differ in direction, best first; at least one point.

    rays: x / z and y / z in the first frame; flow: their change; scale: the error from which on a point counts less.
    """
    directions = _hemisphere()
    x, y = rays.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    by_way = np.stack([np.stack([-one, zero, x], -1), np.stack([zero, -one, y], -1)], 1)  # [N, 2, 3], at depth one
    by_turn = np.stack([np.stack([x * y, -1 - x * x, y], -1), np.stack([1 + y * y, -x * y, -x], -1)], 1)
    along = np.einsum("nkj,dj->dnk", by_way, directions)
    length = np.maximum(np.linalg.norm(along, axis=-1), _NEAR_FOCUS)[..., None]
    across = np.stack([-along[..., 1], along[..., 0]], -1) / length  # depth does not move a point this way
    turns = _turns(np.einsum("dnk,nkj->dnj", across, by_turn), np.einsum("dnk,nk->dn", across, flow), scale)
    left = flow - np.einsum("nkj,dj->dnk", by_turn, turns)
    inverse_depths = (left * along).sum(-1) / length[..., 0] ** 2
    signs = np.where(np.median(inverse_depths, axis=1) < 0, -1.0, 1.0)  # most points are in front
    ahead = np.where(inverse_depths * signs[:, None] > 0, inverse_depths, 0.0)
    errors = np.linalg.norm(left - ahead[..., None] * along, axis=-1)
    costs = np.log1p((errors / scale) ** 2).mean(1)
    ways = directions * signs[:, None]
    chosen: list[int] = []
    for at in np.argsort(costs, kind="stable"):
        if len(chosen) < num and all(ways[at] @ ways[other] < _APART for other in chosen):
            chosen.append(int(at))
    return [Egomotion(rotation_vector=turns[at], direction=ways[at]) for at in chosen]


def _turns(
    rows: Float[np.ndarray, "D N 3"], values: Float[np.ndarray, "D N"], scale: float
) -> Float[np.ndarray, "D 3"]:
    """For every direction the rotation with rows @ rotation = values, robustly: Cauchy weights, narrower each round."""
    found = np.zeros((len(rows), 3))
    spread = _WIDEST * scale
    for _ in range(_ROUNDS):
        weights = 1 / (1 + ((values - np.einsum("dnj,dj->dn", rows, found)) / spread) ** 2)
        weighted = rows * weights[..., None]
        normal = np.einsum("dni,dnj->dij", weighted, rows) + _TINY * np.eye(3)
        found = np.linalg.solve(normal, np.einsum("dni,dn->di", weighted, values)[..., None])[..., 0]
        spread = max(spread / 2, scale)
    return found


def _hemisphere() -> Float[np.ndarray, "D 3"]:
    """Evenly spread directions with z > 0 (a Fibonacci lattice)."""
    at = np.arange(_DIRECTIONS) + 0.5
    z = at / _DIRECTIONS
    angle = np.pi * (1 + np.sqrt(5)) * at
    return np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1)
