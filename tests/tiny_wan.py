"""The fixture `tiny_wan_folder`, for every test that needs a Wan model but not a trained one (see conftest.py)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

LATENT_CHANNELS = 8


def word_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "</s>", "<unk>", "camera", "push", "in", "a", "red", "ball", "box", "on", "the", "floor"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _text_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=16, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=1
        )
    )


def _vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        patch_size=2,
        in_channels=12,
        out_channels=12,
        latents_mean=[0.1 * (i - 3) for i in range(LATENT_CHANNELS)],
        latents_std=[1.0 + 0.1 * i for i in range(LATENT_CHANNELS)],
        scale_factor_spatial=8,
        scale_factor_temporal=4,
    )


def _transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=32,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_max_seq_len=32,
    )


def save_tiny_wan(folder: Path) -> Path:
    """A stock Wan pipeline folder with seeded random weights: stride 8 x 8 x 4, 8 latent channels, shift 3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts: dict[str, Any] = {
            "tokenizer": word_tokenizer(),
            "text_encoder": _text_encoder(),
            "vae": _vae(),
            "transformer": _transformer(),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        }
        WanPipeline(**parts).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `save_tiny_wan`."""
    return save_tiny_wan(tmp_path_factory.mktemp("models") / "tiny-wan")
