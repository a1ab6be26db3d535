"""The headline of `worldr1 score`: how much of what changes in a video does one rigid 3D scene explain?

PSNR and its kin are ruled by how rich and how fast a picture is: a blurred or a slow video scores well. Here the error
of the re-rendered frames is set against the error of having no geometry at all, a copy of an earlier frame. Blur lowers
both; a video that stands still has nothing to explain, and no figure. Errors forgive one pixel: a path found a little
wrong, and the re-rendering's own softness, would otherwise cost a rich texture more than a warped world costs a plain
one (docs/scoring.md).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.rewards.reconstruction import Redrawn
from worldr1.scene.image_metrics import local_range
from worldr1.seeding import make_generator

RESAMPLES = 2000
LEVEL = 0.95
MIN_CHANGE = 0.004
"""Mean error of the copy, in grey levels of 0..1 (about one of 255), under which there is nothing to explain."""


class Consistency(NamedTuple):
    """Of one shot."""

    share: float
    """0..1: 1 - error of the re-rendering / error of the copy; 0 where the copy is as good."""
    low: float
    high: float
    """95 % interval: bootstrap over the held-out frames."""


def consistency(video: Float[Tensor, "T 3 H W"], redrawn: Redrawn) -> Consistency | None:
    """Held-out (odd) frames against their re-rendering and against the frame a quarter of the clip before (after, for
    the first ones). An error is how far a pixel's colour lies outside the range of the 3 x 3 pixels in its place, mean
    over the channels and the covered pixels.

    None if hardly anything changes. Raises ValueError if the re-rendering is not of the odd frames.
    """
    frames = torch.arange(1, len(video), 2)
    if len(frames) != len(redrawn.target):
        raise ValueError(f"{len(redrawn.target)} redrawn frames are not the {len(frames)} odd ones of the video")
    gap = max(1, (len(video) - 1) // 4)
    others = torch.where(frames >= gap, frames - gap, frames + gap)
    counted = redrawn.covered
    drawn_error = (_outside(redrawn.target, redrawn.drawn) * counted).sum((1, 2)).double()
    copy_error = (_outside(redrawn.target, video[others]) * counted).sum((1, 2)).double()
    pixels = counted.sum()
    if pixels == 0 or float(copy_error.sum() / pixels) < MIN_CHANGE:
        return None
    generator = make_generator(0, "consistency")
    picks = torch.randint(len(frames), (RESAMPLES, len(frames)), generator=generator)
    copies = copy_error[picks].sum(1)
    shares = _share(drawn_error[picks].sum(1)[copies > 0], copies[copies > 0])
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(shares, shares.new_tensor((tail, 1 - tail))).tolist()
    return Consistency(float(_share(drawn_error.sum(), copy_error.sum())), low, high)


def _outside(frames: Float[Tensor, "V 3 H W"], reference: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V H W"]:
    darkest, brightest = local_range(reference)
    return torch.maximum(frames - brightest, darkest - frames).clamp(min=0).mean(1)


def _share(drawn_error: Float[Tensor, "*many"], copy_error: Float[Tensor, "*many"]) -> Float[Tensor, "*many"]:
    return (1 - drawn_error / copy_error).clamp(min=0)
