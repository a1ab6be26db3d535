"""The mini world's training clips: consistent ones, and ones that are imperfect on purpose (docs/conventions.md 5)."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE
from worldr1.camera.trajectory import synthesize
from worldr1.mini.promptset import PLANS, canonical_prompts, sample_plans
from worldr1.mini.render import render
from worldr1.mini.scenes import NUM_SOLIDS, Defects, sample_scenes
from worldr1.pretrain.free_paths import free_paths
from worldr1.seeding import make_generator

NUM_FRAMES, HEIGHT, WIDTH = CLIP_SIZE
DYNAMIC_SHARE = 0.15
NO_CAMERA_SHARE = 0.08


class Imperfection(IntEnum):
    """What is wrong with a clip; shares in IMPERFECTION_SHARES."""

    NONE = 0
    WARP = 1
    SWIM = 2
    DRIFT = 3
    DISOBEY = 4


IMPERFECTION_SHARES = (0.5, 0.125, 0.125, 0.125, 0.125)


TENSORS = ("video", "depth", "world_from_camera", "plan", "imperfection", "surface")
ALL = slice(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """N clips."""

    video: Int[Tensor, "N T 3 H W"]
    """uint8."""
    depth: Float[Tensor, "N T H W"]
    """float16, depth units; SKY_DEPTH on sky."""
    world_from_camera: Float[Tensor, "N T 4 4"]
    """What the camera did (not always what the prompt says)."""
    plan: Int[Tensor, " N"]
    """Index into PLANS of the request; -1: no camera sentence."""
    imperfection: Int[Tensor, " N"]
    surface: Int[Tensor, "N T H W"]
    """int8 surface ids of `mini.render`."""
    prompts: list[str]

    def save(self, folder: Path) -> None:
        """Write tensors and prompts into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: getattr(self, name).cpu().contiguous() for name in TENSORS}, folder / "clips.safetensors")
        (folder / "prompts.json").write_text(json.dumps(self.prompts))

    def rows(self, index: slice) -> "Corpus":
        """A part of the clips."""
        tensors = {name: getattr(self, name)[index] for name in TENSORS}
        return Corpus(**tensors, prompts=self.prompts[index])

    @classmethod
    def load(cls, folder: Path, device: torch.device | str, rows: slice = ALL) -> "Corpus":
        """Read what `save` wrote, or some rows of it, onto a device."""
        with safe_open(folder / "clips.safetensors", framework="pt", device=str(device)) as file:
            tensors = {name: file.get_slice(name)[rows] for name in TENSORS}
        return cls(**tensors, prompts=json.loads((folder / "prompts.json").read_text())[rows])


def plan_paths(num_frames: int = NUM_FRAMES) -> Float[Tensor, "K T 4 4"]:
    """The exact path of each of PLANS."""
    return torch.stack([synthesize(plan, num_frames).world_from_camera for plan in PLANS]).float()


def build_corpus(
    num: int,
    *,
    seed: int,
    device: str,
    imperfect: bool = True,
    dynamic_share: float = DYNAMIC_SHARE,
    free_share: float = 0.0,
    batch: int = 48,
    num_frames: int = NUM_FRAMES,
) -> Corpus:
    """Render `num` clips, batch by batch on `device`, the result on the same device. Seeded: the same on every run.

    free_share: of the clips, whose camera follows `free_paths` and whose prompt says nothing of it. num_frames: 1 for
    stills, which are frame 0 of the clips.
    """
    kind = _Kind(imperfect, dynamic_share, free_share, num_frames)
    parts = [
        _build_batch(min(batch, num - start), make_generator(seed, "corpus", start), device, kind)
        for start in range(0, num, batch)
    ]
    tensors = {name: torch.cat([part[0][name] for part in parts]) for name in TENSORS}
    return Corpus(**tensors, prompts=[prompt for part in parts for prompt in part[1]])


@dataclass(frozen=True, slots=True)
class _Kind:
    """What clips a corpus has."""

    imperfect: bool
    dynamic_share: float
    free_share: float
    num_frames: int


def _build_batch(num: int, generator: torch.Generator, device: str, kind: _Kind) -> tuple[dict[str, Tensor], list[str]]:
    scenes = sample_scenes(num, generator=generator, dynamic_share=kind.dynamic_share)
    plan = sample_plans(num, generator)
    shares = torch.tensor(IMPERFECTION_SHARES if kind.imperfect else (1.0, 0.0, 0.0, 0.0, 0.0))
    imperfection = torch.multinomial(shares, num, replacement=True, generator=generator)
    paths = plan_paths()[plan]
    disobeys = imperfection == Imperfection.DISOBEY
    paths[disobeys] = _disobedient_paths(plan[disobeys], generator)
    free = torch.zeros(num, dtype=torch.bool)
    if kind.free_share > 0:
        free = torch.rand(num, generator=generator) < kind.free_share
        paths[free] = free_paths(int(free.sum()), NUM_FRAMES, generator)
    scenes = scenes.with_defects(_sample_defects(imperfection, generator))
    paths = paths[:, : kind.num_frames]
    clips = render(scenes.to(device), paths.to(device), height=HEIGHT, width=WIDTH)
    video, warped = clips.video, imperfection == Imperfection.WARP
    video[warped.to(device)] = warp(video[warped.to(device)], _warp_amplitudes(int(warped.sum()), generator), generator)
    silent = (torch.rand(num, generator=generator) < NO_CAMERA_SHARE) & ~disobeys | free
    told = torch.where(silent, torch.full_like(plan, -1), plan)
    tensors = {
        "video": (video * 255).round().to(torch.uint8),
        "depth": clips.depth.half(),
        "world_from_camera": paths.to(device),
        "plan": told.to(device),
        "imperfection": imperfection.to(device),
        "surface": clips.surface,
    }
    return tensors, canonical_prompts(scenes, told.tolist())


