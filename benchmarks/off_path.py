"""Does the mini 3D model measure the camera's path, or recognise one it knows? `python benchmarks/off_path.py`

Rendered clips (no VAE) of the vocabulary's moves at other speeds, and of random paths. A model that snaps to the paths
of its training reports more than the way that a slow camera went.
"""

import argparse
import math

import torch
from machine import heading
from torch import Tensor

from worldr1.backends.mini import load_reconstructor
from worldr1.camera.trajectory import synthesize
from worldr1.geometry.se3 import geodesic_rad
from worldr1.mini.networks.reconstructor import MiniReconstructor
from worldr1.mini.render import render
from worldr1.mini.scenes import Scenes, sample_scenes
from worldr1.pretrain.free_paths import free_paths

MOVES = ("push_in", "pull_out", "move_left", "move_right", "orbit_left", "orbit_right", "pan_left", "pan_right")
FRAMES, HEIGHT, WIDTH = 17, 64, 96
FINE = 1601


def at_speed(move: str, u: Tensor) -> Tensor:
    """A move's poses at the shares `u` of its way."""
    return synthesize([move], FINE).world_from_camera[(u * (FINE - 1)).round().long()]


def cases(num: int) -> dict[str, Tensor]:
    """World_from_camera [N, T, 4, 4] of each kind of path."""
    u = torch.linspace(0, 1, FRAMES)
    moves = [MOVES[i % len(MOVES)] for i in range(num)]
    found = {
        f"moves at {s:.1f} of their way": torch.stack([at_speed(m, s * u) for m in moves])
        for s in (1, 0.9, 0.8, 0.7, 0.4)
    }
    found["moves that ease in and out"] = torch.stack([at_speed(m, u * u * (3 - 2 * u)) for m in moves])
    found["random paths"] = free_paths(num, FRAMES, torch.Generator().manual_seed(1))
    return found


@torch.no_grad()
def reconstruct(network: MiniReconstructor, scenes: Scenes, paths: Tensor, part: slice) -> Tensor:
    """The paths that the network sees in the rendered clips."""
    return network(render(scenes[part], paths[part], height=HEIGHT, width=WIDTH).video).world_from_camera


def main() -> None:
    """Prints one row per kind of path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48, help="of each kind")
    num = parser.parse_args().clips
    network = load_reconstructor().network
    scenes = sample_scenes(num, generator=torch.Generator().manual_seed(3))
    print(heading())
    print("\n| path | rotation error, deg | translation error, of the path | way reported / way gone |\n|" + "---|" * 4)
    for name, paths in cases(num).items():
        paths = paths.float()
        found = torch.cat([reconstruct(network, scenes, paths, slice(i, i + 4)) for i in range(0, num, 4)])
        rotation = geodesic_rad(found[:, 1:, :3, :3], paths[:, 1:, :3, :3]).mean() * 180 / math.pi
        went, reported = (x[..., :3, 3].norm(dim=-1).amax(1) for x in (paths, found))
        moving = went > 0.05
        share = ((found - paths)[:, 1:, :3, 3].norm(dim=-1).mean(1) / went)[moving].mean()
        print(f"| {name} | {rotation:.2f} | {share:.1%} | {(reported / went)[moving].mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
