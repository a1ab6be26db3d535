"""The mini base model: stock diffusers and transformers classes in the sizes of the mini world, untrained.

Nothing here is a new architecture: `save_pretrained` of these loads with `diffusers.WanPipeline.from_pretrained`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

LATENT_CHANNELS = 48
TEXT_DIM = 128
MAX_TEXT_LENGTH = 64
SHIFT = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeConfig:
    """Compression and size of the VAE; x4 in time always. Compared by `benchmarks/compression.py`."""

    channels: int = LATENT_CHANNELS
    """Of the latent."""
    patch: int = 2
    """Pixels a side that are folded into channels first: 2 is x8 in space (Wan2.2's layout), 1 is x4."""
    width: int = 32
    """Channels of the encoder's first layer."""
    decoder_width: int = 36
    """Channels of the decoder's last layer."""

    @property
    def space(self) -> int:
        """Pixels a side of one latent pixel."""
        return 4 * self.patch


def new_vae(config: VaeConfig | None = None) -> AutoencoderKLWan:
    """By default x8 in space (2 of it patching), x4 in time, 48 channels: Wan2.2's layout at a lower compression."""
    config = config or VaeConfig()
    return AutoencoderKLWan(
        base_dim=config.width,
        decoder_base_dim=config.decoder_width,
        z_dim=config.channels,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[True, True],
        is_residual=True,
        patch_size=config.patch if config.patch > 1 else None,
        in_channels=3 * config.patch**2,
        out_channels=3 * config.patch**2,
        latents_mean=[0.0] * config.channels,
        latents_std=[1.0] * config.channels,
        scale_factor_spatial=config.space,
        scale_factor_temporal=4,
    )


def new_transformer() -> WanTransformer3DModel:
    """8 layers of width 192; one token per latent pixel (480 of them for 17 x 64 x 96)."""
    return WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=4,
        attention_head_dim=48,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=768,
        num_layers=8,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


def new_text_encoder(vocabulary_size: int) -> UMT5EncoderModel:
    """Two layers of width 128."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary_size,
            d_model=TEXT_DIM,
            d_kv=32,
            d_ff=384,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def train_tokenizer(prompts: Sequence[str], vocabulary_size: int = 512) -> Any:
    """Byte-level BPE with `</s>` at the end (so that the empty prompt is one token); any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(prompts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", model_max_length=MAX_TEXT_LENGTH
    )


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Stock flow-matching Euler with the mini world's shift."""
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT)


def new_pipeline(prompts: Sequence[str]) -> WanPipeline:
    """All untrained parts, the tokenizer fitted to `prompts`."""
    tokenizer = train_tokenizer(prompts)
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=new_text_encoder(len(tokenizer)),
        vae=new_vae(),
        scheduler=new_scheduler(),
        transformer=new_transformer(),
    )
