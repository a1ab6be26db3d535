"""CPU seconds of the numba Gaussian splatter, as a table: `python benchmarks/splat.py [--repeats 5]`."""

import argparse
import time

import torch
from machine import heading

from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, Reconstruction, intrinsics_px


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


def cpu_seconds(scene: Gaussians, num_views: int, size: tuple[int, int], repeats: int) -> tuple[float, float]:
    """Least CPU and wall seconds of one call that draws all views."""
    poses, intrinsics = path(num_views), intrinsics_px(*size).repeat(num_views, 1, 1)
    renderer, background, times = SplatRenderer(), torch.zeros(3), []
    for _ in range(repeats + 1):  # the first one compiles
        cpu, wall = time.process_time(), time.perf_counter()
        renderer(scene, poses, intrinsics, height=size[0], width=size[1], background=background)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in times[1:]), min(wall for _, wall in times[1:])


def main() -> None:
    """Prints the command, the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of which the least is printed")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(heading())
    print("\n| scene | Gaussians | views | cpu s | wall s |\n|---|---|---|---|---|")
    cases = [
        ("9 lifted frames, 64 x 96", lifted_clip(9, 64, 96), 8, (64, 96)),
        ("17 lifted frames, 64 x 96", lifted_clip(17, 64, 96), 17, (64, 96)),
        ("random, 120 x 208", random_scene(20_000), 17, (120, 208)),
        ("9 lifted frames, 120 x 208", lifted_clip(9, 120, 208), 8, (120, 208)),
    ]
    for name, scene, num_views, size in cases:
        cpu, wall = cpu_seconds(scene, num_views, size, repeats)
        print(f"| {name} | {len(scene.means)} | {num_views} of {size[0]} x {size[1]} | {cpu:.3f} | {wall:.3f} |")


if __name__ == "__main__":
    main()
