"""Train one part of the mini world and write its weights: what `worldr1 mini build PART` runs.

Parts, in order: corpus, vae, reconstructor, base, trunk; `pack` puts them into the package. Each reads what the ones
before it left in the state folder, trains for `seconds` (state is kept, so that the next run goes on), and writes bf16
weights and held-out metrics to the output folder.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.backends.mini import load_reconstructor, mini_weights
from worldr1.backends.wan import decode_latents
from worldr1.camera.motion import scene_text
from worldr1.errors import InputError
from worldr1.mini.networks.base import (
    LATENT_CHANNELS,
    MAX_TEXT_LENGTH,
    new_text_encoder,
    new_transformer,
    new_vae,
    train_tokenizer,
)
from worldr1.mini.networks.reconstructor import MiniReconstructor, ReconstructorConfig
from worldr1.mini.networks.trunk import Trunk, TrunkConfig, TrunkQuality, prompt_ids
from worldr1.mini.scenes import FLOORS
from worldr1.pretrain.base import BaseModel, BaseTask, TransportedNoise, sample, tokenize
from worldr1.pretrain.corpus import Corpus, Imperfection, build_corpus
from worldr1.pretrain.loop import Fit, FitConfig, bf16_state
from worldr1.pretrain.pack import pack, unpack
from worldr1.pretrain.reconstructor import ReconstructorTask, pose_errors
from worldr1.pretrain.trunk import CriticSet, QualitySet, TrunkTask, make_critic_set, make_quality_set
from worldr1.pretrain.trunk_metrics import prompt_preference, trunk_metrics
from worldr1.pretrain.vae import VaeTask, decode_corpus, encode_corpus, latent_statistics, through_vae, to_float
from worldr1.rewards.quality import QualityConfig
from worldr1.scene.image_metrics import psnr_db
from worldr1.scene.splat import SplatRenderer
from worldr1.seeding import make_generator


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig:
    """Where and how long."""

    state: Path
    """Holds corpora and training state; may lie on a scratch disk."""
    out: Path
    """Receives `PART.safetensors` (bf16), `PART.metrics.json` (held out) and pictures."""
    seconds: float = 400.0
    total_s: float = 400.0
    device: str = "cuda"
    clips: int = 24_000
    held_out: int = 384
    critic_clips: int = 3000
    """Consistent clips whose damaged reconstructions train the critic."""
    critic_views: int = 5
    """Renders of each, every one with another damage."""
    stills: int = 32_000
    """Frames of scenes of their own, beside those of the clips, that train the quality head."""
    workers: int = 1
    """Processes that draw the critic's pictures: thousands of small scenes keep a GPU idle and one CPU core busy."""
    batch: int = 32
    seed: int = 2026

    def generator(self, offset: int) -> torch.Generator:
        """A generator on the training device."""
        return torch.Generator(self.device).manual_seed(self.seed + offset)


def build(part: str, config: BuildConfig) -> dict[str, float]:
    """Train `part`; returns its held-out metrics. Raises InputError for an unknown part or a missing earlier one."""
    if part == "pack":
        return pack(config.out, mini_weights())
    if part == "unpack":
        unpack(mini_weights(), config.state)
        return {}
    builders = {"corpus": _corpora, "vae": _vae, "reconstructor": _reconstructor, "base": _base, "trunk": _trunk}
    if part not in builders:
        raise InputError(f"unknown part {part!r}; build one of {', '.join(builders)}")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    config.out.mkdir(parents=True, exist_ok=True)
    metrics = builders[part](config)
    for folder in (config.out, config.state):
        (folder / f"{part}.metrics.json").write_text(json.dumps(metrics, indent=1))
    print(part, json.dumps(metrics))
    return metrics


def _corpora(config: BuildConfig) -> dict[str, float]:
    for name, num, seed, options in (
        ("train", config.clips, config.seed, {}),
        ("held_out", config.held_out, config.seed + 1, {"imperfect": False}),
        ("stills", config.stills, config.seed + 2, {"imperfect": False, "num_frames": 1, "batch": 512}),
    ):
        if not (config.state / name / "prompts.json").exists():
            build_corpus(num, seed=seed, device=config.device, **options).save(config.state / name)
    return {"train_clips": float(config.clips), "held_out_clips": float(config.held_out)}


