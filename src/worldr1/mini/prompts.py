"""The words of the mini world: scene -> sentence, and which solids a sentence names (docs/conventions.md section 3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worldr1.mini.scenes import COLOURS, FLOORS, NUM_SOLIDS, SOLID_TEXTURES, SOLIDS, WALLS, Motion, Scenes

COLOUR_NAMES = tuple(COLOURS)
MOTION_WORDS = {
    Motion.MOVES_LEFT: "moves left",
    Motion.MOVES_RIGHT: "moves right",
    Motion.TURNS: "turns",
    Motion.GROWS: "grows",
    Motion.CHANGES_COLOUR: "changes colour",
}


def scene_sentences(scenes: Scenes) -> list[str]:
    """The scene part of the canonical prompt of each scene."""
    return [_sentence(scenes, index) for index in range(scenes.num)]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _join(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _sentence(scenes: Scenes, b: int) -> str:
    solids, movers = [], []
    for k in range(NUM_SOLIDS):
        if not scenes.present[b, k]:
            continue
        colour, kind = COLOUR_NAMES[int(scenes.colour[b, k])], SOLIDS[int(scenes.kind[b, k])]
        solids.append(f"a {SOLID_TEXTURES[int(scenes.texture[b, k])]} {colour} {kind}")
        motion = Motion(int(scenes.motion[b, k]))
        if motion != Motion.NONE:
            movers.append(f" The {colour} {kind} {MOTION_WORDS[motion]}.")
    floor_colour, wall_colour = COLOUR_NAMES[int(scenes.floor_colour[b])], COLOUR_NAMES[int(scenes.wall_colour[b])]
    floor = f"{_article(floor_colour)} {floor_colour} {FLOORS[int(scenes.floor_texture[b])]} floor"
    if scenes.is_room[b]:
        place = f"in {_article(wall_colour)} {wall_colour} {WALLS[int(scenes.wall_texture[b])]} room"
    else:
        place = f"under {_article(wall_colour)} {wall_colour} sky"
    text = f"{_join(solids)} on {floor} {place}."
    return text[0].upper() + text[1:] + "".join(movers)


_SOLID = re.compile(rf"\b({'|'.join(SOLID_TEXTURES)}) ({'|'.join(COLOURS)}) ({'|'.join(SOLIDS)})\b")


@dataclass(frozen=True, slots=True)
class NamedSolid:
    """A solid that a prompt names."""

    texture: str
    colour: str
    solid: str
    span: tuple[int, int]
    """Characters of "texture colour solid" in the prompt."""


def named_solids(prompt: str) -> list[NamedSolid]:
    """The solids that the scene sentence names, in order."""
    return [NamedSolid(m[1], m[2], m[3], m.span()) for m in _SOLID.finditer(prompt)]
