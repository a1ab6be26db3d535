"""Seconds of the Gaussian renderers, as a table: numba on one core and, with --gpu, gsplat on the same scenes.

    python benchmarks/splat.py [--repeats 5] [--gpu | --ties]     # without --gpu about two minutes

With --gpu it also says how far the two pictures are apart: every pixel within `TOLERANCE`, but for a share of
`TIED_SHARE` at most. gsplat sorts by float32 depths, so where two Gaussians of different colours lie at one depth to
seven digits it may draw the other one first; lifted frames have such pairs: `--ties` shows what they do, without a GPU.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from machine import heading

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.protocols import Renderer
from worldr1.scene import splat as cpu_splatter
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, Reconstruction, RenderedViews, intrinsics_px

TOLERANCE = 1.5 / 255
"""Of a colour or an alpha of 0..1 (tests/gpu/test_gsplat.py): a Gaussian whose alpha lies at 1/255 may be drawn by one
renderer and left out by the other, because gsplat computes in float32."""
PROJECT = cpu_splatter._project
TIED_SHARE = 1e-4
"""Of the pixels that may be farther apart, because float32 cannot tell the depths of two of their Gaussians apart."""


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


class Difference(NamedTuple):
    """Of two drawings: a pixel's is the largest of its colours and its alpha, 0..1."""

    largest: float
    mean: float
    share: float
    """Of the pixels that are farther apart than `TOLERANCE`."""


class Row(NamedTuple):
    """What is measured of a case: least seconds of one call that draws all views; None without a second renderer."""

    cpu_s: float
    wall_s: float
    again_s: float | None = None
    difference: Difference | None = None


def cases() -> list[Case]:
    """From what a clip of the mini world gives to what `worldr1 score` draws of a video, and random scenes beside."""
    lifted = [(9, 8, 64, 96), (17, 17, 64, 96), (3, 2, 64, 96), (8, 8, 120, 208), (9, 8, 256, 416)]
    return [
        *(Case(f"{frames} lifted frames", lifted_clip(frames, h, w), views, h, w) for frames, views, h, w in lifted),
        *(Case("random", random_scene(num), 17, 120, 208) for num in (20_000, 200_000, 1_000_000)),
    ]


def measure(case: Case, repeats: int, other: Renderer | None = None) -> Row:
    """Draws a case `repeats` times with the CPU's renderer, and with another if there is one.

    A GPU's times begin with the scene on the GPU and end with the pictures there, synchronised before and after.
    """
    (cpu_s, wall_s), drawn = _timed(lambda: _draw(SplatRenderer(), case), repeats, lambda: None)
    if other is None:
        return Row(cpu_s, wall_s)
    case = case._replace(scene=_moved(case.scene, getattr(other, "device", "cpu")))
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    (_, again_s), again = _timed(lambda: _draw(other, case), repeats, synchronize)
    return Row(cpu_s, wall_s, again_s, difference(drawn, again))


def difference(a: RenderedViews, b: RenderedViews) -> Difference:
    """How far two drawings of the same views are apart."""
    colors = (a.colors.cpu() - b.colors.cpu()).abs().amax(1)
    error = torch.maximum(colors, (a.alphas.cpu() - b.alphas.cpu()).abs())
    return Difference(float(error.max()), float(error.mean()), float((error > TOLERANCE).float().mean()))


class FloatOrder(SplatRenderer):
    """The CPU renderer with Gaussians sorted by depths in float32, as gsplat sorts them."""

    def __call__(self, *args: Any, **keywords: Any) -> RenderedViews:
        """As `SplatRenderer`."""
        with patch.object(cpu_splatter, "_project", _project_in_float32):
            return super().__call__(*args, **keywords)


def _project_in_float32(means: Any, axes: Any, camera_from_world: Any, *rest: Any) -> tuple[Any, Any, Any]:
    centres, conics, _ = PROJECT(means, axes, camera_from_world, *rest)
    rotation, points = camera_from_world[2].astype(np.float32), means.astype(np.float32)
    depths = (rotation[0] * points[:, 0] + rotation[1] * points[:, 1]) + rotation[2] * points[:, 2] + rotation[3]
    return centres, conics, depths.astype(np.float64)


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
    found = [row.difference for _, row in rows if row.difference is not None]
    more = (" again s | largest difference | mean | pixels beyond |", "---|---|---|---|") if found else ("", "")
    print(f"\n| scene | Gaussians | views | cpu s | wall s |{more[0]}\n|---|---|---|---|---|{more[1]}")
    for case, row in rows:
        size = f"{case.num_views} of {case.height} x {case.width}"
        line = f"| {case.name} | {len(case.scene.means):,} | {size} | {row.cpu_s:.3f} | {row.wall_s:.3f} |"
        if row.difference is not None:
            far = row.difference
            line += f" {row.again_s:.4f} | {far.largest:.5f} | {far.mean:.1e} | {far.share:.1e} |"
        print(line)
    if found:
        share = max(one.share for one in found)
        verdict = "within" if share <= TIED_SHARE else "NOT within"
        print(f"\npixels farther apart than {TOLERANCE:.5f}: {share:.1e}, {verdict} {TIED_SHARE:.0e}")


def main() -> None:
    """Prints the command, the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of which the least is printed")
    second = parser.add_mutually_exclusive_group()
    second.add_argument("--gpu", action="store_true", help="draw everything again with gsplat (NVIDIA GPU)")
    second.add_argument("--ties", action="store_true", help="draw everything again, sorted by float32 depths (CPU)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    other = GsplatRenderer() if args.gpu else FloatOrder() if args.ties else None
    print(heading())
    if args.gpu:
        print(f"GPU: {torch.cuda.get_device_name()}")
    print_table([(case, measure(case, args.repeats, other)) for case in cases()])


if __name__ == "__main__":
    main()