def _load(config: BuildConfig, name: str) -> Corpus:
    if not (config.state / name / "prompts.json").exists():
        raise InputError(f"there is no corpus in {config.state}; run `worldr1 mini build corpus` first")
    return Corpus.load(config.state / name, config.device)


def _weights(config: BuildConfig, part: str) -> dict[str, Tensor]:
    for folder in (config.out, config.state):
        if (folder / f"{part}.safetensors").exists():
            return {k: v.float() for k, v in load_file(folder / f"{part}.safetensors").items()}
    raise InputError(f"there are no weights of the {part}; run `worldr1 mini build {part}` first")


def _warm_start(module: nn.Module, config: BuildConfig, part: str) -> None:
    """Begin from the weights in the state folder (`unpack` puts shipped ones there) where there is no exact state."""
    exact = config.state / part / "state.safetensors"
    if (config.state / f"{part}.safetensors").exists() and not exact.exists():
        _load_trained(module, config, part)


def _load_trained(module: nn.Module, config: BuildConfig, part: str) -> None:
    path = config.state / f"{part}.safetensors"
    weights = {name: x.float() for name, x in load_file(path).items() if not name.startswith("latents_")}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    if [name for name in missing if "embed_tokens" not in name] or unexpected:
        raise InputError(f"{path} is of another network; delete it to train the {part} anew")


def _finish(fit: Fit, module: nn.Module, config: BuildConfig, part: str) -> None:
    fit.save()
    fit.use_ema()
    module.eval().requires_grad_(False)
    for folder in (config.out, config.state):
        save_file(bf16_state(module), folder / f"{part}.safetensors")


def load_vae(config: BuildConfig) -> AutoencoderKLWan:
    """The trained VAE, with its latent statistics."""
    weights = _weights(config, "vae")
    vae = new_vae()
    vae.register_to_config(
        latents_mean=weights.pop("latents_mean").tolist(), latents_std=weights.pop("latents_std").tolist()
    )
    vae.load_state_dict(weights)
    moved: Any = vae  # diffusers' decorated `to` confuses type checkers
    return moved.to(config.device).eval().requires_grad_(False)


def _vae(config: BuildConfig) -> dict[str, float]:
    vae: Any = new_vae()
    _warm_start(vae, config, "vae")
    vae.to(config.device)
    corpus = _load(config, "train")
    fit_config = FitConfig(
        seconds=config.seconds, total_s=config.total_s, lr=1.2e-3, weight_decay=0.0, beta2=0.99, ema_decay=0.995
    )
    fit = Fit(vae, config.state / "vae", fit_config)
    fit.run(VaeTask(vae, corpus, batch=config.batch, generator=config.generator(fit.steps)))
    _finish(fit, vae, config, "vae")
    mean, std = latent_statistics([encode_corpus(vae, corpus.rows(slice(0, 2048)))])
    for folder in (config.out, config.state):
        weights = load_file(folder / "vae.safetensors")
        weights |= {"latents_mean": torch.tensor(mean), "latents_std": torch.tensor(std)}
        save_file(weights, folder / "vae.safetensors")
    vae.register_to_config(latents_mean=mean, latents_std=std)
    return _vae_metrics(vae, _load(config, "held_out"), config.out) | {"steps": float(fit.steps)}


def _vae_metrics(vae: AutoencoderKLWan, corpus: Corpus, out: Path) -> dict[str, float]:
    """PSNR from the mean squared error over all held-out clips, and per floor texture."""
    errors, pictures = [], []
    for video in corpus.video.split(32):
        original = to_float(video)
        decoded = through_vae(vae, original)
        errors.append((decoded - original).square().mean((1, 2, 3, 4)))
        if len(pictures) < 8:
            pictures += [torch.cat([a[::8], b[::8]]) for a, b in zip(original[:8], decoded[:8], strict=True)]
    _picture(pictures, out / "vae.png")
    error = torch.cat(errors)
    metrics = {"psnr_db": float(psnr_db(error.mean()))}
    for floor in FLOORS:
        has = torch.tensor([f" {floor} floor" in prompt for prompt in corpus.prompts], device=error.device)
        metrics[f"psnr_db_{floor}_floor"] = float(psnr_db(error[has].mean()))
    return metrics


