"""Makes the videos of `generate` and `evaluate`, one at a time: each depends on its seed, not on how many are made."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from worldr1 import __version__
from worldr1.cli.progress import bar
from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.rollout.sampler import sample_ode
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.types import Trajectory
from worldr1.video_io import write_mp4

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help and a wrong word do not wait for them
    from collections.abc import Callable, Sequence

    from worldr1.backends.models import VideoModel
    from worldr1.build import ExperimentConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One video to make."""

    file: Path
    seed: int
    """As the user gave it."""
    index: int
    """Which of the videos of this seed."""
    noise_seed: int
    """Of the start noise: derived from both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """What all shots have in common."""

    prompt: str
    path: Trajectory | None
    """None: no camera words."""
    config: "ExperimentConfig"
    lora: Path | None
    shift: float | None
    """Of the sigma grid; None: the model's own. CogVideoX has none."""
    fps: int
    upscale: int
    whose_defaults: str = ""
    """A line for the start: whose settings stand where nobody said otherwise."""

    @property
    def strength(self) -> float:
        """How much of the start noise follows the camera in fact: nothing does without a path."""
        return 0.0 if self.path is None else self.config.noise.strength_for(self.path)


class Filmer:
    """A model that makes one video at a time: a video depends on its seed and not on what else is made."""

    def __init__(self, film: Film) -> None:
        """Loads the model. Raises InputError for models and sizes that do not fit."""
        from worldr1.backends.models import describe
        from worldr1.build import build_generator, check_clip, choose_device

        self._model = build_generator(film.config.model, choose_device(), lora=film.lora)
        self._shape = check_clip(film.config, self._model)
        self._shift = _shift(self._model) if film.shift is None else film.shift
        self._lora_sha256 = "" if film.lora is None else file_sha256(film.lora)
        self._plans = PlanCache()
        print(describe(self._model, film.config.model), file=sys.stderr)
        if film.whose_defaults:
            print(film.whose_defaults, file=sys.stderr)

    def encode(self, prompts: "Sequence[str]") -> torch.Tensor:
        """Text embeddings, one row per prompt."""
        return self._model.encode(list(prompts))

    def shoot(self, film: Film, shot: Shot, embedding: torch.Tensor, on_step: "Callable[[], None]") -> None:
        """Samples, decodes and writes one video. film: with the settings that this was made for; embedding: one row."""
        film = replace(film, shift=self._shift)
        path = _with_padding(film.path, _padding_frames(self._model, film.config.clip.frames))
        start = start_noise(path, self._shape, [shot.noise_seed], film.config.noise, self._plans).to(embedding.device)
        try:
            video = _video(self._model, film, embedding, start, on_step)
        except torch.OutOfMemoryError as error:
            raise InputError(_out_of_memory(film.config)) from error
        comment = json.dumps(metadata(film, shot, self._lora_sha256), ensure_ascii=False)
        write_mp4(shot.file, video, fps=film.fps, upscale=film.upscale, comment=comment)


def make(film: Film, shots: list[Shot]) -> None:
    """Samples, decodes and writes one video after the other. Raises InputError for models and sizes that do not fit."""
    filmer = Filmer(film)
    embedding = filmer.encode([film.prompt])
    with bar("sampling", len(shots) * film.config.sampler.num_steps) as update:
        for shot in shots:
            filmer.shoot(film, shot, embedding, lambda: update(advance=1))


def metadata(film: Film, shot: Shot, lora_sha256: str) -> dict[str, object]:
    """What the file says about itself, in its `comment` tag: enough to make it again."""
    config = film.config
    return {
        "made_with": "worldr1",
        "version": __version__,
        "prompt": film.prompt,
        "negative_prompt": config.model.negative_prompt,
        "seed": shot.seed,
        "index": shot.index,
        "model": config.model.folder,
        "weights": config.model.weights,
        "dtype": config.model.dtype,
        "lora": "" if film.lora is None else film.lora.name,
        "lora_sha256": lora_sha256,
        "guidance": config.model.guidance,
        "steps": config.sampler.num_steps,
        "shift": film.shift,
        "strength": film.strength,
        "transport": config.noise.transport,
        "frames": config.clip.frames,
        "height": config.clip.height,
        "width": config.clip.width,
        "fps": film.fps,
    }


def _video(
    model: "VideoModel", film: Film, embeddings: torch.Tensor, start: torch.Tensor, on_step: "Callable[[], None]"
) -> torch.Tensor:
    """[T, 3, H, W] in 0..1."""
    from worldr1.backends.cogvideox import CogVideoXSampler

    config = film.config
    if isinstance(model, CogVideoXSampler):
        latents = model.sample(embeddings, start, num_steps=config.sampler.num_steps, on_step=on_step)
        return model.decode(latents, padding_frames=model.padding_frames(config.clip.frames))[0]
    assert film.shift is not None, "make asks a Wan model for its own"
    sampler = replace(config.sampler, shift=film.shift)
    return model.decode(sample_ode(model, embeddings, start, sampler, on_step=on_step))[0]


def _shift(model: "VideoModel") -> float | None:
    from worldr1.backends.wan import WanPolicy

    return model.shift if isinstance(model, WanPolicy) else None


def _padding_frames(model: "VideoModel", num_frames: int) -> int:
    from worldr1.backends.cogvideox import CogVideoXSampler

    return model.padding_frames(num_frames) if isinstance(model, CogVideoXSampler) else 0


def _with_padding(path: Trajectory | None, padding_frames: int) -> Trajectory | None:
    """The camera stands still in the frames before the first, which will be dropped."""
    if path is None or padding_frames == 0:
        return path
    poses = path.world_from_camera
    return replace(path, world_from_camera=torch.cat([poses[:1].expand(padding_frames, -1, -1), poses]))


def _out_of_memory(config: "ExperimentConfig") -> str:
    clip = config.clip
    return (
        f"The GPU has not enough memory for {clip.frames} frames of {clip.height} x {clip.width} with "
        f"{config.model.folder} in {config.model.dtype}; lower --frames, --height or --width."
    )
