"""Bytes of models that are never built, against the same models built."""

import pytest
import torch

from worldr1.backends.architectures import ARCHITECTURES, WAN_1_3B, PartConfig
from worldr1.backends.random_weights import build_part
from worldr1.planning.shapes import Lora, Transformer
from worldr1.planning.weights import part_bytes, trained_bytes
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.ema import Ema
from worldr1.train.lora import prepare_trainable

GIB = 2.0**30


@pytest.mark.parametrize(("dtype", "width"), [(torch.bfloat16, 2), (torch.float32, 4)])
def test_a_transformer_as_it_is_loaded(dtype: torch.dtype, width: int) -> None:
    config = dict(WAN_1_3B.transformer.config) | {"num_attention_heads": 1, "num_layers": 2, "ffn_dim": 64}
    part = PartConfig(class_name="WanTransformer3DModel", config=config)
    built = build_part(part, device=torch.device("cpu"), dtype=dtype, seed=0)
    assert part_bytes(part, width) == sum(p.numel() * p.element_size() for p in built.parameters())


def test_the_published_models() -> None:
    """1.42 B and 14.29 B parameters in bfloat16, a little of it float32; umt5-xxl is a file of 11.4 GB."""
    small, large = (part_bytes(ARCHITECTURES[name].transformer, 2) for name in ("wan2.1-1.3b", "wan2.1-14b"))
    assert (small / 2e9, large / 2e9) == pytest.approx((1.419, 14.29), rel=0.005)
    assert part_bytes(WAN_1_3B.text_encoder, 2) / 1e9 == pytest.approx(11.36, rel=0.005)
    assert part_bytes(WAN_1_3B.vae, 4) == 4 * 126_892_531


def test_what_training_adds() -> None:
    config = dict(WAN_1_3B.transformer.config) | {"num_attention_heads": 1, "num_layers": 2, "ffn_dim": 64}
    part = PartConfig(class_name="WanTransformer3DModel", config=config)
    built = build_part(part, device=torch.device("cpu"), dtype=torch.bfloat16, seed=0)
    lora = LoraConfig(rank=4, targets=("to_q", "to_out.0", "ffn.net.2"))
    trained = prepare_trainable(built, "lora", lora=lora, generator=torch.Generator())
    optimizer = torch.optim.AdamW(trained.values())
    for parameter in trained.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = [v for state in optimizer.state.values() for k, v in state.items() if k != "step"]
    averages = Ema(trained, 0.9).values.values()
    gradients = [p.grad for p in trained.values() if p.grad is not None]
    tensors = [*trained.values(), *gradients, *moments, *averages]
    said = trained_bytes(Transformer.of(config), Lora(rank=4, targets=lora.targets))
    assert said == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
