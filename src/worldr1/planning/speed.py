"""Seconds from operations and bytes: rates of a card, fitted to an H200 and scaled to the others by published peaks.

A pass takes what its products take at the rate of their kernel, plus what everything between them takes at the memory's
rate; nothing overlaps. Three numbers are fitted to research/h200.md, each to the figure named beside it; the rates of
products and attention are the ceilings measured there. Not fitted, so true predictions of its other figures: the flash
kernel, a batch of two, checkpointing, all of the 14B model (`tests/unit/planning/test_predictions.py`).
So are forwards with FlashAttention-3, whose rate is its kernel's alone: right (eager) and 4 % too slow (compiled).
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from worldr1.errors import InputError
from worldr1.planning.cards import CARDS, Card
from worldr1.planning.flops import Flops, backward_flops, blocks_flops, forward_flops
from worldr1.planning.shapes import Lora, Pass, Transformer

Kernel = Literal["cudnn", "flash", "flash3"]

PRODUCTS = 778 / 989
"""Share of the bfloat16 peak that large products reach: measured."""
ATTENTION = 590 / 989
"""The same of attention by cuDNN: measured. Taken for flash too on cards before Hopper, for which flash was written."""
FLASH_ON_HOPPER = 365 / 989
"""Of flash attention on Hopper and later: measured."""
FLASH3 = 697 / 989
"""Of FlashAttention-3, for 12 heads: measured (docs/results.md)."""
BETWEEN = 0.4725
"""Share of the memory's bandwidth at which all work between the products runs: fitted to 0.620 s, a forward of the 1.3B
model. It also carries what products of real shapes lose against the ceiling."""
BETWEEN_COMPILED = 0.488
"""Of that time, what torch.compile leaves: fitted to 0.531 s."""
BETWEEN_BACKWARD = 1.66
"""Of that time, what a backward pass takes: fitted to 1.97 s, forward and backward of the 1.3B model."""
STREAM = 0.8
"""Share of the bandwidth that plain elementwise work on large tensors reaches: assumed; used for the adapter."""
FLOAT32_PRODUCTS = 0.5
"""Share of the float32 peak that an adapter's narrow products reach: assumed."""
CONVOLUTIONS = {"float32": 99.0 / 989, "bfloat16": 150.5 / 989}
"""Operations of the decoder as a share of the bfloat16 peak, by dtype: fitted to 2.78 and 1.83 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast one card computes with one recipe's settings."""

    card: Card
    attention: Kernel
    base_bytes: int = 2
    """Of the frozen base's numbers; float32 products run outside the tensor cores (assumed)."""
    compiled: bool = False

    @classmethod
    def of(cls, card: Card, *, attention: str, dtype: str, compiled: bool) -> "Speed":
        """From the keys model.attention, dtype and compile.

        Raises InputError for kernels that are not measured, or do not run on the card.
        """
        if attention == "auto":
            attention = "cudnn" if card.hopper and dtype == "bfloat16" else "flash"
        if attention not in (known := get_args(Kernel)):
            raise InputError(
                f'plan knows the seconds of the attention kernels {", ".join(known)}; those of "{attention}" are '
                'not measured: set model.attention = "auto".'
            )
        kernel = cast("Kernel", attention)
        if kernel == "flash3" and not (card.flash3 and dtype == "bfloat16"):
            cards = ", ".join(one.name for one in CARDS.values() if one.flash3)
            raise InputError(
                f"FlashAttention-3 needs a Hopper card ({cards}) and bfloat16, not {card.name} and {dtype}: "
                'set model.attention = "auto".'
            )
        return cls(card=card, attention=kernel, base_bytes=2 if dtype == "bfloat16" else 4, compiled=compiled)

    def forward(self, network: Transformer, given: Pass, lora: Lora | None) -> float:
        """Seconds of one forward; lora: None where it is switched off or merged."""
        products = self._products(forward_flops(network, given, lora), lora)
        return products + self._between(network, given) + self._adapter(network, given, lora)

    def step(self, network: Transformer, given: Pass, lora: Lora, *, checkpointing: bool) -> float:
        """Seconds of one forward and its backward pass."""
        backward = self._products(backward_flops(network, given, lora), lora)
        backward += BETWEEN_BACKWARD * self._between(network, given) + 2 * self._adapter(network, given, lora)
        again = 0.0
        if checkpointing:
            again = self._products(blocks_flops(network, given, lora), lora)
            again += self._between(network, given) + self._adapter(network, given, lora)
        return self.forward(network, given, lora) + again + backward

    def decode(self, flops: float, dtype: str) -> float:
        """Seconds of the decoder's operations in a dtype."""
        return flops / (CONVOLUTIONS[dtype] * self.card.bf16_tflops * 1e12)

    def _products(self, flops: Flops, lora: Lora | None) -> float:
        flash = FLASH_ON_HOPPER if self.card.hopper else ATTENTION
        attention = {"cudnn": ATTENTION, "flash": flash, "flash3": FLASH3}[self.attention]
        peak = self.card.bf16_tflops * 1e12
        if self.base_bytes == 4:
            peak = self.card.fp32_tflops * 1e12
        adapter = PRODUCTS * peak
        if lora is not None and lora.number_bytes == 4:
            adapter = FLOAT32_PRODUCTS * self.card.fp32_tflops * 1e12
        return flops.linear / (PRODUCTS * peak) + flops.attention / (attention * peak) + flops.lora / adapter

    def _between(self, network: Transformer, given: Pass) -> float:
        """Norms, rotations, activations, gates and sums of one forward."""
        moved = between_bytes(network, given, self.base_bytes)
        seconds = moved / (BETWEEN * self.card.bandwidth_tb_s * 1e12)
        return seconds * (BETWEEN_COMPILED if self.compiled else 1.0)

    def _adapter(self, network: Transformer, given: Pass, lora: Lora | None) -> float:
        """Casts, scaling and sums around the adapter's products in one forward."""
        if lora is None:
            return 0.0
        moved = adapter_bytes(network, given, lora, self.base_bytes)
        return moved / (STREAM * self.card.bandwidth_tb_s * 1e12) * (BETWEEN_COMPILED if self.compiled else 1.0)


def between_bytes(network: Transformer, given: Pass, base_bytes: int) -> float:
    """Bytes that the work between products reads and writes in one forward without compiling, counted from the block.

    In tensors of the base's dtype [rows, tokens, width]: the norms before self-attention and feed-forward with shift
    and scale 18 each, the one before the cross-attention 10, RMS norms 6, rotation of queries and keys 30, sums and
    gates 37; and two of the feed-forward's width.
    """
    n = given.rows * given.tokens
    return network.layers * base_bytes * n * (119.0 * network.width + 2.0 * network.ffn)


def adapter_bytes(network: Transformer, given: Pass, lora: Lora, base_bytes: int) -> float:
    """Bytes that the adapter reads and writes around its products in one forward.

    Wider numbers than the base's: a cast of the input, scaling, a sum in the wider dtype, a cast back. Else scaling and
    the sum, and the products' own reading and writing, which takes longer than their arithmetic.
    """
    wide = lora.number_bytes > base_bytes
    per_number = 3 * base_bytes + 6 * lora.number_bytes if wide else 7 * base_bytes
    numbers = sum(given.rows_of(x) * (x.inputs + x.outputs) / 2 for x in lora.layers(network))
    return network.layers * numbers * per_number
