"""From the frames of a shot to what a reconstructor may see: no bars, overlays marked, working size."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.footage.borders import Box, find_borders
from worldr1.footage.decoding import MIN_SIDE_PX
from worldr1.footage.overlays import ScreenEdges

STILL_NOTE = "the picture hardly moves, so bars and fixed overlays could not be told from the scene"


class Cleaned(NamedTuple):
    """Frames at working size."""

    video: Float[Tensor, "T 3 h w"]
    mask: Bool[Tensor, "h w"]
    """False on fixed overlays."""
    notes: tuple[str, ...]


def clean(video: Float[Tensor, "T 3 H W"], *, longest_side_px: int) -> Cleaned:
    """Crops bars, makes the longer side at most `longest_side_px` and masks overlays, where the picture moves.

    Raises InputError if the picture is so long and narrow that nothing would be left of its shorter side.
    """
    box = find_borders(video)
    inside = video[..., box.top : box.bottom, box.left : box.right]
    working = _resized(inside, longest_side_px)
    edges = ScreenEdges(working)
    if not edges.picture_moves():
        working = _resized(video, longest_side_px)
        return Cleaned(working, torch.ones(working.shape[-2:], dtype=torch.bool), (STILL_NOTE,))
    notes = []
    if inside.shape != video.shape:
        notes.append(_bars(box, *video.shape[-2:]))
    if bool(edges.overlays.any()):
        notes.append(f"a fixed overlay on {float(edges.overlays.float().mean()):.1%} of the picture was masked")
    return Cleaned(working, ~edges.overlays, tuple(notes))


def _bars(box: Box, height: int, width: int) -> str:
    sides = {
        "top": box.top / height,
        "bottom": 1 - box.bottom / height,
        "left": box.left / width,
        "right": 1 - box.right / width,
    }
    shares = ", ".join(f"{share:.0%} at the {side}" for side, share in sides.items() if share > 0)
    return f"bars were cropped: {shares}"


def _resized(video: Float[Tensor, "T 3 H W"], longest_side_px: int) -> Float[Tensor, "T 3 h w"]:
    """Even sizes, never enlarged. An odd line is cut off rather than all lines blurred."""
    height, width = video.shape[-2:]
    scale = min(1.0, longest_side_px / max(height, width))
    new_height, new_width = (2 * (round(side * scale) // 2) for side in (height, width))
    if min(new_height, new_width) < MIN_SIDE_PX:
        raise InputError(
            f"a picture of {width} x {height} is {min(new_height, new_width)} pixels across when its longer side has "
            f"{longest_side_px}; give one that is less narrow."
        )
    if scale == 1.0:
        return video[..., :new_height, :new_width].contiguous()
    small = F.interpolate(video, size=(new_height, new_width), mode="bilinear", antialias=True, align_corners=False)
    return small.clamp(0.0, 1.0)
