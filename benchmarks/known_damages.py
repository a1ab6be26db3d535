"""Damages of which every pixel's displacement is known, for benchmarks/metric_trust.py.

    python benchmarks/known_damages.py DIR      # a PNG of every kind: clean above damaged frames, at three strengths

Fourteen kinds: warps of the whole picture, of one thing in it and of its layers, a camera that shakes or zooms, and
time that is shuffled, held or slowed. No metric was made for most of them.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from damage_table import FRAMES, HEIGHT, WIDTH, Case
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from true_error import Damage, Geometry

from worldr1.geometry.pinhole import pixel_centres
from worldr1.mini.render import FLOOR, Clips
from worldr1.pretrain.corpus import displace, smooth_displacement
from worldr1.pretrain.damage import blur
from worldr1.seeding import make_generator

Field = Float[Tensor, "T 2 H W"]
MAX_SLOPE = 0.8
"""Of a displacement from a pixel to the next: at 1 the picture folds."""


def geometry_of(clips: Clips, index: int) -> Geometry:
    """The truth of one rendered clip."""
    return Geometry(
        depth=clips.depth[index], sky=clips.sky[index], world_from_camera=clips.world_from_camera[index].double()
    )


def damaged_video(video: Float[Tensor, "T 3 H W"], damage: Damage) -> Float[Tensor, "T 3 H W"]:
    """The clip with its damage."""
    shown = video[damage.source]
    return displace(shown[None], damage.displacement_px[None])[0] if bool(damage.displacement_px.any()) else shown


def make_damage(kind: str, level: float, clips: Clips, index: int, generator: torch.Generator) -> Damage:
    """level: 0..1, from hardly visible to heavy. Displacements have an rms of 0.2 to 5 px over pixels and frames."""
    if kind in TIMES:
        source, strength = TIMES[kind](level, generator)
        return Damage(
            kind=kind, strength=strength, source=source, displacement_px=torch.zeros(FRAMES, 2, HEIGHT, WIDTH)
        )
    rms = 0.2 * 25**level
    field = FIELDS[kind](clips, index, generator)
    field = field * (rms / field.square().sum(1).mean().sqrt().clamp(min=1e-6))
    field = field * min(1.0, MAX_SLOPE / _slope(field))
    strength = float(field.square().sum(1).mean().sqrt())
    return Damage(kind=kind, strength=strength, source=torch.arange(FRAMES), displacement_px=field)


# --------------------------------------------------------------------------------------------------- of the picture


def _warp(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Smooth in space and time, as in the training data of the mini world."""
    return smooth_displacement(torch.ones(1), (FRAMES, HEIGHT, WIDTH), generator)[0]


