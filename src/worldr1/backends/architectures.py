"""The published configurations of the real models, as plain data: what `weights = "random"` builds and `plan` counts.

Nothing is imported here but the standard library. Sources: the conversion scripts of diffusers
(`scripts/convert_wan_to_diffusers.py`, `scripts/convert_cogvideox_to_diffusers.py`), the defaults of its classes
(0.42.1), the configuration files beside the published weights where a copy of them was found, and the model cards.
Qwen3-VL's are its published config.json and preprocessor_config.json.
`tests/unit/backends/test_architectures.py` builds every part on the meta device and counts its parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class PartConfig:
    """One part of a pipeline folder: its class and that class's arguments."""

    class_name: str
    """Of diffusers (transformer, vae, scheduler) or transformers (text_encoder)."""
    config: Mapping[str, Any]
    """Arguments of the class, or of its configuration class; what is left out has the class's default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """What a model was made for (its card)."""

    frames: int
    height: int
    width: int
    fps: int
    steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A published text-to-video model without its weights."""

    name: str
    """Short name, as recipes and the command line take it."""
    kind: Literal["wan", "cogvideox"]
    """Which backend samples it."""
    hub: str
    """Repository on the Hugging Face hub in diffusers' layout."""
    licence: str
    """Of the weights."""
    transformer: PartConfig
    vae: PartConfig
    text_encoder: PartConfig
    scheduler: PartConfig
    max_text_length: int
    """Tokens to which a prompt is padded or cut."""
    defaults: SamplingDefaults


_WAN_VAE = PartConfig(
    class_name="AutoencoderKLWan",  # built without arguments by the conversion script: its defaults, written out
    config={
        "base_dim": 96,
        "z_dim": 16,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_scales": [],
        "temperal_downsample": [False, True, True],
        "dropout": 0.0,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 8,
    },
)

_UMT5_XXL = PartConfig(
    class_name="UMT5EncoderModel",  # google/umt5-xxl
    config={
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "pad_token_id": 0,
        "eos_token_id": 1,
    },
)

