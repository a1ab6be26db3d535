"""The loss of one group at one SDE step: clipped surrogate, rectified over steps, plus KL to the reference.

Deliberate differences from Flow-GRPO (research/math.md 2, 4, 6): lambda is normalised by a constant, not by the batch;
the KL is matched to the rectified surrogate, which makes it a multiple of mean((v - v_ref)^2); the clip follows the
latent's size. What the estimate is: the policy gradient of the transition at that step, exact and unbiased. It is not
the gradient of the whole sampler, whose prefix and suffix also move with the weights (research/math.md 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """Which loss an update takes, and its weights. Raises ConfigError for negative ones."""

    kind: Literal["flow-grpo", "best-of-n"] = "flow-grpo"
    """`best-of-n` is the baseline: instead of the policy gradient, flow matching on each group's best video
    (`rl.best_of_n`); its members are noise-free samples from start noises of their own."""
    kl_beta: float = 0.004
    """Coefficient of the KL; 0 turns it off. Equal drift per dimension needs it to scale as sqrt(dimensions): 0.004 at
    480p, about 0.06 in mini."""
    dynamic_kl_beta: float | None = None
    """The coefficient for dynamic prompts; None: `kl_beta`. A larger one holds them near the base model, which is all
    that keeps motion alive there: R_gen looks at still frames (docs/log.md)."""
    rectify: bool = True
    """Multiply the surrogate by lambda_k / lambda_bar, and the KL to match."""
    updates_per_rollout: int = 1
    """Optimizer steps on one rollout. With 1 the ratio is 1 and any clip is inert."""
    clip: float | None = None
    """The ratio is clipped to 1 +- clip. None: off for one update per rollout, else 0.01 / sqrt(D)."""
    draws: int = 4
    """Of `best-of-n` alone: pairs of noise and noise level per best video and optimizer step."""

    def __post_init__(self) -> None:
        for name in ("kl_beta", "dynamic_kl_beta"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} is {value}: give 0 (off) or a positive number.")
        if self.updates_per_rollout < 1:
            raise ConfigError(f"updates_per_rollout is {self.updates_per_rollout}: give at least 1.")
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: give a positive number, or leave it out.")
        if self.clip is not None and self.kind == "best-of-n":
            raise ConfigError('kind "best-of-n" has no ratio to clip: leave clip out.')
        if self.dynamic_kl_beta is not None and self.kind == "best-of-n":
            raise ConfigError('kind "best-of-n" knows one kl_beta: leave dynamic_kl_beta out.')
        if self.draws < 1:
            raise ConfigError(f"draws is {self.draws}: give at least 1.")

    def for_prompt(self, *, dynamic: bool) -> "ObjectiveConfig":
        """The weights that a group of such a prompt is trained with: `kl_beta` is the one that holds for it."""
        if not dynamic or self.dynamic_kl_beta is None:
            return self
        return replace(self, kl_beta=self.dynamic_kl_beta)

    def clip_range(self, num_dims: int) -> float:
        """The clip for latents of `num_dims` numbers; infinite when it is off."""
        if self.clip is not None:
            return self.clip
        return math.inf if self.updates_per_rollout == 1 else 0.01 / math.sqrt(num_dims)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepScale:
    """How one SDE step is weighed against the others that could have been drawn."""

    rectification: float
    """lambda_k of this step (`diffusion.kernels.rectification`)."""
    mean_rectification: float
    """lambda_bar: the constant mean over the allowed steps. A batch mean would cancel lambda if all groups share k."""
    mean_inverse_square: float
    """Mean of 1 / lambda_j^2 over the allowed steps."""

    @classmethod
    def of(cls, rectification: float, allowed: Sequence[float]) -> "StepScale":
        """`allowed`: lambda of every step that may be drawn."""
        return cls(
            rectification=rectification,
            mean_rectification=sum(allowed) / len(allowed),
            mean_inverse_square=sum(r**-2 for r in allowed) / len(allowed),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """The loss of one group and what to log about it. Members that are not valid count nowhere."""

    loss: Float[Tensor, ""]
    """Mean over the group's valid members; the caller takes the mean over kept groups (global over ranks)."""
    surrogate: float
    kl: float
    """KL(policy || reference) of the transition, in nats per dimension (not rectified, without beta)."""
    kl_sum: float
    """The same in nats: kl times the latent's dimensions. Scale-free, so comparable between resolutions."""
    ratio_mean: float
    ratio_deviation: float
    """max |ratio - 1|."""
    clip_fraction: float
    """Share of the members whose ratio lies outside 1 +- clip."""


def group_loss(
    config: ObjectiveConfig,
    log_ratios: Float[Tensor, " G"],
    velocity: Float[Tensor, "#G ..."],
    reference_velocity: Float[Tensor, "#G ..."] | None,
    *,
    advantages: Float[Tensor, " G"],
    valid: Bool[Tensor, " G"],
    scale: StepScale,
) -> LossTerms:
    """mean_i [ lambda_k / lambda_bar max(-A_i rho_i, -A_i clip(rho_i)) ] + beta mean_i KL_i over the valid members i.

    log_ratios: of the members' transitions (`diffusion.kernels.log_ratio`). velocity: the policy's at the transition's
    state, with gradient; a group that shared its prefix has *one* (leading dimension 1), so one forward and one
    backward serve all members. reference_velocity: the same for the frozen model; None only if kl_beta is 0.
    KL_i = mean((v - v_ref)^2) / (2 lambda_k^2), rectified to mean((v - v_ref)^2) mean_j(1 / lambda_j^2) / 2.
    valid: best on the CPU, where asking for it is no wait.
    Raises InputError without a valid member, or if the reference is missing.
    """
    if not bool(valid.any()):
        raise InputError("A group without valid members has no loss: leave it out.")
    if reference_velocity is None and config.kl_beta > 0:
        raise InputError("kl_beta > 0 needs the reference model's velocity.")
    num_dims = velocity[0].numel()
    clip = config.clip_range(num_dims)
    ratios = log_ratios[valid].exp()
    clipped = ratios.clamp(1 - clip, 1 + clip)
    members_advantages = advantages[valid]
    surrogate = torch.maximum(-members_advantages * ratios, -members_advantages * clipped).mean()
    loss = surrogate * (scale.rectification / scale.mean_rectification if config.rectify else 1.0)
    gap = surrogate.new_zeros(())
    if reference_velocity is not None:
        gaps = (velocity - reference_velocity.detach()).square().flatten(1).mean(1)
        gap = gaps.expand(len(valid))[valid].mean()
        inverse_square = scale.mean_inverse_square if config.rectify else scale.rectification**-2
        loss = loss + config.kl_beta * 0.5 * inverse_square * gap
    deviations = (ratios.detach() - 1).abs()
    outside = (deviations > clip).float().mean()
    # read in one go: a GPU is waited for once
    read = torch.stack([surrogate.detach(), gap.detach(), ratios.detach().mean(), deviations.max(), outside]).tolist()
    kl = read[1] / (2 * scale.rectification**2)
    return LossTerms(
        loss=loss,
        surrogate=read[0],
        kl=kl,
        kl_sum=kl * num_dims,
        ratio_mean=read[2],
        ratio_deviation=read[3],
        clip_fraction=read[4],
    )
