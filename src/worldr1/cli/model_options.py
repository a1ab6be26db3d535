"""The options of `generate` and `evaluate` that say which model makes the videos; the settings that follow."""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.errors import InputError
from worldr1.video_io import FRAMES_PER_SECOND

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help and a wrong word do not wait for them
    from worldr1.backends.models import ModelConfig
    from worldr1.build import ExperimentConfig
    from worldr1.rollout.sampler import SamplerConfig
    from worldr1.train.adapter_file import AdapterInfo, BaseShape

MINI = "mini"
CLIP = ("frames", "height", "width")
MINI_UPSCALE = 4
"""A mini video's pixels become squares of so many, so that a person can watch it."""
PACKAGED = {"base": ("--model", MINI), "mini-r1": ("--lora", "mini-r1")}
"""The packaged models as `worldr1 compare` calls them: the words that say so here."""
ATTENTION = ("auto", "cudnn", "flash", "flash3", "efficient", "math")
DTYPES = ("float32", "bfloat16")
WAN_STEPS = 20
"""As in training; the published pipelines take 50."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --weights, --dtype, --attention, --compile, --negative-prompt."""
    parser.add_argument(
        "--model",
        default=MINI,
        metavar="NAME",
        help="folder of a Wan 2.1 or CogVideoX pipeline, a hub name, or wan2.1-1.3b, wan2.1-14b, cogvideox1.5-5b "
        "(default: mini)",
    )
    parser.add_argument(
        "--weights",
        choices=("published", "random"),
        default="published",
        help="random: the named model at full size without files, to measure it; its videos are noise",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the network (default: bfloat16, mini float32)")
    parser.add_argument("--attention", choices=ATTENTION, default="auto", help="attention kernel (default: auto)")
    parser.add_argument("--compile", action="store_true", help="compile the network: pays from several videos on")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what guidance leads away from")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a model makes videos where nobody says otherwise."""

    config: "ExperimentConfig"
    """Model, clip, noise and sampler."""
    fps: int
    shift: float | None
    """Of the times; None: the model's own."""
    origin: str = ""
    """Whose training said so: a LoRA's file, or the model with one merged into it. "": nobody's."""
    trained_with: str = ""
    """What it said, in words."""

    @property
    def whose_defaults(self) -> str:
        """A line for the start; "" if nobody's."""
        return f"defaults as {self.origin} was trained: {self.trained_with}" if self.origin else ""

    def checked(self) -> "Settings":
        """Itself, when every option has had its say. Raises InputError for what the model would not read."""
        from worldr1.backends.models import is_cogvideox

        model = self.config.model
        if model.negative_prompt and model.guidance == 1.0:
            raise InputError("a negative prompt is what guidance leads away from, and guidance 1 is none: leave it out")
        if self.shift is not None and is_cogvideox(model):
            raise InputError("CogVideoX has a schedule of its own, which no shift changes: leave it out")
        return self


def adapter_file(name: str | None) -> Path | None:
    """The file of --lora: a path, or mini-r1. Raises InputError if there is none."""
    if name is None:
        return None
    from worldr1.shipped import find_adapter

    return find_adapter(name)


def adapted_settings(args: argparse.Namespace, lora: Path | None) -> Settings:
    """`base_settings`; over them what a LoRA in the model's weights was trained with, and over that what `lora` was.

    Raises InputError if it is another model's, before minutes of loading, and if either's metadata are damaged.
    """
    config, fps = base_settings(args)
    settings = Settings(config=config, fps=fps, shift=None)
    if args.weights == "published" and (merged := merged_adapter(args.model)) is not None:
        settings = _as_trained(settings, merged, args.model)
    if lora is not None:
        settings = _as_trained(settings, _read_fitting(lora, config.model), str(lora))
    return settings


def merged_adapter(model: str) -> "AdapterInfo | None":
    """What the adapter said that was merged into the folder of --model; None if none was.

    Raises InputError if that is damaged, or if there is no such model.
    """
    from worldr1.backends.architectures import find_architecture
    from worldr1.backends.model_folder import find_folder
    from worldr1.train.adapter_file import read_merged_info

    if model == MINI:
        return None
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if find_architecture(model) is not None:  # published, so nothing is merged: not fetched yet
            return None
        folder = find_folder(model)
    return read_merged_info(folder)


def _as_trained(settings: Settings, adapter: "AdapterInfo", origin: str) -> Settings:
    """With what an adapter says; an older one says its guidance alone."""
    config, trained = settings.config, adapter.training
    config = replace(config, model=replace(config.model, guidance=adapter.guidance))
    words = f"guidance {adapter.guidance:g}"
    if trained is None:
        return replace(settings, config=config, origin=origin, trained_with=words)
    size = {name: getattr(trained, name) for name in CLIP}
    config = replace(config, clip=replace(config.clip, **size), noise=trained.noise, sampler=euler_steps(trained.steps))
    split = trained.parallax_strength
    words = (
        f"{trained.frames} frames of {trained.width} x {trained.height}, {trained.steps} steps, shift "
        f"{trained.shift:g}, {words}, noise transport {trained.transport}, strength {trained.strength:g}"
        + ("" if split is None else f" ({split:g} where the camera's centre moves)")
    )
    return replace(settings, config=config, shift=trained.shift, origin=origin, trained_with=words)


def _read_fitting(lora: Path, model: "ModelConfig") -> "AdapterInfo":
    """What the adapter says. Raises InputError if it is another model's, before gigabytes are fetched or loaded."""
    from worldr1.backends.models import is_cogvideox
    from worldr1.train.adapter_file import base_name, check_base, read_adapter

    adapter, state = read_adapter(lora)
    if is_cogvideox(model):
        raise InputError(
            f"{lora} was trained on {adapter.base}, adapters fit Wan models only, and {model.folder} is CogVideoX: "
            "give the model that it was trained on, or leave out the LoRA."
        )
    shape = _shape(model.folder)
    if shape is not None:  # a folder without it is refused in its own words when it is loaded
        check_base(lora, adapter, state, shape, model=model.folder)
    if adapter.base != base_name(model.folder):
        print(f"note: {lora} was trained on {adapter.base}, not on {base_name(model.folder)}", file=sys.stderr)
    return adapter


def _shape(model: str) -> "BaseShape | None":
    """Of a Wan model's transformer, without loading it; None if that is not known yet."""
    from worldr1.backends.architectures import find_architecture
    from worldr1.backends.mini import mini_base
    from worldr1.train.adapter_file import BaseShape

    if (architecture := find_architecture(model)) is not None:
        return BaseShape.of_config(architecture.transformer.config)
    shape = BaseShape.of_folder(mini_base() if model == MINI else Path(model).expanduser())
    return shape if shape is not None and (shape.class_name or "Wan").startswith("Wan") else None


def base_settings(args: argparse.Namespace) -> tuple["ExperimentConfig", int]:
    """The mini recipe, or what the model's card says, with what this module's options say; and frames per second.

    CogVideoX has the steps of its card and independent noise, because it never met another; Wan has the steps that
    training samples with. Raises InputError for a model that is not there.
    """
    from worldr1.backends.models import ModelConfig, kin
    from worldr1.build import ClipConfig, ExperimentConfig, load_experiment
    from worldr1.rollout.start_noise import NoiseConfig

    if args.model in PACKAGED and not Path(args.model).exists():
        words = " ".join(PACKAGED[args.model])
        raise InputError(f"--model {args.model} names no model; the mini world's {args.model} is {words}.")
    options = {
        "folder": args.model,
        "weights": args.weights,
        "attention": args.attention,
        "compile": args.compile,
        "negative_prompt": args.negative_prompt,
    }
    if args.model == MINI:
        config = load_experiment(MINI)
        return replace(
            config,
            model=replace(config.model, dtype=args.dtype or "float32", **options),
            sampler=euler_steps(WAN_STEPS),
        ), FRAMES_PER_SECOND
    model = ModelConfig(dtype=args.dtype or "bfloat16", **options)
    like = kin(model)
    made_for, cogvideox = like.defaults, like.kind == "cogvideox"
    return ExperimentConfig(
        model=replace(model, guidance=made_for.guidance),
        clip=ClipConfig(frames=made_for.frames, height=made_for.height, width=made_for.width),
        noise=NoiseConfig(strength=0.0 if cogvideox else 1.0),
        sampler=euler_steps(made_for.steps if cogvideox else WAN_STEPS),
    ), made_for.fps


def euler_steps(num_steps: int) -> "SamplerConfig":
    """Sampling without noise: SDE steps are only placed where any number of steps has room for them."""
    from worldr1.rollout.sampler import SamplerConfig

    return SamplerConfig(num_steps=num_steps, first_index=0, last_index=0)
