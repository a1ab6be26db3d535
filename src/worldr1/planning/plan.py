"""A recipe on a GPU: memory, seconds, updates in the time, and what all of that assumes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from worldr1.build import ExperimentConfig
from worldr1.errors import InputError
from worldr1.planning.activations import HALF_BYTES
from worldr1.planning.cards import Card, needed_gib
from worldr1.planning.decoder import decode_flops, tile_overlap
from worldr1.planning.flops import text_encoder_flops
from worldr1.planning.job import Job
from worldr1.planning.memory import Memory, plan_memory
from worldr1.planning.reward_cost import reward_seconds, swap_seconds
from worldr1.planning.speed import PRODUCTS, Speed
from worldr1.planning.work import Guidance, Share
from worldr1.train.trainer import TrainConfig

LOADING_S = 180.0
"""From the command to the first forward, without compiling and text encoding: assumed."""
COMPILING_S = 103.0
"""The first calls of a compiled forward: measured on an H200 (research/h200.md)."""
TEXT_SHARE = 0.5
"""Of the products' rate, for the text encoder's one prompt at a time: assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """Of one update, on the GPU that has most to do."""

    rollout: float
    decode: float
    reward: float
    """With swapping."""
    step: float
    """Forward and backward of the trained step, and the reference."""

    @property
    def update(self) -> float:
        """All of it: the stages follow each other."""
        return self.rollout + self.decode + self.reward + self.step


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What `worldr1 plan` says."""

    recipe: str
    card: Card
    gpus: int
    hours: float
    memory: Memory
    seconds: Seconds
    per_call: Mapping[str, float]
    """Seconds of single calls: a forward of one latent with and without the adapter, a trained step, a decode, a
    reward."""
    start_s: float
    """Loading, compiling, encoding the prompts."""
    evaluations_s: float
    """The evaluations before and after."""
    updates: int
    """That fit into the time, and into train.max_minutes; at most the recipe's."""
    updates_asked: int
    """The recipe's."""
    samples: int
    """Videos sampled for these updates."""
    ode_call: str
    """Which of the calls the ODE steps of rollouts are."""
    notes: tuple[str, ...]
    """What was assumed."""

    @property
    def fits(self) -> bool:
        """Whether the card has the memory."""
        return self.memory.fits(self.card)

    @property
    def needed_gib(self) -> float:
        """Memory that a card must have."""
        return needed_gib(self.memory.peak)


def make_plan(recipe: str, config: ExperimentConfig, card: Card, *, gpus: int, hours: float) -> Plan:
    """The plan of a recipe. Raises InputError for impossible numbers and for what plan does not know."""
    if gpus < 1 or not 0 < hours < math.inf:
        raise InputError(f"plan needs at least one GPU and a positive time, not {gpus} and {hours:g} hours.")
    job, share = Job.of(config), Share.of(config, gpus)
    speed = Speed.of(card, attention=config.model.attention, dtype=config.model.dtype, compiled=config.model.compile)
    memory = plan_memory(job, share, card)
    calls = _calls(job, speed, memory)
    seconds = _seconds(job, share, calls)
    evaluations = 2 * _evaluation_s(job, calls) / gpus
    start = _start_s(job, speed)
    updates = _updates(config.train, seconds.update, 3600 * hours - start - evaluations)
    return Plan(
        recipe=recipe,
        card=card,
        gpus=gpus,
        hours=hours,
        memory=memory,
        seconds=seconds,
        per_call=calls,
        start_s=start,
        evaluations_s=evaluations,
        updates=updates,
        updates_asked=config.train.updates,
        samples=updates * config.train.groups_per_update * config.train.group_size,
        ode_call=_ode_call(config),
        notes=_notes(job, speed, share, gpus),
    )


def _updates(train: TrainConfig, update_s: float, left_s: float) -> int:
    """That are finished in so many seconds, or when one of the recipe's own lengths is reached."""
    lengths = [train.updates, max(0, int(left_s / update_s))]
    if train.max_minutes is not None:
        lengths.append(math.ceil(60 * train.max_minutes / update_s))
    return min(lengths)


