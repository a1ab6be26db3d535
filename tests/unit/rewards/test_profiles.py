"""Sizes of the real reward models: counted again on their published configurations, without their weights."""

from typing import Any

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from worldr1.errors import ConfigError
from worldr1.rewards.profiles import PROFILES, ProfileName, RewardModel
from worldr1.rewards.recipe import RewardConfig


def _model(name: str) -> RewardModel:
    return next(model for models in PROFILES.values() for model in models if model.name == name)


def _count(kind: Any, config: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind(config).parameters())


@pytest.mark.parametrize(
    ("name", "hidden", "inner", "layers", "heads"),
    [("Qwen3-VL-4B", 2560, 9728, 36, 32), ("Qwen3-VL-2B", 2048, 6144, 28, 16)],
)
def test_the_critics(name: str, hidden: int, inner: int, layers: int, heads: int) -> None:
    text = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    }
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "patch_size": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": hidden,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    assert _count(Qwen3VLForConditionalGeneration, config) == _model(name).parameters


def test_hpsv2_is_a_clip_vit_h() -> None:
    text = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    vision = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120}
    vision |= {"patch_size": 14, "image_size": 224}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024)
    assert _count(CLIPModel, config) == _model("HPSv2.1").parameters


@pytest.mark.parametrize(("profile", "gigabytes"), [("mini", 0.0), ("paper", 29.8), ("light", 6.8)])
def test_whole_profiles(profile: ProfileName, gigabytes: float) -> None:
    models = PROFILES[profile]
    assert sum(model.num_bytes for model in models) / 1e9 == pytest.approx(gigabytes, abs=0.05)
    assert [m.role for m in models] in ([], ["reconstructor", "critic", "quality", "perceptual"])
    assert all(model.licence and model.source for model in models)


def test_the_light_profile_has_permissive_licences_only() -> None:
    assert not any("NC" in model.licence for model in PROFILES["light"])


def test_mini_models_are_not_moved_about() -> None:
    with pytest.raises(ConfigError, match=r'placement = "swap" is for real models'):
        RewardConfig(placement="swap")
    RewardConfig(profile="light", placement="swap")
