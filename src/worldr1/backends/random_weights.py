"""A published architecture at full size without its files: random weights, for measurements and for tests.

Built directly on the device in the wanted dtype, so that no float32 copy of 14 billion parameters ever exists. The
videos are noise; seconds and bytes are those of the real model.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from worldr1.backends.architectures import ARCHITECTURES, Architecture, PartConfig, find_architecture
from worldr1.backends.building import drawing
from worldr1.errors import InputError
from worldr1.seeding import derive_seed


def named_architecture(name: str) -> Architecture:
    """By short name or hub name; raises InputError that lists the known ones."""
    if (architecture := find_architecture(name)) is not None:
        return architecture
    raise InputError(
        f'weights = "random" needs the name of a published model, not {name!r}; '
        f"choose one of {', '.join(ARCHITECTURES)}."
    )


def build_part(part: PartConfig, *, device: torch.device, dtype: torch.dtype, seed: int) -> Any:
    """The transformer or VAE of an architecture with random weights, frozen, in eval mode.

    Modules that diffusers keeps in float32 when it loads a folder are so here too. The global random state and default
    dtype are left as they were.
    """
    kind = getattr(diffusers, part.class_name)
    with drawing(device, dtype, seed):
        model: nn.Module = kind(**part.config)
    kept = set(getattr(kind, "_keep_in_fp32_modules", None) or ())
    for name, parameter in model.named_parameters():
        if kept.intersection(name.split(".")):
            parameter.data = parameter.data.float()
    return model.eval().requires_grad_(False)


def build_language_model(part: PartConfig, *, device: torch.device, dtype: torch.dtype, seed: int) -> Any:
    """A model of transformers (text encoder, vision-language model) with random weights, frozen, in eval mode.

    Always the same for a seed on one kind of device; the global random state and default dtype are left as they were.
    """
    kind: Any = getattr(transformers, part.class_name)
    with drawing(device, dtype, seed):
        model: nn.Module = kind(kind.config_class(**copy.deepcopy(dict(part.config))))  # it keeps what it is given
    return model.eval().requires_grad_(False)


@torch.no_grad()
def scale_output(layer: nn.Linear, output: Tensor) -> None:
    """Scales the last layer so that `output`, which it just made, would have a root mean square of 1.

    Fresh transformers of diffusers say almost nothing; a velocity is about 1.
    """
    scale = output.float().square().mean().rsqrt()
    layer.weight.mul_(scale)
    if layer.bias is not None:
        layer.bias.mul_(scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomEncoder:
    """An architecture's text encoder with random weights: a `prompts.EncoderSource`."""

    part: PartConfig
    dtype: torch.dtype
    device: torch.device
    seed: int

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A stand-in: the real vocabulary is a file that cannot be had, so every byte of the prompt is a token."""
        return ByT5Tokenizer()

    def encoder(self) -> nn.Module:
        """Always the same for a seed on one kind of device."""
        return build_language_model(
            self.part, device=self.device, dtype=self.dtype, seed=derive_seed(self.seed, "text-encoder")
        )

    def fingerprint(self) -> str:
        """Configuration, seed, and what decides the numbers drawn: device and torch version."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        part = [self.part.class_name, dict(self.part.config)]
        return json.dumps(["random", part, self.seed, str(self.dtype), device, torch.__version__], sort_keys=True)
