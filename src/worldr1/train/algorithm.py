"""What the trainer leaves to an algorithm: how a group's videos are made, and the gradient of an optimizer step."""

from collections.abc import Mapping, Sequence
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

    def backward(
        self, groups: Sequence[ScoredGroup], *, epoch: int, num_groups: int, idle: Sequence[ScoredGroup] = ()
    ) -> list[dict[str, float]]:
        """Adds these groups' share of one optimizer step's gradient to the trained parameters; returns rows of numbers.

        groups: those that this process sampled; none is well. epoch: how many optimizer steps there were on these
        rollouts. num_groups: of the whole update, on all processes: what the loss is a mean over. idle: groups that
        pass through the network as often as trained ones and add nothing, as a sharded base needs it of a process that
        has fewer to train than another (`train.sharding`).
        """
        ...

    def summarise(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """What to log, from the rows of all processes; at least one."""
        ...