def _calls(job: Job, speed: Speed, memory: Memory) -> dict[str, float]:
    """Seconds of single calls, guidance included."""
    guidance = Guidance.of(job.config, rows=1, tokens=job.tokens)
    given, times = job.passing(guidance.rows_factor), guidance.passes
    decode = speed.decode(decode_flops(job.decoder, job.latent), job.config.model.decode_dtype)
    if memory.tiled:
        decode *= tile_overlap(job.clip.height, job.clip.width)
    rounded = replace(speed, base_bytes=HALF_BYTES).forward(job.network, given, None)
    return {
        "velocity": times * speed.forward(job.network, given, job.lora),
        "rounded": times * rounded,
        "reference": times * speed.forward(job.network, given, None),
        "trained": times * speed.step(job.network, given, job.lora, checkpointing=memory.checkpointing),
        "decode": decode,
        "reward": reward_seconds(job.config.reward, job.clip, speed.card),
    }


def _seconds(job: Job, share: Share, calls: Mapping[str, float]) -> Seconds:
    work, videos = job.work, share.groups * job.config.train.group_size
    ode_steps = work.sampled - work.sampled_exactly
    sampled = work.sampled_exactly * calls["velocity"] + ode_steps * calls[_ode_call(job.config)]
    return Seconds(
        rollout=share.groups * sampled,
        decode=videos * calls["decode"],
        reward=videos * calls["reward"] + swap_seconds(job.config.reward, videos=videos),
        step=share.groups * (work.trained * calls["trained"] + work.reference * calls["reference"]),
    )


def _ode_call(config: ExperimentConfig) -> str:
    return "rounded" if config.sampler.ode_dtype == "bfloat16" else "velocity"


def _evaluation_s(job: Job, calls: Mapping[str, float]) -> float:
    prompts = job.config.prompts.test + job.config.prompts.test_dynamic
    per_video = job.config.sampler.num_steps * calls["velocity"] + calls["decode"] + calls["reward"]
    return prompts * per_video + swap_seconds(job.config.reward, videos=prompts)


def _start_s(job: Job, speed: Speed) -> float:
    numbers = job.config.prompts
    prompts = numbers.main + numbers.dynamic + numbers.test + numbers.test_dynamic
    flops = prompts * text_encoder_flops(job.parts.text_encoder.config, job.parts.text_tokens)
    encoding = flops / (TEXT_SHARE * PRODUCTS * speed.card.bf16_tflops * 1e12)
    return LOADING_S + encoding + COMPILING_S * job.config.model.compile


def _notes(job: Job, speed: Speed, share: Share, gpus: int) -> tuple[str, ...]:
    config, card = job.config, speed.card
    basis = "fitted to one H200" if card.measured else "scaled from an H200 by published peaks: an estimate"
    kernel = {
        "cudnn": "cuDNN",
        "flash": "flash",
        "flash3": "FlashAttention-3",
    }[speed.attention]
    notes = [f"seconds of {card.name} are {basis}; attention by {kernel}, {config.model.dtype} base"]
    if config.reward.published_models:
        notes.append(
            f'seconds and work memory of the reward models of "{config.reward.profile}" are estimates '
            "(docs/models.md: what was measured against them)"
        )
    for key, name in config.reward.plugins.items():
        notes.append(f"what {key} = {name} needs in memory and time is not known to plan, and not counted")
    if config.reward.placement == "remote":
        number = config.reward.remote.actors
        several = f" by one actor: {number} take 1/{number} of these seconds" if number > 1 else ""
        notes.append(
            f"remote reward models are taken to be as fast as on this GPU, and waited for{several}; sampling "
            "that goes on meanwhile (train.flights_ahead) is not counted"
        )
    if config.model.compile:
        notes.append("memory is counted as without torch.compile, which keeps less")
    if gpus > 1:
        dealt = f"{gpus} GPUs take {share.groups} of {config.train.groups_per_update} groups each"
        notes.append(f"{dealt}; summing their gradients and waiting for the slowest is not counted")
        if config.train.shard_base:
            notes.append("train.shard_base is not counted: memory and seconds are those of a whole base on every GPU")
    return tuple(notes)
