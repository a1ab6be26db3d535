"""Damage x part: what a kind of damage costs in each part of the training reward. `python benchmarks/damage_table.py`

Rendered clips of the mini world, damaged in one way each, scored as training scores them: the packaged 3D model,
critic, quality model and perceptual distance, the formulas of `rewards.*`, the request and the prompt of the undamaged
clip. The billboard world (a flat picture, filmed by a moving camera) is scored with its true geometry, because the 3D
model has never seen one and would lift it into a solid world; so is the clean world beside it. 4 minutes on two cores.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from jaxtyping import Float
from machine import heading
from torch import Tensor
from torch.nn import functional as F

from worldr1.backends.mini import load_heads, load_reconstructor
from worldr1.build import load_experiment
from worldr1.camera.trajectory import synthesize
from worldr1.geometry.pinhole import pixel_centres
from worldr1.mini.promptset import PLANS, canonical_prompts
from worldr1.mini.render import Clips, render
from worldr1.mini.scenes import NUM_SOLIDS, Defects, Scenes, sample_scenes
from worldr1.pretrain.corpus import warp
from worldr1.pretrain.damage import add_noise, blur
from worldr1.protocols import Reconstructor
from worldr1.rewards.composite import R_GEN, S_META, S_RECON, S_TRAJ, CompositeReward, RewardWeights
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, Reconstruction, RewardResult, Status, intrinsics_px

MOVES = ("move_left", "orbit_right", "pull_left", "push_in", "move_right", "pull_out")
"""Requested, in turn; all have parallax, so that every part exists."""
OTHER = dict(zip(MOVES, (*MOVES[3:], *MOVES[:3]), strict=True))
PARTS = (S_META, S_RECON, S_TRAJ, R_GEN)
HEIGHT, WIDTH, FRAMES = 64, 96, 17
SWIM, POSTER_FOCAL = 0.4, 0.6
"""Scene units a second that textures slide; focal length per width of the billboard's picture."""


class KnownGeometry:
    """A reconstructor that was told the answers, in order."""

    licence = "none"

    def __init__(self, answers: Sequence[Reconstruction]) -> None:
        self.left = list(answers)

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        found, self.left = self.left[: len(videos)], self.left[len(videos) :]
        return found


class Case:
    """Scenes, their prompts and the paths that were asked for."""

    def __init__(self, num: int, seed: int) -> None:
        scenes = sample_scenes(num, generator=torch.Generator().manual_seed(seed), dynamic_share=0.0)
        self.scenes = replace(scenes, present=torch.ones_like(scenes.present))
        self.moves = [MOVES[i % len(MOVES)] for i in range(num)]
        texts = canonical_prompts(self.scenes, [PLANS.index((move,)) for move in self.moves])
        self.prompts = [Prompt(id=i, text=text) for i, text in enumerate(texts)]

    def film(self, scenes: Scenes | None = None, *, moves: Sequence[str] | None = None) -> Clips:
        """Clips of the scenes along the requested moves, or of other scenes or along others."""
        paths = torch.stack([synthesize((move,), FRAMES).world_from_camera for move in moves or self.moves]).float()
        return render(scenes or self.scenes, paths, height=HEIGHT, width=WIDTH)


def damaged(case: Case, clean: Clips) -> dict[str, Float[Tensor, "N T 3 H W"]]:
    """Every kind of damage but the billboard."""
    num, video = case.scenes.num, clean.video
    generator = torch.Generator().manual_seed(1)
    velocity = F.normalize(torch.randn(num, 2 + NUM_SOLIDS, 3, generator=generator), dim=-1) * SWIM
    velocity[:, 2:] *= 2.5  # solids: in half sizes
    swims = replace(Defects.none(num), texture_velocity=velocity)
    drifts = replace(
        Defects.none(num),
        colour_drift=0.9 * (torch.rand(num, 2 + NUM_SOLIDS, 3, generator=generator) - 0.5),
        size_wobble=torch.full((num, NUM_SOLIDS), 0.3),
    )
    order = torch.randperm(FRAMES, generator=generator)
    every = torch.full((num * FRAMES,), 1.5)
    return {
        "blur (1.5 px)": blur(video.flatten(0, 1), every).unflatten(0, (num, FRAMES)),
        "one solid missing": case.film(case.scenes.without(0)).video,
        "textures that swim": case.film(case.scenes.with_defects(swims)).video,
        "colours and sizes that drift": case.film(case.scenes.with_defects(drifts)).video,
        "2D warp, 1 px": warp(video, torch.full((num,), 1.0), generator),
        "2D warp, 3 px": warp(video, torch.full((num,), 3.0), generator),
        "another camera path": case.film(moves=[OTHER[move] for move in case.moves]).video,
        "still (frame 0 repeated)": video[:, :1].expand(-1, FRAMES, -1, -1, -1).contiguous(),
        "frames shuffled": video[:, order],
        "noise (std 0.1)": add_noise(video, torch.full((num,), 0.1), generator).clamp(0, 1),
    }


