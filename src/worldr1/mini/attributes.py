"""What a canonical prompt of the mini world says, as numbers: the truth that the attribute probe is held against."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldr1.errors import InputError
from worldr1.mini.prompts import COLOUR_NAMES, MOTION_WORDS, named_solids
from worldr1.mini.scenes import COLOURS, FLOORS, SOLID_TEXTURES, SOLIDS, WALLS, Motion

NUM_COLOURS = len(COLOURS)
MOTIONS = {words: motion for motion, words in MOTION_WORDS.items()}
MIRRORED_MOTION = (
    Motion.NONE,
    Motion.MOVES_RIGHT,
    Motion.MOVES_LEFT,
    Motion.TURNS,
    Motion.GROWS,
    Motion.CHANGES_COLOUR,
)
"""The motion that a mirrored clip shows, by Motion."""
_COLOUR = rf"(?:a|an) ({'|'.join(COLOURS)})"
_PLACE = re.compile(
    rf"\bon {_COLOUR} ({'|'.join(FLOORS)}) floor (?:in {_COLOUR} ({'|'.join(WALLS)}) room|under {_COLOUR} sky)\b"
)
_MOVER = re.compile(rf"\bThe ({'|'.join(COLOURS)}) ({'|'.join(SOLIDS)}) ({'|'.join(MOTIONS)})\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLabels:
    """The words of B prompts. A scene's colours are unique, so a solid is known by its colour: K = 8, as in COLOURS.

    Indices point into SOLIDS, SOLID_TEXTURES, FLOORS, WALLS, COLOURS and Motion; 0 where nothing is named.
    """

    order: Int[Tensor, "B K"]
    """Place in the list of solids of the one of this colour, from 0; -1: none is named."""
    kind: Int[Tensor, "B K"]
    texture: Int[Tensor, "B K"]
    motion: Int[Tensor, "B K"]
    floor_texture: Int[Tensor, " B"]
    floor_colour: Int[Tensor, " B"]
    is_room: Bool[Tensor, " B"]
    wall_texture: Int[Tensor, " B"]
    """Of rooms; 0 under a sky."""
    wall_colour: Int[Tensor, " B"]
    """Of the room's walls or of the sky."""

    @property
    def named(self) -> Bool[Tensor, "B K"]:
        """Whether a solid of this colour is named."""
        return self.order >= 0

    def to(self, device: torch.device | str) -> "PromptLabels":
        """Moved to a device."""
        return PromptLabels(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def __getitem__(self, index: Tensor | slice) -> "PromptLabels":
        """A sub-batch."""
        return PromptLabels(**{item.name: getattr(self, item.name)[index] for item in fields(self)})


def prompt_labels(prompts: Sequence[str]) -> PromptLabels:
    """The words of canonical prompts (docs/conventions.md section 3), on the CPU.

    Raises InputError for a prompt of another form, for two solids of one colour and for a mover that is not in the
    list of solids: such a prompt has no certain truth to be held against.
    """
    rows = [_read(prompt) for prompt in prompts]
    solids = torch.tensor([row[0] for row in rows]).reshape(len(rows), 4, NUM_COLOURS)
    place = torch.tensor([row[1] for row in rows]).reshape(len(rows), 5)
    order, kind, texture, motion = solids.unbind(1)
    floor_texture, floor_colour, is_room, wall_texture, wall_colour = place.unbind(1)
    return PromptLabels(
        order=order,
        kind=kind,
        texture=texture,
        motion=motion,
        floor_texture=floor_texture,
        floor_colour=floor_colour,
        is_room=is_room.bool(),
        wall_texture=wall_texture,
        wall_colour=wall_colour,
    )


def _read(prompt: str) -> tuple[list[list[int]], list[int]]:
    """Order, kind, texture and motion by colour; floor texture and colour, room or not, wall texture and colour."""
    place, solids = _PLACE.search(prompt), named_solids(prompt)
    if place is None or not solids:
        raise InputError(f"The probe reads only the mini world's canonical scene sentence, not {prompt!r}.")
    order, kind, texture, motion = ([fill] * NUM_COLOURS for fill in (-1, 0, 0, 0))
    for rank, solid in enumerate(solids):
        colour = COLOUR_NAMES.index(solid.colour)
        if order[colour] >= 0:
            raise InputError(f"The probe knows solids by their colour; give each its own in {prompt!r}.")
        order[colour], kind[colour] = rank, SOLIDS.index(solid.solid)
        texture[colour] = SOLID_TEXTURES.index(solid.texture)
    for name, solid, words in _MOVER.findall(prompt):
        colour = COLOUR_NAMES.index(name)
        if order[colour] < 0 or kind[colour] != SOLIDS.index(solid):
            raise InputError(f"Nothing in the list of solids is the {name} {solid} that moves in {prompt!r}.")
        motion[colour] = int(MOTIONS[words])
    floor_colour, floor, wall_colour, wall, sky_colour = place.groups()
    walls = [int(wall is not None), WALLS.index(wall) if wall else 0, COLOUR_NAMES.index(wall_colour or sky_colour)]
    return [order, kind, texture, motion], [FLOORS.index(floor), COLOUR_NAMES.index(floor_colour), *walls]
