"""Fine-tuning on the best of N as pure math (RAFT, arXiv 2304.06767): which member is the best, and the loss on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.types import RewardResult, Status


def best_member(rewards: Sequence[RewardResult]) -> int | None:
    """Index of the highest reward, the first of equal ones; None if all are faults.

    A reward that is not finite is a fault, whatever its status says. A rejected video carries the reward's floor and
    takes part.
    """
    usable = [
        i for i, reward in enumerate(rewards) if reward.status is not Status.FAULT and math.isfinite(reward.value)
    ]
    return max(usable, key=lambda index: rewards[index].value, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitTerms:
    """The loss of some examples and what to log about it."""

    loss: Float[Tensor, ""]
    """mean((v - (noise - x_0))^2) + kl_beta mean((v - v_ref)^2)."""
    flow_matching: float
    """The first mean."""
    gap: float | None
    """The second mean; None without a reference."""


def fit_loss(
    velocity: Float[Tensor, "B C L h w"],
    reference_velocity: Float[Tensor, "B C L h w"] | None,
    *,
    clean: Float[Tensor, "B C L h w"],
    noise: Float[Tensor, "B C L h w"],
    kl_beta: float,
) -> FitTerms:
    """Flow matching on chosen latents `clean`, held back by the frozen model.

    velocity: the policy's at (1 - sigma) clean + sigma noise, with gradient; reference_velocity: the frozen model's
    there, None only if kl_beta is 0. For a Gaussian transition both means are KLs with one factor, 1 / (2 lambda^2),
    which is left out of both: kl_beta weighs one KL against the other, and the best v is
    (noise - clean + kl_beta v_ref) / (1 + kl_beta). Raises InputError if the reference is missing.
    """
    if reference_velocity is None and kl_beta > 0:
        raise InputError("kl_beta > 0 needs the reference model's velocity.")
    flow_matching = (velocity - (noise - clean)).square().mean()
    if reference_velocity is None:
        return FitTerms(loss=flow_matching, flow_matching=float(flow_matching.detach()), gap=None)
    gap = (velocity - reference_velocity.detach()).square().mean()
    return FitTerms(
        loss=flow_matching + kl_beta * gap, flow_matching=float(flow_matching.detach()), gap=float(gap.detach())
    )
