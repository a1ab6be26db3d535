"""Mixing fresh with transported noise."""

import math

from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError


def mix(
    fresh: Float[Tensor, "B C L h w"], transported: Float[Tensor, "B C L h w"], strength: float
) -> Float[Tensor, "B C L h w"]:
    """sqrt(1 - a^2) fresh + a transported: of unit variance if both are and they are independent.

    strength: a in [0, 1]; 0 is `fresh` and 1 is `transported`, bit for bit. Raises InputError outside.
    """
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"the strength of transported noise must lie between 0 and 1, got {strength}")
    return math.sqrt(1.0 - strength**2) * fresh + strength * transported
