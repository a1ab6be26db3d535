"""Fixtures: small random models in the exact layout of the published folders, sharded, with velocities of about 1."""

from pathlib import Path
from typing import Any

import pytest
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from tiny_models import TINY_COGVIDEOX, TINY_WAN
from tiny_wan import word_tokenizer

from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.wan import WanPolicy

SHARD = "60KB"
"""So that the transformer and the text encoder come in several files, as the real ones do."""


def _save(kind: Any, model: WanPolicy | CogVideoXSampler, folder: Path) -> Path:
    _, text_encoder = model.prompts.parts()
    parts: dict[str, Any] = {"vae": model.vae, "transformer": model.transformer, "scheduler": model.scheduler}
    pipeline: Any = kind(tokenizer=word_tokenizer(), text_encoder=text_encoder, **parts)
    pipeline.save_pretrained(folder, max_shard_size=SHARD)
    return folder


@pytest.fixture(scope="session")
def published_wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Wan-AI/Wan2.1-T2V-1.3B-Diffusers, UniPC scheduler with flow_shift 3 included."""
    model = WanPolicy.from_architecture(TINY_WAN, seed=1)
    return _save(WanPipeline, model, tmp_path_factory.mktemp("published") / "Wan2.1-T2V-1.3B-Diffusers")


@pytest.fixture(scope="session")
def published_cogvideox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As zai-org/CogVideoX1.5-5B: patches of two latent frames, DDIM scheduler."""
    model = CogVideoXSampler.from_architecture(TINY_COGVIDEOX, seed=1)
    return _save(CogVideoXPipeline, model, tmp_path_factory.mktemp("published") / "CogVideoX1.5-5B")
