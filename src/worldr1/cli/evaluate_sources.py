"""Where the videos of an evaluation come from: a model samples them, the mini world renders them, or a folder has them.

Each puts `NAME.mp4` into the evaluation's videos and counts its seconds; what is there already is left alone.
"""

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from worldr1.cli.judges import reward_model_of, reward_model_of_folder
from worldr1.cli.model_options import MINI, MINI_UPSCALE, Settings, adapted_settings, adapter_file
from worldr1.cli.progress import bar
from worldr1.config import with_overrides
from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.evaluate.folder import MODELS_OWN
from worldr1.evaluate.suites.suite import Suite

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help and a wrong word do not wait for them
    from worldr1.build import ExperimentConfig
    from worldr1.evaluate.suites.manifest import MadeVideo
    from worldr1.evaluate.suites.videos import SuiteVideo

TRUTH = "truth"
"""Of --model: the mini world's scenes, rendered along the paths that the prompts ask for."""
SAMPLING_KEYS = ("model", "clip", "noise", "sampler")
"""Sections that --set may change: the others of a recipe are about training."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """What is evaluated."""

    title: str
    facts: dict[str, str]
    """As `folder.Facts.source`."""
    settings: dict[str, str | int | float]
    """As `folder.Facts.settings`."""
    reward_model: str | None
    """None: not known."""
    device: str
    """That makes them; "" if nothing does."""
    videos: "list[SuiteVideo]"
    """All that are wanted, in order."""
    made_elsewhere: bool = False

    def counts_videos(self, note: str) -> bool:
        """Whether `make` says again, perhaps with another number, what an earlier run noted."""
        return False

    @abstractmethod
    def make(self, folder: Path, count: Callable[[float], None]) -> tuple[str, ...]:
        """Puts the missing ones into `folder`; count: called with the seconds of each. Returns notes for readers.

        Raises InputError for models, sizes and files that cannot be used.
        """


def find_source(args: argparse.Namespace, suite: Suite) -> Source:
    """What --model, --lora and --videos name. Raises InputError for what cannot be or does not go together."""
    if args.videos is not None:
        return _made_elsewhere(args, suite)
    if args.model == TRUTH:
        return _truth(args, suite)
    return _sampled(args, suite)


# -------------------------------------------------------------------------------------------------------------- a model


@dataclass(frozen=True, kw_only=True)
class _Sampled(Source):
    args: argparse.Namespace
    made_with: Settings
    lora: Path | None

    def make(self, folder: Path, count: Callable[[float], None]) -> tuple[str, ...]:
        from worldr1.cli.filming import Film, Filmer, Shot
        from worldr1.evaluate.suites.videos import missing

        wanted = missing(self.videos, folder)
        if not wanted:
            return ()
        config = self.made_with.config
        film = Film(
            prompt="",
            path=None,
            config=config,
            lora=self.lora,
            shift=self.made_with.shift,
            fps=self.made_with.fps,
            upscale=MINI_UPSCALE if self.args.model == MINI else 1,
            whose_defaults=self.made_with.whose_defaults,
        )
        filmer = Filmer(film)
        embeddings = filmer.encode([video.prompt.text for video in wanted])  # in one go: a large encoder is freed then
        with bar("sampling", len(wanted)) as update:
            for index, video in enumerate(wanted):
                begin = monotonic()
                shot = Shot(file=folder / video.name, seed=self.args.seed, index=video.sample, noise_seed=video.seed)
                asked = replace(film, prompt=video.prompt.text, path=video.path(config.clip.frames))
                filmer.shoot(asked, shot, embeddings[index : index + 1], lambda: None)
                count(monotonic() - begin)
                update(advance=1)
        return ()


def _sampled(args: argparse.Namespace, suite: Suite) -> Source:
    from worldr1.build import choose_device
    from worldr1.evaluate.pages.report import MINI_R1
    from worldr1.evaluate.suites.videos import suite_videos
    from worldr1.train.adapter_file import base_name

    lora = adapter_file(args.lora)
    settings = sampling_settings(args, suite, lora)
    config = settings.config
    facts, title = {"model": base_name(args.model), "weights": args.weights}, base_name(args.model)
    if lora is not None:
        named = args.lora if args.lora == MINI_R1 else _adapter_name(lora)
        facts |= {"lora": named, "lora_sha256": file_sha256(lora)}
        title += f" + {named}"
    return _Sampled(
        title=args.title or title,
        facts=facts,
        settings=_in_words(config, settings, args.seed),
        reward_model=reward_model_of_folder(args.model) if lora is None else reward_model_of(lora),
        device=choose_device(),
        videos=suite_videos(suite, samples=args.samples, seed=args.seed, limit=args.limit),
        args=args,
        made_with=settings,
        lora=lora,
    )


def _adapter_name(lora: Path) -> str:
    """Of a run's result the run's name: the file is called alike in all."""
    from worldr1.shipped import FINAL
    from worldr1.train.adapter_file import ADAPTER_FILE

    in_run = lora.name == ADAPTER_FILE and lora.resolve().parent.name == FINAL
    return lora.resolve().parent.parent.name if in_run else lora.stem


def sampling_settings(args: argparse.Namespace, suite: Suite, lora: Path | None) -> Settings:
    """The model's and the adapter's own, the suite's number of frames, and over them --set.

    Raises InputError for another model's adapter, ConfigError for keys and values that cannot be.
    """
    settings = adapted_settings(args, lora)
    config = settings.config
    if suite.frames is not None:
        config = replace(config, clip=replace(config.clip, frames=suite.frames))
    for text in args.set:
        section = text.partition(".")[0].strip()
        if section not in SAMPLING_KEYS:
            raise InputError(f"--set {text}: an evaluation has the keys of {', '.join(SAMPLING_KEYS)} only.")
        if text.partition("=")[0].strip() == "model.folder":
            raise InputError("--set model.folder: give --model instead.")
    changed = with_overrides(config, args.set)
    has_shift = any(text.partition("=")[0].strip() == "sampler.shift" for text in args.set)
    return replace(settings, config=changed, shift=changed.sampler.shift if has_shift else settings.shift).checked()


def _in_words(config: "ExperimentConfig", settings: Settings, seed: int) -> dict[str, str | int | float]:
    noise, clip = config.noise, config.clip
    words: dict[str, str | int | float] = {
        "seed": seed,
        "guidance": config.model.guidance,
        "negative_prompt": config.model.negative_prompt,
        "strength": noise.strength,
        "transport": noise.transport,
        "steps": config.sampler.num_steps,
        "shift": MODELS_OWN if settings.shift is None else settings.shift,
        "frames": clip.frames,
        "height": clip.height,
        "width": clip.width,
        "fps": settings.fps,
        "dtype": config.model.dtype,
    }
    return words if noise.parallax_strength is None else words | {"parallax_strength": noise.parallax_strength}


# ------------------------------------------------------------------------------------------------------------ the truth


@dataclass(frozen=True, kw_only=True)
class _Rendered(Source):
    suite: Suite

    def make(self, folder: Path, count: Callable[[float], None]) -> tuple[str, ...]:
        from worldr1.backends.mini import CLIP_SIZE
        from worldr1.backends.models import ModelConfig
        from worldr1.backends.wan import decode_latents, encode_video
        from worldr1.build import build_policy
        from worldr1.evaluate.evaluation import Task
        from worldr1.evaluate.judging.judge import RenderedTruth
        from worldr1.evaluate.suites.suite import mini_scenes
        from worldr1.evaluate.suites.videos import missing
        from worldr1.video_io import write_mp4

        wanted = missing(self.videos, folder)
        vae = build_policy(ModelConfig(), self.device).vae
        scenes = {key: scene.to(self.device) for key, scene in mini_scenes(self.suite).items()}
        truth = RenderedTruth(scenes, CLIP_SIZE, lambda video: decode_latents(vae, encode_video(vae, video)))
        with bar("rendering", len(wanted)) as update:
            for video in wanted:
                begin = monotonic()
                task = Task(video.prompt.prompt, video.prompt.camera, video.path(CLIP_SIZE[0]), video.seed)
                write_mp4(folder / video.name, truth([task])[0], upscale=MINI_UPSCALE)
                count(monotonic() - begin)
                update(advance=1)
        return ()


def _truth(args: argparse.Namespace, suite: Suite) -> Source:
    from worldr1.build import choose_device
    from worldr1.evaluate.suites.videos import suite_videos

    if not suite.mini:
        raise InputError(f"--model {TRUTH} renders the mini world's scenes: give --suite mini, not {suite.name}.")
    return _Rendered(
        title=args.title or "rendered truth",
        facts={"model": TRUTH},
        settings={"seed": args.seed},
        reward_model="",
        device=choose_device(),
        videos=suite_videos(suite, samples=1, seed=args.seed, limit=args.limit),
        suite=suite,
    )


# ----------------------------------------------------------------------------------------------------- videos of others


@dataclass(frozen=True, kw_only=True)
class _MadeElsewhere(Source):
    suite: Suite
    made: "list[MadeVideo]"

    def make(self, folder: Path, count: Callable[[float], None]) -> tuple[str, ...]:
        from worldr1.evaluate.suites.manifest import take

        shorter = 0
        with bar("reading", len(self.made)) as update:
            for made in self.made:
                num_frames = take(made, folder / made.video.name)
                shorter += self.suite.frames is not None and num_frames < self.suite.frames
                update(advance=1)
        prompts = len({made.video.prompt.id for made in self.made})
        notes = []
        if prompts < len(self.suite.prompts):
            notes.append(f"videos of {prompts} {self._given}")
        if shorter:
            notes.append(f"{shorter} {self._shorter}")
        return tuple(notes)

    @property
    def _given(self) -> str:
        return f"of the suite's {len(self.suite.prompts)} prompts were given"

    @property
    def _shorter(self) -> str:
        return f"of the videos are shorter than the suite's {self.suite.frames} frames"

    def counts_videos(self, note: str) -> bool:
        """The manifest may have grown."""
        return note.endswith((self._given, self._shorter))


def _made_elsewhere(args: argparse.Namespace, suite: Suite) -> Source:
    from worldr1.evaluate.suites.manifest import MANIFEST, read_manifest

    if args.videos.is_file():
        raise InputError(f"--videos {args.videos} is a file: give the folder that its {MANIFEST} lies in.")
    made = read_manifest(args.videos, suite)
    if args.limit is not None:
        first = {prompt.id for prompt in suite.prompts[: args.limit]}
        made = [one for one in made if one.video.prompt.id in first]
        if not made:
            raise InputError(f"--videos has none of the suite's first {args.limit} prompts (--limit).")
    name = args.videos.resolve().name
    print(f"{len(made)} videos in {args.videos}", file=sys.stderr)
    return _MadeElsewhere(
        title=args.title or name,
        facts={"videos": name},
        settings={},
        reward_model=None,
        device="",
        made_elsewhere=True,
        videos=[one.video for one in made],
        suite=suite,
        made=made,
    )


def num_samples(videos: "Sequence[SuiteVideo]") -> int:
    """Videos per prompt, at most."""
    return 1 + max(video.sample for video in videos)
