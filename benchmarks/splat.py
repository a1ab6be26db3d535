"""Seconds of the Gaussian renderers, as a table: numba on one core and, with --gpu, gsplat on the same scenes.

    python benchmarks/splat.py [--repeats 5] [--gpu]     # without --gpu about two minutes

With --gpu it also says how far the two pictures are apart, and whether that is within `TOLERANCE`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import NamedTuple

import torch
from machine import heading

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.protocols import Renderer
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, Reconstruction, RenderedViews, intrinsics_px

TOLERANCE = 1.5 / 255
"""Of a colour or an alpha of 0..1 (tests/gpu/test_gsplat.py): a Gaussian whose alpha lies at 1/255 may be drawn by one
renderer and left out by the other, because gsplat computes in float32."""


def path(num_views: int) -> torch.Tensor:
    """Poses that move right by 0.22 while turning left by 8 degrees."""
    poses = torch.eye(4, dtype=torch.float64).repeat(num_views, 1, 1)
    angle = torch.linspace(0, 0.14, num_views, dtype=torch.float64)
    poses[:, 0, 0], poses[:, 2, 2] = angle.cos(), angle.cos()
    poses[:, 0, 2], poses[:, 2, 0] = -angle.sin(), angle.sin()
    poses[:, 0, 3] = torch.linspace(0, 0.22, num_views, dtype=torch.float64)
    return poses


def lifted_clip(num_frames: int, height: int, width: int) -> Gaussians:
    """A wavy wall seen by every frame: one Gaussian per pixel, as the reward builds them."""
    generator = torch.Generator().manual_seed(0)
    waves = 1.0 + 0.2 * torch.sin(torch.arange(width) / 9) + 0.1 * torch.cos(torch.arange(height) / 7)[:, None]
    depth = waves + 0.01 * torch.randn(num_frames, height, width, generator=generator)
    reconstruction = Reconstruction(
        world_from_camera=path(num_frames),
        depth=depth,
        intrinsics_px=intrinsics_px(height, width).repeat(num_frames, 1, 1),
        confidence=torch.ones(num_frames, height, width),
    )
    video = torch.rand(num_frames, 3, height, width, generator=generator)
    return gaussians_from_depth(video, reconstruction, range(num_frames), config=LiftConfig())


def random_scene(num: int) -> Gaussians:
    """Turned Gaussians of 0.005 to 0.025 units in a box of 2 x 1.4 x 2 units: footprints of up to six pixels."""
    generator = torch.Generator().manual_seed(0)
    box, corner = torch.tensor([2.0, 1.4, 2.0]), torch.tensor([-1.0, -0.7, 0.5])
    return Gaussians(
        means=torch.rand(num, 3, generator=generator) * box + corner,
        quats=torch.randn(num, 4, generator=generator),
        scales=0.005 + 0.02 * torch.rand(num, 3, generator=generator),
        opacities=torch.rand(num, generator=generator),
        colors=torch.rand(num, 3, generator=generator),
    )


class Case(NamedTuple):
    """A scene and how it is looked at."""

    name: str
    scene: Gaussians
    num_views: int
    height: int
    width: int


class Row(NamedTuple):
    """What is measured of a case: least seconds of one call that draws all views; None without a GPU."""

    cpu_s: float
    wall_s: float
    gpu_s: float | None = None
    difference: float | None = None
    """Largest, of colours and alphas."""


def cases() -> list[Case]:
    """From what a clip of the mini world gives to what `worldr1 score` draws of a video, and random scenes beside."""
    lifted = [(9, 8, 64, 96), (17, 17, 64, 96), (3, 2, 64, 96), (8, 8, 120, 208), (9, 8, 256, 416)]
    return [
        *(Case(f"{frames} lifted frames", lifted_clip(frames, h, w), views, h, w) for frames, views, h, w in lifted),
        *(Case("random", random_scene(num), 17, 120, 208) for num in (20_000, 200_000, 1_000_000)),
    ]


def measure(case: Case, repeats: int, gpu: Renderer | None = None) -> Row:
    """Draws a case `repeats` times with the CPU's renderer, and with the GPU's if there is one.

    The GPU's times begin with the scene on the GPU and end with the pictures there, synchronised before and after.
    """
    (cpu_s, wall_s), drawn = _timed(lambda: _draw(SplatRenderer(), case), repeats, lambda: None)
    if gpu is None:
        return Row(cpu_s, wall_s)
    case = case._replace(scene=_moved(case.scene, getattr(gpu, "device", "cpu")))
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    (_, gpu_s), again = _timed(lambda: _draw(gpu, case), repeats, synchronize)
    return Row(cpu_s, wall_s, gpu_s, difference(drawn, again))


def difference(a: RenderedViews, b: RenderedViews) -> float:
    """Largest absolute difference of colours and of alphas, 0..1."""
    pairs = ((a.colors, b.colors), (a.alphas, b.alphas))
    return max(float((one.cpu() - other.cpu()).abs().max()) for one, other in pairs)


def _draw(renderer: Renderer, case: Case) -> RenderedViews:
    intrinsics = intrinsics_px(case.height, case.width).repeat(case.num_views, 1, 1)
    size = {"height": case.height, "width": case.width, "background": torch.zeros(3)}
    return renderer(case.scene, path(case.num_views), intrinsics, **size)


def _moved(scene: Gaussians, device: torch.device | str) -> Gaussians:
    return Gaussians(**{field.name: getattr(scene, field.name).to(device) for field in fields(scene)})


def _timed(
    draw: Callable[[], RenderedViews], repeats: int, synchronize: Callable[[], None]
) -> tuple[tuple[float, float], RenderedViews]:
    """Least CPU and wall seconds of a call, and the pictures of the last; the first call, which compiles, is extra."""
    drawn, times = draw(), []
    for _ in range(repeats):
        synchronize()
        cpu, wall = time.process_time(), time.perf_counter()
        drawn = draw()
        synchronize()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return (min(cpu for cpu, _ in times), min(wall for _, wall in times)), drawn


def print_table(rows: Sequence[tuple[Case, Row]]) -> None:
    """The table in Markdown, and under it whether the renderers agree."""
    on_gpu = [row.difference for _, row in rows if row.difference is not None]
    more = (" gpu s | largest difference |", "---|---|") if on_gpu else ("", "")
    print(f"\n| scene | Gaussians | views | cpu s | wall s |{more[0]}\n|---|---|---|---|---|{more[1]}")
    for case, row in rows:
        size = f"{case.num_views} of {case.height} x {case.width}"
        line = f"| {case.name} | {len(case.scene.means):,} | {size} | {row.cpu_s:.3f} | {row.wall_s:.3f} |"
        print(line + (f" {row.gpu_s:.4f} | {row.difference:.5f} |" if row.gpu_s is not None else ""))
    if on_gpu:
        verdict = "within" if max(on_gpu) <= TOLERANCE else "NOT within"
        print(f"\nlargest difference of the two renderers: {max(on_gpu):.5f}, {verdict} {TOLERANCE:.5f}")


def main() -> None:
    """Prints the command, the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of which the least is printed")
    parser.add_argument("--gpu", action="store_true", help="draw everything with gsplat too (NVIDIA GPU)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    gpu = GsplatRenderer() if args.gpu else None
    print(heading())
    if gpu is not None:
        print(f"GPU: {torch.cuda.get_device_name()}")
    print_table([(case, measure(case, args.repeats, gpu)) for case in cases()])


if __name__ == "__main__":
    main()
