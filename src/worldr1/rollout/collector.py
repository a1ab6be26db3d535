"""Rollouts plus their rewards -> the groups an update trains on, and what to log about them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.rl.advantage import group_advantages
from worldr1.types import RewardResult, Rollout, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupScores:
    """What was said of one group's videos: all that is asked of a group which another process sampled."""

    rewards: tuple[RewardResult, ...]
    """One per member."""
    valid: Bool[Tensor, " G"]
    """False for faults: these members are in no statistic and in no loss. Rejected videos are valid."""
    kept: bool
    """Two valid members or more; the others are left out of the loss."""
    first_step: int | None
    """Index of its first SDE step, before which its members share all steps; None if it has none."""

    def to_message(self) -> dict[str, Any]:
        """JSON; floats come back as they were."""
        rewards = [asdict(reward) for reward in self.rewards]
        return {
            "rewards": rewards,
            "valid": self.valid.tolist(),
            "kept": self.kept,
            "first_step": self.first_step,
        }

    @classmethod
    def of_message(cls, message: Mapping[str, Any]) -> "GroupScores":
        """What `to_message` gave."""
        rewards = [RewardResult(**{**reward, "status": Status(reward["status"])}) for reward in message["rewards"]]
        others = {name: message[name] for name in ("kept", "first_step")}
        return GroupScores(rewards=tuple(rewards), valid=torch.tensor(message["valid"]), **others)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBatch(GroupScores):
    """One group, sampled here and scored."""

    rollout: Rollout
    advantages: Float[Tensor, " G"]
    """float32 on the CPU; 0 where not valid."""


def collect(
    rollouts: Sequence[Rollout], rewards: Sequence[Sequence[RewardResult]], *, std_floor: float
) -> list[GroupBatch]:
    """Advantages of every group, in order. rewards[p][g] belongs to member g of rollouts[p].

    A reward that is not finite is a fault, whatever its status says. std_floor: see `rl.advantage.group_advantages`.
    Raises InputError where the counts differ.
    """
    if [len(r.seeds) for r in rollouts] != [len(group) for group in rewards]:
        raise InputError("Give one reward for every member of every rollout.")
    return [_score(rollout, tuple(group), std_floor) for rollout, group in zip(rollouts, rewards, strict=True)]


def reward_metrics(groups: Sequence[GroupScores]) -> dict[str, float]:
    """The rewards' fields of `metrics.jsonl` (DESIGN 8).

    `reward` and one key per part: mean over valid members. `reward_std`, `<part>_std`: standard deviation inside a
    group (ddof 1), mean over the groups that have it, which is the part's real weight in the advantage.
    `fault_fraction`, `rejected_fraction`: of all members. A key without a value to average is missing.
    """
    members = [reward for group in groups for reward in group.rewards]
    if not members:
        return {}
    values = [_valid_values(group) for group in groups]
    metrics: dict[str, float] = {}
    for name in sorted({name for group in values for member in group for name in member}):
        parts = [[member[name] for member in group if name in member] for group in values]
        metrics[name] = fmean(value for group in parts for value in group)
        spreads = [stdev(group) for group in parts if len(group) >= 2]
        if spreads:
            metrics[f"{name}_std"] = fmean(spreads)
    num_valid = sum(int(group.valid.sum()) for group in groups)
    metrics["fault_fraction"] = 1 - num_valid / len(members)
    metrics["rejected_fraction"] = sum(r.status is Status.REJECTED for r in members) / len(members)
    return metrics


def _score(rollout: Rollout, rewards: tuple[RewardResult, ...], std_floor: float) -> GroupBatch:
    values = torch.tensor([[r.value for r in rewards]], dtype=torch.float64)
    valid = torch.tensor([[r.status is not Status.FAULT and math.isfinite(r.value) for r in rewards]])
    advantages = group_advantages(values, valid, std_floor=std_floor)
    return GroupBatch(
        rollout=rollout,
        rewards=rewards,
        valid=valid[0],
        advantages=advantages.values[0].float(),
        kept=bool(advantages.kept[0]),
        first_step=min(rollout.step_indices, default=None),
    )


def _valid_values(group: GroupScores) -> list[dict[str, float]]:
    """The valid members' parts, with the sum as one more."""
    kept = zip(group.rewards, group.valid.tolist(), strict=True)
    return [{"reward": reward.value, **reward.parts} for reward, valid in kept if valid]
