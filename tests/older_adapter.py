"""An adapter file as worldr1 wrote it before files said what they were trained with (until 2026-11-29)."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from worldr1.shipped import shipped_adapter
from worldr1.train.adapter_file import DIFFUSERS_METADATA_KEY, OWN_METADATA_KEY, LoraConfig


def write_older_adapter(path: Path) -> Path:
    """The packaged adapter's tensors with the metadata of that time; returns `path`."""
    config = LoraConfig()
    adapter = {"r": config.rank, "lora_alpha": config.alpha, "target_modules": list(config.targets)}
    metadata = {
        "format": "pt",
        DIFFUSERS_METADATA_KEY: json.dumps({f"transformer.{key}": value for key, value in adapter.items()}),
        OWN_METADATA_KEY: json.dumps({"base": "mini", "guidance": 1.0}),
    }
    save_file(load_file(shipped_adapter()), path, metadata=metadata)
    return path
