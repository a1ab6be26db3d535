"""Which kernel computes attention: torch's own choice, or one by name.

At 832 x 480 x 81 self-attention is 70 % of a forward of Wan2.1-1.3B. On an H200 cuDNN runs it at 590 TFLOP/s, flash at
365 (research/h200.md), and torch prefers flash. All but "flash3" come with torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import AttentionBackendName
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from worldr1.backends import flash_attention3
from worldr1.errors import InputError, first_line

AttentionChoice = Literal["auto", "cudnn", "flash", "flash3", "efficient", "math"]
Kernel = Literal["torch", "cudnn", "flash", "flash3", "efficient", "math"]
"""What is used in the end; "torch": scaled_dot_product_attention's own choice."""

HOPPER = (9, 0)
"""Compute capability from which on cuDNN is the faster one."""

_SDPA = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_DISPATCHED = {
    "cudnn": AttentionBackendName._NATIVE_CUDNN,
    "flash": AttentionBackendName._NATIVE_FLASH,
    "flash3": flash_attention3.NAME,
    "efficient": AttentionBackendName._NATIVE_EFFICIENT,
    "math": AttentionBackendName._NATIVE_MATH,
}


def choose_kernel(choice: AttentionChoice, *, device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """The kernel for a model. "auto": cuDNN on NVIDIA's Hopper and later in half precision if it runs, else torch's.

    Raises InputError for a kernel that does not run here with this dtype and head size, forward and backward.
    """
    if choice == "auto":
        if device.type != "cuda" or dtype == torch.float32 or torch.cuda.get_device_capability(device) < HOPPER:
            return "torch"
        return "cudnn" if not problem_with("cudnn", device=device, dtype=dtype, head_dim=head_dim) else "torch"
    if reason := problem_with(choice, device=device, dtype=dtype, head_dim=head_dim):
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            f'The attention kernel "{choice}" does not run on this {device.type.upper()} in {name} ({reason}); '
            'set model.attention = "auto".'
        )
    return choice


def problem_with(kernel: str, *, device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """Why a kernel does not run, in torch's words; empty if it does. Tried on a small example, whose gradient does not
    hang on whether the caller's are off."""
    if kernel == "flash3" and (reason := flash_attention3.missing(device=device, dtype=dtype)):
        return reason
    try:
        with torch.inference_mode(False), torch.enable_grad():
            q, k, v = (torch.ones(1, 64, 2, head_dim, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
            run_kernel(kernel, q, k, v).sum().backward()
    except RuntimeError as error:
        return first_line(error)
    return ""


def run_kernel(
    kernel: str, q: Float[Tensor, "B S heads D"], k: Float[Tensor, "B Z heads D"], v: Float[Tensor, "B Z heads D"]
) -> Float[Tensor, "B S heads D"]:
    """The named kernel alone, its softmax scaled by 1 / sqrt(D). Raises RuntimeError where it does not run."""
    if kernel == "flash3":
        return flash_attention3.load()(q, k, v)
    with sdpa_kernel(_SDPA[kernel]):
        return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def use_kernel(transformer: nn.Module, kernel: Kernel) -> None:
    """Lets a model of diffusers whose attention goes through its dispatcher (Wan's does) use `kernel` from now on.

    Kept in the model and not around its calls, because gradient checkpointing runs blocks again during the backward
    pass, where they must choose the same kernel.
    """
    if kernel == "flash3":
        flash_attention3.register()
    for module in transformer.modules():
        processor: Any = getattr(module, "processor", None)
        if hasattr(processor, "_attention_backend"):
            processor._attention_backend = _DISPATCHED.get(kernel)


@contextmanager
def kernel_for_calls(kernel: Kernel) -> Iterator[None]:
    """Inside, torch's attention uses `kernel`: for models that call it directly (CogVideoX), without gradients."""
    if kernel == "torch":
        yield
        return
    with sdpa_kernel(_SDPA[kernel]):
        yield