def _picture(rows: list[Tensor], path: Path) -> None:
    """Rows of frames `[T, 3, H, W]` as one PNG."""
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row), -1) for row in rows], -2).clamp(0, 1)
    Image.fromarray((sheet.permute(1, 2, 0).float().cpu().numpy() * 255).round().astype("uint8")).save(path)


def _reconstructor(config: BuildConfig) -> dict[str, float]:
    network, corpus = MiniReconstructor(ReconstructorConfig()).to(config.device), _load(config, "train")
    has_vae = (config.state / "vae.safetensors").exists()
    vae = load_vae(config) if has_vae else None
    decoded = decode_corpus(vae, corpus.video[: config.clips * 2 // 3]) if vae is not None else None
    _warm_start(network, config, "reconstructor")
    fit_config = FitConfig(seconds=config.seconds, total_s=config.total_s, lr=8e-4)
    fit = Fit(network, config.state / "reconstructor", fit_config)
    if config.device == "cuda":
        network.compile()
    task = ReconstructorTask(
        network, corpus, batch=config.batch, generator=config.generator(fit.steps + 1), decoded=decoded
    )
    fit.run(task)
    _finish(fit, network, config, "reconstructor")
    held_out = _load(config, "held_out")
    metrics = {"steps": float(fit.steps)}
    for name, through in (("clean", None), ("decoded", vae)):
        if name == "clean" or vae is not None:
            errors = pose_errors(network, held_out, through)
            metrics |= {f"{key}_{name}": float(value.nanmean()) for key, value in errors.items()}
    return metrics


def _base(config: BuildConfig) -> dict[str, float]:
    corpus, vae = _load(config, "train"), load_vae(config)
    latents = encode_corpus(vae, corpus)
    prompts, plan = corpus.prompts, corpus.plan
    del corpus
    tokenizer = _tokenizer(config, prompts)
    model = BaseModel(new_transformer(), new_text_encoder(len(tokenizer))).to(config.device)
    _warm_start(model, config, "base")
    fit_config = FitConfig(seconds=config.seconds, total_s=config.total_s, lr=1.5e-3, warmup_steps=300, ema_decay=0.999)
    fit = Fit(model, config.state / "base", fit_config)
    noise = TransportedNoise(*latents.shape[2:], generator=config.generator(fit.steps + 2))
    text = tokenize(tokenizer, prompts, config.device)
    empty = tokenize(tokenizer, [""], config.device)
    fit.run(BaseTask(model, latents, plan, text, empty, noise=noise, batch=config.batch))
    _finish(fit, model, config, "base")
    return _base_metrics(model, vae, tokenizer, config) | {"steps": float(fit.steps)}


def _tokenizer(config: BuildConfig, prompts: Sequence[str]) -> Any:
    """The one in the state folder, or a new one: a warm start needs the words that the weights know."""
    folder = config.state / "tokenizer"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder) if folder.exists() else train_tokenizer(prompts)
    for place in (config.out, config.state):
        tokenizer.save_pretrained(place / "tokenizer")
    return tokenizer


@torch.no_grad()
def _generate(
    model: BaseModel, vae: AutoencoderKLWan, tokenizer: Any, prompts: Sequence[str], config: BuildConfig
) -> Int[Tensor, "B T 3 H W"]:
    """One uint8 clip of the base model per prompt."""
    embeddings = model.embed(*tokenize(tokenizer, prompts, config.device))
    shape = (len(prompts), LATENT_CHANNELS, 5, 8, 12)
    noise = torch.randn(shape, generator=config.generator(3), device=config.device)
    with torch.autocast(config.device, torch.bfloat16, enabled=config.device == "cuda"):
        video = torch.cat([decode_latents(vae, part) for part in sample(model, embeddings, noise).split(32)])
    return (video.clamp(0, 1) * 255).round().to(torch.uint8)


def _base_metrics(model: BaseModel, vae: AutoencoderKLWan, tokenizer: Any, config: BuildConfig) -> dict[str, float]:
    """Samples for held-out prompts: a picture, and the pose errors that the 3D model sees on them."""
    held_out = _load(config, "held_out").rows(slice(0, 128))
    prompts = held_out.prompts[:128]
    video = _generate(model, vae, tokenizer, prompts, config)
    pairs = zip(to_float(video[:16]), to_float(held_out.video[:16]), strict=True)
    _picture([torch.cat([v[::4], t[::4]]) for v, t in pairs], config.out / "base.png")
    (config.out / "base_prompts.txt").write_text("\n".join(prompts[:16]))
    if not (config.state / "reconstructor.safetensors").exists():
        return {}
    network = load_reconstructor(config.device, weights=config.state).network
    generated = replace(held_out, video=video)
    return {f"{k}_generated": float(v.nanmean()) for k, v in pose_errors(network, generated, None).items()}


def _trunk(config: BuildConfig) -> dict[str, float]:
    corpus, held_out, vae = _load(config, "train"), _load(config, "held_out"), load_vae(config)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(config.state / "tokenizer")
    cpu = torch.Generator("cpu").manual_seed(config.seed + 4)
    clean = (corpus.imperfection == Imperfection.NONE).nonzero()[:, 0][: config.critic_clips].cpu()
    every = torch.arange(len(held_out.prompts))
    critic_sets = [
        _critic_set(config, name, rows, views)
        for name, rows, views in (("train", clean, config.critic_views), ("held_out", every, 3))
    ]
    # imperfect clips too: in their first frames everything is still there
    quality_sets = [
        make_quality_set(corpora, vae=vae, tokenizer=tokenizer, generator=cpu)
        for corpora in ((corpus, _load(config, "stills")), (held_out,))
    ]
    ids = [
        prompt_ids(tokenizer, [scene_text(c.prompts[int(i)]) for i in s.clip], MAX_TEXT_LENGTH).to(config.device)
        for c, s in zip((corpus, held_out), critic_sets, strict=True)
    ]
    images = to_float(critic_sets[1].images[:64])
    _picture([images[i : i + 8] for i in range(0, len(images) - 7, 8)], config.out / "critic_set.png")
    trunk = Trunk(TrunkConfig(vocabulary_size=len(tokenizer))).to(config.device)
    _warm_start(trunk, config, "trunk")
    fit = Fit(trunk, config.state / "trunk", FitConfig(seconds=config.seconds, total_s=config.total_s, lr=1e-3))
    generator = config.generator(fit.steps + 5)
    fit.run(TrunkTask(trunk, critic_sets[0], ids[0], quality_sets[0], batch=config.batch, generator=generator))
    _finish(fit, trunk, config, "trunk")
    metrics = trunk_metrics(trunk, critic_sets[1], ids[1], quality_sets[1], config.generator(6))
    if (config.state / "base.safetensors").exists():
        metrics |= _attributes_followed(trunk, vae, tokenizer, held_out.prompts, quality_sets[1], config)
    return metrics | {"steps": float(fit.steps)}


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
    """One process's share; arrays, because tensors would travel through shared memory."""
    made = make_critic_set(
        _load(config, name),
        torch.tensor(rows, device=config.device),
        vae=load_vae(config),
        reconstruct=load_reconstructor(config.device, weights=config.state),
        renderer=GsplatRenderer() if config.device == "cuda" else SplatRenderer(),
        views_per_clip=views,
        generator=make_generator(config.seed, f"critic-{name}", shard),
    )
    return {field.name: getattr(made, field.name).numpy() for field in fields(made)}


def _attributes_followed(
    trunk: Trunk,
    vae: AutoencoderKLWan,
    tokenizer: Any,
    prompts: Sequence[str],
    rendered: QualitySet,
    config: BuildConfig,
) -> dict[str, float]:
    """`prompt_preference` on frames of the base model (rendered ones give the ceiling), and the scale of R_gen."""
    model = BaseModel(new_transformer(), new_text_encoder(len(tokenizer))).to(config.device).eval()
    _load_trained(model, config, "base")
    video = _generate(model, vae, tokenizer, prompts, config)
    found = prompt_preference(trunk, replace(rendered, frames=video[:, 0]))
    heads = TrunkQuality(trunk, tokenizer)
    early = to_float(video[:, : QualityConfig().num_frames])
    scores = torch.stack([heads(frames, prompts) for frames in early.unbind(1)]).mean(0)
    scale = {"quality_base_mean": float(scores.mean()), "quality_base_std": float(scores.std())}
    return {f"{name}_generated": value for name, value in found.items()} | scale