def _jelly(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Smooth in space, another one in every frame."""
    coarse = torch.randn(FRAMES, 2, 4, 6, generator=generator)
    return F.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=True)


def _step(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """One warp that is there from some frame on, as where two generated windows meet."""
    first = int(torch.randint(4, FRAMES - 4, (1,), generator=generator))
    field = _jelly(clips, index, generator)[:1].repeat(FRAMES, 1, 1, 1)
    field[:first] = 0
    return field


def _ripple(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """A wave of 24 px that travels through the picture."""
    angle, turn = (2 * math.pi * float(x) for x in torch.rand(2, generator=generator))
    along = _centres() @ torch.tensor([math.cos(angle), math.sin(angle)])
    phase = 2 * math.pi * (along / 24 - 2 * _time()[:, None, None]) + turn
    return phase.sin()[:, None] * torch.tensor([-math.sin(angle), math.cos(angle)])[:, None, None]


def _shear(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Lines slide more the lower they are, to and fro: a rolling shutter."""
    swing = (2 * math.pi * (1.5 * _time() + float(torch.rand(1, generator=generator)))).sin()
    return torch.stack([swing[:, None, None] * _from_middle()[..., 1], torch.zeros(FRAMES, HEIGHT, WIDTH)], 1)


def _stretch(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Wider and lower, then narrower and higher."""
    swing = (2 * math.pi * (_time() + float(torch.rand(1, generator=generator)))).sin()
    return swing[:, None, None, None] * (_from_middle() * torch.tensor([1.0, -1.0])).movedim(-1, 0)


def _local(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """One solid and what is around it slides away."""
    surface = clips.surface[index]
    seen = [int(s) for s in surface[0].unique() if int(s) > 1 and bool((surface == s).any(-1).any(-1).all())]
    mask = (surface == seen[0]).float() if seen else torch.zeros(FRAMES, HEIGHT, WIDTH)
    weight, centres = mask.sum((1, 2)).clamp(min=1)[:, None], _centres()
    middle = (mask[..., None] * centres).sum((1, 2)) / weight if seen else torch.tensor([[WIDTH / 2, HEIGHT / 2]])
    near = torch.exp(-(centres - middle[:, None, None]).square().sum(-1) / (2 * 11.0**2))
    return _direction(generator)[:, None, None] * (near * _time()[:, None, None])[:, None]


def _floor(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """The floor's picture flows within its outline."""
    inside = blur((clips.surface[index] == FLOOR).float()[:, None], torch.full((FRAMES,), 3.0))
    return _direction(generator)[:, None, None] * (2 * inside - 1).clamp(min=0) * _time()[:, None, None, None]


def _layers(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Near, middle and far drift apart, each its own way: a parallax that no camera has."""
    depth = clips.depth[index].log()
    centres = torch.quantile(clips.depth[index][~clips.sky[index]].log(), torch.tensor([0.1, 0.5, 0.9]))
    share = torch.softmax(-(depth[..., None] - centres).square() / 0.1, -1)
    ways = torch.stack([_direction(generator) for _ in range(3)])
    drift = (share @ ways).movedim(-1, 1)
    for _ in range(3):  # steps at outlines would fold the picture
        drift = blur(drift, torch.full((FRAMES,), 3.0))
    return drift * _time()[:, None, None, None]


def _shake(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """The whole picture jumps from frame to frame, as by an unsteady hand."""
    return torch.randn(FRAMES, 2, 1, 1, generator=generator).expand(FRAMES, 2, HEIGHT, WIDTH).clone()


def _zoom(clips: Clips, index: int, generator: torch.Generator) -> Field:
    """Sizes grow or shrink over the clip as by a lens."""
    sign = 1.0 if float(torch.rand(1, generator=generator)) < 0.5 else -1.0
    return sign * _time()[:, None, None, None] * _from_middle().movedim(-1, 0)


FIELDS: Mapping[str, Callable[[Clips, int, torch.Generator], Field]] = {
    "warp": _warp,
    "jelly": _jelly,
    "step": _step,
    "ripple": _ripple,
    "shear": _shear,
    "stretch": _stretch,
    "local": _local,
    "floor": _floor,
    "layers": _layers,
    "shake": _shake,
    "zoom": _zoom,
}


# ---------------------------------------------------------------------------------------------------------- of time


def _shuffle(level: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """The frames of a stretch of 2 to 17 in another order; strength: the stretch's length."""
    length = round(2 + level * (FRAMES - 2))
    first = int(torch.randint(FRAMES - length + 1, (1,), generator=generator))
    source, order = torch.arange(FRAMES), torch.randperm(length, generator=generator)
    if bool((order == torch.arange(length)).all()):
        order = order.flip(0)
    source[first : first + length] = first + order
    return source, length


def _stutter(level: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Every frame is held for 2 to 9; strength: for how many."""
    held = round(2 + level * 7)
    return torch.arange(FRAMES) // held * held, held


def _slow(level: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """The camera goes 0.9 of its way, down to none; strength: the part that it does not go."""
    missing = 0.1 + 0.9 * level
    return (torch.arange(FRAMES) * (1 - missing)).round().long(), missing


TIMES: Mapping[str, Callable[[float, torch.Generator], tuple[Tensor, float]]] = {
    "shuffle": _shuffle,
    "stutter": _stutter,
    "slow": _slow,
}
KINDS = (*FIELDS, *TIMES)


def _centres() -> Float[Tensor, "H W 2"]:
    return pixel_centres(HEIGHT, WIDTH, dtype=torch.float32)


def _from_middle() -> Float[Tensor, "H W 2"]:
    return _centres() - torch.tensor([WIDTH / 2, HEIGHT / 2])


def _time() -> Float[Tensor, " T"]:
    return torch.linspace(0, 1, FRAMES)


def _direction(generator: torch.Generator) -> Float[Tensor, "2"]:
    return F.normalize(torch.randn(2, generator=generator), dim=0)


def _slope(field: Field) -> float:
    down, across = field.diff(dim=-2).abs().max(), field.diff(dim=-1).abs().max()
    return max(float(down), float(across), 1e-6)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    clips = Case(1, seed=4).film(moves=["orbit_right"])
    for kind in KINDS:
        rows = [clips.video[0]]
        for level in (0.3, 0.6, 0.9):
            damage = make_damage(kind, level, clips, 0, make_generator(0, f"sheet/{kind}"))
            rows.append(damaged_video(clips.video[0], damage))
        sheet = torch.cat([torch.cat(list(row[[0, 2, 5, 8, 11, 14, 16]]), -1) for row in rows], -2)
        pixels = (sheet.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
        Image.fromarray(pixels).resize((pixels.shape[1] * 2, pixels.shape[0] * 2)).save(args.folder / f"{kind}.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
