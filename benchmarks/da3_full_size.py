"""Depth Anything 3 at its true size on random weights: seconds and memory. `python benchmarks/da3_full_size.py`

Builds da3-giant-1.1 and lifts clips of several lengths with injected cameras (random weights answer with none), then
draws the Gaussians of the even frames at the poses of the odd ones, as S_recon does. Nothing is downloaded; the numbers
say what a lift costs, not how good it is. `--device cpu --small` runs the same on a small network in seconds.
"""

import argparse
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from machine import heading
from torch import Tensor

from worldr1.backends.depth_anything3 import Cameras, DepthAnything3, processed_size
from worldr1.backends.depth_anything3_network import MODELS, architecture_config, build_network
from worldr1.backends.gsplat import MAX_PAIRS_PER_CALL, GsplatRenderer
from worldr1.camera.trajectory import synthesize
from worldr1.protocols import Renderer
from worldr1.rewards.reconstruction import at_size, split_frames
from worldr1.scene.gaussians import LiftConfig, lift_videos
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, Reconstruction, Status, intrinsics_px

NAME = "da3-giant-1.1"
Result = TypeVar("Result")


class Row(NamedTuple):
    """One length of clip."""

    frames: int
    gaussians: int
    """Of the even frames."""
    lift_s: float
    select_s: float
    render_s: float
    """All odd frames."""
    lift_gib: float
    render_gib: float


def small_config() -> dict[str, Any]:
    """ViT-S with narrow heads and GIANT's Gaussian head: 31 M parameters, about a second for five small frames."""
    narrow = {"features": 16, "out_channels": [12, 24, 48, 96]}
    small, giant = (architecture_config(name) for name in ("da3-small", "da3-giant"))
    small["head"] |= narrow
    head = giant["gs_head"] | narrow | {"dim_in": small["head"]["dim_in"]}
    return small | {"gs_head": head, "gs_adapter": giant["gs_adapter"]}


def cameras(num_frames: int, height: int, width: int) -> Cameras:
    """An orbit at the processed size."""
    path = synthesize(["orbit_left"], num_frames).world_from_camera
    return Cameras(world_from_camera=path, intrinsics_px=intrinsics_px(height, width).repeat(num_frames, 1, 1))


def clip(num_frames: int, height: int, width: int, device: torch.device) -> Tensor:
    """Coarse noise: textured, and another picture every frame."""
    coarse = torch.rand(num_frames, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse.to(device), size=(height, width), mode="bilinear").clamp(0, 1)


def draw(renderer: Renderer, scene: Gaussians, found: Reconstruction, frames: list[int]) -> None:
    """The frames' views, as many a call as keep to gsplat's own bound."""
    height, width = found.depth.shape[-2:]
    background = torch.zeros(3, device=scene.means.device)
    per_call = max(1, MAX_PAIRS_PER_CALL // len(scene.means))
    for start in range(0, len(frames), per_call):
        part = frames[start : start + per_call]
        poses, intrinsics = found.world_from_camera[part], found.intrinsics_px[part]
        renderer(scene, poses, intrinsics, height=height, width=width, background=background)


def peak_gib(device: torch.device) -> float:
    """Peak memory since `timed` began (CUDA) or of the process so far (CPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(work: Callable[[], Result], device: torch.device, repeats: int) -> tuple[Result, float, float]:
    """Result, seconds of the fastest of `repeats` (after one more to warm up) and peak GiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    result, seconds = work(), []
    for _ in range(repeats):
        del result  # or two would be held at once
        synchronize(device)
        start = time.perf_counter()
        result = work()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return result, min(seconds), peak_gib(device)


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(model: DepthAnything3, renderer: Renderer, video: Tensor, repeats: int) -> Row:
    """One clip through lift, selection and rendering."""
    (found,), lift_s, lift_gib = timed(lambda: model(video[None]), model.device, repeats)
    if found.status is not Status.OK:
        raise SystemExit(f"{len(video)} frames: {found.status}: {found.reason}")
    even, odd = split_frames(len(video), holdout=True)
    sized = at_size(video, found)
    (scene,), select_s, _ = timed(
        lambda: lift_videos([sized], [found], even, config=LiftConfig()), model.device, repeats
    )
    _, render_s, render_gib = timed(lambda: draw(renderer, scene, found, odd), model.device, repeats)
    return Row(len(video), len(scene.means), lift_s, select_s, render_s, lift_gib, render_gib)


def main() -> None:
    """Prints one row per length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 49, 81])
    parser.add_argument("--size", type=int, nargs=2, default=[480, 832], help="height and width of the clips")
    parser.add_argument("--process-res", type=int, default=504)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a 31 M network instead of GIANT's 1.15 B")
    args = parser.parse_args()
    device = torch.device(args.device)
    config: Mapping[str, Any] = small_config() if args.small else architecture_config(MODELS[NAME].architecture)
    start = time.perf_counter()
    network = build_network(config, device=device, seed=0)
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    renderer: Renderer = GsplatRenderer(args.device) if device.type == "cuda" else SplatRenderer()
    clip_height, clip_width = args.size
    height, width = processed_size(clip_height, clip_width, args.process_res)
    print(heading())
    if device.type == "cuda":
        print(f"device: {torch.cuda.get_device_name(device)}")
    print(
        f"{parameters:.0f} M random parameters, built with the renderer in {time.perf_counter() - start:.1f} s; ",
        end="",
    )
    print(f"{clip_height} x {clip_width} processed at {height} x {width}; fastest of {args.repeats}")
    print(
        "\n| frames | Gaussians of the even | lift, s | select, s | render odd, s | lift, peak GiB | render, peak GiB |"
    )
    print("|" + "---|" * 7)
    for num in args.frames:
        model = DepthAnything3(
            network,
            licence="random weights",
            device=device,
            process_res_px=args.process_res,
            autocast=device.type == "cuda",
            cameras=cameras(num, height, width),
        )
        row = measure(model, renderer, clip(num, clip_height, clip_width, device), args.repeats)
        times = f"{row.lift_s:.2f} | {row.select_s:.3f} | {row.render_s:.2f}"
        print(f"| {num} | {row.gaussians:,} | {times} | {row.lift_gib:.1f} | {row.render_gib:.1f} |", flush=True)


if __name__ == "__main__":
    main()
