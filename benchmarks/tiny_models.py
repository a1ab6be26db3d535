"""Architectures of the published kinds that a CPU runs in milliseconds: dry runs of benchmarks, and tests."""

from dataclasses import replace

from worldr1.backends.architectures import COGVIDEOX_1_5_5B, WAN_1_3B, Architecture, PartConfig, SamplingDefaults

TEXT_WIDTH = 32
_SMALL = SamplingDefaults(frames=9, height=32, width=48, fps=16, steps=4, guidance=5.0)


def _changed(part: PartConfig, **changes: object) -> PartConfig:
    return replace(part, config={**part.config, **changes})


def _text_encoder(part: PartConfig) -> PartConfig:
    return _changed(part, vocab_size=384, d_model=TEXT_WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=2)


TINY_WAN: Architecture = replace(
    WAN_1_3B,
    name="tiny-wan",
    transformer=_changed(
        WAN_1_3B.transformer,
        num_attention_heads=2,
        attention_head_dim=16,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_max_seq_len=32,
    ),
    vae=_changed(WAN_1_3B.vae, base_dim=8, num_res_blocks=1),
    text_encoder=_text_encoder(WAN_1_3B.text_encoder),
    defaults=_SMALL,
)

TINY_COGVIDEOX: Architecture = replace(
    COGVIDEOX_1_5_5B,
    name="tiny-cogvideox",
    transformer=_changed(
        COGVIDEOX_1_5_5B.transformer,
        num_attention_heads=2,
        attention_head_dim=16,
        time_embed_dim=16,
        text_embed_dim=TEXT_WIDTH,
        num_layers=2,
        max_text_seq_length=16,
    ),
    vae=_changed(
        COGVIDEOX_1_5_5B.vae,
        block_out_channels=[8, 8, 16, 16],
        layers_per_block=1,
        norm_num_groups=4,
        sample_height=96,  # tiles of 48 x 40 pixels, whose overlaps are whole latent pixels, as the real ones' are
        sample_width=80,
    ),
    text_encoder=_text_encoder(COGVIDEOX_1_5_5B.text_encoder),
    defaults=_SMALL,
)
