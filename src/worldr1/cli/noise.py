"""`worldr1 noise`: the camera-aware start noise of a prompt, as a safetensors file."""

import argparse
from pathlib import Path

from safetensors.torch import save_file

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise

_SIZE_MULTIPLE = 16
_FRAME_STRIDE = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--prompt, --out, the clip's and the latent's sizes, --strength, --seed."""
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="for example 'Camera push in. A red ball.'")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE.safetensors", help="where the tensor `noise` goes"
    )
    parser.add_argument("--width", type=int, default=832, metavar="PX", help="video width (default: 832)")
    parser.add_argument("--height", type=int, default=480, metavar="PX", help="video height (default: 480)")
    parser.add_argument("--frames", type=int, default=81, metavar="N", help="video frames, 4 k + 1 (default: 81)")
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="A", help="0: independent noise, 1: all of it moves (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--channels", type=int, default=16, metavar="N", help="latent channels (default: 16)")
    parser.add_argument(
        "--spatial-stride", type=int, default=8, metavar="N", help="video pixels per latent pixel (default: 8)"
    )


def run(args: argparse.Namespace) -> int:
    """Write `noise` [C, L, h, w] float32 with its origin as metadata; 0. Raises InputError for bad words or sizes."""
    shape = _latent_shape(args)
    if not args.out.parent.is_dir():
        raise InputError(f"the folder {args.out.parent} does not exist: create it or choose another --out")
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder: give a file name")
    tokens = parse_plan(args.prompt).tokens
    trajectory = requested_path(tokens, args.frames)
    noise = start_noise(trajectory, shape, [args.seed], NoiseConfig(strength=args.strength), PlanCache())[0]
    origin = {"prompt": args.prompt, "tokens": " ".join(tokens)}
    for name in ("strength", "seed", "width", "height", "frames", "spatial_stride"):
        origin[name] = str(getattr(args, name))
    save_file({"noise": noise.contiguous()}, args.out, metadata=origin)
    moves = ", then ".join(tokens) if tokens else "no camera words, so independent noise"
    print(f"{args.out}: noise [C, L, h, w] = {list(noise.shape)}; {moves}")
    return 0


def _latent_shape(args: argparse.Namespace) -> tuple[int, int, int, int]:
    """(C, L, h, w); InputError for sizes that no Wan VAE takes (conventions section 4)."""
    for name in ("width", "height"):
        size = getattr(args, name)
        if size < _SIZE_MULTIPLE or size % _SIZE_MULTIPLE:
            lower = max(size // _SIZE_MULTIPLE, 1) * _SIZE_MULTIPLE
            raise InputError(f"--{name} must be a positive multiple of {_SIZE_MULTIPLE}, got {size}: use {lower}")
    if args.frames < 1 or (args.frames - 1) % _FRAME_STRIDE:
        nearest = max(args.frames - 1, 0) // _FRAME_STRIDE * _FRAME_STRIDE + 1
        raise InputError(f"--frames must be {_FRAME_STRIDE} k + 1, got {args.frames}: use {nearest}")
    if args.channels < 1:
        raise InputError(f"--channels must be at least 1, got {args.channels}")
    stride = args.spatial_stride
    if stride < 1 or args.width % stride or args.height % stride:
        raise InputError(f"--spatial-stride must divide width and height, got {stride}: Wan uses 8 or 16")
    return args.channels, (args.frames - 1) // _FRAME_STRIDE + 1, args.height // stride, args.width // stride
