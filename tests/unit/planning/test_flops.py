"""Operations against torch's own counter, on small models that are run."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from planned_wan import ATTENTION_LAYERS, FEED_FORWARD, SmallWan, small_wan
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import UMT5Config, UMT5EncoderModel

from worldr1.backends.architectures import WAN_1_3B, WAN_14B
from worldr1.planning.decoder import Decoder, decode_flops
from worldr1.planning.flops import forward_flops, step_flops, text_encoder_flops
from worldr1.planning.shapes import Latent, Pass, Transformer


def _attention(query: Any, key: Any, value: Any, *rest: Any, **given: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *rest: Any, **given: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


FUSED: dict[Any, Any] = {
    # torch counts fused attention on GPUs only; its own formulas, given to the fused kernel of CPUs
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def counted(run: Callable[[], object]) -> int:
    """Operations of `run`."""
    counter = FlopCounterMode(display=False, custom_mapping=FUSED)
    with counter:
        run()
    return counter.get_total_flops()


def _train(wan: SmallWan) -> None:
    wan.output().sum().backward()


@pytest.mark.parametrize("targets", [ATTENTION_LAYERS, (*ATTENTION_LAYERS, *FEED_FORWARD), ("to_q",)])
def test_a_forward(targets: tuple[str, ...]) -> None:
    wan = small_wan(targets=targets)
    with torch.no_grad():
        found = counted(wan.output)
        assert forward_flops(wan.network, wan.given, wan.lora).total == pytest.approx(found, rel=1e-6)
        wan.model.disable_adapters()
        assert forward_flops(wan.network, wan.given).total == pytest.approx(counted(wan.output), rel=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("targets", [ATTENTION_LAYERS, (*ATTENTION_LAYERS, *FEED_FORWARD)])
def test_a_trained_step(targets: tuple[str, ...], checkpointing: bool) -> None:
    wan = small_wan(targets=targets)
    if checkpointing:
        wan.model.enable_gradient_checkpointing()
    found = counted(lambda: _train(wan))
    said = step_flops(wan.network, wan.given, wan.lora, checkpointing=checkpointing).total
    assert said == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize(
    "shape",
    [
        {"base_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]},
        {"base_dim": 4, "dim_mult": [1, 3], "num_res_blocks": 1, "temperal_downsample": [True]},
    ],
)
def test_decoding_a_video(shape: dict[str, Any]) -> None:
    config = {"z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "scale_factor_spatial": 8, **shape}
    vae = AutoencoderKLWan(**config).eval()
    latent = Latent(channels=4, frames=4, height=6, width=8)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        found = counted(lambda: vae.decode(torch.randn(1, 4, 4, 6, 8)))
    assert decode_flops(Decoder.of(config), latent) == pytest.approx(found, rel=1e-6)


def test_encoding_a_prompt() -> None:
    config: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 3, "vocab_size": 50}
    encoder = UMT5EncoderModel(UMT5Config(**config)).eval()
    with torch.no_grad():
        found = counted(lambda: encoder(input_ids=torch.ones(1, 24, dtype=torch.long)))
    assert text_encoder_flops(config, 24) == pytest.approx(found, rel=0.01)


def test_the_published_models_at_full_size() -> None:
    """research/users.md 5: linear 82.1 and 785, attention 200.9 and 893 TFLOP; h200.md: 283 and 1,676 in all."""
    given = Pass(rows=1, tokens=32760, text_tokens=512)
    small, large = (forward_flops(Transformer.of(model.transformer.config), given) for model in (WAN_1_3B, WAN_14B))
    assert (small.linear / 1e12, small.attention / 1e12) == pytest.approx((82.1, 200.9), rel=0.005)
    assert (large.linear / 1e12, large.attention / 1e12) == pytest.approx((785, 892.7), rel=0.005)
    assert (small.total / 1e12, large.total / 1e12) == pytest.approx((283, 1676), rel=0.005)
