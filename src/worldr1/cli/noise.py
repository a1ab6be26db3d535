"""`worldr1 noise`: the camera-aware start noise of a prompt or of a file's path, as a safetensors file."""

import argparse
import json
import math
from pathlib import Path

from safetensors.torch import save_file

from worldr1.cli.camera_path import add_path_arguments, requested_camera
from worldr1.cli.places import add_overwrite, check_file
from worldr1.errors import InputError
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise

_SIZE_MULTIPLE = 16
_FRAME_STRIDE = 4
_MOST_NUMBERS = 2**28
"""A gibibyte; the largest Wan clip (81 frames of 1280 x 720) has 2**22.2."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--prompt or --poses with the clip's sizes, --out, the latent's sizes, --strength, --seed, --overwrite."""
    add_path_arguments(parser, example="Camera push in. A red ball.")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE.safetensors", help="where the tensor `noise` goes"
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="A", help="0: independent noise, 1: all of it moves (default: 1)"
    )
    parser.add_argument(
        "--transport",
        choices=("canvas", "flow"),
        default="canvas",
        help="flow: the paper's chain, which forgets what leaves the picture (default: canvas)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--channels", type=int, default=16, metavar="N", help="latent channels (default: 16)")
    parser.add_argument(
        "--spatial-stride", type=int, default=8, metavar="N", help="video pixels per latent pixel (default: 8)"
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Write `noise` [C, L, h, w] float32 with its origin as metadata; 0.

    Raises InputError for bad words, sizes or files.
    """
    _check_sizes(args)
    check_file(args.out, suffix=".safetensors", overwrite=args.overwrite)
    camera = requested_camera(args)
    if args.poses is not None:
        _check_frames(camera.num_frames, f"the number of poses in {args.poses}")
    num_latent_frames = (camera.num_frames - 1) // _FRAME_STRIDE + 1
    shape = (args.channels, num_latent_frames, args.height // args.spatial_stride, args.width // args.spatial_stride)
    if math.prod(shape) > _MOST_NUMBERS:
        raise InputError(
            f"noise of {' x '.join(map(str, shape))} numbers is more than any model takes: lower the sizes"
        )
    config = NoiseConfig(strength=args.strength, transport=args.transport)
    noise = start_noise(camera.trajectory, shape, [args.seed], config, PlanCache())[0]
    origin = {"tokens": " ".join(camera.plan.tokens), "frames": str(camera.num_frames)}
    origin |= {"prompt": args.prompt} if args.poses is None else {"poses": str(args.poses)}
    for name in ("strength", "transport", "seed", "width", "height", "spatial_stride"):
        origin[name] = str(getattr(args, name))
    if camera.trajectory is not None:
        origin["world_from_camera"] = json.dumps(camera.trajectory.world_from_camera.tolist())
        origin["focal_per_width"] = str(camera.trajectory.focal_per_width)
    save_file({"noise": noise.contiguous()}, args.out, metadata=origin)
    moves = ", then ".join(camera.plan.tokens) or "no camera words, so independent noise"
    source = moves if args.poses is None else f"the path in {args.poses}"
    print(f"{args.out}: noise [C, L, h, w] = {list(noise.shape)}; {source}")
    return 0


def _check_sizes(args: argparse.Namespace) -> None:
    """InputError for sizes that no Wan VAE takes (conventions section 4)."""
    for name in ("width", "height"):
        size = getattr(args, name)
        if size < _SIZE_MULTIPLE or size % _SIZE_MULTIPLE:
            lower = max(size // _SIZE_MULTIPLE, 1) * _SIZE_MULTIPLE
            raise InputError(f"--{name} must be a positive multiple of {_SIZE_MULTIPLE}, got {size}: use {lower}")
    if args.frames is not None:
        _check_frames(args.frames, "--frames")
    if args.channels < 1:
        raise InputError(f"--channels must be at least 1, got {args.channels}")
    stride = args.spatial_stride
    if stride < 1 or args.width % stride or args.height % stride:
        raise InputError(f"--spatial-stride must divide width and height, got {stride}: Wan uses 8 or 16")


def _check_frames(num_frames: int, what: str) -> None:
    if num_frames < 1 or (num_frames - 1) % _FRAME_STRIDE:
        nearest = max(num_frames - 1, 0) // _FRAME_STRIDE * _FRAME_STRIDE + 1
        raise InputError(f"{what} must be {_FRAME_STRIDE} k + 1, got {num_frames}: use {nearest}")
