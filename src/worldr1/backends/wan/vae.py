"""Wan's video VAE: encoding and decoding in chunks of time, whole or in tiles, with the weights' own normalisation.

What differs from the stock pipeline is only the chunking in time (faster, same result).
"""

from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, patchify, unpatchify
from jaxtyping import Float
from torch import Tensor

from worldr1.backends.gpu_memory import free_bytes

DecodeMode = Literal["auto", "whole", "tiled"]

MAX_CHUNK_POSITIONS = 2**15
"""Latent positions (B * frames * h * w) of one VAE call: bounds memory, about 3 GB per fp32 activation of Wan's VAE."""

LARGE_FRAME_POSITIONS = 2**11
"""From this many positions (h * w) in a latent frame on, videos are decoded one at a time and frame by frame, as stock
does: one frame keeps a GPU busy then, and more would only take memory. 832 x 480 has 6,240, a mini clip 96."""

WHOLE_ACTIVATIONS = {torch.float32: 21.0, torch.bfloat16: 13.0}
"""Peak memory of decoding one latent frame at a time, in float32 activations of full resolution (4 frames of base_dim
channels): 12.0 and 7.4 GiB at 832 x 480 on an H200 (research/h200.md) over 0.57 GiB."""


TILE_PX = 256
"""Height and width of stock's tiles."""


# ------------------------------------------------------------------------------------------------------------ chunks


def _chunks(num_frames: int, frames_per_chunk: int) -> list[tuple[int, int]]:
    """Frame 0 alone (the causal VAE treats it apart), then runs of at most `frames_per_chunk`."""
    starts = range(1, num_frames, frames_per_chunk)
    return [(0, 1), *((start, min(start + frames_per_chunk, num_frames)) for start in starts)]


def _latent_statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per latent channel, shaped [1, C, 1, 1, 1]."""
    mean = torch.tensor(vae.config["latents_mean"], device=like.device, dtype=like.dtype)
    std = torch.tensor(vae.config["latents_std"], device=like.device, dtype=like.dtype)
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def _as_video(pixels: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B T 3 H W"]:
    """From -1..1, channels first, to 0..1, frames first."""
    return pixels.transpose(1, 2) * 0.5 + 0.5


def decode_latents(
    vae: AutoencoderKLWan,
    latents: Float[Tensor, "B C L h w"],
    *,
    clamp: bool = True,
    max_positions: int = MAX_CHUNK_POSITIONS,
) -> Float[Tensor, "B T 3 H W"]:
    """Video in 0..1 (float32) of normalised latents; differentiable.

    The decoder runs on the first latent frame and then on as many at a time as `max_positions` allows, instead of one
    by one as stock does. Its convolutions are causal and hand their last two frames on, so the result is the same.
    clamp=False leaves values outside 0..1, which keeps their gradient in VAE training.
    """
    latents = latents.to(vae.dtype)
    mean, std = _latent_statistics(vae, latents)
    hidden = vae.post_quant_conv(latents * std + mean)
    batch, _, num_frames, height, width = hidden.shape
    frames_per_chunk = max(1, max_positions // (batch * height * width))
    cache: list[Any] = [None] * vae._cached_conv_counts["decoder"]
    pieces = [
        vae.decoder(hidden[:, :, start:stop], feat_cache=cache, feat_idx=[0], first_chunk=start == 0)
        for start, stop in _chunks(num_frames, frames_per_chunk)
    ]
    video = torch.cat(pieces, dim=2).float()
    if vae.config["patch_size"] is not None:
        video = unpatchify(video, patch_size=vae.config["patch_size"])
    video = _as_video(video)
    return video.clamp(0.0, 1.0) if clamp else video


def encode_moments(
    vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"], *, max_positions: int = MAX_CHUNK_POSITIONS
) -> tuple[Float[Tensor, "B C L h w"], Float[Tensor, "B C L h w"]]:
    """Mean and log-variance of the VAE's posterior, not normalised (VAE training needs both); differentiable.

    video: 0..1, T = 4 k + 1. Chunked like `decode_latents`: frame 0, then multiples of the temporal stride.
    """
    pixels = (video.to(vae.dtype) * 2.0 - 1.0).transpose(1, 2)
    batch, _, num_frames, height, width = pixels.shape
    stride, space = vae.config["scale_factor_temporal"], vae.config["scale_factor_spatial"]
    positions_per_frame = batch * (height // space) * (width // space)
    frames_per_chunk = stride * max(1, max_positions // positions_per_frame)
    if vae.config["patch_size"] is not None:
        pixels = patchify(pixels, patch_size=vae.config["patch_size"])
    cache: list[Any] = [None] * vae._cached_conv_counts["encoder"]
    pieces = [
        vae.encoder(pixels[:, :, start:stop], feat_cache=cache, feat_idx=[0])
        for start, stop in _chunks(num_frames, frames_per_chunk)
    ]
    mean, log_variance = vae.quant_conv(torch.cat(pieces, dim=2)).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30.0, 20.0)


def encode_video(vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B C L h w"]:
    """Normalised latents (float32) of a video in 0..1: the posterior's mean, so there is nothing random in it."""
    latents, _ = encode_moments(vae, video)
    mean, std = _latent_statistics(vae, latents)
    return (latents - mean) / std


