"""Classifier-free guidance (arXiv 2207.12598)."""

from jaxtyping import Float
from torch import Tensor


def combine(cond: Float[Tensor, "B ..."], uncond: Float[Tensor, "B ..."], scale: float) -> Float[Tensor, "B ..."]:
    """uncond + scale (cond - uncond). At scale 1 the result is `cond` itself, so that no rounding enters."""
    return cond if scale == 1.0 else uncond + scale * (cond - uncond)
