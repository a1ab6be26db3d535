"""Wan's video decoder: its arithmetic, exactly, and its peak memory, fitted to two measurements.

The decoder works on latent frames one at a time, as stock diffusers does and worldr1 at large sizes; its causal
convolutions keep the last two frames of their input between calls.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldr1.planning.shapes import Latent

FLOAT_BYTES = 4
CACHED_FRAMES = 2
"""Frames that a causal convolution keeps."""
LIVE_ACTIVATIONS = {"float32": 12.76, "bfloat16": 8.83}
"""Activations of one latent frame at full size that are alive at the peak, in float32 ones and with the convolutions'
workspace. Fitted: with the weights and the rest of `decode_bytes` they give the 12.0 and 7.4 GiB that 81 frames of
832 x 480 took on an H200 (research/h200.md)."""
TILE_PX, TILE_STRIDE_PX = 256, 192
"""Of diffusers' tiled decoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoder:
    """Sizes of an `AutoencoderKLWan`'s decoder (of Wan 2.1's kind, without residual up-sampling)."""

    base: int
    """Channels at full resolution."""
    multiples: tuple[int, ...]
    """Channels by level, in units of `base`, from full to lowest resolution."""
    blocks: int
    """Residual blocks of a level, plus one."""
    doubles_time: tuple[bool, ...]
    """Whether going up from a level doubles the frames too, from the lowest."""
    latent_channels: int
    out_channels: int
    space: int
    """Pixels per latent pixel in each direction."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Decoder":
        """From the arguments of the class."""
        return cls(
            base=config["base_dim"],
            multiples=tuple(config["dim_mult"]),
            blocks=config["num_res_blocks"] + 1,
            doubles_time=tuple(config["temperal_downsample"])[::-1],
            latent_channels=config["z_dim"],
            out_channels=config.get("out_channels", 3),
            space=config["scale_factor_spatial"],
        )

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(channels in, channels of the blocks) of every level, from the lowest resolution; a level halves its own."""
        channels = [self.base * m for m in reversed(self.multiples)]
        return [(c if i == 0 else channels[i - 1] // 2, c) for i, c in enumerate(channels)]


def decode_flops(decoder: Decoder, latent: Latent) -> float:
    """Operations of decoding one clip."""
    area, frames = latent.height * latent.width, latent.frames
    low = decoder.levels[0][1]
    z = decoder.latent_channels
    total = 2.0 * frames * area * (z * z + 27 * z * low)
    total += 2 * _residual(low, low, frames * area) + 2.0 * frames * area * 4 * low * low + 4.0 * frames * area**2 * low
    for level, (entering, channels) in enumerate(decoder.levels):
        inner = [entering, *[channels] * (decoder.blocks - 1)]
        total += sum(_residual(c, channels, frames * area) for c in inner)
        if level == len(decoder.levels) - 1:
            break
        if decoder.doubles_time[level]:
            total += 2.0 * (frames - 1) * area * 3 * channels * 2 * channels  # the first frame stays one
            frames = 2 * frames - 1
        area *= 4
        total += 2.0 * frames * area * 9 * channels * (channels // 2)
    return total + 2.0 * frames * area * 27 * decoder.levels[-1][1] * decoder.out_channels


def decode_bytes(
    decoder: Decoder, latent: Latent, *, dtype: str, tiled: bool = False, weights_dtype: str = "float32"
) -> float:
    """Peak bytes of decoding one clip, beside the weights: live activations, kept frames and the growing video.

    dtype: of the convolutions. weights_dtype: worldr1 keeps float32 and decodes under autocast, so that the kept
    frames are float32 too. tiled: estimated: a tile has its share of the activations, and waits to be blended.
    """
    height, width = latent.height * decoder.space, latent.width * decoder.space
    halved = 0.5 if weights_dtype == "bfloat16" else 1.0
    video = video_bytes(latent, decoder) * halved
    working = LIVE_ACTIVATIONS[dtype] * _activation_bytes(decoder, height, width)
    working += _cached_bytes(decoder, latent) * halved
    if not tiled:
        return working + 2 * video  # the video so far, and the one that is a latent frame longer
    share = min(1.0, TILE_PX / height) * min(1.0, TILE_PX / width)
    return share * working + (2 + tile_overlap(height, width)) * video


def tile_overlap(height: int, width: int) -> float:
    """Pixels decoded per pixel of the video when it is tiled: what tiling costs in time."""
    decoded = [
        sum(min(TILE_PX, side - start) for start in range(0, side, TILE_STRIDE_PX)) / side for side in (height, width)
    ]
    return math.prod(decoded)


def video_bytes(latent: Latent, decoder: Decoder) -> float:
    """Of the decoded clip in float32."""
    frames = 1 + (latent.frames - 1) * 2 ** sum(decoder.doubles_time)
    return 3.0 * frames * latent.height * latent.width * decoder.space**2 * FLOAT_BYTES


def _residual(entering: int, channels: int, positions: int) -> float:
    """Two 3 x 3 x 3 convolutions, and a 1 x 1 x 1 one where the number of channels changes."""
    shortcut = entering * channels if entering != channels else 0
    return 2.0 * positions * (27 * channels * (entering + channels) + shortcut)


def _activation_bytes(decoder: Decoder, height: int, width: int) -> float:
    """One activation of full resolution, float32, of the frames that one latent frame becomes."""
    return 2.0 ** sum(decoder.doubles_time) * height * width * decoder.base * FLOAT_BYTES


def _cached_bytes(decoder: Decoder, latent: Latent) -> float:
    """Frames that causal convolutions keep, float32."""
    area = latent.height * latent.width
    low = decoder.levels[0][1]
    numbers = area * (decoder.latent_channels + 4 * low)
    for level, (entering, channels) in enumerate(decoder.levels):
        numbers += area * (entering + channels * (2 * decoder.blocks - 1))
        if level < len(decoder.levels) - 1:
            numbers += area * channels * decoder.doubles_time[level]
            area *= 4
    return CACHED_FRAMES * FLOAT_BYTES * (numbers + area * decoder.base)
