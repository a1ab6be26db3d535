"""Flow-GRPO-Fast: a group branches at an SDE step, and the policy gradient of that step is the loss."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor

from worldr1.protocols import VideoPolicy
from worldr1.rl.objective import LossTerms, ObjectiveConfig, StepScale, group_loss
from worldr1.rollout.collector import GroupBatch
from worldr1.rollout.sampler import (
    GroupRequest,
    RecordedStep,
    SamplerConfig,
    draw_step_indices,
    recorded_velocities,
    replay,
    replay_batches,
    sample_groups,
)
from worldr1.train.algorithm import ScoredGroup
from worldr1.train.lora import base_model, merged_lora
from worldr1.types import Rollout


class FlowGrpo:
    """The method of the paper; an `Algorithm`."""

    def __init__(
        self,
        policy: VideoPolicy,
        sampler: SamplerConfig,
        objective: ObjectiveConfig,
        *,
        base_state: Mapping[str, Tensor] | None,
        ode_policy: VideoPolicy | None = None,
    ) -> None:
        """base_state: as `train.lora.base_model` takes it. ode_policy: takes the ODE steps of rollouts
        (`sampler.ode_dtype`); the trainer gives it the policy's weights before every update."""
        self._policy, self._sampler, self._objective, self._base_state = policy, sampler, objective, base_state
        self._ode_policy = ode_policy

    def num_starts(self, group_size: int) -> int:
        """One for the group if it shares its prefix."""
        return 1 if self._sampler.share_prefix else group_size

    def draw_steps(self, generator: torch.Generator) -> tuple[int, ...]:
        """As `rollout.sampler.draw_step_indices`."""
        return draw_step_indices(self._sampler, generator)

    def roll_out(self, requests: Sequence[GroupRequest], *, policy_version: int) -> list[Rollout]:
        """As `rollout.sampler.sample_groups`; without `exact_replay` by weights that hold the LoRA already."""
        with nullcontext() if self._sampler.exact_replay else merged_lora(self._policy.transformer):
            return sample_groups(
                self._policy,
                requests,
                config=self._sampler,
                policy_version=policy_version,
                ode_policy=self._ode_policy,
            )

    def trained_rows(self, num_groups: int, group_size: int) -> int:
        """Latents of a replayed step, or (without `exact_replay`) of the steps that are replayed together."""
        states = self.num_starts(group_size)
        if self._sampler.exact_replay:
            return states
        return max(states, min(self._sampler.batch, num_groups * self._sampler.sde_steps * states))

    def backward(
        self, groups: Sequence[ScoredGroup], *, epoch: int, num_groups: int, idle: Sequence[ScoredGroup] = ()
    ) -> list[dict[str, float]]:
        """Of the mean loss of the groups' recorded transitions, the same ones in every epoch; a row each."""
        recorded = [
            (RecordedStep(group.batch.rollout, position, group.embeddings), group.batch)
            for group in groups
            for position in range(self._sampler.sde_steps)
        ]
        terms: list[LossTerms] = []
        for batch in replay_batches([step for step, _ in recorded], self._sampler):
            terms += self._backward([recorded[number] for number in batch], num_groups * self._sampler.sde_steps)
        for group in idle:
            for position in range(self._sampler.sde_steps):
                self._pass_through(RecordedStep(group.batch.rollout, position, group.embeddings))
        return _rows(terms)

    def summarise(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Means over the recorded transitions; of the ratio's deviation the largest."""
        means = {name: fmean(row[name] for row in rows) for name in rows[0]}
        return means | {"ratio_deviation": max(row["ratio_deviation"] for row in rows)}

    def _backward(self, recorded: list[tuple[RecordedStep, GroupBatch]], num_steps: int) -> list[LossTerms]:
        """Forward and backward of some recorded steps (gradients add up); num_steps: of the whole update."""
        sampler = self._sampler
        # waiting groups may lie in host memory (train.groups_in_flight)
        steps = [step._replace(rollout=step.rollout.to(step.embeddings.device)) for step, _ in recorded]
        objectives = [self._objective.for_prompt(dynamic=step.rollout.prompt.dynamic) for step in steps]
        references = self._references(steps, objectives)
        rectifications = sampler.rectifications
        terms = [
            group_loss(
                objective,
                replayed.log_ratio,
                replayed.velocity,
                reference,
                advantages=group.advantages.to(replayed.velocity.device),
                valid=group.valid,
                scale=StepScale.of(rectifications[step.step_index - sampler.first_index], rectifications),
            )
            for objective, replayed, reference, step, (_, group) in zip(
                objectives, replay(self._policy, steps, config=sampler), references, steps, recorded, strict=True
            )
        ]
        (torch.stack([term.loss for term in terms]).sum() / num_steps).backward()
        return terms

    def _references(
        self, steps: Sequence[RecordedStep], objectives: Sequence[ObjectiveConfig]
    ) -> Sequence[Tensor | None]:
        """The base model's velocity at each step, if a KL asks for it."""
        if not any(objective.kl_beta > 0 for objective in objectives):
            return [None] * len(steps)
        with torch.no_grad(), base_model(self._policy.transformer, self._base_state):
            return recorded_velocities(self._policy, steps, self._sampler)

    def _pass_through(self, step: RecordedStep) -> None:
        """The forwards and the backward of a recorded step, with gradients of 0, whatever its videos were worth."""
        rollout = step.rollout.to(step.embeddings.device)
        zeros = replace(rollout, states=tuple(torch.zeros_like(state) for state in rollout.states))
        step = step._replace(rollout=zeros)
        self._references([step], [self._objective.for_prompt(dynamic=rollout.prompt.dynamic)])
        (replayed,) = replay(self._policy, [step], config=self._sampler)
        (0.0 * replayed.velocity.sum()).backward()


def _rows(terms: Sequence[LossTerms]) -> list[dict[str, float]]:
    if not terms:
        return []
    losses = torch.stack([term.loss.detach() for term in terms]).tolist()  # one wait for a GPU
    return [
        {
            "loss": loss,
            "ratio_mean": term.ratio_mean,
            "ratio_deviation": term.ratio_deviation,
            "kl": term.kl,
            "kl_sum": term.kl_sum,
            "clip_fraction": term.clip_fraction,
        }
        for loss, term in zip(losses, terms, strict=True)
    ]
