"""Clips of known truth on which `worldr1 score` is measured: clean, still, broken and unreal ones of the mini world.

    python benchmarks/score_cases.py DIR        # 216 clips, about 8 minutes on one core; made once, then kept

One safetensors file per case. Clips are 17 frames of 128 x 208 or 256 x 416; every case is seeded by its name alone.
A repeated pattern lies to every matcher, so half of the scenes have only surfaces that repeat and half none.
"""

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import av
import torch
from jaxtyping import Float, Int8, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from worldr1.camera.trajectory import MAGNITUDES, synthesize
from worldr1.errors import InputError
from worldr1.geometry.se3 import relative_to_first
from worldr1.mini.render import SKY, SKY_DEPTH, render
from worldr1.mini.scenes import FLOORS, NUM_SOLIDS, WALLS, Defects, Scenes, sample_scenes
from worldr1.pretrain.corpus import warp
from worldr1.pretrain.damage import blur
from worldr1.seeding import make_generator

NUM_FRAMES = 17
SIZES = ((128, 208), (256, 416))
SEED = 6
COUNTS: dict[str, tuple[int, int]] = {
    "clean": (77, 11),  # 7 and 1 of each of the 11 moves
    "sequence": (6, 1),
    "dynamic": (6, 1),
    "drift": (4, 0),
    "swim": (4, 0),
    "fast": (4, 1),
    "tiny": (5, 1),
    "still": (4, 3),
    "still_noisy": (4, 3),
    "shuffled": (6, 3),
    "swapped": (6, 3),
    "blurred": (5, 3),
    "compressed": (6, 4),
    "textureless": (5, 3),
    "warped_mild": (6, 3),
    "warped_strong": (6, 3),
    "cut": (4, 3),
    "noise_white": (4, 2),
    "noise_smooth": (4, 2),
}
"""Cases of each kind at each of SIZES. Bases of damaged clips are clean ones of the same size."""
RENDERED = ("clean", "sequence", "dynamic", "drift", "swim", "fast", "tiny")
NOT_RIGID = ("swim", "warped_mild", "warped_strong", "cut", "noise_white", "noise_smooth")
"""Kinds without a truth: no one rigid scene explains the clip."""
MOVING = tuple(token for token in MAGNITUDES if token != "fixed")
FAST_MOVES = ("orbit_left", "pan_left", "move_right", "pull_out", "orbit_right")
"""What a disobedient camera does, twice as far as its move goes (a push would go through the solids)."""
TINY = 20
"""A tiny move goes 1 / 20 of its way."""
MILD_WARP, STRONG_WARP = 0.006, 0.025
"""Rms displacement as a share of the width: 1.2 and 5.2 pixels of 208."""
BLUR = 0.007
"""Standard deviation as a share of the width: 1.5 pixels of 208."""
SENSOR_NOISE = 2.0
"""Grey levels of 255."""
COMPRESSION_CRF = 40
BLOCK_PIXELS = 600_000
"""Rendered in one piece; more only waits for memory."""

