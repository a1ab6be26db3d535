"""The published configurations build, on the meta device, models of the published sizes."""

from typing import Any

import diffusers
import pytest
import torch
import transformers

from worldr1.backends.architectures import ARCHITECTURES, Architecture, PartConfig

COUNTS = {
    # Transformer; VAE; text encoder. The Wan cards say 1.3B, 14B and 127M; umt5-xxl's encoder is a file of 11.4 GB in
    # bf16; CogVideoX1.5-5B's folder has 31.1 GB: the transformer in bf16, VAE and encoder in fp32.
    "wan2.1-1.3b": (1_418_996_800, 126_892_531, 5_680_910_336),
    "wan2.1-14b": (14_288_491_584, 126_892_531, 5_680_910_336),
    "cogvideox1.5-5b": (5_570_676_352, 215_583_907, 4_762_310_656),
}


def _count(library: Any, part: PartConfig) -> int:
    kind = getattr(library, part.class_name)
    with torch.device("meta"):
        model = kind(**part.config) if library is diffusers else kind(kind.config_class(**part.config))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_a_model_of_the_published_size_comes_out(architecture: Architecture) -> None:
    found = (
        _count(diffusers, architecture.transformer),
        _count(diffusers, architecture.vae),
        _count(transformers, architecture.text_encoder),
    )
    assert found == COUNTS[architecture.name]


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_no_class_ignores_an_argument(architecture: Architecture) -> None:
    for part in (architecture.transformer, architecture.vae, architecture.scheduler):
        with torch.device("cpu" if part is architecture.scheduler else "meta"):
            built: Any = getattr(diffusers, part.class_name)(**part.config)
        assert {key: built.config[key] for key in part.config} == part.config
    config: Any = getattr(transformers, architecture.text_encoder.class_name).config_class
    text = architecture.text_encoder.config
    assert {key: getattr(config(**text), key) for key in text} == text
