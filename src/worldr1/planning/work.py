"""What one update consists of, in passes through the transformer: read from a recipe, exactly.

The sampler's rules are `rollout.sampler`'s, the trained step's `train.flow_grpo`'s and `train.best_of_n`'s, those of
guidance `backends.wan.policy`'s.
"""

import math
from dataclasses import dataclass

from worldr1.backends.wan.policy import JOINT_TOKENS
from worldr1.build import ExperimentConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Of one group on average, in latents through the transformer, guidance not counted yet."""

    sampled: float
    """Forwards without gradient that make the group's videos."""
    sampled_exactly: float
    """Of these, by the policy's own network in any case: its SDE steps (`sampler.ode_dtype`)."""
    trained: float
    """Forwards with their backward pass, of all optimizer steps on the group."""
    reference: float
    """Forwards of the base model for the KL."""
    graph_rows: int
    """Most latents whose forwards wait for one backward pass."""
    recorded: int
    """Latents that are kept of the group until the optimizer step."""

    @classmethod
    def of(cls, config: ExperimentConfig, *, first_index: float | None = None) -> "Work":
        """Of a recipe; first_index: of the groups' first SDE steps on average, None: in the mean over all draws."""
        if config.objective.kind == "best-of-n":
            return cls._best_of_n(config)
        sampler, size = config.sampler, config.train.group_size
        steps, epochs = sampler.sde_steps, config.objective.updates_per_rollout
        if not sampler.share_prefix:
            sampled, states, widest = sampler.num_steps * size, steps * size, size
        else:
            first = first_index
            if first is None:
                first = sampler.first_index + (len(sampler.allowed_indices) - steps) / (steps + 1)
            sampled = first + 1 + (sampler.num_steps - first - 1) * size
            states, widest = 1 + (steps - 1) * size, 1 if steps == 1 else size
        graph = widest
        if not sampler.exact_replay:
            graph = max(widest, min(sampler.batch, config.train.groups_per_update * states))
        return cls(
            sampled=sampled,
            sampled_exactly=states,
            trained=epochs * states,
            reference=epochs * states * (config.objective.kl_beta > 0),
            graph_rows=graph,
            recorded=2 * states + steps * size + size,
        )

    @classmethod
    def _best_of_n(cls, config: ExperimentConfig) -> "Work":
        size, draws = config.train.group_size, config.objective.draws
        trained = draws * config.objective.updates_per_rollout
        return cls(
            sampled=config.sampler.num_steps * size,
            sampled_exactly=0,
            trained=trained,
            reference=trained * (config.objective.kl_beta > 0),
            graph_rows=min(config.sampler.batch, draws * config.train.groups_per_update),
            recorded=size,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance:
    """How many passes one velocity takes."""

    halves: int
    """1 without guidance, else 2."""
    joint: bool
    """Both halves go through the network together."""

    @classmethod
    def of(cls, config: ExperimentConfig, *, rows: int, tokens: int) -> "Guidance":
        """For a batch of `rows` latents of `tokens` tokens."""
        if config.model.guidance == 1.0:
            return cls(halves=1, joint=False)
        mode = config.model.guidance_batch
        return cls(halves=2, joint=mode == "joint" or (mode == "auto" and rows * tokens <= JOINT_TOKENS))

    @property
    def rows_factor(self) -> int:
        """Rows of a pass per latent."""
        return self.halves if self.joint else 1

    @property
    def passes(self) -> int:
        """Passes that one velocity takes."""
        return 1 if self.joint else self.halves


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one of several GPUs does of an update: groups are dealt out whole."""

    groups: int
    in_flight: int
    """Groups sampled and scored at a time."""

    @classmethod
    def of(cls, config: ExperimentConfig, gpus: int) -> "Share":
        """Of the GPU that has most to do."""
        groups = math.ceil(config.train.groups_per_update / gpus)
        return cls(groups=groups, in_flight=min(config.train.groups_in_flight or groups, groups))

    @property
    def flights(self) -> int:
        """How often groups are sampled and scored in one update."""
        return math.ceil(self.groups / self.in_flight)
