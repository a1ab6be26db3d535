"""Build the two 3D models: the reward's own, and the judge that no reward ever meets.

They share nothing but the class: other sizes, seeds and training clips, so that what one of them can be talked into
is no reason for the other to believe it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.backends.mini import JUDGE_CONFIG
from worldr1.mini.networks.reconstructor import MiniReconstructor, Reconstruct, ReconstructorConfig
from worldr1.pretrain.corpus import Corpus
from worldr1.pretrain.loop import Fit, FitConfig
from worldr1.pretrain.parts import (
    BuildConfig,
    finish,
    free_held_out,
    geometry_corpus,
    judge_corpus,
    load_corpus,
    load_vae,
    warm_start,
)
from worldr1.pretrain.reconstructor import ReconstructorTask, pose_errors
from worldr1.pretrain.rerendering import rerendering_psnr
from worldr1.pretrain.vae import decode_corpus
from worldr1.scene.splat import SplatRenderer
from worldr1.seeding import derive_seed

DECODED_SHARE = 2 / 3
"""Of the training clips are also there as the VAE decodes them."""
RERENDERED_CLIPS = 192
"""Held-out clips that are drawn again: one costs 0.3 cpu-s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model3D:
    """One 3D model to build."""

    part: str
    """Its file's name, and the stream of its random numbers."""
    network: ReconstructorConfig
    clips: Callable[[BuildConfig], Corpus]
    """Its training clips."""


def build_reconstructor(config: BuildConfig) -> dict[str, float]:
    """The reward's 3D model."""
    return _build(Model3D(part="reconstructor", network=ReconstructorConfig(), clips=geometry_corpus), config)


def build_judge(config: BuildConfig) -> dict[str, float]:
    """The judge's, on clips that no other model has seen."""
    return _build(Model3D(part="judge", network=JUDGE_CONFIG, clips=judge_corpus), config)


def new_network(model: Model3D, seed: int) -> MiniReconstructor:
    """Random weights that depend on the part's name and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, f"weights/{model.part}"))
        return MiniReconstructor(model.network)


def _build(model: Model3D, config: BuildConfig) -> dict[str, float]:
    network, corpus = new_network(model, config.seed).to(config.device), model.clips(config)
    has_vae = (config.state / "vae.safetensors").exists()
    vae = load_vae(config) if has_vae else None
    num_decoded = int(len(corpus.prompts) * DECODED_SHARE)
    decoded = decode_corpus(vae, corpus.video[:num_decoded]) if vae is not None else None
    warm_start(network, config, model.part)
    fit_config = FitConfig(seconds=config.seconds, total_s=config.total_s, lr=8e-4)
    fit = Fit(network, config.state / model.part, fit_config)
    if config.device == "cuda":
        network.compile()
    generator = torch.Generator(config.device).manual_seed(derive_seed(config.seed, model.part, fit.steps))
    fit.run(ReconstructorTask(network, corpus, batch=config.batch, generator=generator, decoded=decoded))
    finish(fit, network, config, model.part)
    return _metrics(network, vae, config) | {"steps": float(fit.steps)}


def _metrics(network: MiniReconstructor, vae: AutoencoderKLWan | None, config: BuildConfig) -> dict[str, float]:
    """Held out: errors of poses and depth on clean and on decoded clips, of the plans' paths and of free ones, and
    re-rendering of decoded ones."""
    held_out = load_corpus(config, "held_out")
    metrics: dict[str, float] = {}
    for corpus, suffix in ((held_out, ""), (free_held_out(config), "_free")):
        for name, through in (("clean", None), ("decoded", vae)):
            if name == "clean" or vae is not None:
                errors = pose_errors(network, corpus, through)
                metrics |= {f"{key}_{name}{suffix}": float(value.nanmean()) for key, value in errors.items()}
    if vae is not None:
        renderer = GsplatRenderer(config.device) if config.device == "cuda" else SplatRenderer()
        metrics |= rerendering_psnr(Reconstruct(network), held_out, vae, renderer, max_clips=RERENDERED_CLIPS)
    return metrics