def _disobedient_paths(plan: Tensor, generator: torch.Generator) -> Float[Tensor, "N T 4 4"]:
    """Half: another plan's path; half: the right path at 0.2 to 0.6 of its speed."""
    fine_frames = 10 * (NUM_FRAMES - 1) + 1
    paths = []
    for index in plan.tolist():
        draw = torch.rand(2, generator=generator)
        other = int(torch.randint(1, len(PLANS), (1,), generator=generator))
        if draw[0] < 0.5:
            chosen = PLANS[(index + other) % len(PLANS)]
            paths.append(synthesize(chosen, NUM_FRAMES).world_from_camera)
        else:
            speed = 0.2 + 0.4 * float(draw[1])
            fine = synthesize(PLANS[index], fine_frames).world_from_camera
            paths.append(fine[(torch.linspace(0, speed, NUM_FRAMES) * (fine_frames - 1)).round().long()])
    return torch.stack(paths).float() if paths else torch.zeros(0, NUM_FRAMES, 4, 4)


def _sample_defects(imperfection: Tensor, generator: torch.Generator) -> Defects:
    num, surfaces = imperfection.shape[0], 2 + NUM_SOLIDS
    swims = (imperfection == Imperfection.SWIM)[:, None, None]
    drifts = (imperfection == Imperfection.DRIFT)[:, None, None]
    some = torch.rand(num, surfaces, 1, generator=generator) < 0.7
    some[:, 0] = True
    slide = torch.randn(num, surfaces, 3, generator=generator)
    slide = slide / slide.norm(dim=-1, keepdim=True) * (0.1 + 0.3 * torch.rand(num, surfaces, 1, generator=generator))
    slide[:, 2:] *= 2.5
    drift = (torch.rand(num, surfaces, 3, generator=generator) - 0.5) * 0.9
    wobble = 0.1 + 0.2 * torch.rand(num, NUM_SOLIDS, generator=generator)
    return Defects(
        texture_velocity=slide * (some & swims), colour_drift=drift * drifts, size_wobble=wobble * drifts[:, 0]
    )


def _warp_amplitudes(num: int, generator: torch.Generator) -> Float[Tensor, " N"]:
    return 1.0 + 2.0 * torch.rand(num, generator=generator)


def warp(
    video: Float[Tensor, "N T 3 H W"], amplitude_px: Float[Tensor, " N"], generator: torch.Generator
) -> Float[Tensor, "N T 3 H W"]:
    """Non-rigid 2D warps: smooth random displacements (rms `amplitude_px`) that change over time; frame 0 stays."""
    num, frames, _, height, width = video.shape
    if num == 0:
        return video
    return displace(video, smooth_displacement(amplitude_px, (frames, height, width), generator).to(video.device))


def smooth_displacement(
    amplitude_px: Float[Tensor, " N"], size: tuple[int, int, int], generator: torch.Generator
) -> Float[Tensor, "N T 2 H W"]:
    """Smooth random displacements (x, y) in pixels of rms `amplitude_px` that change over time; 0 in frame 0.

    size: frames, height, width.
    """
    num = len(amplitude_px)
    coarse = torch.randn(num, 2, 5, 4, 6, generator=generator)
    coarse = coarse - coarse[:, :, :1]
    field = torch.nn.functional.interpolate(coarse, size, mode="trilinear", align_corners=True)
    rms = field.pow(2).mean((1, 2, 3, 4), keepdim=True).sqrt()
    return (field / rms * amplitude_px[:, None, None, None, None].cpu()).movedim(1, 2)


def displace(
    video: Float[Tensor, "N T 3 H W"], displacement_px: Float[Tensor, "N T 2 H W"]
) -> Float[Tensor, "N T 3 H W"]:
    """Every pixel q of a frame shows what was at q + displacement (x, y); beyond the image it is mirrored."""
    height, width = video.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grid_x = (x.to(video.device) + displacement_px[:, :, 0]) / width * 2 - 1
    grid_y = (y.to(video.device) + displacement_px[:, :, 1]) / height * 2 - 1
    grid = torch.stack([grid_x, grid_y], -1).flatten(0, 1)
    warped = torch.nn.functional.grid_sample(
        video.flatten(0, 1), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return warped.unflatten(0, video.shape[:2])
