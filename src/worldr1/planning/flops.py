"""Floating-point operations of a Wan transformer and of a T5 text encoder, exactly as they are defined.

Counted: every matrix product and convolution, two operations per multiplication and addition, as
`torch.utils.flop_counter` counts them (`tests/unit/planning/test_flops.py` compares). Not counted: norms, activations
and everything else that is bound by memory and not by arithmetic; `planning.speed` adds it by its bytes.

    block, N tokens of width d, S of text, feed-forward width f (research/users.md 5)
      linear      2 (6 N d^2 + 2 S d^2 + 2 N d f)
      attention   4 N^2 d + 4 N S d
      LoRA        2 r (inputs + outputs) per row of every targeted layer
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldr1.planning.shapes import Linear, Lora, Pass, Transformer

ATTENTION_BACKWARD = 2.5
"""Of the forward: five products instead of two, because fused kernels compute the scores again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """Operations by the kind of kernel that does them."""

    linear: float = 0.0
    """Of frozen layers, in the base's dtype; convolutions too."""
    attention: float = 0.0
    lora: float = 0.0
    """Of the adapter, in its own dtype."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.linear + self.attention + self.lora

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            linear=self.linear + other.linear, attention=self.attention + other.attention, lora=self.lora + other.lora
        )

    def __mul__(self, factor: float) -> "Flops":
        return Flops(linear=self.linear * factor, attention=self.attention * factor, lora=self.lora * factor)


def forward_flops(network: Transformer, given: Pass, lora: Lora | None = None) -> Flops:
    """One forward; lora: None where it is switched off or merged."""
    return _ends_flops(network, given) + blocks_flops(network, given, lora)


def blocks_flops(network: Transformer, given: Pass, lora: Lora | None = None) -> Flops:
    """The blocks alone: what gradient checkpointing runs a second time."""
    linear = sum(2 * given.rows_of(x) * x.inputs * x.outputs for x in network.block_linears)
    attention = 4 * given.rows * given.tokens * (given.tokens + given.text_tokens) * network.width
    block = Flops(linear=linear, attention=attention, lora=_lora_flops(network, given, lora))
    return block * network.layers


def backward_flops(network: Transformer, given: Pass, lora: Lora) -> Flops:
    """The backward pass of a forward whose base is frozen: gradients of activations, and of the adapter alone.

    What has no trained part before it has no gradient: the text, and the first block's input.
    """
    block = Flops(
        linear=sum(2 * given.rows_of(x) * x.inputs * x.outputs for x in network.block_linears if not x.on_text),
        attention=ATTENTION_BACKWARD
        * 4
        * given.rows
        * given.tokens
        * (given.tokens + given.text_tokens)
        * network.width,
        lora=sum(_lora_backward(given, x, lora, has_input_gradient=not x.on_text) for x in lora.layers(network)),
    )
    first = [x for x in network.block_linears if x.source == "norm1"]
    nobody_asks = Flops(
        linear=sum(2 * given.rows_of(x) * x.inputs * x.outputs for x in first),
        lora=sum(2 * given.rows_of(x) * lora.rank * x.inputs for x in first if x.targeted(lora.targets)),
    )
    output = Flops(linear=_output_flops(network, given))
    return block * network.layers + nobody_asks * -1.0 + output


def step_flops(network: Transformer, given: Pass, lora: Lora, *, checkpointing: bool) -> Flops:
    """Forward and backward of the trained step; checkpointing: the blocks run twice."""
    again = blocks_flops(network, given, lora) if checkpointing else Flops()
    return forward_flops(network, given, lora) + again + backward_flops(network, given, lora)


def text_encoder_flops(config: Mapping[str, Any], tokens: int) -> float:
    """One prompt through a T5 encoder with a gated feed-forward (umt5). config: of its class; tokens: with padding."""
    d, inner, ff = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    layer = 2 * tokens * (4 * d * inner + 3 * d * ff) + 4 * tokens**2 * inner
    return float(config["num_layers"] * layer)


def _ends_flops(network: Transformer, given: Pass) -> Flops:
    """Patches, time, text and output: outside the blocks."""
    d, rows = network.width, given.rows
    patch = network.patch[0] * network.patch[1] * network.patch[2]
    embedded = 2 * rows * given.tokens * network.in_channels * patch * d
    time = 2 * rows * (network.freq_dim * d + 7 * d * d)
    text = 2 * rows * given.text_tokens * (network.text_dim * d + d * d)
    return Flops(linear=embedded + time + text + _output_flops(network, given))


def _output_flops(network: Transformer, given: Pass) -> float:
    patch = network.patch[0] * network.patch[1] * network.patch[2]
    return 2.0 * given.rows * given.tokens * network.width * network.out_channels * patch


def _lora_flops(network: Transformer, given: Pass, lora: Lora | None) -> float:
    if lora is None:
        return 0.0
    return sum(2.0 * given.rows_of(x) * lora.rank * (x.inputs + x.outputs) for x in lora.layers(network))


def _lora_backward(given: Pass, layer: Linear, lora: Lora, *, has_input_gradient: bool) -> float:
    """Both factors' own gradients, the gradient between them, and the one handed on."""
    inputs = layer.inputs * (2 if has_input_gradient else 1)
    return 2.0 * given.rows_of(layer) * lora.rank * (2 * layer.outputs + inputs)