_WAN_SCHEDULER = PartConfig(
    class_name="UniPCMultistepScheduler",
    config={"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},  # 3 at 480p
)


def _wan_transformer(*, num_attention_heads: int, num_layers: int, ffn_dim: int) -> PartConfig:
    return PartConfig(
        class_name="WanTransformer3DModel",
        config={
            "patch_size": [1, 2, 2],
            "num_attention_heads": num_attention_heads,
            "attention_head_dim": 128,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": ffn_dim,
            "num_layers": num_layers,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": 1e-6,
            "added_kv_proj_dim": None,
            "rope_max_seq_len": 1024,
        },
    )


def _wan(name: str, hub: str, transformer: PartConfig) -> Architecture:
    return Architecture(
        name=name,
        kind="wan",
        hub=hub,
        licence="Apache-2.0",
        transformer=transformer,
        vae=_WAN_VAE,
        text_encoder=_UMT5_XXL,
        scheduler=_WAN_SCHEDULER,
        max_text_length=512,
        defaults=SamplingDefaults(frames=81, height=480, width=832, fps=16, steps=50, guidance=5.0),
    )


WAN_1_3B = _wan(
    "wan2.1-1.3b",
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    _wan_transformer(num_attention_heads=12, num_layers=30, ffn_dim=8960),
)

WAN_14B = _wan(
    "wan2.1-14b",
    "Wan-AI/Wan2.1-T2V-14B-Diffusers",
    _wan_transformer(num_attention_heads=40, num_layers=40, ffn_dim=13824),
)

COGVIDEOX_1_5_5B = Architecture(
    name="cogvideox1.5-5b",
    kind="cogvideox",
    hub="zai-org/CogVideoX1.5-5B",
    licence="CogVideoX LICENSE (its own terms for commercial use)",
    transformer=PartConfig(
        class_name="CogVideoXTransformer3DModel",
        config={
            "num_attention_heads": 48,
            "attention_head_dim": 64,
            "in_channels": 16,
            "out_channels": 16,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "time_embed_dim": 512,
            "text_embed_dim": 4096,
            "num_layers": 42,
            "dropout": 0.0,
            "attention_bias": True,
            "sample_width": 300,
            "sample_height": 300,
            "sample_frames": 81,
            "patch_size": 2,
            "patch_size_t": 2,
            "patch_bias": False,
            "temporal_compression_ratio": 4,
            "max_text_seq_length": 226,
            "activation_fn": "gelu-approximate",
            "timestep_activation_fn": "silu",
            "norm_elementwise_affine": True,
            "norm_eps": 1e-5,
            "spatial_interpolation_scale": 1.875,
            "temporal_interpolation_scale": 1.0,
            "use_rotary_positional_embeddings": True,
            "use_learned_positional_embeddings": False,
        },
    ),
    vae=PartConfig(
        class_name="AutoencoderKLCogVideoX",
        config={
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": [128, 256, 256, 512],
            "latent_channels": 16,
            "layers_per_block": 3,
            "act_fn": "silu",
            "norm_eps": 1e-6,
            "norm_num_groups": 32,
            "temporal_compression_ratio": 4,
            "sample_height": 480,
            "sample_width": 720,
            "scaling_factor": 0.7,
            "force_upcast": True,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "invert_scale_latents": True,
        },
    ),
    text_encoder=PartConfig(
        class_name="T5EncoderModel",  # google/t5-v1_1-xxl
        config={
            "vocab_size": 32128,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "feed_forward_proj": "gated-gelu",
            "layer_norm_epsilon": 1e-6,
            "pad_token_id": 0,
            "eos_token_id": 1,
        },
    ),
    scheduler=PartConfig(
        class_name="CogVideoXDDIMScheduler",
        config={
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "clip_sample": False,
            "set_alpha_to_one": True,
            "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
            "rescale_betas_zero_snr": True,
            "snr_shift_scale": 1.0,  # 3 is the 2B model's
        },
    ),
    max_text_length=226,  # of the transformer's configuration; the card speaks of 224
    defaults=SamplingDefaults(frames=81, height=768, width=1360, fps=16, steps=50, guidance=6.0),
)

ARCHITECTURES: Mapping[str, Architecture] = {a.name: a for a in (WAN_1_3B, WAN_14B, COGVIDEOX_1_5_5B)}
"""By short name."""


def find_architecture(name: str) -> Architecture | None:
    """By short name or hub name; None for any other, for example a folder."""
    return next((a for a in ARCHITECTURES.values() if name in (a.name, a.hub)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionLanguageModel:
    """A published critic without its weights: a Qwen3-VL."""

    name: str
    """Short name, as recipes take it."""
    hub: str
    licence: str
    """Of the weights."""
    network: PartConfig
    """Of transformers."""
    image_processor: Mapping[str, Any]
    """Arguments of transformers' `Qwen2VLImageProcessorPil`."""


def _qwen3_vl(size: str, *, hidden_size: int, intermediate_size: int, layers: int, heads: int) -> VisionLanguageModel:
    """The dense Instruct models with the smaller of the two vision towers."""
    text = {
        "vocab_size": 151936,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5000000,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "attention_bias": False,
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "hidden_act": "gelu_pytorch_tanh",
        "intermediate_size": 4096,
        "num_heads": 16,
        "in_channels": 3,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": hidden_size,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    return VisionLanguageModel(
        name=f"qwen3-vl-{size.lower()}",
        hub=f"Qwen/Qwen3-VL-{size}-Instruct",
        licence="Apache-2.0",
        network=PartConfig(
            class_name="Qwen3VLForConditionalGeneration",
            config={
                "text_config": text,
                "vision_config": vision,
                "image_token_id": 151655,
                "video_token_id": 151656,
                "vision_start_token_id": 151652,
                "vision_end_token_id": 151653,
                "tie_word_embeddings": True,
            },
        ),
        image_processor={
            "patch_size": 16,
            "merge_size": 2,
            "temporal_patch_size": 2,
            "size": {"shortest_edge": 65536, "longest_edge": 16777216},  # numbers of pixels
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )


QWEN3_VL_4B = _qwen3_vl("4B", hidden_size=2560, intermediate_size=9728, layers=36, heads=32)
QWEN3_VL_2B = _qwen3_vl("2B", hidden_size=2048, intermediate_size=6144, layers=28, heads=16)

VISION_LANGUAGE_MODELS: Mapping[str, VisionLanguageModel] = {m.name: m for m in (QWEN3_VL_4B, QWEN3_VL_2B)}
"""By short name."""


def find_vision_language_model(name: str) -> VisionLanguageModel | None:
    """By short name or hub name; None for any other, for example a folder."""
    return next((m for m in VISION_LANGUAGE_MODELS.values() if name in (m.name, m.hub)), None)
