"""Advantages inside a group of videos of one prompt (GRPO, arXiv 2402.03300; research/math.md 5)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Advantages:
    """What `group_advantages` returns. P groups of G members."""

    values: Float[Tensor, "P G"]
    """0 for members that are not valid and in groups that are dropped."""
    kept: Bool[Tensor, " P"]
    """The group has two valid members or more; the loss is a mean over these groups."""


def group_advantages(rewards: Float[Tensor, "P G"], valid: Bool[Tensor, "P G"], *, std_floor: float) -> Advantages:
    """(reward - mean) / max(std, std_floor) over the valid members of each group.

    rewards: any value (NaN too) where not valid. std: ddof = 1, over valid members, so |A| <= (n - 1) / sqrt(n).
    std_floor: about 1 % of the reward's range; it keeps a group in which nothing differs from amplifying the reward's
    noise. A member that is not valid is *absent*, as if it had scored the group's mean; that is right for faults of
    ours alone, a video that cannot be judged must carry the reward's floor and be valid.
    Raises InputError for shapes that differ, std_floor <= 0 and non-finite rewards of valid members.
    """
    if rewards.shape != valid.shape or rewards.ndim != 2:
        raise InputError(
            f"rewards {tuple(rewards.shape)} and valid {tuple(valid.shape)} must be one [groups, members] shape."
        )
    if not std_floor > 0:
        raise InputError(f"std_floor is {std_floor}: give a positive number, about 1 % of the reward's range.")
    if not bool(torch.isfinite(rewards[valid]).all()):
        raise InputError("A valid member has a non-finite reward: mark it as a fault instead.")
    num_valid = valid.sum(1, keepdim=True)
    present = torch.where(valid, rewards, 0.0)
    centred = torch.where(valid, rewards - present.sum(1, keepdim=True) / num_valid.clamp(min=1), 0.0)
    std = (centred.square().sum(1, keepdim=True) / (num_valid - 1).clamp(min=1)).sqrt()
    kept = num_valid >= 2
    return Advantages(values=torch.where(kept, centred / std.clamp(min=std_floor), 0.0), kept=kept.squeeze(1))
