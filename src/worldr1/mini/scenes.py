"""Random scenes of the mini world, as batches of tensors.

A scene is a floor, a room or a sky, and one to three solids. Coordinates are gravity-aligned ("scene" frame: x right,
y down, z ahead; the first camera stands at the origin, pitched down), in scene units of about one median depth.
"""

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_SOLIDS = 3
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.12),
    "green": (0.20, 0.68, 0.25),
    "blue": (0.16, 0.32, 0.86),
    "yellow": (0.93, 0.83, 0.20),
    "purple": (0.56, 0.22, 0.70),
    "orange": (0.95, 0.50, 0.10),
    "white": (0.92, 0.92, 0.92),
    "cyan": (0.20, 0.80, 0.86),
}
SOLIDS = ("box", "ball", "cylinder", "cone")
SOLID_TEXTURES = ("plain", "striped", "checkered", "marbled")
FLOORS = ("checkered", "tiled", "marbled", "painted")
WALLS = ("brick", "marbled", "painted")
FLOOR_SHARES = (0.2, 0.2, 0.3, 0.3)
WALL_SHARES = (0.3, 0.35, 0.35)
"""Shares of the textures: more than half do not repeat (marbled, painted), see docs/conventions.md section 3."""


class Motion(IntEnum):
    """What a solid does during the clip."""

    NONE = 0
    MOVES_LEFT = 1
    MOVES_RIGHT = 2
    TURNS = 3
    GROWS = 4
    CHANGES_COLOUR = 5


