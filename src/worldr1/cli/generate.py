"""`worldr1 generate`: make videos from a prompt; its camera words also shape the noise that they start from."""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.cli.model_options import (
    CLIP,
    MINI,
    MINI_UPSCALE,
    Settings,
    adapted_settings,
    adapter_file,
    add_model_arguments,
    euler_steps,
)
from worldr1.cli.options import check_distinct
from worldr1.cli.places import add_overwrite, check_file
from worldr1.errors import InputError
from worldr1.seeding import derive_seed
from worldr1.video_io import MOST_FRAME_PIXELS

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help and a wrong word do not wait for them
    from worldr1.cli.filming import Film, Shot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `generate`."""
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="for example 'Camera push in. A red ball.'")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.mp4", help="of several: FILE-000.mp4, ...")
    add_model_arguments(parser)
    parser.add_argument("--lora", metavar="FILE", help="adapter.safetensors of a run, or mini-r1: the packaged one")
    parser.add_argument("--seed", type=int, metavar="N", help="(default: 0)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="one video each, as --seed N makes it alone")
    parser.add_argument("--num", type=int, metavar="N", help="videos of --seed, each from its own noise (default: 1)")
    for name in CLIP:
        parser.add_argument(f"--{name}", type=int, metavar="N", help="(default: the adapter's or the model's)")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="sampling steps (default: the adapter's, or 20, CogVideoX 50)"
    )
    parser.add_argument("--shift", type=float, metavar="X", help="of the times (default: the adapter's or the model's)")
    parser.add_argument("--guidance", type=float, metavar="X", help="1 is none (default: the adapter's or the model's)")
    parser.add_argument(
        "--strength",
        type=float,
        metavar="A",
        help="0 to 1: how much of the noise follows the camera (default: the adapter's, or 0.5 in mini, 1 in Wan, 0 in "
        "CogVideoX)",
    )
    parser.add_argument(
        "--transport", choices=("canvas", "flow"), help="how noise follows it (default: the adapter's, or canvas)"
    )
    parser.add_argument("--upscale", type=int, metavar="N", help="pixels become squares of N (default: 4 in mini)")
    add_overwrite(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Write the videos and print where they are; 0. Raises InputError for bad words, sizes, models or files."""
    tokens = parse_plan(args.prompt).tokens
    args.lora = adapter_file(args.lora)
    for name, least in (("num", 1), ("steps", 2), ("upscale", 1)):
        if (number := getattr(args, name)) is not None and number < least:
            raise InputError(f"--{name} must be at least {least}, got {number}")
    if args.shift is not None and not 0 < args.shift < math.inf:
        raise InputError(f"--shift must be a positive number, got {args.shift}")
    if args.seeds is not None and (args.seed is not None or args.num is not None):
        raise InputError("--seeds stands in for --seed and --num: give one or the other")
    seeds = _seeds(args)
    files = _files(args.out, len(seeds), overwrite=args.overwrite)
    settings = _settings(args)
    config = settings.config
    upscale = args.upscale or (MINI_UPSCALE if args.model == MINI else 1)
    if config.clip.height * config.clip.width * upscale**2 > MOST_FRAME_PIXELS:
        size = f"{config.clip.height} x {config.clip.width}"
        if upscale == 1:
            raise InputError(f"pictures of {size} are larger than videos can be: lower --height or --width")
        raise InputError(f"--upscale {upscale} makes pictures of {size} larger than videos can be: lower it")

    from worldr1.cli.filming import Film, Shot, make

    shots = [
        Shot(file=file, seed=seed, index=index, noise_seed=derive_seed(seed, "generate", index))
        for file, (seed, index) in zip(files, seeds, strict=True)
    ]
    film = Film(
        prompt=args.prompt,
        path=requested_path(tokens, config.clip.frames),
        config=config,
        lora=args.lora,
        shift=settings.shift,
        fps=settings.fps,
        upscale=upscale,
        whose_defaults=settings.whose_defaults,
    )
    make(film, shots)
    _report(args, tokens, film, shots)
    return 0


def _report(args: argparse.Namespace, tokens: tuple[str, ...], film: "Film", shots: list["Shot"]) -> None:
    config = film.config
    if args.json:
        videos = [{"path": str(shot.file), "seed": shot.seed, "index": shot.index} for shot in shots]
        facts = {"tokens": tokens, "strength": film.strength, "guidance": config.model.guidance}
        facts |= {"transport": config.noise.transport, "steps": config.sampler.num_steps}
        print(json.dumps({"videos": videos, "prompt": args.prompt, "model": args.model, **facts}))
        return
    moves = ", then ".join(tokens) or "no camera words, so the camera is free"
    print(f"camera: {moves}; noise strength {film.strength}, guidance {config.model.guidance}")
    print(*(shot.file for shot in shots), sep="\n")


def _seeds(args: argparse.Namespace) -> list[tuple[int, int]]:
    """Seed and index of every video."""
    if args.seeds is not None:
        check_distinct(args.seeds, what="--seeds")
        return [(seed, 0) for seed in args.seeds]
    return [(args.seed or 0, index) for index in range(args.num or 1)]


def _files(out: Path, num: int, *, overwrite: bool) -> list[Path]:
    files = [out] if num == 1 else [out.with_name(f"{out.stem}-{index:03d}{out.suffix}") for index in range(num)]
    for file in files:
        check_file(file, suffix=".mp4", overwrite=overwrite)
    return files


def _settings(args: argparse.Namespace) -> Settings:
    """The model's own settings, or what an adapter was trained with that is in it or on it; over them the arguments."""
    settings = adapted_settings(args, args.lora)
    config = settings.config
    guidance, noise = config.model.guidance, config.noise
    if settings.origin and args.guidance not in (None, guidance):
        print(f"note: {settings.origin} was trained with guidance {guidance}, not {args.guidance}", file=sys.stderr)
    size = {name: n for name in CLIP if (n := getattr(args, name)) is not None}
    if args.strength is not None:
        noise = replace(noise, strength=args.strength, parallax_strength=None)
    config = replace(
        config,
        model=replace(config.model, guidance=guidance if args.guidance is None else args.guidance),
        clip=replace(config.clip, **size),
        noise=replace(noise, transport=args.transport or noise.transport),
        sampler=config.sampler if args.steps is None else euler_steps(args.steps),
    )
    return replace(settings, config=config, shift=settings.shift if args.shift is None else args.shift).checked()
