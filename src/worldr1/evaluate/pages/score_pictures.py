"""The pictures of the score page: held-out frames, their re-render, and where the two differ.

A player's frames lie on one sheet, an image that the page's script cuts up: steps are instant, the pictures cannot run
apart as three videos do, and no codec is needed.
"""

import io
import math
from base64 import b64encode
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from worldr1.rewards.reconstruction import Redrawn

FULL_SCALE = 64 / 255
"""Mean difference of the colour channels that takes the last colour of the error map, as everything above it does."""
HATCH_DARK, HATCH_LIGHT = 92, 148
"""Grey levels (of 255) of the stripes over pixels of which nothing is known."""
PICTURE_QUALITY = 85
"""WebP's, of the frames."""
ERROR_QUALITY = 80
"""WebP's, of the error map: chroma is halved there, and the map lives of its colours."""
THUMBNAIL_PX = 160

# A line through OKLCh (Ottosson 2020): lightness rises evenly with the error, so the map can be read in grey and by
# the colour-blind; hue goes from blue through red to yellow, and the chroma stays inside sRGB all along.
_LIGHTNESS = (0.14, 0.82)
_HUE_DEG = (280.0, 180.0)
_CHROMA = (0.02, 0.13)
_LMS_FROM_OKLAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_RGB_FROM_LMS = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Frames in rows and columns on one image."""

    uri: str
    """data:image/webp;base64,..."""
    num_frames: int
    columns: int
    height: int
    """Of one frame."""
    width: int


def redraw_error(redrawn: Redrawn, mask: Bool[Tensor, "h w"]) -> Float[Tensor, "V H W"]:
    """Mean absolute difference over the colour channels, in grey levels of 0..1; NaN where nothing is known.

    Nothing is known where no Gaussian covers and where mask (True = scene), which may have another size, is False.
    """
    size = redrawn.target.shape[-2:]
    scene = F.interpolate(mask[None, None].float(), size=size, mode="nearest")[0, 0] > 0.5
    error = (redrawn.drawn - redrawn.target).abs().mean(dim=1)
    return torch.where(redrawn.covered & scene.to(error.device), error, math.nan)


def paint_error(error: Float[Tensor, "V H W"]) -> UInt8[Tensor, "V H W 3"]:
    """The error map's colours (`error_colors`), 0 to `FULL_SCALE`; hatched where the error is NaN."""
    colors = error_colors(256)
    index = (error.nan_to_num(0.0) / FULL_SCALE).clamp(0, 1).mul(255).round().long().cpu()
    return hatched(colors[index], error.isnan().cpu())


def paint_known(video: Float[Tensor, "V 3 H W"], error: Float[Tensor, "V H W"]) -> UInt8[Tensor, "V H W 3"]:
    """A video, hatched where the error is NaN."""
    return hatched(paint(video), error.isnan().cpu())


def paint(video: Float[Tensor, "V 3 H W"]) -> UInt8[Tensor, "V H W 3"]:
    """A video as bytes."""
    return video.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).movedim(1, -1).cpu()


def error_colors(num: int) -> UInt8[Tensor, "num 3"]:
    """sRGB colours of `num` errors, evenly from 0 to `FULL_SCALE`: from nearly black to pale yellow."""
    place = torch.linspace(0, 1, num, dtype=torch.float64)
    lightness = _LIGHTNESS[0] + _LIGHTNESS[1] * place
    chroma = _CHROMA[0] + _CHROMA[1] * torch.sin(math.pi * place)
    hue = torch.deg2rad(_HUE_DEG[0] + _HUE_DEG[1] * place)
    oklab = torch.stack((lightness, chroma * hue.cos(), chroma * hue.sin()), dim=-1)
    lms = (oklab @ torch.tensor(_LMS_FROM_OKLAB, dtype=torch.float64).T) ** 3
    linear = (lms @ torch.tensor(_RGB_FROM_LMS, dtype=torch.float64).T).clamp(0, 1)
    srgb = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb.mul(255).round().to(torch.uint8)


def sheet(frames: UInt8[Tensor, "V H W 3"], *, quality: int = PICTURE_QUALITY) -> Sheet:
    """The frames row by row on one image, about as wide as it is high in frames."""
    num, height, width, _ = frames.shape
    columns = math.ceil(math.sqrt(num))
    rows = math.ceil(num / columns)
    places = F.pad(frames, (0, 0, 0, 0, 0, 0, 0, rows * columns - num))
    image = places.unflatten(0, (rows, columns)).permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return Sheet(
        uri=_webp(Image.fromarray(image.numpy()), quality), num_frames=num, columns=columns, height=height, width=width
    )


def thumbnail(video: Float[Tensor, "T 3 H W"]) -> str:
    """The middle frame as a data URI, its longer side at most `THUMBNAIL_PX`."""
    middle = len(video) // 2
    image = Image.fromarray(paint(video[middle : middle + 1])[0].numpy())
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return _webp(image, PICTURE_QUALITY)


def hatched(frames: UInt8[Tensor, "V H W 3"], unknown: Bool[Tensor, "V H W"]) -> UInt8[Tensor, "V H W 3"]:
    """Diagonal grey stripes over the unknown pixels; a stripe is about a hundredth of the picture wide."""
    height, width = unknown.shape[-2:]
    stripe = max(2, round(max(height, width) / 100))
    diagonal = torch.arange(height)[:, None] + torch.arange(width)
    grey = torch.where(diagonal // stripe % 2 == 0, HATCH_DARK, HATCH_LIGHT).to(torch.uint8)
    return torch.where(unknown[..., None], grey[..., None], frames)


def _webp(image: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
