"""Build the judges: the trunk (critic, sharpness, distance) and its branch that looks for named solids."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.backends.mini import load_reconstructor
from worldr1.camera.motion import scene_text
from worldr1.mini.networks.base import MAX_TEXT_LENGTH, new_text_encoder, new_transformer
from worldr1.mini.networks.trunk import Trunk, TrunkConfig, TrunkQuality, prompt_ids
from worldr1.pretrain.base import BaseModel, generate
from worldr1.pretrain.corpus import Corpus, Imperfection
from worldr1.pretrain.loop import Fit, FitConfig
from worldr1.pretrain.parts import (
    BuildConfig,
    finish,
    load_corpus,
    load_trained,
    load_vae,
    made_once,
    picture,
    warm_start,
)
from worldr1.pretrain.presence import PresenceTask, prompt_preference
from worldr1.pretrain.trunk import CriticSet, TrunkTask, make_critic_set, make_quality_set
from worldr1.pretrain.trunk_metrics import trunk_metrics
from worldr1.pretrain.vae import decode_corpus, to_float
from worldr1.rewards.quality import QualityConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.seeding import make_generator


def build_trunk(config: BuildConfig) -> dict[str, float]:
    """Everything in the trunk but the branch that looks for named solids."""
    corpus, held_out, vae = load_corpus(config, "train"), load_corpus(config, "held_out"), load_vae(config)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(config.state / "tokenizer")
    cpu = torch.Generator("cpu").manual_seed(config.seed + 4)
    clean = (corpus.imperfection == Imperfection.NONE).nonzero()[:, 0][: config.critic_clips].cpu()
    every = torch.arange(len(held_out.prompts))
    critic_sets = [
        _critic_set(config, name, rows, views)
        for name, rows, views in (("train", clean, config.critic_views), ("held_out", every, 3))
    ]
    quality_sets = [make_quality_set(c, vae=vae, tokenizer=tokenizer, generator=cpu) for c in (corpus, held_out)]
    ids = [
        prompt_ids(tokenizer, [scene_text(c.prompts[int(i)]) for i in s.clip], MAX_TEXT_LENGTH).to(config.device)
        for c, s in zip((corpus, held_out), critic_sets, strict=True)
    ]
    images = to_float(critic_sets[1].images[:64])
    picture([images[i : i + 8] for i in range(0, len(images) - 7, 8)], config.out / "critic_set.png")
    trunk = Trunk(TrunkConfig(vocabulary_size=len(tokenizer))).to(config.device)
    warm_start(trunk, config, "trunk")
    trunk.presence.requires_grad_(False)
    fit = Fit(trunk, config.state / "trunk", FitConfig(seconds=config.seconds, total_s=config.total_s, lr=1e-3))
    generator = config.generator(fit.steps + 5)
    fit.run(TrunkTask(trunk, critic_sets[0], ids[0], quality_sets[0], batch=config.batch, generator=generator))
    finish(fit, trunk, config, "trunk")
    metrics = trunk_metrics(trunk, critic_sets[1], ids[1], quality_sets[1], config.generator(6))
    return metrics | {"steps": float(fit.steps)}


def build_presence(config: BuildConfig) -> dict[str, float]:
    """The branch that looks for named solids, on stills; needs the VAE, the trunk and (for a metric) the base model."""
    vae, tokenizer = load_vae(config), PreTrainedTokenizerFast.from_pretrained(config.state / "tokenizer")
    stills, held_out = (
        _stills(config, "stills", config.stills, 2),
        _stills(config, "held_out_stills", config.held_out, 3),
    )
    trunk = Trunk(TrunkConfig(vocabulary_size=len(tokenizer))).to(config.device)
    load_trained(trunk, config, "trunk")
    frames = decode_corpus(vae, stills.video)[:, 0]
    generator = config.generator(7)
    task = PresenceTask(trunk, frames, stills.prompts, batch=config.batch, generator=generator)
    fit = Fit(trunk, config.state / "presence", FitConfig(seconds=config.seconds, total_s=config.total_s, lr=2e-3))
    generator.manual_seed(config.seed + 7 + fit.steps)
    fit.run(task)
    finish(fit, trunk, config, "trunk")
    quality = TrunkQuality(trunk, tokenizer)
    rendered = decode_corpus(vae, held_out.video)[:, 0]
    metrics = prompt_preference(quality, rendered, held_out.prompts, make_generator(config.seed, "misnamed"))
    if (config.state / "base.safetensors").exists():
        metrics |= _on_generated_frames(quality, vae, tokenizer, held_out.prompts[:128], config)
    return metrics | {"steps": float(fit.steps)}


def _stills(config: BuildConfig, name: str, num: int, offset: int) -> Corpus:
    """Frame 0 of consistent clips; rendered once."""
    return made_once(config, name, num, seed_offset=offset, imperfect=False, batch=512, num_frames=1)


def _critic_set(config: BuildConfig, name: str, rows: Int[Tensor, " R"], views: int) -> CriticSet:
    """The critic's pictures of those rows of a corpus, drawn by `config.workers` processes."""
    shards = [
        (config, name, part.tolist(), views, shard) for shard, part in enumerate(rows.tensor_split(config.workers))
    ]
    if config.workers == 1:
        parts = [_critic_shard(*shards[0])]
    else:
        with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_critic_shard, *zip(*shards, strict=True)))
    whole = {field: torch.cat([torch.from_numpy(part[field]) for part in parts]) for field in parts[0]}
    return CriticSet(**whole)


def _critic_shard(
    config: BuildConfig, name: str, rows: list[int], views: int, shard: int
) -> dict[str, np.ndarray[Any, Any]]:
    """One process's share; arrays, because tensors would travel through shared memory. rows: ascending.

    It loads those rows alone: ten processes with a whole corpus each are more than a GPU holds.
    """
    first = rows[0]
    made = make_critic_set(
        load_corpus(config, name, slice(first, rows[-1] + 1)),
        torch.tensor(rows, device=config.device) - first,
        vae=load_vae(config),
        reconstruct=load_reconstructor(config.device, weights=config.state),
        renderer=GsplatRenderer() if config.device == "cuda" else SplatRenderer(),
        views_per_clip=views,
        generator=make_generator(config.seed, f"critic-{name}", shard),
    )
    made = replace(made, clip=made.clip + first)
    return {field.name: getattr(made, field.name).numpy() for field in fields(made)}


def _on_generated_frames(
    quality: TrunkQuality, vae: AutoencoderKLWan, tokenizer: Any, prompts: Sequence[str], config: BuildConfig
) -> dict[str, float]:
    """The same of the base model's frames (rendered ones give its ceiling), and the scale of R_gen."""
    model = BaseModel(new_transformer(), new_text_encoder(len(tokenizer))).to(config.device).eval()
    load_trained(model, config, "base")
    video = generate(model, vae, tokenizer, prompts, config.generator(3))
    found = prompt_preference(quality, video[:, 0], prompts, make_generator(config.seed, "misnamed"))
    early = to_float(video[:, : QualityConfig().num_frames])
    scores = torch.stack([quality(frames, prompts) for frames in early.unbind(1)]).mean(0)
    scale = {"quality_base_mean": float(scores.mean()), "quality_base_std": float(scores.std())}
    return {f"{name}_generated": value for name, value in found.items()} | scale
