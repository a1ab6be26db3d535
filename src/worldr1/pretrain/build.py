"""Train one part of the mini world and write its weights: what `worldr1 mini build PART` runs.

Parts, in order: corpus, vae, reconstructor, judge, probe, base, trunk, presence; `pack` puts them into the package.
Each reads what the ones before it left in the state folder, trains for `seconds` (state is kept, so that the next run
goes on), and writes bf16 weights and held-out metrics to the output folder.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from worldr1.backends.mini import load_reconstructor, mini_weights
from worldr1.errors import InputError
from worldr1.mini.networks.base import new_text_encoder, new_transformer, new_vae, train_tokenizer
from worldr1.mini.scenes import FLOORS
from worldr1.pretrain.base import BaseModel, BaseTask, TransportedNoise, generate, tokenize
from worldr1.pretrain.build_judges import build_presence, build_trunk
from worldr1.pretrain.build_reconstructors import build_judge, build_reconstructor
from worldr1.pretrain.corpus import Corpus
from worldr1.pretrain.loop import Fit, FitConfig
from worldr1.pretrain.pack import pack, unpack
from worldr1.pretrain.parts import BuildConfig, finish, load_corpus, load_vae, make_once, picture, warm_start
from worldr1.pretrain.probe import build_probe
from worldr1.pretrain.reconstructor import pose_errors
from worldr1.pretrain.vae import VaeTask, encode_corpus, latent_statistics, through_vae, to_float
from worldr1.scene.image_metrics import psnr_db

BASE_DYNAMIC_SHARE = 0.3
"""Of the clips that the base model learns from: with half of it only a quarter of the named movers moved as told
(docs/log.md)."""


def build(part: str, config: BuildConfig) -> dict[str, float]:
    """Train `part`; returns its held-out metrics. Raises InputError for an unknown part or a missing earlier one."""
    if part == "pack":
        return pack(config.out, mini_weights())
    if part == "unpack":
        unpack(mini_weights(), config.state)
        return {}
    builders = {
        "corpus": _corpora,
        "vae": _vae,
        "reconstructor": build_reconstructor,
        "judge": build_judge,
        "probe": build_probe,
        "base": _base,
        "trunk": build_trunk,
        "presence": build_presence,
    }
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
    make_once(config, "train", config.clips, seed_offset=0, dynamic_share=BASE_DYNAMIC_SHARE)
    make_once(config, "held_out", config.held_out, seed_offset=1, imperfect=False)
    return {"train_clips": float(config.clips), "held_out_clips": float(config.held_out)}


def _vae(config: BuildConfig) -> dict[str, float]:
    vae: Any = new_vae()
    warm_start(vae, config, "vae")
    vae.to(config.device)
    corpus = load_corpus(config, "train")
    fit_config = FitConfig(
        seconds=config.seconds, total_s=config.total_s, lr=1.2e-3, weight_decay=0.0, beta2=0.99, ema_decay=0.995
    )
    fit = Fit(vae, config.state / "vae", fit_config)
    fit.run(VaeTask(vae, corpus, batch=config.batch, generator=config.generator(fit.steps)))
    finish(fit, vae, config, "vae")
    mean, std = latent_statistics([encode_corpus(vae, corpus.rows(slice(0, 2048)))])
    for folder in (config.out, config.state):
        weights = load_file(folder / "vae.safetensors")
        weights |= {"latents_mean": torch.tensor(mean), "latents_std": torch.tensor(std)}
        save_file(weights, folder / "vae.safetensors")
    vae.register_to_config(latents_mean=mean, latents_std=std)
    return _vae_metrics(vae, load_corpus(config, "held_out"), config.out) | {"steps": float(fit.steps)}


def _vae_metrics(vae: AutoencoderKLWan, corpus: Corpus, out: Path) -> dict[str, float]:
    """PSNR from the mean squared error over all held-out clips, and per floor texture."""
    errors, pictures = [], []
    for video in corpus.video.split(32):
        original = to_float(video)
        decoded = through_vae(vae, original)
        errors.append((decoded - original).square().mean((1, 2, 3, 4)))
        if len(pictures) < 8:
            pictures += [torch.cat([a[::8], b[::8]]) for a, b in zip(original[:8], decoded[:8], strict=True)]
    picture(pictures, out / "vae.png")
    error = torch.cat(errors)
    metrics = {"psnr_db": float(psnr_db(error.mean()))}
    for floor in FLOORS:
        has = torch.tensor([f" {floor} floor" in prompt for prompt in corpus.prompts], device=error.device)
        metrics[f"psnr_db_{floor}_floor"] = float(psnr_db(error[has].mean()))
    return metrics


def _base(config: BuildConfig) -> dict[str, float]:
    corpus, vae = load_corpus(config, "train"), load_vae(config)
    latents = encode_corpus(vae, corpus)
    prompts, plan = corpus.prompts, corpus.plan
    del corpus
    tokenizer = _tokenizer(config, prompts)
    model = BaseModel(new_transformer(), new_text_encoder(len(tokenizer))).to(config.device)
    warm_start(model, config, "base")
    fit_config = FitConfig(seconds=config.seconds, total_s=config.total_s, lr=1.5e-3, warmup_steps=300, ema_decay=0.999)
    fit = Fit(model, config.state / "base", fit_config)
    noise = TransportedNoise(*latents.shape[2:], generator=config.generator(fit.steps + 2))
    text = tokenize(tokenizer, prompts, config.device)
    empty = tokenize(tokenizer, [""], config.device)
    fit.run(
        BaseTask(
            model,
            latents,
            plan,
            text,
            empty,
            noise=noise,
            transported_share=config.transported_share,
            batch=config.batch,
        )
    )
    finish(fit, model, config, "base")
    return _base_metrics(model, vae, tokenizer, config) | {"steps": float(fit.steps)}


def _tokenizer(config: BuildConfig, prompts: Sequence[str]) -> Any:
    """The one in the state folder, or a new one: a warm start needs the words that the weights know."""
    folder = config.state / "tokenizer"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder) if folder.exists() else train_tokenizer(prompts)
    for place in (config.out, config.state):
        tokenizer.save_pretrained(place / "tokenizer")
    return tokenizer


def _base_metrics(model: BaseModel, vae: AutoencoderKLWan, tokenizer: Any, config: BuildConfig) -> dict[str, float]:
    """Samples for held-out prompts: a picture, and the pose errors that the 3D model sees on them."""
    held_out = load_corpus(config, "held_out").rows(slice(0, 128))
    prompts = held_out.prompts[:128]
    video = generate(model, vae, tokenizer, prompts, config.generator(3))
    pairs = zip(to_float(video[:16]), to_float(held_out.video[:16]), strict=True)
    picture([torch.cat([v[::4], t[::4]]) for v, t in pairs], config.out / "base.png")
    (config.out / "base_prompts.txt").write_text("\n".join(prompts[:16]))
    if not (config.state / "reconstructor.safetensors").exists():
        return {}
    network = load_reconstructor(config.device, weights=config.state).network
    generated = replace(held_out, video=video)
    return {f"{k}_generated": float(v.nanmean()) for k, v in pose_errors(network, generated, None).items()}
