"""Bytes of the models that a run loads: counted on parts that are built without storage (torch's meta device)."""

import json
from functools import lru_cache
from typing import Any

import torch

from worldr1.backends.architectures import PartConfig
from worldr1.planning.shapes import Lora, Transformer

FLOAT_BYTES = 4
TRAINED_COPIES = 5
"""Float32 numbers per trained one: itself, its gradient, AdamW's two moments, its average (EMA)."""


def part_bytes(part: PartConfig, base_bytes: int) -> float:
    """Of a part as worldr1 loads it in a dtype of `base_bytes`; what diffusers keeps in float32 has 4 all the same."""
    plain, kept_float = _count(part.class_name, json.dumps(dict(part.config), sort_keys=True))
    return float(plain * base_bytes + kept_float * FLOAT_BYTES)


def trained_bytes(network: Transformer, lora: Lora) -> float:
    """Of the adapter, its gradient, its average and the optimizer's moments."""
    return float(TRAINED_COPIES * FLOAT_BYTES * lora.parameters(network))


@lru_cache
def _count(class_name: str, config_json: str) -> tuple[int, int]:
    """Parameters in the wanted dtype, and those that stay in float32."""
    import diffusers  # seconds to import, and only here
    import transformers

    config: dict[str, Any] = json.loads(config_json)
    kind: Any = getattr(diffusers, class_name, None) or getattr(transformers, class_name)
    with torch.device("meta"):
        model = kind(**config) if hasattr(diffusers, class_name) else kind(kind.config_class(**config))
    kept = set(getattr(kind, "_keep_in_fp32_modules", None) or ()) if hasattr(diffusers, class_name) else set()
    plain = kept_float = 0
    for name, parameter in model.named_parameters():
        if kept.intersection(name.split(".")):
            kept_float += parameter.numel()
        else:
            plain += parameter.numel()
    return plain, kept_float
