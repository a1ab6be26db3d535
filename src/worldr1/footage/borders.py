"""Bars around the picture: uniform strips on two opposite sides that never change while the picture does."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

TOLERANCE = 4 / 255
"""How far a bar's pixels may be from its colour, at any time: compression, never a painted wall."""
BAR_SHARE = 0.98
"""Share of a line's pixels that have the colour; the rest is ringing."""
EDGE_SHARE = 0.5
"""Share of the first line of the picture that must differ from the bar. A night sky ends where single things begin."""
MAX_BAR_RATIO = 3.0
"""The wider bar over the narrower: bars of one picture come in pairs."""
BLURRED_PX = 2
"""Lines cut off beyond a bar: compression and scaling blur its edge."""


class Box(NamedTuple):
    """The part of a picture inside its bars, in pixels: rows top:bottom, columns left:right."""

    top: int
    bottom: int
    left: int
    right: int


def find_borders(video: Float[Tensor, "T 3 H W"]) -> Box:
    """The picture inside letterbox or pillarbox bars of any one colour; the whole frame where there are none.

    It cannot tell bars from uniform parts of a scene that stays as it is: see `stillness.picture_moves`.
    """
    low, high = video.amin(0), video.amax(0)
    top, bottom = _inside(low, high)
    left, right = _inside(low[:, top:bottom].mT, high[:, top:bottom].mT)
    return Box(top, bottom, left, right)


def _inside(low: Float[Tensor, "3 H W"], high: Float[Tensor, "3 H W"]) -> tuple[int, int]:
    """First and one past the last row between a pair of bars, from every pixel's least and greatest value."""
    num_rows = low.shape[1]
    before = _bar(low, high)
    after = _bar(low.flip(1), high.flip(1))
    pair = sorted((before, after))
    if pair[0] == 0 or pair[1] > MAX_BAR_RATIO * pair[0] or num_rows - before - after <= 2 * BLURRED_PX:
        return 0, num_rows
    return before + BLURRED_PX, num_rows - after - BLURRED_PX


def _bar(low: Float[Tensor, "3 H W"], high: Float[Tensor, "3 H W"]) -> int:
    """Rows of the bar at the top; 0 if there is none or all is one."""
    colour = ((low + high)[:, 0] / 2).median(dim=1).values[:, None, None]
    same = ((low - colour).abs() <= TOLERANCE).all(0) & ((high - colour).abs() <= TOLERANCE).all(0)
    other = (~_full(same)).nonzero()
    if len(other) == 0:
        return 0
    rows = int(other[0])
    edge = same[min(rows + 1, len(same) - 1)]
    return rows if float((~edge).float().mean()) >= EDGE_SHARE else 0


def _full(same: Bool[Tensor, "H W"]) -> Bool[Tensor, " H"]:
    return same.float().mean(dim=1) >= BAR_SHARE
