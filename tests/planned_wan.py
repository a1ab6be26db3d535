"""Small Wan transformers with a LoRA, and the same described for the planner: what is counted is what was built."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from worldr1.planning.shapes import Lora, Pass, Transformer
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.lora import add_lora
from worldr1.train.lora_products import compute_in_base_dtype

ATTENTION_LAYERS = LoraConfig().targets
FEED_FORWARD = ("ffn.net.0.proj", "ffn.net.2")


@dataclass(frozen=True, kw_only=True)
class SmallWan:
    """A built model, its description, and one input."""

    model: Any
    network: Transformer
    lora: Lora
    given: Pass
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def output(self) -> torch.Tensor:
        """Of one forward."""
        return self.model(*self.inputs, return_dict=False)[0].float()


def small_wan(
    *,
    dtype: torch.dtype = torch.float32,
    heads: int = 4,
    head_dim: int = 16,
    ffn: int = 160,
    layers: int = 3,
    targets: tuple[str, ...] = ATTENTION_LAYERS,
    rows: int = 2,
    text_tokens: int = 10,
    lora_in_base_dtype: bool = False,
    rank: int = 8,
) -> SmallWan:
    """Random weights; modules that diffusers keeps in float32 are so."""
    config: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": heads,
        "attention_head_dim": head_dim,
        "in_channels": 4,
        "out_channels": 4,
        "text_dim": 48,
        "freq_dim": 32,
        "ffn_dim": ffn,
        "num_layers": layers,
        "cross_attn_norm": True,
        "rope_max_seq_len": 64,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = WanTransformer3DModel(**config)
        frames, height, width = 3, 16, 20
        inputs = (
            torch.randn(rows, 4, frames, height, width).to(dtype),
            torch.full((rows,), 500.0),
            torch.randn(rows, text_tokens, 48).to(dtype),
        )
    for name, parameter in model.named_parameters():
        if not set(model._keep_in_fp32_modules).intersection(name.split(".")):
            parameter.data = parameter.data.to(dtype)
    model.eval()
    add_lora(model, LoraConfig(rank=rank, alpha=16.0, targets=targets), generator=torch.Generator())
    if lora_in_base_dtype:
        compute_in_base_dtype(model)
    return SmallWan(
        model=model,
        network=Transformer.of(config),
        lora=Lora(rank=rank, targets=targets, number_bytes=dtype.itemsize if lora_in_base_dtype else 4),
        given=Pass(rows=rows, tokens=frames * (height // 2) * (width // 2), text_tokens=text_tokens),
        inputs=inputs,
    )