TextureLabel = Literal["unique", "repetitive", "none"]
FLOOR_CHOICE = {"unique": ("marbled", "painted"), "repetitive": ("checkered", "tiled")}
WALL_CHOICE = {"unique": ("marbled", "painted"), "repetitive": ("brick",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One labelled clip."""

    name: str
    kind: str
    """A key of COUNTS."""
    tokens: tuple[str, ...]
    """The camera moves asked for; what a `fast` camera does instead is in the truth alone. () for noise and cuts."""
    texture: TextureLabel
    """Whether floor and walls have a pattern without repetition. Solids have any."""
    surfaces: str
    """In words: "marbled floor, painted walls"."""
    video: UInt8[Tensor, "T 3 H W"]
    world_from_camera: Float[Tensor, "T 4 4"] | None = None
    """Truth: relative to frame 0, in depth units (float64). None where no rigid scene explains the clip."""
    depth: Float[Tensor, "T H W"] | None = None
    """Truth: z-depth in depth units (float16), SKY_DEPTH on sky."""
    surface: Int8[Tensor, "T H W"] | None = None
    """Truth: surface ids of `mini.render` (-1 sky, 2 + k solid k)."""
    cuts: tuple[int, ...] = ()
    """First frames of the shots after the first."""


LABELS = ("name", "kind", "tokens", "texture", "surfaces", "cuts")
TENSORS = ("video", "world_from_camera", "depth", "surface")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What case to make."""

    kind: str
    index: int
    height: int
    width: int
    num_frames: int

    @property
    def name(self) -> str:
        """Unique, and the file's name."""
        return f"{self.kind}-{self.height}-{self.index:02d}"

    @property
    def texture(self) -> TextureLabel:
        """Of a rendered case: both in turn, also for each move (an odd number of moves)."""
        return "repetitive" if self.index % 2 else "unique"

    @property
    def tokens(self) -> tuple[str, ...]:
        """Of a rendered case."""
        if self.kind == "clean":
            return (list(MAGNITUDES)[self.index % len(MAGNITUDES)],)
        first = MOVING[(3 * self.index) % len(MOVING)]
        return (first, MOVING[(3 * self.index + 4) % len(MOVING)]) if self.kind == "sequence" else (first,)


def plan(
    counts: Mapping[str, Sequence[int]] = COUNTS,
    sizes: Sequence[tuple[int, int]] = SIZES,
    num_frames: int = NUM_FRAMES,
) -> list[Spec]:
    """All cases, one size after the other, in an order in which the bases of damaged clips come first."""
    return [
        Spec(kind=kind, index=index, height=height, width=width, num_frames=num_frames)
        for at, (height, width) in enumerate(sizes)
        for kind, numbers in counts.items()
        for index in range(numbers[at])
    ]


def make_cases(folder: Path, specs: list[Spec], *, seed: int = SEED) -> None:
    """Makes the cases that the folder does not hold yet."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    for number, spec in enumerate(specs, 1):
        path = folder / f"{spec.name}.safetensors"
        if not path.exists():
            generator = make_generator(seed, f"score-cases/{spec.name}")
            _save(make_case(spec, generator, lambda at, spec=spec: _base_clip(folder, specs, spec, at)), path)
            print(f"{number} of {len(specs)}: {spec.name}, {time.monotonic() - begin:.0f} s", flush=True)


def make_case(spec: Spec, generator: torch.Generator, base: Callable[[int], Case]) -> Case:
    """One case. base: the clean clip of a number, at the case's size."""
    if spec.kind in RENDERED:
        return _rendered(spec, generator)
    if spec.kind.startswith("noise"):
        return _noise(spec, generator)
    # Numbers apart, so that no two cases of a kind share a base and kinds begin at different ones.
    first = list(COUNTS).index(spec.kind) * 7 + 11 * spec.index
    cut = spec.kind == "cut"
    case = _cut(base(first), base(first + 1)) if cut else DAMAGES[spec.kind](base(first), generator)
    return replace(case, name=spec.name, kind=spec.kind)


def load_cases(folder: Path) -> Iterator[Case]:
    """The cases of a folder, by name. Raises InputError if there are none."""
    paths = case_paths(folder)
    if not paths:
        raise InputError(f"There are no cases in {folder}; make them with python benchmarks/score_cases.py {folder}.")
    return (load_case(path) for path in paths)


def case_paths(folder: Path) -> list[Path]:
    """The files of a folder's cases, by name."""
    return sorted(folder.glob("*.safetensors"))


def load_case(path: Path) -> Case:
    """One case from its file."""
    with safe_open(path, framework="pt") as file:
        labels: dict[str, Any] = json.loads(file.metadata()["case"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    labels |= {name: tuple(labels[name]) for name in ("tokens", "cuts")}
    return Case(**labels, **tensors)


def _save(case: Case, path: Path) -> None:
    tensors = {name: value for name in TENSORS if (value := getattr(case, name)) is not None}
    labels = json.dumps({name: getattr(case, name) for name in LABELS})
    unfinished = path.with_suffix(".part")
    save_file({name: x.contiguous() for name, x in tensors.items()}, unfinished, metadata={"case": labels})
    unfinished.rename(path)


def _base_clip(folder: Path, specs: list[Spec], spec: Spec, number: int) -> Case:
    """The clean clips with a moving camera, counted round and round."""
    clean = [s for s in specs if s.kind == "clean" and s.height == spec.height and s.tokens != ("fixed",)]
    return load_case(folder / f"{clean[number % len(clean)].name}.safetensors")


def _rendered(spec: Spec, generator: torch.Generator) -> Case:
    scenes = sample_scenes(1, generator=generator, dynamic_share=float(spec.kind == "dynamic"))
    scenes, surfaces = _with_surfaces(scenes, spec.texture, generator)
    if spec.kind in ("swim", "drift"):
        scenes = scenes.with_defects(_defects(spec.kind, generator))
    path = _camera_path(spec)
    video, depth, surface = _render(scenes, path, spec)
    rigid = spec.kind not in NOT_RIGID
    return Case(
        name=spec.name,
        kind=spec.kind,
        tokens=spec.tokens,
        texture=spec.texture,
        surfaces=surfaces,
        video=_bytes(video * 255),
        world_from_camera=path if rigid else None,
        depth=depth if rigid else None,
        surface=surface if rigid else None,
    )


def _render(scenes: Scenes, path: Float[Tensor, "T 4 4"], spec: Spec) -> list[Tensor]:
    """Video, depth and surface ids: a static scene in blocks, frame 0 (which sets the unit) in each."""
    still, changing = spec.tokens == ("fixed",), spec.kind in ("dynamic", "swim", "drift")
    end = 1 if still else len(path)
    at_once = end if changing else max(1, BLOCK_PIXELS // (spec.height * spec.width))
    columns = []
    for start in range(1, max(end, 2), at_once):
        frames = [0, *range(start, min(start + at_once, end))]
        clip = render(scenes, path[None, frames], height=spec.height, width=spec.width)
        columns.append((clip.video[0], clip.depth[0].half(), clip.surface[0]))
    joined = [torch.cat([blocks[0], *(block[1:] for block in blocks[1:])]) for blocks in zip(*columns, strict=True)]
    return [x[[0] * len(path)] for x in joined] if still else joined


def _camera_path(spec: Spec) -> Float[Tensor, "T 4 4"]:
    if spec.kind == "tiny":
        return synthesize(spec.tokens, TINY * (spec.num_frames - 1) + 1).world_from_camera[: spec.num_frames]
    if spec.kind != "fast":
        return synthesize(spec.tokens, spec.num_frames).world_from_camera
    once = synthesize((FAST_MOVES[spec.index % len(FAST_MOVES)],), spec.num_frames).world_from_camera
    return torch.cat([once, once[-1] @ once[1:]])[::2]


def _with_surfaces(scenes: Scenes, label: TextureLabel, generator: torch.Generator) -> tuple[Scenes, str]:
    """The scene with a floor and walls of the label, and their description."""

    def pick(names: tuple[str, ...]) -> str:
        return names[int(torch.randint(len(names), (1,), generator=generator))]

    floor, wall = pick(FLOOR_CHOICE[label]), pick(WALL_CHOICE[label])
    textures = {"floor_texture": torch.tensor([FLOORS.index(floor)]), "wall_texture": torch.tensor([WALLS.index(wall)])}
    behind = f"{wall} walls" if bool(scenes.is_room) else "clouded sky"
    return replace(scenes, **textures), f"{floor} floor, {behind}"


def _defects(kind: str, generator: torch.Generator) -> Defects:
    """Textures that slide over every surface, or colours that drift; the solids keep their shapes."""
    draw = torch.randn(1, 2 + NUM_SOLIDS, 3, generator=generator)
    none = Defects.none(1)
    if kind == "drift":
        return replace(none, colour_drift=0.45 * draw.clamp(-1, 1))
    slide = 0.3 * draw / draw.norm(dim=-1, keepdim=True)
    slide[:, 2:] *= 2.5  # units of the solids' half size
    return replace(none, texture_velocity=slide)


def _noise(spec: Spec, generator: torch.Generator) -> Case:
    size = (spec.num_frames, spec.height, spec.width)
    if spec.kind == "noise_white":
        video = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
    else:
        knots = (math.ceil(n / step) + 1 for n, step in zip(size, (4, 16, 16), strict=True))
        coarse = torch.rand(1, 3, *knots, generator=generator)
        video = _bytes(F.interpolate(coarse, size, mode="trilinear", align_corners=True)[0] * 255)
    video = video.transpose(0, 1)
    return Case(name=spec.name, kind=spec.kind, tokens=(), texture="none", surfaces="none", video=video)


def reordered(case: Case, order: Tensor) -> Case:
    """A rigid clip whose frame i shows frame order[i]: the truth goes along, relative to the new frame 0, whose median
    depth without sky is the new unit."""
    assert case.world_from_camera is not None and case.depth is not None and case.surface is not None
    depth, surface = case.depth[order].float(), case.surface[order]
    unit = depth[0][surface[0] != SKY].median()
    poses = relative_to_first(case.world_from_camera[order])
    poses[:, :3, 3] /= unit
    depth = torch.where(surface == SKY, torch.full_like(depth, SKY_DEPTH), depth / unit)
    return replace(case, video=case.video[order], world_from_camera=poses, depth=depth.half(), surface=surface)


def _still(case: Case, generator: torch.Generator) -> Case:
    num_frames = len(case.video)
    frame = int(torch.randint(num_frames, (1,), generator=generator))
    return replace(reordered(case, torch.full((num_frames,), frame)), tokens=("fixed",))


def _still_noisy(case: Case, generator: torch.Generator) -> Case:
    case = _still(case, generator)
    noise = SENSOR_NOISE * torch.randn(case.video.shape, generator=generator)
    return replace(case, video=_bytes(case.video + noise))


def _warped(share: float) -> "Damage":
    def damage(case: Case, generator: torch.Generator) -> Case:
        amplitude = torch.tensor([share * case.video.shape[-1]])
        return _unreal(case, _bytes(warp(case.video[None].float(), amplitude, generator)[0]))

    return damage


def _blurred(case: Case, generator: torch.Generator) -> Case:
    video = blur(case.video.float(), torch.full((len(case.video),), BLUR * case.video.shape[-1]))
    return replace(case, video=_bytes(video))


def _compressed(case: Case, generator: torch.Generator) -> Case:
    file, (height, width) = io.BytesIO(), case.video.shape[-2:]
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": str(COMPRESSION_CRF)}
        for frame in case.video.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as reading:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in reading.decode(video=0)]
    return replace(case, video=torch.stack(frames).permute(0, 3, 1, 2))


def _textureless(case: Case, generator: torch.Generator) -> Case:
    """Every surface in its mean colour, softened a little where they meet."""
    assert case.surface is not None
    video, colours = case.video.float().movedim(1, -1), torch.zeros(*case.surface.shape, 3)
    for surface in case.surface.unique():
        colours[case.surface == surface] = video[case.surface == surface].mean(0)
    soft = blur(colours.movedim(-1, 1), torch.full((len(video),), 0.5))
    return replace(case, video=_bytes(soft), texture="none", surfaces="plain")


def _cut(first: Case, second: Case) -> Case:
    labels = {"surfaces": f"{first.surfaces}; then {second.surfaces}", "tokens": (), "cuts": (len(first.video),)}
    texture = first.texture if first.texture == second.texture else "none"
    return replace(_unreal(first, torch.cat([first.video, second.video])), texture=texture, **labels)


def _unreal(case: Case, video: Tensor) -> Case:
    """A clip that no rigid scene explains."""
    return replace(case, video=video, world_from_camera=None, depth=None, surface=None)


def _bytes(video: Tensor) -> UInt8[Tensor, "..."]:
    """From grey levels of 0..255."""
    return video.round().clamp(0, 255).to(torch.uint8)


Damage = Callable[[Case, torch.Generator], Case]
DAMAGES: dict[str, Damage] = {
    "still": _still,
    "still_noisy": _still_noisy,
    "shuffled": lambda case, generator: reordered(case, torch.randperm(len(case.video), generator=generator)),
    "swapped": lambda case, _: reordered(case, torch.arange(len(case.video)).roll(len(case.video) // 2)),
    "blurred": _blurred,
    "compressed": _compressed,
    "textureless": _textureless,
    "warped_mild": _warped(MILD_WARP),
    "warped_strong": _warped(STRONG_WARP),
}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        make_cases(args.folder, plan(), seed=args.seed)


if __name__ == "__main__":
    main()
