"""An adapter in the form that other programs read.

The native form has the original Wan repository's names (wan/modules/model.py) under `diffusion_model.`, the one form
that ComfyUI takes for Wan (model_lora_keys_unet in comfy/lora.py @ 17358c8f73b581a0d22facc3c385822f09b8bfb1) and that
diffusers 0.42.1 converts (_convert_non_diffusers_wan_lora_to_diffusers in loaders/lora_conversion_utils.py). Both scale
B A by alpha / rank where a tensor `LAYER.alpha` lies beside it, and by 1 where there is none (LoRAAdapter in
comfy/weight_adapter/lora.py @ 6f98b150e065f1ffc788558574a887835068bd40). diffusers refuses such a tensor outside the
blocks; there the scale is multiplied into B.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, own_metadata
from worldr1.train.checkpoint import write_tensors

NATIVE_PREFIX = "diffusion_model."
_PARTS = {"attn1": "self_attn", "attn2": "cross_attn"}
_PROJECTIONS = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}
_IN_BLOCK = {f"{a}.{p}": f"{_PARTS[a]}.{_PROJECTIONS[p]}" for a in _PARTS for p in _PROJECTIONS} | {
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}
"""Linear layers of a block: diffusers' name -> Wan's."""
_OUTSIDE = {
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
}


class LoraPair(NamedTuple):
    """The adapter of one linear layer."""

    down: Float[Tensor, "R in"]
    """A."""
    up: Float[Tensor, "out R"]
    """B."""


def adapter_layers(state: Mapping[str, Tensor]) -> dict[str, LoraPair]:
    """Layer -> its A and B. Raises InputError if one lacks the other."""
    names = {name.partition(".lora_")[0] for name in state}
    try:
        return {n: LoraPair(state[f"{n}.lora_A.weight"], state[f"{n}.lora_B.weight"]) for n in sorted(names)}
    except KeyError as error:
        raise InputError(f"The adapter lacks {error.args[0]}; copy it again.") from error


def native_tensors(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The adapter under Wan's own names, with its alpha. Raises InputError for a layer that Wan 2.1 does not have."""
    tensors: dict[str, Tensor] = {}
    for layer, pair in adapter_layers(state).items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", layer)
        own = _IN_BLOCK.get(block[2]) if block else _OUTSIDE.get(layer)
        if own is None:
            raise InputError(f"The layer {layer} has no name in the original Wan model; use --format diffusers.")
        name = f"{NATIVE_PREFIX}blocks.{block[1]}.{own}" if block else f"{NATIVE_PREFIX}{own}"
        up = pair.up if block else pair.up.float() * config.scale
        tensors |= {f"{name}.lora_A.weight": pair.down, f"{name}.lora_B.weight": up}
        if block:
            tensors[f"{name}.alpha"] = torch.tensor(config.alpha)
    return tensors


def save_native(path: Path, state: Mapping[str, Tensor], info: AdapterInfo) -> None:
    """Writes the native form, whole or not at all. Raises InputError as `native_tensors`.

    Without diffusers' metadata key: with it, diffusers would scale by alpha / rank twice.
    """
    write_tensors(path, native_tensors(state, info.config), metadata=own_metadata(info))
