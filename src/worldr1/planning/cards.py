"""GPUs: memory and published peaks.

Only the H200 was measured (research/h200.md); all others are scaled from it by their peaks. Sources: NVIDIA's data
sheets and architecture papers (dense tensor throughput in bfloat16 with float32 accumulation, so without sparsity; SXM
variants); memory is what `nvidia-smi` shows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from worldr1.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One GPU."""

    name: str
    memory_gib: float
    bf16_tflops: float
    """Dense peak of the tensor cores."""
    fp32_tflops: float
    """Peak outside the tensor cores."""
    bandwidth_tb_s: float
    hopper: bool = False
    """Hopper or later: `attention = "auto"` is cuDNN there (`backends.attention`)."""
    flash3: bool = False
    """Hopper itself, which FlashAttention-3 is made for."""
    measured: bool = False
    """Whether seconds rest on measurements of this card."""


CARDS: Mapping[str, Card] = {
    card.name: card
    for card in (
        Card(
            name="h200",
            memory_gib=140.4,
            bf16_tflops=989,
            fp32_tflops=67,
            bandwidth_tb_s=4.8,
            hopper=True,
            flash3=True,
            measured=True,
        ),
        Card(
            name="h100",
            memory_gib=79.6,
            bf16_tflops=989,
            fp32_tflops=67,
            bandwidth_tb_s=3.35,
            hopper=True,
            flash3=True,
        ),
        Card(name="b200", memory_gib=179.0, bf16_tflops=2250, fp32_tflops=80, bandwidth_tb_s=8.0, hopper=True),
        Card(name="a100-80gb", memory_gib=80.0, bf16_tflops=312, fp32_tflops=19.5, bandwidth_tb_s=2.039),
        Card(name="a100-40gb", memory_gib=40.0, bf16_tflops=312, fp32_tflops=19.5, bandwidth_tb_s=1.555),
        Card(name="l40s", memory_gib=45.0, bf16_tflops=362, fp32_tflops=91.6, bandwidth_tb_s=0.864),
        Card(name="a6000", memory_gib=48.0, bf16_tflops=154.8, fp32_tflops=38.7, bandwidth_tb_s=0.768),
        Card(name="rtx5090", memory_gib=31.8, bf16_tflops=209.5, fp32_tflops=104.8, bandwidth_tb_s=1.792, hopper=True),
        Card(name="rtx4090", memory_gib=24.0, bf16_tflops=165.2, fp32_tflops=82.6, bandwidth_tb_s=1.008),
        Card(name="rtx3090", memory_gib=24.0, bf16_tflops=71, fp32_tflops=35.6, bandwidth_tb_s=0.936),
    )
}
"""By the name that `--gpu` takes."""

DEFAULT_CARD = "h100"
"""Where this machine has no GPU: the usual 80 GB card."""
RESERVED_GIB = 0.8
"""Of the CUDA context and its libraries' workspaces; assumed."""
FRAGMENTATION = 0.04
"""Share of the allocated memory that the allocator cannot use; assumed."""


def find_card(name: str, *, memory_gib: float | None = None) -> Card:
    """A card by name, with another memory if one is given. Raises InputError for unknown names and no memory."""
    name = name.lower()
    if name not in CARDS:
        raise InputError(
            f"plan knows no GPU {name!r}: choose one of {', '.join(CARDS)}, the nearest in speed, and give its "
            "--memory if it has another."
        )
    if memory_gib is None:
        return CARDS[name]
    if not 0 < memory_gib < math.inf:
        raise InputError(f"--memory is {memory_gib:g}: give the GPU's memory in GB.")
    return replace(CARDS[name], memory_gib=memory_gib)


def recognise(device_name: str) -> str | None:
    """The card that a driver calls `device_name`, e.g. "NVIDIA H100 80GB HBM3"; None if it is in no table."""
    words = device_name.lower().replace("-", " ")
    squeezed = words.replace(" ", "")
    for name in ("rtx5090", "rtx4090", "rtx3090", "h200", "b200", "l40s", "a6000"):
        if name in squeezed:
            return name if not (name == "a6000" and "ada" in words) else None
    if "h100" in words:
        return "h100"
    if "a100" in words:
        return "a100-40gb" if "40gb" in squeezed else "a100-80gb"
    return None


def needed_gib(allocated_gib: float) -> float:
    """Memory that a card must have for this peak of allocated memory."""
    return allocated_gib * (1 + FRAGMENTATION) + RESERVED_GIB
