"""Enlarged pixels: a small video whose every pixel was drawn as a square.

Left like that, nothing in it moves by less than a square, and every measure of motion suffers.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LARGEST = 8
INSIDE_PER_EDGE = 0.35
"""Mean difference of neighbours inside squares, relative to that across their edges, up to which they are squares;
compression leaves some."""
_MIN_CHANGE = 1e-3


def square_size(video: Float[Tensor, "T 3 H W"]) -> int:
    """Side of the squares in pixels; 1 if there are none."""
    changes = [video.diff(dim=axis).abs().mean(dim=(0, 1, axis ^ 1)).tolist() for axis in (2, 3)]
    sides = video.shape[-2:]
    sizes = (size for size in range(LARGEST, 1, -1) if not any(side % size or side < 2 * size for side in sides))
    return next((size for size in sizes if all(_inside_per_edge(c, size) <= INSIDE_PER_EDGE for c in changes)), 1)


def without_squares(video: Float[Tensor, "T 3 H W"], size: int) -> Float[Tensor, "T 3 h w"]:
    """One pixel for every square."""
    return video if size == 1 else F.avg_pool2d(video, size)


def _inside_per_edge(changes: list[float], size: int) -> float:
    """The most that changes at any one place inside the squares; inf for a video without differences."""
    *inside, edge = (sum(changes[place::size]) / len(changes[place::size]) for place in range(size))
    return max(inside) / edge if edge > _MIN_CHANGE else float("inf")