# ----------------------------------------------------------------------------------------------------- whole or tiled


def decode_videos(
    vae: AutoencoderKLWan, latents: Float[Tensor, "B C L h w"], *, mode: DecodeMode, dtype: torch.dtype
) -> Float[Tensor, "B T 3 H W"]:
    """Video in 0..1 (float32) of normalised latents, never more than one large video's activations at a time.

    mode: "whole"; "tiled" (`decode_tiled`); "auto": tiled only where the whole frame would not fit (`whole_bytes`).
    dtype: of the arithmetic (autocast); the weights stay as they are.
    """
    height, width = latents.shape[-2:]
    tiled = mode == "tiled" or (mode == "auto" and whole_bytes(vae, height, width, dtype) > free_bytes(latents.device))
    rounded = dtype != torch.float32
    with torch.autocast(latents.device.type, dtype if rounded else None, enabled=rounded):
        if tiled:
            return torch.cat([decode_tiled(vae, one) for one in latents.split(1)])
        positions = height * width
        if positions < LARGE_FRAME_POSITIONS:
            return decode_latents(vae, latents)
        return torch.cat([decode_latents(vae, one, max_positions=positions) for one in latents.split(1)])


def decode_tiled(vae: AutoencoderKLWan, latents: Float[Tensor, "1 C L h w"]) -> Float[Tensor, "1 T 3 H W"]:
    """As `decode_latents`, by stock's overlapping tiles of 256 pixels, blended over 64: a quarter of the memory.

    Not equal to decoding it whole: a tile's middle block attends to the tile alone. On random weights of Wan's
    structure the mean difference is a few per cent of the video's standard deviation
    (`tests/numerics/test_decode_modes.py`). A frame that one tile covers is decoded whole.
    """
    covered = max(latents.shape[-2:]) * vae.config["scale_factor_spatial"] <= TILE_PX
    if covered:
        return decode_latents(vae, latents, max_positions=1)
    latents = latents.to(vae.dtype)
    mean, std = _latent_statistics(vae, latents)
    decoded: Any = vae.tiled_decode(latents * std + mean)
    return _as_video(decoded.sample.float()).clamp(0.0, 1.0)


def whole_bytes(vae: AutoencoderKLWan, height: int, width: int, dtype: torch.dtype) -> float:
    """Peak bytes of decoding latent frames of `height` x `width` one at a time, without tiles."""
    space, time = vae.config["scale_factor_spatial"], vae.config["scale_factor_temporal"]
    patch = vae.config["patch_size"] or 1
    positions = time * (height * space // patch) * (width * space // patch)
    channels = vae.config["decoder_base_dim"] or vae.config["base_dim"]
    return WHOLE_ACTIVATIONS.get(dtype, WHOLE_ACTIVATIONS[torch.float32]) * positions * channels * 4
