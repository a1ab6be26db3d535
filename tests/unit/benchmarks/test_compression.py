"""The comparison of VAEs: shapes and counts from closed forms, and a run too short to learn anything."""

import json
import math
from pathlib import Path

import compression
import pytest
import torch
from compression import VARIANTS, latent_shape

from worldr1.backends.wan import decode_latents, encode_moments
from worldr1.mini.networks.base import VaeConfig, new_vae


@pytest.mark.parametrize("variant", VARIANTS)
def test_latents_have_the_stated_shape_and_decode_to_the_clip_s(variant: str) -> None:
    config = VARIANTS[variant]
    vae = new_vae(config).eval()
    video = torch.rand(1, 5, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, _ = encode_moments(vae, video)
        assert tuple(mean.shape[1:]) == latent_shape(config, 5, 16, 24)
        assert decode_latents(vae, mean).shape == video.shape


def test_the_default_vae_is_the_packaged_one() -> None:
    config = new_vae().config
    assert (config["z_dim"], config["patch_size"], config["scale_factor_spatial"]) == (48, 2, 8)
    assert (config["base_dim"], config["decoder_base_dim"], config["in_channels"]) == (32, 36, 12)


def test_a_run_writes_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"x8": VaeConfig(channels=8, width=4, decoder_width=4), "x4": VaeConfig(channels=4, patch=1, width=4)}
    monkeypatch.setattr(compression, "VARIANTS", small)
    common = ["--devices", "cpu", "--seconds", "0.01", "--clips", "2", "--held-out", "2", "--batch", "1"]
    size = ["--height", "16", "--width", "24"]
    compression.main(
        ["--state", str(tmp_path), "--out", str(tmp_path / "out.md"), "--variants", "x8", "x4", *common, *size]
    )
    rows = json.loads((tmp_path / "out.json").read_text())
    clip = 17 * 3 * 16 * 24
    assert [row["compression"] for row in rows] == [clip / (8 * 5 * 2 * 3), clip / (4 * 5 * 4 * 6)]
    assert [(row["tokens"], row["equal_tokens"], row["equal_patch"]) for row in rows] == [(30, 30, 1), (120, 30, 2)]
    assert all(row["steps"] >= 1 and row["decode_cpu_s"] > 0 and math.isfinite(row["psnr_db"]) for row in rows)
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| x8", "| x4"]
    assert (tmp_path / "train_16x24" / "prompts.json").exists()
