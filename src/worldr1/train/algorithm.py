"""What the trainer leaves to an algorithm: how a group's videos are made, and the gradient of an optimizer step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.rl.objective import ObjectiveConfig
from worldr1.rl.phases import PhaseConfig
from worldr1.rollout.collector import GroupBatch
from worldr1.rollout.sampler import GroupRequest, SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.types import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """What an update does, besides the optimiser's numbers."""

    sampler: SamplerConfig
    noise: NoiseConfig
    objective: ObjectiveConfig
    phases: PhaseConfig


class ScoredGroup(NamedTuple):
    """A group that the loss takes, with its prompt's embeddings."""

    batch: GroupBatch
    embeddings: Float[Tensor, "1 S D"]


class Algorithm(Protocol):
    """`flow_grpo.FlowGrpo` or `best_of_n.BestOfN`. Holds no state: the seeds of a rollout decide what it draws."""

    def num_starts(self, group_size: int) -> int:
        """Start noises of a group: 1 or one per member."""
        ...

    def draw_steps(self, generator: torch.Generator) -> tuple[int, ...]:
        """Indices of a group's SDE steps, ascending; none if it has none."""
        ...

    def roll_out(self, requests: Sequence[GroupRequest], *, policy_version: int) -> list[Rollout]:
        """One rollout per request, in order. policy_version: updates done so far."""
        ...

    def trained_rows(self, num_groups: int, group_size: int) -> int:
        """Most latents in one forward with gradient, before guidance doubles them."""
        ...

    def backward(self, groups: Sequence[ScoredGroup], *, epoch: int) -> dict[str, float]:
        """Adds the gradient of one optimizer step to the trained parameters; returns what to log.

        groups: at least one. epoch: how many optimizer steps there were on these rollouts.
        """
        ...
