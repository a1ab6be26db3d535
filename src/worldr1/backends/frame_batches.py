"""What the quality models and LPIPS share about frames: their check, their chunks, and PIL's resampling."""

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, of the images that CLIP was trained on; Qwen2-VL uses the same."""

FIXED_POINT = 2**22
"""One, in the weights of PIL's 8-bit resampling."""


def check_frames(frames: Tensor, prompts: Sequence[str]) -> None:
    """Raises InputError unless there is one prompt for each frame of [B, 3, H, W]."""
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise InputError(f"Frames must be [B, 3, H, W] with at least one pixel, not {tuple(frames.shape)}.")
    if len(prompts) != len(frames):
        raise InputError(f"{len(frames)} frames need as many prompts, not {len(prompts)}.")


def chunks(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most `size` that cover 0 .. count."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def normalised(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Minus `CLIP_MEAN`, over `CLIP_STD`."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


def resize_like_pil(images: Float[Tensor, "B 3 H W"], height: int, width: int) -> Float[Tensor, "B 3 h w"]:
    """PIL's bicubic `Image.resize` of 8-bit images, bit for bit, on the images' device.

    images: 0..1, rounded to 8 bits first. Not a number spreads over its picture and never becomes one. Widths change
    before heights, as in every Pillow up to 12; 13 turns that about for some pairs of sizes (no usual one of video),
    which moves some pixels by 1/255.
    """
    levels = (images.double() * 255).round().clamp(0, 255)
    # rows first and 8 bits in between, as PIL does it; float64 holds its integers exactly
    for axis, size in ((-1, width), (-2, height)):
        if levels.shape[axis] != size:
            weights = _fixed_point_bicubic(levels.shape[axis], size).to(levels.device)
            summed = levels @ weights.mT if axis == -1 else weights @ levels
            levels = (summed / FIXED_POINT + 0.5).floor().clamp(0, 255)
    return (levels / 255).float()


@functools.lru_cache(maxsize=32)
def _fixed_point_bicubic(before: int, after: int) -> Float[Tensor, "after before"]:
    """What each of `before` pixels contributes to each of `after`: whole numbers that sum to about `FIXED_POINT`.

    Keys' cubic with a = -0.5, widened by the factor of a reduction, cut at the borders and normalised; PIL rounds the
    weights to 22 bits after the point.
    """
    scale = before / after
    widened = max(scale, 1.0)
    centre = (torch.arange(after, dtype=torch.float64) + 0.5)[:, None] * scale
    pixels = torch.arange(before, dtype=torch.float64)
    first, last = (centre - 2 * widened + 0.5).floor(), (centre + 2 * widened + 0.5).floor()
    x = ((pixels - centre + 0.5) * (1 / widened)).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((x - 5) * x + 8) * x * -0.5 + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0)) * ((pixels >= first) & (pixels < last))
    weights = weights / weights.sum(1, keepdim=True)
    # halves away from zero
    return (weights.abs() * FIXED_POINT + 0.5).floor() * weights.sign()


def stacked_ids(ids: Sequence[Sequence[int]], *, pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [B, S], padded on the right, and where they are real: 1 or 0."""
    length = max(map(len, ids))
    rows = torch.tensor([[*row, *[pad] * (length - len(row))] for row in ids], device=device)
    real = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids], device=device)
    return rows, real
