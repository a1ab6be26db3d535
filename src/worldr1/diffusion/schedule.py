"""Wan's sigma grid, computed here because stock schedulers end elsewhere (research/math.md C3, stack.md 6.3)."""

import torch
from jaxtyping import Float64
from torch import Tensor

from worldr1.errors import InputError


def sigma_grid(num_steps: int, shift: float) -> Float64[Tensor, " num_sigmas"]:
    """The noise levels 1 = sigma_0 > ... > sigma_S = 0 between which S steps lead.

    linspace(1, 0, S + 1), then sigma = shift u / (1 + (shift - 1) u). float64, because the kernels take Python floats
    and divide by differences of neighbours; the model sees 1000 sigma. Raises InputError for num_steps < 1, shift <= 0.
    """
    if num_steps < 1:
        raise InputError(f"num_steps is {num_steps}: give at least 1 sampling step.")
    if not shift > 0:
        raise InputError(f"shift is {shift}: give a positive number (1 leaves the grid uniform, Wan uses 3 to 5).")
    u = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    return shift * u / (1 + (shift - 1) * u)