def billboards(case: Case, clean: Clips) -> tuple[Float[Tensor, "N T 3 H W"], Float[Tensor, "N T H W"]]:
    """Videos and depths of flat pictures of the scenes, one depth unit ahead of the first camera."""
    eye = torch.eye(4).expand(case.scenes.num, 1, 4, 4)
    size = {"height": 3 * HEIGHT, "width": 3 * WIDTH, "supersample": 1}
    poster = render(case.scenes, eye, focal_per_width=POSTER_FOCAL, **size).video[:, 0]
    k = intrinsics_px(HEIGHT, WIDTH).float()
    slopes = (pixel_centres(HEIGHT, WIDTH, dtype=torch.float32) - k[:2, 2]) / k[0, 0]
    rays = torch.cat([slopes, torch.ones(HEIGHT, WIDTH, 1)], -1)
    poses = clean.world_from_camera
    directions = torch.einsum("btij,hwj->bthwi", poses[..., :3, :3], rays)
    origin = poses[:, :, None, None, :3, 3]
    depth = (1 - origin[..., 2]) / directions[..., 2]
    points = (origin + directions * depth[..., None])[..., :2]
    grid = points * 2 * POSTER_FOCAL * torch.tensor([1.0, WIDTH / HEIGHT])
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    frames = [F.grid_sample(poster, grid[:, t], **options) for t in range(FRAMES)]
    return torch.stack(frames, 1), depth


def known(depth: Tensor, clean: Clips, confidence: Tensor) -> KnownGeometry:
    """The true cameras with that depth."""
    k = intrinsics_px(HEIGHT, WIDTH).float().expand(FRAMES, 3, 3)
    rows = zip(depth, clean.world_from_camera, confidence, strict=True)
    return KnownGeometry(
        [Reconstruction(world_from_camera=p, depth=d, intrinsics_px=k, confidence=c) for d, p, c in rows]
    )


def score(case: Case, videos: Tensor, reconstructor: Reconstructor, *, gate: bool = False) -> list[RewardResult]:
    """The training reward of the videos, each part with weight 1. gate: `reward.travel_gate`."""
    critic, quality, distance = load_heads()
    config = replace(load_experiment("mini").reward, weights=RewardWeights(), travel_gate=gate)
    reward = CompositeReward(reconstructor, SplatRenderer(), critic, quality, distance, config)
    requests = [synthesize((move,), FRAMES) for move in case.moves]
    return reward(videos, case.prompts, requests, False)


def table(rows: Mapping[str, Sequence[RewardResult]]) -> str:
    """In Markdown: means of the parts over all videos, a rejected one with its floor, and the share of those."""
    lines = ["| damage | S_meta | S_recon | S_traj | R_gen | rejected |", "|---|---|---|---|---|---|"]
    for name, results in rows.items():
        means = [fmean(result.parts[part] for result in results) for part in PARTS]
        rejected = fmean(float(result.status is Status.REJECTED) for result in results)
        lines.append(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in means)} | {rejected:.0%} |")
    return "\n".join(lines)


def measure(num: int, seed: int, *, gate: bool = False) -> dict[str, list[RewardResult]]:
    """All rows of the table."""
    case = Case(num, seed)
    clean, model = case.film(), load_reconstructor()
    rows = {"clean": score(case, clean.video, model, gate=gate)}
    rows |= {name: score(case, video, model, gate=gate) for name, video in damaged(case, clean).items()}
    posters, depth = billboards(case, clean)
    solid, flat = known(clean.depth, clean, (~clean.sky).float()), known(depth, clean, torch.ones_like(depth))
    rows["clean, true geometry"] = score(case, clean.video, solid, gate=gate)
    rows["billboard, true geometry"] = score(case, posters, flat, gate=gate)
    return rows


def main() -> None:
    """Prints the command, the machine and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--travel-gate", action="store_true", help="as reward.travel_gate = true")
    args = parser.parse_args()
    print(heading())
    with torch.no_grad():
        print(f"{args.clips} clips\n\n{table(measure(args.clips, args.seed, gate=args.travel_gate))}")


if __name__ == "__main__":
    main()
