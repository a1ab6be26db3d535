"""What a measure is given."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from worldr1.types import Prompt, Reconstruction, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedClip:
    """One video and what is known of it."""

    video: Float[Tensor, "T 3 H W"]
    """0..1."""
    fps: float
    """Frames per second."""
    prompt: Prompt | None = None
    requested: Trajectory | None = None
    """The camera path that was asked for, of as many frames."""
    reconstruction: Reconstruction | None = None
    """What the judge lifted, status OK; None for a video without geometry, which gets image measures alone."""
