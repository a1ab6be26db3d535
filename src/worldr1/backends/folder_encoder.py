"""The text encoder of a model folder, loaded when it is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from worldr1.backends.model_folder import load_part
from worldr1.backends.text_cache import folder_fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEncoder:
    """A `prompts.EncoderSource`. Its methods raise InputError for damaged files."""

    folder: Path
    kind: Any
    """Class of the encoder, from transformers."""
    dtype: torch.dtype
    device: torch.device

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """From the folder; no code of the folder is run."""
        return load_part(AutoTokenizer, self.folder, "tokenizer", trust_remote_code=False)

    def encoder(self) -> nn.Module:
        """From the folder, on the device."""
        options = {"dtype": self.dtype, "use_safetensors": True, "output_loading_info": True}
        model: nn.Module = load_part(self.kind, self.folder, "text_encoder", **options)
        return model.to(self.device).eval().requires_grad_(False)

    def fingerprint(self) -> str:
        """Of encoder and tokenizer, by their content."""
        return folder_fingerprint(self.folder)
