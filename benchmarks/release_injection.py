"""How the official release lets the camera into the noise, restated from research/noise.md 2.5 for comparison only.

It starts from independent noise. After each of the first 8 of 50 steps it adds the low-passed difference between
warped and independent noise to the latent, with falling weights, and restores the latent's mean and spread:

    delta = unit_std(pool_9x9(degraded warped - independent)),  weights = normalised linspace(1, 0.1, 8)
    x <- standardise(x + s w_i std(x) delta) * std(x) + mean(x)

Nothing of worldr1 uses it: the latent is pushed off the sampler's path, and its low frequencies are five to nine times
too strong. The warped noise itself is ours (`transport = "flow"`), so that only the injection is compared.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

RELEASE_KERNEL = 9
"""Side of the low pass in latent pixels; the release's latents are 60 x 104."""
PUSHED_SHARE = 8 / 50
"""Of the sampling steps."""
DEGRADATION = 0.35
"""Share of fresh noise that is blended into the warped noise before anything else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepwiseDelta:
    """The pushes of one batch."""

    delta: Float[Tensor, "B C L h w"]
    """Of unit spread in every sample."""
    weights: Float[Tensor, " S"]
    """One per pushed step; they add up to 1."""
    strength: float

    @classmethod
    def plan(
        cls,
        independent: Float[Tensor, "B C L h w"],
        warped: Float[Tensor, "B C L h w"],
        fresh: Float[Tensor, "B C L h w"],
        *,
        strength: float,
        num_steps: int,
        kernel: int = RELEASE_KERNEL,
    ) -> "StepwiseDelta":
        """`fresh` degrades `warped`. kernel: odd; 1 leaves the low pass out."""
        blend = (1 - DEGRADATION) * warped + DEGRADATION * fresh
        degraded = blend / ((1 - DEGRADATION) ** 2 + DEGRADATION**2) ** 0.5
        frames = (degraded - independent).transpose(1, 2).flatten(0, 1)
        smooth = F.avg_pool2d(frames, kernel, stride=1, padding=kernel // 2)
        delta = smooth.unflatten(0, (len(warped), -1)).transpose(1, 2)
        weights = torch.linspace(1.0, 0.1, max(1, round(PUSHED_SHARE * num_steps)))
        return cls(delta=delta / _std(delta), weights=weights / weights.sum(), strength=strength)

    def push(self, latents: Float[Tensor, "B C L h w"], step: int) -> Float[Tensor, "B C L h w"]:
        """The latents after sampling step `step`; unchanged after the pushed steps."""
        if step >= len(self.weights):
            return latents
        mean, std = _mean(latents), _std(latents)
        pushed = latents + self.strength * float(self.weights[step]) * std * self.delta.to(latents)
        return (pushed - _mean(pushed)) / _std(pushed) * std + mean


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(1, 2, 3, 4), keepdim=True)


def _std(x: Tensor) -> Tensor:
    return x.std(dim=(1, 2, 3, 4), keepdim=True)
