"""A pipeline folder with a LoRA merged into it, as `worldr1 export --format merged` writes it; and a damaged one."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from worldr1.backends.wan import WanPolicy
from worldr1.seeding import make_generator
from worldr1.train.adapter_file import AdapterInfo, BaseShape, LoraConfig
from worldr1.train.lora import add_lora, lora_parameters, lora_state
from worldr1.train.merging import merge_folder


def merged_folder(base: Path, out: Path, /, **more: Any) -> Path:
    """`base` with a LoRA that changes it. more: of its `AdapterInfo`."""
    transformer: Any = WanPolicy.from_folder(base).transformer
    config = LoraConfig(rank=2, alpha=2)
    add_lora(transformer, config, generator=make_generator(0, "test"))
    with torch.no_grad():
        for parameter in lora_parameters(transformer).values():
            parameter.add_(0.01)
    told = {"base": base.name, "guidance": 1.0, "shape": BaseShape.of_config(transformer.config), **more}
    merge_folder(base, out, lora_state(transformer), AdapterInfo(config=config, **told))
    return out


def damage(folder: Path) -> Path:
    """What every weight file says about the LoRA breaks off; the tensors stay. Returns the first file."""
    files = sorted((folder / "transformer").glob("*.safetensors"))
    for file in files:
        with safe_open(file, "pt") as weights:
            metadata = weights.metadata()
        save_file(load_file(file), file, metadata=metadata | {"worldr1": metadata["worldr1"][:40]})
    return files[0]
