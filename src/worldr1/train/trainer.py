"""Roll out groups, score them, take a step: by Flow-GRPO-Fast (DESIGN section 3), or another `train.algorithm`.

One update: prompts of the phase -> start noise -> rollouts -> videos -> rewards -> advantages -> loss -> AdamW -> EMA.
Everything random is seeded by (seed, stream, update, ...), so the state between updates is parameters, EMA, optimizer
and a few counters: a resumed run equals an uninterrupted one bit for bit on the CPU.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.errors import ConfigError, TrainingError
from worldr1.protocols import TrainablePolicy, VideoReward
from worldr1.rl.phases import Phase
from worldr1.rollout.collector import GroupBatch, GroupScores
from worldr1.rollout.sampler import GroupRequest
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.seeding import derive_seed, make_generator
from worldr1.train.algorithm import Algorithm, Method, ScoredGroup
from worldr1.train.best_of_n import BestOfN
from worldr1.train.checkpoint import TrainState, first_not_finite, load_optimizer_state, optimizer_state
from worldr1.train.ema import Ema
from worldr1.train.flights import Flights
from worldr1.train.flow_grpo import FlowGrpo
from worldr1.train.interrupts import deferred_interrupt
from worldr1.train.lora import copy_merged, load_parameters
from worldr1.train.metrics import Metrics, UpdateMeter, parameter_hash, scored_metrics
from worldr1.train.ranks import Ranks
from worldr1.train.startup import FirstGradient, check_ranks_agree
from worldr1.train.stopping import JudgeConfig
from worldr1.train.trackers import LogConfig
from worldr1.types import Prompt, Rollout, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The optimisation. Raises ConfigError for impossible values."""

    seed: int = 0
    updates: int = 150
    """Length of the run."""
    max_minutes: float | None = None
    """The run ends, as if `updates` were reached, after the update with which the sum of all updates' seconds (those
    before a resume too; no evaluation, judge or checkpoint) comes to this. Methods compare at equal minutes. None: no
    limit."""
    group_size: int = 8
    """Videos per prompt, G."""
    groups_per_update: int = 48
    """Prompts per update."""
    groups_in_flight: int | None = None
    """Groups that a process samples, decodes and scores at a time; those done wait in host memory for the optimizer
    step, whose gradient is the same. 1 needs the least GPU memory. None: all of its groups at once, which is the
    fastest for small models."""
    flights_ahead: int = 2
    """With rewards elsewhere (`reward.placement = "remote"`): most times `groups_in_flight` groups whose rewards are
    still being computed while the next ones are sampled; their videos wait in host memory. 0: each is waited for. The
    results are the same."""
    trainable: Literal["lora", "full"] = "lora"
    shard_base: bool = False
    """Deal the frozen base's weights to the processes (FSDP2): a block is whole only while it computes. For a base that
    does not fit one GPU; slower. Nothing changes with one process."""
    lr: float = 1e-4
    weight_decay: float = 1e-4
    adam_eps: float = 1e-15
    """Tiny, because gradients of a mean over the latent's dimensions are (research/math.md C8)."""
    max_grad_norm_ratio: float = 4.0
    """Gradients are clipped at this multiple of the running median of their norm; a fixed norm would never act."""
    ema_decay: float = 0.9
    std_floor: float = 0.05
    """Least group standard deviation that advantages are divided by: 1 % of the reward's range."""
    decode_batch: int = 8
    """Videos per VAE call."""
    checkpoint_every: int = 20
    """Updates between checkpoints."""
    keep_last: int = 3
    max_fault_fraction: float = 0.2
    """More faults than this in one update stop the run."""
    max_skipped: int = 10
    """Optimizer steps in a row without a finite gradient that stop the run."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Whether a judge that no reward met looks on, and stops a run that it finds worse while its reward rises."""
    log: LogConfig = field(default_factory=LogConfig)
    """Who is told of the run beside `metrics.jsonl`."""

    def __post_init__(self) -> None:
        counts = ("updates", "groups_per_update", "decode_batch", "checkpoint_every", "keep_last", "max_skipped")
        for name, low in {"group_size": 2, "weight_decay": 0, "flights_ahead": 0, **dict.fromkeys(counts, 1)}.items():
            if not getattr(self, name) >= low:
                raise ConfigError(f"train.{name} is {getattr(self, name)}: give at least {low}.")
        if self.groups_in_flight is not None and self.groups_in_flight < 1:
            raise ConfigError(f"train.groups_in_flight is {self.groups_in_flight}: give at least 1, or none for all.")
        for name in ("lr", "adam_eps", "max_grad_norm_ratio", "std_floor", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"train.{name} is {getattr(self, name)}: give a positive number.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}: give a number from 0 to below 1.")
        if not 0 <= self.max_fault_fraction <= 1:
            raise ConfigError(f"train.max_fault_fraction is {self.max_fault_fraction}: give a number from 0 to 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSets:
    """Training prompts of the two phases."""

    main: Sequence[Prompt]
    dynamic: Sequence[Prompt]

    def draw(self, phase: Phase, num: int, generator: torch.Generator) -> list[Prompt]:
        """`num` different prompts of the phase (with repeats only if the set is smaller)."""
        prompts = self.dynamic if phase is Phase.DYNAMIC else self.main
        order: list[int] = []
        while len(order) < num:
            order += torch.randperm(len(prompts), generator=generator).tolist()
        return [prompts[i] for i in order[:num]]


@dataclass(kw_only=True, slots=True)
class _Counters:
    """What the run remembers besides tensors; goes into the checkpoint as JSON."""

    grad_norms: list[float] = field(default_factory=list)
    skipped_in_a_row: int = 0
    skipped: int = 0
    faults: int = 0


MEDIAN_WINDOW = 50
"""Gradient norms whose median sets the clipping."""
HASHED_BYTES = 2**28
"""Trained parameters up to this size are hashed, and compared between ranks, at every update, larger ones at every
checkpoint (0.2 s for 94 MB)."""


class _Sampled(NamedTuple):
    """What this process has sampled of an update."""

    groups: list[GroupBatch]
    embeddings: list[Tensor]
    """[1, S, D] of each group's prompt."""
    waited_s: float
    """How long this process stood still because rewards were not there."""


class Trainer:
    """Owns the policy's trained parameters, their EMA and optimizer; `update` does one update."""

    def __init__(
        self,
        policy: TrainablePolicy,
        parameters: dict[str, nn.Parameter],
        reward: VideoReward,
        prompts: PromptSets,
        *,
        config: TrainConfig,
        method: Method,
        clip: tuple[int, int, int],
        base_state: dict[str, Tensor] | None = None,
    ) -> None:
        """parameters: what to train, by name (`train.lora.prepare_trainable`). clip: frames, height, width.

        base_state: the parameters before training, needed as the KL's reference when the whole network is trained.
        Raises ConfigError if a phase has no prompts, InputError for a clip that the policy cannot make.
        """
        if not prompts.main or (method.phases.dynamic_updates > 0 and not prompts.dynamic):
            raise ConfigError(
                "A phase has no prompts: set prompts.main to at least 1, and prompts.dynamic too unless "
                "phases.dynamic_updates is 0."
            )
        self.policy, self.parameters, self.reward, self.prompts = policy, parameters, reward, prompts
        self.config, self.method, self.clip, self.base_state = config, method, clip, base_state
        self.latent_shape = policy.latent_shape(*clip)
        self.device = next(iter(parameters.values())).device
        self.optimizer = torch.optim.AdamW(
            parameters.values(), lr=config.lr, weight_decay=config.weight_decay, eps=config.adam_eps
        )
        self.ema = Ema(parameters, config.ema_decay)
        self.plans = PlanCache()
        self.ode_policy = policy.rounded() if method.sampler.ode_dtype == "bfloat16" else None
        """Takes the ODE steps of rollouts; None: the policy itself does."""
        self.algorithm = self._algorithm()
        self.ranks = Ranks()
        """The processes that share an update's groups; set it before the first update."""
        self.counters = _Counters()
        self.updates_done = 0
        self.on_stage: Callable[[str], None] = lambda name: None
        """Is told what each stage of an update is called when it begins."""
        self.meter = UpdateMeter(self.device)

    # ------------------------------------------------------------------------------------------------------- state

    def state(self) -> TrainState:
        """Everything that a checkpoint holds."""
        return TrainState(
            update=self.updates_done,
            params={name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()},
            ema=self.ema.state_dict(),
            optimizer=optimizer_state(self.optimizer, self.parameters),
            extra=asdict(self.counters),
        )

    def load_state(self, state: TrainState) -> None:
        """Go on from a checkpoint. Raises CheckpointError or InputError if it belongs to another model."""
        load_parameters(self.parameters, state.params)
        self.ema.load_state_dict(state.ema)
        load_optimizer_state(self.optimizer, self.parameters, state.optimizer)
        self.counters = _Counters(**state.extra)
        self.updates_done = state.update

    def share_state(self) -> None:
        """Every rank takes up rank 0's state, which alone may have read it."""
        if self.ranks.world == 1:
            return
        own = self.state()
        parts = {"params": own.params, "ema": own.ema, "optimizer": own.optimizer}
        shared = self.ranks.share_tensors({f"{part} {name}": t for part in parts for name, t in parts[part].items()})
        update, extra = self.ranks.gather([own.update, dict(own.extra)])[0]
        found: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
        for key, tensor in shared.items():
            part, _, name = key.partition(" ")
            found[part][name] = tensor
        self.load_state(TrainState(update=update, extra=extra, **found))

    def first_not_finite(self) -> str:
        """Name of a trained parameter or average that is not finite, "" if there is none: such a state is not saved."""
        return first_not_finite(self.parameters) or first_not_finite(self.ema.values)

    # ------------------------------------------------------------------------------------------------------ update

    def update(
        self,
        record: Callable[[Metrics], None] = lambda metrics: None,
        examine: Callable[[FirstGradient], None] = lambda first: None,
    ) -> Metrics:
        """One update; returns its line of `metrics.jsonl`. Raises TrainingError when the run must stop.

        record: is given that line while an interrupt (Ctrl-C) still waits. Sampling and scoring change nothing and may
        be interrupted; from the first gradient to the recorded line the update is done as a whole. So after an
        interrupt or a TrainingError `state` is that of a finished update. examine: sees the first gradient before the
        optimizer does, and may raise (`train.startup.StartupChecks`).
        """
        self.meter = UpdateMeter(self.device, self.on_stage)
        number = self.updates_done
        phase = self.method.phases.phase_at(number)
        sampled = _Sampled([], [], 0.0)

        def sample() -> list[dict[str, Any]]:
            nonlocal sampled
            sampled = self._sample(number, phase)
            return [group.to_message() for group in sampled.groups]

        shares = self.ranks.together(sample)
        scores = self.ranks.in_order([[GroupScores.of_message(one) for one in share] for share in shares])
        metrics: Metrics = {"update": number, "phase": phase.value, **scored_metrics(scores)}
        num_faults = self._check_faults(scores)
        with deferred_interrupt():
            for epoch in range(self.method.objective.updates_per_rollout):
                metrics |= self._step(sampled, scores, epoch, examine if epoch == 0 else None)
            self.counters.faults += num_faults
            self.updates_done += 1
            metrics |= self._check_ranks()
            metrics |= self.ranks.gather(self.meter.measured() | {"seconds_reward_wait": sampled.waited_s})[0]
            record(metrics)
        if name := self.first_not_finite():
            raise TrainingError(
                f"{name} is not finite after update {number}, so no checkpoint of it is written; go on from the one "
                "before with --resume, with a lower train.lr if it happens again."
            )
        if self.counters.skipped_in_a_row >= self.config.max_skipped:
            raise TrainingError(
                f"{self.counters.skipped_in_a_row} optimizer steps in a row had no finite gradient; lower train.lr, or "
                "look at the reward parts in metrics.jsonl."
            )
        return metrics

    def _sample(self, number: int, phase: Phase) -> _Sampled:
        """This process's groups of the update, rolled out and scored."""
        with self.meter.stage("rollout"):
            prompts, embeddings = self._draw_prompts(number, phase)
            if self.ode_policy is not None:
                copy_merged(self.policy.transformer, self.ode_policy.transformer)
        flights = Flights(
            self.reward,
            ahead=self.config.flights_ahead,
            std_floor=self.config.std_floor,
            phase_dynamic=phase is Phase.DYNAMIC,
        )
        for slots in self._flights():
            with self.meter.stage("rollout"):
                rollouts = self._roll_out(number, {slot: prompts[slot] for slot in slots}, embeddings)
            self._score(rollouts, flights)
        with self.meter.stage("reward"):
            groups = flights.all_scored()
        return _Sampled(groups, [embeddings[slot] for slot in self._slots], flights.waited_s)

    def _draw_prompts(self, number: int, phase: Phase) -> tuple[list[Prompt], list[Tensor]]:
        """The update's prompts and their embeddings [1, S, D]."""
        generator = make_generator(self.config.seed, "prompts", number)
        prompts = self.prompts.draw(phase, self.config.groups_per_update, generator)
        # in one call: all embeddings of an update have one shape
        return prompts, list(self.policy.encode([prompt.text for prompt in prompts]).split(1))

    @property
    def _slots(self) -> range:
        """The places in the update of this process's groups."""
        return self.ranks.deal(self.config.groups_per_update)

    def _flights(self) -> list[range]:
        """Of these, those that are sampled together."""
        slots = self._slots
        size = self.config.groups_in_flight or len(slots)
        return [slots[first : first + size] for first in range(0, len(slots), size)]

    def _roll_out(self, number: int, prompts: Mapping[int, Prompt], embeddings: Sequence[Tensor]) -> list[Rollout]:
        """Groups of some of the update's prompts, by their place in it."""
        config = self.config
        requests = []
        for slot, prompt in prompts.items():
            ids = (number, slot, prompt.id)
            path = requested_path(parse_plan(prompt.text).tokens, self.clip[0])
            num_starts = self.algorithm.num_starts(config.group_size)
            seeds = [derive_seed(config.seed, "start-noise", *ids, member) for member in range(num_starts)]
            requests.append(
                GroupRequest(
                    prompt=prompt,
                    trajectory=path,
                    embeddings=embeddings[slot],
                    start=self._start_noise(path, seeds),
                    step_indices=self.algorithm.draw_steps(make_generator(config.seed, "sde-index", *ids)),
                    seeds=tuple(derive_seed(config.seed, "member", *ids, m) for m in range(config.group_size)),
                )
            )
        return self.algorithm.roll_out(requests, policy_version=number)

    def _start_noise(self, path: Trajectory | None, seeds: Sequence[int]) -> Tensor:
        return start_noise(path, self.latent_shape, seeds, self.method.noise, self.plans).to(self.device)

    def _score(self, rollouts: Sequence[Rollout], flights: Flights) -> None:
        with self.meter.stage("reward"):
            flights.make_room()
        latents = torch.cat([rollout.latents for rollout in rollouts])
        with self.meter.stage("decode"):
            videos = torch.cat([self.policy.decode(part) for part in latents.split(self.config.decode_batch)])
        if len(rollouts) < len(self._slots):  # the other groups need the GPU's memory
            rollouts = [rollout.to("cpu") for rollout in rollouts]
        with self.meter.stage("reward"):
            flights.score(rollouts, videos)

    def _check_faults(self, groups: Sequence[GroupScores]) -> int:
        """The number of faults, as `collect` sees them: a reward that is not finite is one too."""
        members = [member for group in groups for member in zip(group.rewards, group.valid.tolist(), strict=True)]
        faults = [result.reason or "the reward is not finite" for result, valid in members if not valid]
        if len(faults) > self.config.max_fault_fraction * len(members):
            raise TrainingError(
                f"{len(faults)} of {len(members)} rewards failed in update {self.updates_done} ({faults[0]}); "
                "mend the reward model, then resume."
            )
        return len(faults)

    # -------------------------------------------------------------------------------------------------------- loss

    def _algorithm(self) -> Algorithm:
        sampler, objective = self.method.sampler, self.method.objective
        keywords: dict[str, Any] = {"base_state": self.base_state, "ode_policy": self.ode_policy}
        if objective.kind == "best-of-n":
            return BestOfN(self.policy, sampler, objective, draw_noise=self._start_noise, **keywords)
        return FlowGrpo(self.policy, sampler, objective, **keywords)

    def _step(
        self,
        sampled: _Sampled,
        scores: Sequence[GroupScores],
        epoch: int,
        examine: Callable[[FirstGradient], None] | None,
    ) -> dict[str, float]:
        """One optimizer step on the groups that the loss takes, those of other ranks too."""
        self.optimizer.zero_grad(set_to_none=True)
        own = [ScoredGroup(group, text) for group, text in zip(sampled.groups, sampled.embeddings, strict=True)]
        kept, num_kept = [group for group in own if group.batch.kept], sum(score.kept for score in scores)
        metrics: dict[str, float] = {}
        with self.meter.stage("step"):
            if num_kept:
                idle = own[:1] * (self._passes(scores) - len(kept))
                backward = partial(self.algorithm.backward, kept, epoch=epoch, num_groups=num_kept, idle=idle)
                rows = self.ranks.together(backward, interruptible=False)
                metrics = self.algorithm.summarise([row for share in rows for row in share])
                self.ranks.sum_gradients(self.parameters.values())
        is_finite = math.isfinite(metrics.get("loss", 0.0))
        if examine is not None:
            examine(FirstGradient(groups=scores, parameters=self.parameters, metrics=metrics))
        with self.meter.stage("optimizer"):
            applied = self._apply(bool(num_kept) and is_finite)
        return {"kept_groups": float(num_kept)} | metrics | applied

    def _passes(self, scores: Sequence[GroupScores]) -> int:
        """Groups that must pass through the network with gradient here: with a sharded base as many as on any rank."""
        world = self.ranks.world if self.config.shard_base else 1
        kept = [sum(score.kept for score in scores[rank::world]) for rank in range(world)]
        return max(kept) if world > 1 else 0

    def _check_ranks(self) -> dict[str, str]:
        """The parameters' hash, unless that takes too long at every update. Raises RanksApart if the ranks' differ."""
        size = sum(p.numel() * p.element_size() for p in self.parameters.values())
        if size > HASHED_BYTES and self.updates_done % self.config.checkpoint_every:
            return {}
        with self.meter.stage("hash"):
            mine = parameter_hash(self.parameters)
            check_ranks_agree(int(mine, 16), self.ranks.gather)
        return {"parameter_hash": mine}

    def _apply(self, has_gradient: bool) -> dict[str, float]:
        """Clip, step and average; without a gradient, or if it is not finite, the step is skipped and counted."""
        counters, config = self.counters, self.config
        norm = math.nan
        if has_gradient:
            norm = float(nn.utils.get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None]))
            norm = self.ranks.gather(norm)[0]  # of equal gradients, but GPUs of two kinds may round it differently
        if not math.isfinite(norm):
            counters.skipped += 1
            counters.skipped_in_a_row += 1
            return {"grad_norm": norm, "skipped": float(counters.skipped)}
        counters.skipped_in_a_row = 0
        if norm > 0:  # a median of zeros, from rewards that were all equal, would clip everything away
            counters.grad_norms = [*counters.grad_norms, norm][-MEDIAN_WINDOW:]
        limit = config.max_grad_norm_ratio * statistics.median(counters.grad_norms or [norm])
        if norm > limit:
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.mul_(limit / norm)
        self.optimizer.step()
        self.ema.update(self.parameters)
        return {"grad_norm": norm, "skipped": float(counters.skipped)}
