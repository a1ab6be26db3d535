"""Peak GPU memory of a run, stage by stage: what always lies there, and what each stage adds at its worst moment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from worldr1.planning.activations import HALF_BYTES, forward_bytes, step_bytes
from worldr1.planning.cards import FRAGMENTATION, RESERVED_GIB, Card, needed_gib
from worldr1.planning.decoder import decode_bytes, video_bytes
from worldr1.planning.job import Job
from worldr1.planning.reward_cost import resident_bytes, scoring_bytes
from worldr1.planning.weights import part_bytes, trained_bytes
from worldr1.planning.work import Guidance, Share

GIB = 2.0**30
FLOAT_BYTES = 4
TEXT, ROLLOUT, DECODE, REWARD, STEP = "text encoding", "rollout", "decode", "reward", "trained step"


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of one GPU, in GiB."""

    always: Mapping[str, float]
    """What stays during the whole run, by name."""
    stages: Mapping[str, float]
    """What each stage adds at its peak."""
    step_with_checkpointing: float
    """The trained step, whichever of the two is chosen."""
    step_without_checkpointing: float
    checkpointing: bool
    """Chosen, by the recipe or (auto) because nothing else fits."""
    tiled: bool
    """The same of decoding in tiles."""

    @property
    def peak_stage(self) -> str:
        """The stage that needs most."""
        return max(self.stages, key=self.stages.__getitem__)

    @property
    def peak(self) -> float:
        """Most that is allocated at once."""
        return sum(self.always.values()) + self.stages[self.peak_stage]

    def fits(self, card: Card) -> bool:
        """Whether the peak, with what is lost to the driver and the allocator, fits the card."""
        return needed_gib(self.peak) <= card.memory_gib


def plan_memory(job: Job, share: Share, card: Card) -> Memory:
    """Of one of the GPUs; the keys that are "auto" are decided by the card's memory."""
    always = _always(job)
    room = (card.memory_gib - RESERVED_GIB) / (1 + FRAGMENTATION) - sum(always.values())
    members = share.in_flight * job.config.train.group_size
    filmed = max(members, job.config.train.decode_batch)  # evaluations judge so many at a time
    held = 0.0 if share.flights > 1 else share.groups * job.work.recorded * _latent_gib(job)
    steps = {on: held + _step_gib(job, checkpointing=on) for on in (True, False)}
    asked = job.config.model.gradient_checkpointing
    checkpointing = steps[False] > room if asked == "auto" else asked
    decodes = {on: _decode_gib(job, filmed, tiled=on) for on in (True, False)}
    mode = job.config.model.decode
    tiled = decodes[False] > room if mode == "auto" else mode == "tiled"
    stages = {
        ROLLOUT: _rollout_gib(job, share, members),
        DECODE: decodes[tiled],
        REWARD: _reward_gib(job, filmed),
        STEP: steps[checkpointing],
    }
    if job.config.model.text_encoder == "free":
        stages = {TEXT: part_bytes(job.parts.text_encoder, job.numbers.base_bytes) / GIB, **stages}
    return Memory(
        always=always,
        stages=stages,
        step_with_checkpointing=steps[True],
        step_without_checkpointing=steps[False],
        checkpointing=checkpointing,
        tiled=tiled,
    )


def _always(job: Job) -> dict[str, float]:
    base = job.numbers.base_bytes
    found = {
        "transformer": part_bytes(job.parts.transformer, base),
        "VAE": part_bytes(job.parts.vae, FLOAT_BYTES),
        "LoRA, gradients, AdamW, EMA": trained_bytes(job.network, job.lora),
        "reward models": resident_bytes(job.config.reward),
    }
    if job.config.sampler.ode_dtype == "bfloat16":
        found["transformer, rounded"] = part_bytes(job.parts.transformer, HALF_BYTES)
    if job.config.model.text_encoder == "resident":
        found["text encoder"] = part_bytes(job.parts.text_encoder, base)
    return {name: size / GIB for name, size in found.items()}


def _latent_gib(job: Job) -> float:
    return job.latent.numel * FLOAT_BYTES / GIB


def _rollout_gib(job: Job, share: Share, members: int) -> float:
    """One forward, and the latents of the groups in flight: present, put together, moved on, and those recorded."""
    rows = min(job.config.sampler.batch, max(members, 1))
    guidance = Guidance.of(job.config, rows=rows, tokens=job.tokens)
    forward = forward_bytes(job.network, job.passing(rows * guidance.rows_factor), job.numbers, job.lora) / GIB
    text = members * job.parts.text_tokens * job.network.text_dim * job.numbers.base_bytes / GIB
    recorded = share.in_flight * job.work.recorded * _latent_gib(job)
    return forward + 4 * members * _latent_gib(job) + recorded + text


def _decode_gib(job: Job, members: int, *, tiled: bool) -> float:
    """One video's decoding beside those that are done; at the end they are put together, which takes them twice."""
    video = video_bytes(job.latent, job.decoder) / GIB
    working = decode_bytes(job.decoder, job.latent, dtype=job.config.model.decode_dtype, tiled=tiled) / GIB
    return 2 * members * _latent_gib(job) + max(working + members * video, 2 * members * video)


def _reward_gib(job: Job, members: int) -> float:
    """The videos, two copies of those of one call, and the models at work."""
    batch = min(job.config.reward.batch, members)
    video = video_bytes(job.latent, job.decoder) / GIB
    return (members + 2 * batch) * video + scoring_bytes(job.config.reward, job.clip, videos=batch) / GIB


def _step_gib(job: Job, *, checkpointing: bool) -> float:
    rows = min(job.work.graph_rows, job.config.sampler.batch)
    guidance = Guidance.of(job.config, rows=rows, tokens=job.tokens)
    forwards = math.ceil(job.work.graph_rows / rows) * guidance.passes
    given = job.passing(rows * guidance.rows_factor)
    step = step_bytes(job.network, given, job.numbers, job.lora, checkpointing=checkpointing, forwards=forwards)
    return step / GIB + job.work.graph_rows * (2 + job.config.train.group_size) * _latent_gib(job)