MOVE_DISTANCE = 0.35
"""Scene units that a moving solid covers in a clip."""
TURN_RAD = 1.6
GROWTH = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Defects:
    """What is wrong with a clip on purpose (all zero: nothing). Surfaces are floor, wall, then the solids."""

    texture_velocity: Float[Tensor, "B 5 3"]
    """Texture coordinates slide by this much over the clip (scene units; solids: units of their size)."""
    colour_drift: Float[Tensor, "B 5 3"]
    """RGB added at the end of the clip, linearly in time."""
    size_wobble: Float[Tensor, "B 3"]
    """Relative amplitude of one oscillation of a solid's size."""

    @classmethod
    def none(cls, num: int) -> "Defects":
        """No defects."""
        return cls(
            texture_velocity=torch.zeros(num, 2 + NUM_SOLIDS, 3),
            colour_drift=torch.zeros(num, 2 + NUM_SOLIDS, 3),
            size_wobble=torch.zeros(num, NUM_SOLIDS),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenes:
    """B scenes. Indices point into COLOURS, SOLIDS, SOLID_TEXTURES, FLOORS and WALLS in their order."""

    camera_height: Float[Tensor, " B"]
    pitch_rad: Float[Tensor, " B"]
    """How far the first camera looks down."""
    is_room: Bool[Tensor, " B"]
    wall_distance: Float[Tensor, "B 2"]
    """Half width and depth of a room."""
    floor_texture: Int[Tensor, " B"]
    floor_colour: Int[Tensor, " B"]
    wall_texture: Int[Tensor, " B"]
    wall_colour: Int[Tensor, " B"]
    """Colour of the room's walls or of the sky."""
    present: Bool[Tensor, "B 3"]
    kind: Int[Tensor, "B 3"]
    texture: Int[Tensor, "B 3"]
    colour: Int[Tensor, "B 3"]
    size: Float[Tensor, "B 3"]
    """Half size in scene units."""
    position: Float[Tensor, "B 3 2"]
    """x, z of the foot point."""
    yaw_rad: Float[Tensor, "B 3"]
    motion: Int[Tensor, "B 3"]
    """Motion of each solid."""
    next_colour: Int[Tensor, "B 3"]
    """Where a colour change ends."""
    texture_seed: Int[Tensor, " B"]
    defects: Defects

    @property
    def num(self) -> int:
        """B."""
        return self.pitch_rad.shape[0]

    @property
    def dynamic(self) -> Bool[Tensor, " B"]:
        """Whether anything moves."""
        return ((self.motion != Motion.NONE) & self.present).any(1)

    def __getitem__(self, index: slice | Tensor) -> "Scenes":
        """A sub-batch."""
        return _map(self, lambda x: x[index])

    def to(self, device: torch.device | str) -> "Scenes":
        """Moved to a device."""
        return _map(self, lambda x: x.to(device))

    def with_defects(self, defects: Defects) -> "Scenes":
        """The same scenes with other defects."""
        return replace(self, defects=defects)

    def without(self, solid: int) -> "Scenes":
        """The same scenes with one solid taken away (its prompt still names it)."""
        present = self.present.clone()
        present[:, solid] = False
        return replace(self, present=present)


def _map(record, function):
    changed = {}
    for item in fields(record):
        value = getattr(record, item.name)
        changed[item.name] = _map(value, function) if isinstance(value, Defects) else function(value)
    return type(record)(**changed)


def sample_scenes(num: int, *, generator: torch.Generator, dynamic_share: float = 0.0) -> Scenes:
    """`num` random scenes on the CPU; a share of them dynamic (one mover, sometimes two)."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num, *shape, generator=generator)

    def choice(count: int, *shape: int) -> Tensor:
        return torch.randint(count, (num, *shape), generator=generator)

    def weighted(shares: tuple[float, ...]) -> Tensor:
        return torch.multinomial(torch.tensor(shares), num, replacement=True, generator=generator)

    is_room = uniform(0.0, 1.0) < 0.6
    pitch = torch.deg2rad(torch.where(is_room, uniform(11.0, 20.0), uniform(8.0, 13.0)))
    colour_order = torch.rand(num, len(COLOURS), generator=generator).argsort(1)
    slot_x = torch.tensor([0.0, -0.34, 0.34])
    slot_z = torch.tensor([1.3, 1.2, 1.35])
    present = torch.stack([torch.ones(num, dtype=torch.bool), uniform(0.0, 1.0) < 0.65, uniform(0.0, 1.0) < 0.4], 1)
    kind, texture = choice(len(SOLIDS), NUM_SOLIDS), choice(len(SOLID_TEXTURES), NUM_SOLIDS)
    return Scenes(
        camera_height=pitch.sin() * uniform(1.3, 1.6),
        pitch_rad=pitch,
        is_room=is_room,
        wall_distance=torch.stack([uniform(0.9, 1.4), uniform(1.8, 2.7)], 1),
        floor_texture=weighted(FLOOR_SHARES),
        floor_colour=colour_order[:, 3],
        wall_texture=weighted(WALL_SHARES),
        wall_colour=colour_order[:, 4],
        present=present,
        kind=kind,
        texture=texture,
        colour=colour_order[:, :3],
        size=uniform(0.11, 0.17, NUM_SOLIDS),
        position=torch.stack([slot_x + uniform(-0.1, 0.1, NUM_SOLIDS), slot_z + uniform(-0.08, 0.22, NUM_SOLIDS)], -1),
        yaw_rad=uniform(0.0, 3.1416, NUM_SOLIDS),
        motion=_sample_motion(present, kind, texture, dynamic_share, generator),
        next_colour=colour_order[:, 5:8],
        texture_seed=torch.randint(1 << 30, (num,), generator=generator),
        defects=Defects.none(num),
    )


def _sample_motion(present: Tensor, kind: Tensor, texture: Tensor, share: float, generator: torch.Generator) -> Tensor:
    num = present.shape[0]
    motion = torch.randint(1, len(Motion), (num, NUM_SOLIDS), generator=generator)
    # A turning ball, or a turning plain solid of revolution, looks still: let it move instead.
    turn_shows = (kind == SOLIDS.index("box")) | (texture != SOLID_TEXTURES.index("plain"))
    motion = torch.where((motion == Motion.TURNS) & ~turn_shows, torch.full_like(motion, Motion.MOVES_LEFT), motion)
    moves = torch.rand(num, NUM_SOLIDS, generator=generator) < torch.tensor([0.75, 0.4, 0.4])
    moves[:, 0] |= ~(moves & present).any(1)
    dynamic = torch.rand(num, generator=generator) < share
    return torch.where(moves & present & dynamic[:, None], motion, torch.zeros_like(motion))
