"""FlashAttention-3 (Shah et al., arXiv 2407.08608): attention for NVIDIA's Hopper, from a package that users build.

diffusers has a name for it, but what it registers under that name hides the package behind an operator without a
gradient. The package's own function has one, and torch compiles it; so the name is given that function.
"""

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from torch import Tensor

from worldr1.errors import first_line

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries [B, S, H, D], keys and values [B, Z, H, D] -> [B, S, H, D]; no mask, softmax scaled by 1 / sqrt(D)."""

MODULE = "flash_attn_interface"
NAME = AttentionBackendName._FLASH_3
BUILD = (
    "the package flash_attn_3 is not installed: it is not on PyPI, build it from the folder hopper/ of "
    "github.com/Dao-AILab/flash-attention, python setup.py install"
)


def missing(*, device: torch.device, dtype: torch.dtype) -> str:
    """What is not there for it: the GPU, half precision or the package, in a clause; empty if all is."""
    if not on_hopper(device):
        return "FlashAttention-3 is made for NVIDIA's Hopper alone"
    if dtype not in (torch.bfloat16, torch.float16):
        return 'FlashAttention-3 computes in half precision: set model.dtype = "bfloat16"'
    try:
        load()
    except ModuleNotFoundError as error:
        return BUILD if error.name == MODULE else first_line(error)
    except (ImportError, OSError, AttributeError) as error:  # built for another torch, or cut short
        return first_line(error)
    return ""


def on_hopper(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 9.x."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9


def load() -> Attention:
    """The package's function. Raises ImportError, OSError or AttributeError if it cannot be imported."""
    return _attention_by(importlib.import_module(MODULE).flash_attn_func)


@lru_cache(maxsize=1)  # one object for all models: blocks are compiled again for another
def _attention_by(function: Callable[..., Any]) -> Attention:
    def flash_attention3(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if attn_mask is not None:
            raise ValueError("FlashAttention-3 takes no mask.")
        found = function(query, key, value)
        return found[0] if isinstance(found, tuple) else found  # until August 2025: with the softmax sums

    return flash_attention3


def register() -> None:
    """Lets diffusers' dispatcher call the package's function by `NAME`, with its gradient. Raises as `load` does."""
    _AttentionBackendRegistry.register(NAME)(load())
