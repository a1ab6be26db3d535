"""Decoding whole, one by one and in tiles: what is equal, and how far tiles are off."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.wan import vae as wan_vae
from worldr1.backends.wan.vae import decode_latents, decode_tiled, decode_videos, whole_bytes


@pytest.fixture(scope="module")
def vae() -> Any:
    """Wan 2.1's structure, narrow, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval().requires_grad_(False)


TOLERANCE = 0.06
"""Of `_off` on random weights; seen: 0.049 (Wan 2.1), 0.036 (with pixel patches). Trained ones were not to be had."""


def _latents(batch: int, frames: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 16, frames, height, width, generator=torch.Generator().manual_seed(1))


def _off(tiled: Tensor, whole: Tensor) -> float:
    """Mean difference in standard deviations of the video."""
    return float((tiled - whole).abs().mean() / whole.std())


def test_tiles_are_near_the_whole_and_one_that_covers_it_is_exact(vae: Any) -> None:
    latents = _latents(1, 1, 34, 36)  # 272 x 288 pixels: two by two tiles of 256
    whole, tiled = decode_latents(vae, latents), decode_tiled(vae, latents)
    assert tiled.shape == whole.shape == (1, 1, 3, 272, 288)
    assert 0 < _off(tiled, whole) < TOLERANCE
    small = _latents(1, 2, 5, 4)
    assert float((decode_tiled(vae, small) - decode_latents(vae, small)).abs().max()) <= 1e-5


def test_tiles_fit_a_vae_that_patches_pixels() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        structure: dict[str, Any] = {"dim_mult": [1, 2, 2], "temperal_downsample": [True, True], "patch_size": 2}
        vae: Any = AutoencoderKLWan(base_dim=8, num_res_blocks=1, in_channels=12, out_channels=12, **structure).eval()
    latents = _latents(1, 2, 40, 34)
    with torch.no_grad():
        whole, tiled = decode_latents(vae, latents), decode_tiled(vae, latents)
    assert tiled.shape == whole.shape
    assert _off(tiled, whole) < TOLERANCE


@pytest.mark.parametrize("mode", ["whole", "auto"])
def test_large_videos_are_decoded_one_at_a_time(vae: Any, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = _latents(3, 2, 4, 6)
    together = decode_videos(vae, latents, mode=mode, dtype=torch.float32)
    calls: list[tuple[int, ...]] = []
    decoder = vae.decoder.forward

    def seen(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(tuple(x.shape))
        return decoder(x, *args, **kwargs)

    monkeypatch.setattr(vae.decoder, "forward", seen)
    monkeypatch.setattr(wan_vae, "LARGE_FRAME_POSITIONS", 24)
    alone = decode_videos(vae, latents, mode=mode, dtype=torch.float32)
    assert calls == [(1, 16, 1, 4, 6)] * 6  # three videos of two latent frames
    assert float((alone - together).abs().max()) <= 1e-5


def test_auto_takes_tiles_only_where_the_whole_does_not_fit(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    latents, asked = _latents(2, 1, 4, 6), []
    tiles: Tensor = torch.zeros(1, 1, 3, 32, 48)
    monkeypatch.setattr(wan_vae, "decode_tiled", lambda vae, one: asked.append(len(one)) or tiles)
    need = whole_bytes(vae, 4, 6, torch.float32)
    for free, tiled in ((need + 1, []), (need - 1, [1, 1])):
        asked.clear()
        monkeypatch.setattr(wan_vae, "free_bytes", lambda device, free=free: free)
        decode_videos(vae, latents, mode="auto", dtype=torch.float32)
        assert asked == tiled
        decode_videos(vae, latents, mode="whole", dtype=torch.float32)
        assert asked == tiled
    asked.clear()
    decode_videos(vae, latents, mode="tiled", dtype=torch.float32)
    assert asked == [1, 1]


def test_the_whole_needs_what_was_measured_for_wan_at_480p() -> None:
    with torch.device("meta"):
        vae: Any = AutoencoderKLWan()
    for dtype, gib in ((torch.float32, 12.0), (torch.bfloat16, 7.4)):  # research/h200.md
        assert whole_bytes(vae, 60, 104, dtype) / 2**30 == pytest.approx(gib, rel=0.02)


@torch.no_grad()
def test_cogvideox_tiles_are_near_the_whole(published_cogvideox_folder: Path) -> None:
    whole, tiled, auto = (
        CogVideoXSampler.from_folder(published_cogvideox_folder, decode=mode) for mode in ("whole", "tiled", "auto")
    )
    latents = _latents(1, 3, 8, 9)  # 64 x 72 pixels, tiles of 48 x 40
    a, b = whole.decode(latents), tiled.decode(latents)
    assert a.shape == b.shape == (1, 9, 3, 64, 72)
    assert 0 < _off(b, a) < 0.7
    assert torch.equal(auto.decode(latents), a)
