"""`worldr1 generate`: make videos from a prompt; its camera words also shape the noise that they start from."""

import argparse
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.cli.camera_path import WAN_FRAMES, WAN_HEIGHT, WAN_WIDTH
from worldr1.errors import InputError
from worldr1.rollout.sampler import SamplerConfig, sample_ode
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.seeding import derive_seed
from worldr1.types import Trajectory
from worldr1.video_io import FRAMES_PER_SECOND, write_mp4

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help and a wrong word do not wait for them
    from worldr1.build import ExperimentConfig
    from worldr1.train.adapter_file import AdapterInfo

BATCH = 8
"""Videos sampled together."""
STEPS = 20
WAN_FPS, WAN_GUIDANCE = 16, 5.0
WAN_CLIP = {"frames": WAN_FRAMES, "height": WAN_HEIGHT, "width": WAN_WIDTH}
"""What Wan 2.1 was made for at 480p (its model card): the defaults for every folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `generate`."""
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="for example 'Camera push in. A red ball.'")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.mp4", help="with --num: FILE-000.mp4, ...")
    parser.add_argument("--model", default="mini", metavar="DIR", help="folder of a Wan pipeline (default: mini)")
    parser.add_argument("--lora", metavar="FILE", help="adapter.safetensors of a run, or mini-r1: the packaged one")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--num", type=int, default=1, metavar="N", help="videos, each from its own noise (default: 1)")
    for name in WAN_CLIP:
        parser.add_argument(f"--{name}", type=int, metavar="N", help="(default: the adapter's or the model's)")
    parser.add_argument("--steps", type=int, metavar="N", help="of sampling (default: the adapter's, or 20)")
    parser.add_argument("--shift", type=float, metavar="X", help="of the times (default: the adapter's or the model's)")
    parser.add_argument("--guidance", type=float, metavar="X", help="1 is none (default: the adapter's or the model's)")
    parser.add_argument(
        "--strength",
        type=float,
        metavar="A",
        help="0 to 1: how much of the noise follows the camera (default: the adapter's, or 0.5 in mini, else 1)",
    )
    parser.add_argument(
        "--transport", choices=("canvas", "flow"), help="how noise follows it (default: the adapter's, or canvas)"
    )
    parser.add_argument("--upscale", type=int, metavar="N", help="pixels become squares of N (default: 4 in mini)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Write the videos and print where they are; 0. Raises InputError for bad words, sizes, models or files."""
    tokens = parse_plan(args.prompt).tokens
    args.lora = _adapter_file(args.lora)
    for name, least in (("num", 1), ("steps", 2), ("upscale", 1)):
        if (number := getattr(args, name)) is not None and number < least:
            raise InputError(f"--{name} must be at least {least}, got {number}")
    if args.shift is not None and not 0 < args.shift < math.inf:
        raise InputError(f"--shift must be a positive number, got {args.shift}")
    files = _files(args.out, args.num)
    seeds = [derive_seed(args.seed, "generate", index) for index in range(args.num)]
    config = _settings(args)
    path = requested_path(tokens, config.clip.frames)
    _film(args, config, path, files, seeds)
    strength = config.noise.strength if path is None else config.noise.strength_for(path)
    if args.json:
        videos = [{"path": str(file), "seed": seed} for file, seed in zip(files, seeds, strict=True)]
        facts = {"tokens": tokens, "strength": strength, "guidance": config.model.guidance}
        facts |= {"transport": config.noise.transport, "steps": config.sampler.num_steps}
        print(json.dumps({"videos": videos, "prompt": args.prompt, "model": args.model, **facts}))
    else:
        moves = ", then ".join(tokens) or "no camera words, so the camera is free"
        print(f"camera: {moves}; noise strength {strength}, guidance {config.model.guidance}")
        print(*files, sep="\n")
    return 0


def _adapter_file(name: str | None) -> Path | None:
    if name is None:
        return None
    from worldr1.shipped import find_adapter

    return find_adapter(name)


def _files(out: Path, num: int) -> list[Path]:
    if out.suffix.lower() != ".mp4":
        raise InputError(f"--out writes an mp4: give a file name that ends in .mp4, not {out.name!r}")
    if not out.parent.is_dir():
        raise InputError(f"the folder {out.parent} does not exist: create it or choose another --out")
    files = [out] if num == 1 else [out.with_name(f"{out.stem}-{index:03d}{out.suffix}") for index in range(num)]
    for file in files:
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise InputError(f"{file} cannot be written: choose another --out")
    return files


def _settings(args: argparse.Namespace) -> "ExperimentConfig":
    """The mini recipe, or what Wan wants; over it what the adapter was trained with, and over that the arguments.

    Sets `args.shift` to the adapter's if it is not given; None then means the model's.
    """
    from worldr1.build import ClipConfig, ExperimentConfig, ModelConfig, load_experiment

    wan = ExperimentConfig(clip=ClipConfig(**WAN_CLIP), model=ModelConfig(dtype="bfloat16", guidance=WAN_GUIDANCE))
    config = load_experiment("mini") if args.model == "mini" else wan
    adapter = None if args.lora is None else _read_fitting(args.lora, args.model)
    guidance = config.model.guidance if adapter is None else adapter.guidance
    noise, steps, size = config.noise, STEPS, {}
    if adapter is not None and (trained := adapter.training) is not None:
        noise, steps, size = trained.noise, trained.steps, {name: getattr(trained, name) for name in WAN_CLIP}
        args.shift = trained.shift if args.shift is None else args.shift
    if adapter is not None and args.guidance not in (None, guidance):
        print(f"note: {args.lora} was trained with guidance {guidance}, not {args.guidance}", file=sys.stderr)
    size |= {name: n for name in WAN_CLIP if (n := getattr(args, name)) is not None}
    if args.strength is not None:
        noise = replace(noise, strength=args.strength, parallax_strength=None)
    return replace(
        config,
        model=replace(config.model, folder=args.model, guidance=guidance if args.guidance is None else args.guidance),
        clip=replace(config.clip, **size),
        noise=replace(noise, transport=args.transport or noise.transport),
        # sampled without noise: the SDE steps are only placed where any number of steps has room for them
        sampler=SamplerConfig(num_steps=args.steps or steps, first_index=0, last_index=0, batch=BATCH),
    )


def _read_fitting(lora: Path, model: str) -> "AdapterInfo":
    """What the adapter says. Raises InputError if it is another model's: before minutes of loading."""
    from worldr1.backends.mini import mini_base
    from worldr1.train.adapter_file import BaseShape, base_name, check_base, read_adapter

    adapter, state = read_adapter(lora)
    shape = BaseShape.of_folder(mini_base() if model == "mini" else Path(model))
    if shape is not None:  # a folder without it is refused in its own words when it is loaded
        check_base(lora, adapter, state, shape, model=model)
    if adapter.base != base_name(model):
        print(f"note: {lora} was trained on {adapter.base}, not on {base_name(model)}", file=sys.stderr)
    return adapter


def _film(
    args: argparse.Namespace,
    config: "ExperimentConfig",
    path: Trajectory | None,
    files: list[Path],
    seeds: list[int],
) -> None:
    """Samples, decodes and writes one video per file and seed."""
    from worldr1.build import build_policy, check_clip, choose_device
    from worldr1.train.lora import load_adapter

    policy = build_policy(config.model, choose_device())
    if args.lora is not None:
        load_adapter(args.lora, policy.transformer, model=args.model)
    shape = check_clip(config, policy)
    sampler = replace(config.sampler, shift=policy.shift if args.shift is None else args.shift)
    fps = FRAMES_PER_SECOND if args.model == "mini" else WAN_FPS
    upscale = args.upscale or (4 if args.model == "mini" else 1)
    embeddings, plans, console = policy.encode([args.prompt]), PlanCache(), Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sampling", total=math.ceil(len(files) / BATCH) * sampler.num_steps)
        policy.transformer.register_forward_hook(lambda *_: progress.advance(task))
        for batch in (slice(first, first + BATCH) for first in range(0, len(files), BATCH)):
            start = start_noise(path, shape, seeds[batch], config.noise, plans).to(embeddings.device)
            latents = sample_ode(policy, embeddings.expand(len(start), -1, -1), start, sampler)
            for file, video in zip(files[batch], policy.decode(latents), strict=True):
                write_mp4(file, video, fps=fps, upscale=upscale)
