"""Whether a trained step fits into memory without gradient checkpointing.

What a block keeps for its backward pass when its weights are frozen and a LoRA is trained on the attention projections,
in bytes per token and unit of width (b: bytes of the base's dtype). Counted from diffusers' block. For Wan2.1-1.3B at
32,760 tokens with a LoRA that computes in bfloat16 it says 64.2 GiB; measured were 68.7 GiB at the peak of a trained
step against 4.2 GiB of a forward (research/h200.md):

    norms before self-attention, cross-attention and feed-forward: their float32 inputs     3 x 4
    self-attention: inputs of the two RMS norms; q, k, v and the output                      6 b
    cross-attention: input of the RMS norm; q and the output (text is short)                 3 b
    inputs of the LoRA: of q, k, v together and of the cross-attention's q                   2 b
      or, where the LoRA computes in float32 on a bfloat16 base, a copy for each of the six  6 x 4
    feed-forward: the input of its activation                                                b x (ffn width / width)

Linear layers keep nothing else: their weights are frozen. torch.compile keeps less, so this is an upper bound there.
"""

from dataclasses import dataclass
from typing import Any

import torch

SAFETY = 1.1
"""What allocators waste, and what the rest of the step needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShape:
    """What goes through the network in one forward of the trained step."""

    rows: int
    """Latents, times two with guidance."""
    tokens: int
    """Of one latent."""
    lora_float32: bool
    """The LoRA's products are float32 while the base is not."""


def kept_bytes(config: Any, dtype: torch.dtype, step: StepShape) -> float:
    """Bytes that a forward keeps for its backward pass without checkpointing. config: of a WanTransformer3DModel."""
    b = torch.finfo(dtype).bits // 8
    width = config["num_attention_heads"] * config["attention_head_dim"]
    per_unit = 12 + 9 * b + (24 if step.lora_float32 else 2 * b) + b * config["ffn_dim"] / width
    return config["num_layers"] * step.rows * step.tokens * width * per_unit


def needs_checkpointing(config: Any, dtype: torch.dtype, step: StepShape, *, free: float) -> bool:
    """Whether the step would not fit into `free` bytes without checkpointing."""
    return SAFETY * kept_bytes(config, dtype, step) > free
