"""What the builders of all parts share: the settings, corpora and weights in the state folder, pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldr1.errors import InputError
from worldr1.mini.networks.base import new_vae
from worldr1.pretrain.corpus import ALL, Corpus, build_corpus
from worldr1.pretrain.loop import Fit, bf16_state


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
    stills: int = 12_288
    """Frames of scenes of their own that train the branch that looks for named solids."""
    workers: int = 1
    """Processes that draw the critic's pictures: thousands of small scenes keep a GPU idle and one CPU core busy."""
    batch: int = 32
    transported_share: float = 0.5
    """Of the base model's training examples: their noise moves with the requested camera (conventions section 5)."""
    seed: int = 2026

    def generator(self, offset: int) -> torch.Generator:
        """A generator on the training device."""
        return torch.Generator(self.device).manual_seed(self.seed + offset)


def load_corpus(config: BuildConfig, name: str, rows: slice = ALL) -> Corpus:
    """A corpus that `mini build corpus` left, or some rows of it. Raises InputError if there is none."""
    if not (config.state / name / "prompts.json").exists():
        raise InputError(f"there is no corpus in {config.state}; run `worldr1 mini build corpus` first")
    return Corpus.load(config.state / name, config.device, rows)


GEOMETRY_SEED_OFFSET, JUDGE_SEED_OFFSET = 50, 100
GEOMETRY_CLIPS_SHARE = JUDGE_CLIPS_SHARE = 2 / 3
"""Of as many clips as the base model is trained on."""
FREE_SHARE = 0.6
"""Of the clips that train a 3D model: their cameras go where no prompt sends them, so that paths must be measured."""
JUDGE_DYNAMIC_SHARE = 0.35
"""More movers than in the other corpora: the probe has to learn five words for motion."""


def geometry_corpus(config: BuildConfig) -> Corpus:
    """What trains the reward's 3D model. Rendered when first asked for, loaded afterwards."""
    num = round(config.clips * GEOMETRY_CLIPS_SHARE)
    return made_once(config, "geometry_train", num, seed_offset=GEOMETRY_SEED_OFFSET, free_share=FREE_SHARE)


def free_held_out(config: BuildConfig) -> Corpus:
    """Consistent still clips on free paths alone, which no training sees: do the 3D models measure?"""
    return made_once(
        config,
        "free_held_out",
        config.held_out,
        seed_offset=GEOMETRY_SEED_OFFSET + 1,
        imperfect=False,
        dynamic_share=0.0,
        free_share=1.0,
    )


def judge_corpus(config: BuildConfig) -> Corpus:
    """What trains the judges: clips of another seed than the reward's models and the base model saw.

    Rendered when first asked for, loaded afterwards.
    """
    num = round(config.clips * JUDGE_CLIPS_SHARE)
    return made_once(
        config,
        "judge_train",
        num,
        seed_offset=JUDGE_SEED_OFFSET,
        dynamic_share=JUDGE_DYNAMIC_SHARE,
        free_share=FREE_SHARE,
    )


def judge_held_out(config: BuildConfig) -> Corpus:
    """Consistent clips that no training sees, a share of JUDGE_DYNAMIC_SHARE dynamic; for the judges' own accuracy."""
    return made_once(
        config,
        "judge_held_out",
        config.held_out,
        seed_offset=JUDGE_SEED_OFFSET + 1,
        imperfect=False,
        dynamic_share=JUDGE_DYNAMIC_SHARE,
    )


def make_once(config: BuildConfig, name: str, num: int, *, seed_offset: int, **kind: Any) -> None:
    """Render a corpus into the state folder unless it is there. kind: arguments of `build_corpus`."""
    folder = config.state / name
    if not (folder / "prompts.json").exists():
        build_corpus(num, seed=config.seed + seed_offset, device=config.device, **kind).save(folder)


def made_once(config: BuildConfig, name: str, num: int, *, seed_offset: int, **kind: Any) -> Corpus:
    """The corpus that `make_once` makes."""
    make_once(config, name, num, seed_offset=seed_offset, **kind)
    return load_corpus(config, name)


def load_weights(config: BuildConfig, part: str) -> dict[str, Tensor]:
    """The trained weights of a part in float32. Raises InputError if it is not built yet."""
    for folder in (config.out, config.state):
        if (folder / f"{part}.safetensors").exists():
            return {k: v.float() for k, v in load_file(folder / f"{part}.safetensors").items()}
    raise InputError(f"there are no weights of the {part}; run `worldr1 mini build {part}` first")


def warm_start(module: nn.Module, config: BuildConfig, part: str) -> None:
    """Begin from the weights in the state folder (`unpack` puts shipped ones there) where there is no exact state."""
    exact = config.state / part / "state.safetensors"
    if (config.state / f"{part}.safetensors").exists() and not exact.exists():
        load_trained(module, config, part)


def load_trained(module: nn.Module, config: BuildConfig, part: str) -> None:
    """Put the weights in the state folder into `module`. Raises InputError if they are of another network."""
    path = config.state / f"{part}.safetensors"
    weights = {name: x.float() for name, x in load_file(path).items() if not name.startswith("latents_")}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    # embed_tokens is tied; the presence branch is trained after the rest of the trunk
    if [name for name in missing if "embed_tokens" not in name and not name.startswith("presence.")] or unexpected:
        raise InputError(f"{path} is of another network; delete it to train the {part} anew")


def finish(fit: Fit, module: nn.Module, config: BuildConfig, part: str) -> None:
    """Save the exact state, then the averaged weights as bfloat16 in both folders."""
    fit.save()
    fit.use_ema()
    module.eval().requires_grad_(False)
    for folder in (config.out, config.state):
        save_file(bf16_state(module), folder / f"{part}.safetensors")


def load_vae(config: BuildConfig) -> AutoencoderKLWan:
    """The trained VAE, with its latent statistics."""
    weights = load_weights(config, "vae")
    vae = new_vae()
    vae.register_to_config(
        latents_mean=weights.pop("latents_mean").tolist(), latents_std=weights.pop("latents_std").tolist()
    )
    vae.load_state_dict(weights)
    moved: Any = vae  # diffusers' decorated `to` confuses type checkers
    return moved.to(config.device).eval().requires_grad_(False)


def picture(rows: list[Tensor], path: Path) -> None:
    """Rows of frames `[T, 3, H, W]` as one PNG."""
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row), -1) for row in rows], -2).clamp(0, 1)
    Image.fromarray((sheet.permute(1, 2, 0).float().cpu().numpy() * 255).round().astype("uint8")).save(path)
