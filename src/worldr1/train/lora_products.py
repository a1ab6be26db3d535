"""What a LoRA's products are computed in, and a LoRA that becomes part of its base.

peft casts the input of every adapted layer to the LoRA's float32. On a bfloat16 base that is a float32 copy of each of
six large inputs a block, kept for the backward pass, and float32 products.
"""

from typing import Any

import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class _InputDtypeLinear(nn.Linear):
    """A linear layer that computes in its input's dtype; its weight and the weight's gradient keep their own."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype))


def compute_in_base_dtype(transformer: nn.Module) -> None:
    """Lets every LoRA on `transformer` compute in the dtype of its layer's input, as autocast would.

    Parameters stay the float32 ones they were, by the same names; gradients arrive in float32.
    """
    for layer in transformer.modules():
        if not isinstance(layer, LoraLayer):
            continue
        adapted: Any = layer
        adapted.cast_input_dtype_enabled = False
        for matrices in (adapted.lora_A, adapted.lora_B):
            for matrix in matrices.values():
                matrix.__class__ = _InputDtypeLinear


def merge_for_good(transformer: Any) -> None:
    """Adds the LoRA on `transformer`, a diffusers model, into the weights and takes it off: for generating only.

    The network is then the base's own graph with other numbers, at the base's speed. The sum W + (alpha / rank) B A is
    computed in float32 and rounded once to the base's dtype: in bfloat16 an error as large as that of the base's own
    rounding.
    """
    transformer.fuse_lora()
    transformer.unload_lora()
