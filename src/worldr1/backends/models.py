"""The base model of a recipe or a command: which one, from where, and how it computes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from worldr1.backends.architectures import COGVIDEOX_1_5_5B, WAN_1_3B, Architecture, find_architecture
from worldr1.backends.attention import AttentionChoice
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.mini import mini_base
from worldr1.backends.model_folder import find_folder, folder_needs, pipeline_class
from worldr1.backends.prompts import TextOptions
from worldr1.backends.published_files import Need
from worldr1.backends.random_weights import named_architecture
from worldr1.backends.text_cache import default_cache_folder
from worldr1.backends.wan import WanPolicy
from worldr1.backends.wan.policy import GuidanceBatch
from worldr1.backends.wan.vae import DecodeMode
from worldr1.errors import ConfigError, InputError

MINI = "mini"
"""Name of the packaged model."""
COGVIDEOX_PIPELINE = "CogVideoXPipeline"
VideoModel = WanPolicy | CogVideoXSampler


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The base model. Raises ConfigError for keys that are impossible together."""

    folder: str = MINI
    """A folder in the layout that diffusers publishes, a name on the hub, a short name (wan2.1-1.3b, wan2.1-14b,
    cogvideox1.5-5b: their hub names), or "mini" for the one in the package."""
    weights: Literal["published", "random"] = "published"
    """"random": the named architecture at full size without files; its videos are noise, its cost is the real one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen base; the LoRA's weights are always float32."""
    lora_products: Literal["float32", "base"] = "float32"
    """What the LoRA's products are computed in; "base": in `dtype`, faster and with less memory on a bfloat16 base. Its
    weights, their gradients and the optimizer stay float32."""
    tf32: bool = False
    """Let float32 matrix products on a GPU round their inputs to TF32: faster, and ratios are then 1 to about 1e-3."""
    attention: AttentionChoice = "auto"
    """Attention kernel; "auto": cuDNN on NVIDIA's Hopper and later in bfloat16, torch's own choice elsewhere."""
    compile: bool = False
    """Let torch compile the transformer's blocks: a minute at the start of a run on a GPU, fewer launches after."""
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Run blocks again in the backward pass instead of keeping what they computed: a third slower, a seventh of the
    memory. "auto": only if the device's free memory asks for it."""
    guidance: float = 1.0
    """Classifier-free guidance in rollout, replay and evaluation alike; 1 is none."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    guidance_batch: GuidanceBatch = "auto"
    """The two halves of guidance in one batch ("joint") or one after the other ("separate"); "auto": by their size."""
    decode: DecodeMode = "auto"
    """Decode frames whole or in blended tiles (less memory, not quite the same); "auto": tiles only where the whole
    would not fit the device's free memory."""
    decode_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the VAE's arithmetic when it decodes; its weights stay float32. bfloat16 is faster on a GPU."""
    text_encoder: Literal["free", "resident"] = "free"
    """"free": load the text encoder for prompts that are not stored, then free it. The mini model's always stays."""
    text_cache: str | None = "auto"
    """Folder of the stored text embeddings; "auto": in the platform's cache folder. None: nothing is stored."""
    seed: int = 0
    """Of random weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < math.inf:
            raise ConfigError(f"guidance is {self.guidance}: give a number from 0 on; 1 is none.")
        if self.weights == "random":
            try:
                named_architecture(self.folder)
            except InputError as error:
                raise ConfigError(str(error)) from error
        if self.text_encoder == "free" and self.text_cache is None and self.folder != MINI:
            raise ConfigError(
                'text_encoder = "free" needs a folder for the embeddings: set text_cache, or text_encoder = "resident".'
            )

    @property
    def text(self) -> TextOptions:
        """How long the text encoder stays, and where its results do."""
        if self.folder == MINI:
            return TextOptions()
        folder = default_cache_folder() if self.text_cache == "auto" else self.text_cache
        return TextOptions(
            keep=self.text_encoder == "resident", cache_folder=None if folder is None else Path(folder).expanduser()
        )


def load_model(config: ModelConfig, device: str, *, base_device: str | None = None) -> VideoModel:
    """The model on `device`, with its attention kernel chosen; not compiled yet (a LoRA may be merged first).

    base_device: where the transformer of a published Wan model is left; None: on `device`.
    Raises InputError if there is no such model, it is incomplete, or the device cannot compute as asked.
    """
    check_dtype(config.dtype, device)
    options: dict[str, Any] = {
        "guidance": config.guidance,
        "negative_prompt": config.negative_prompt,
        "decode": config.decode,
        "decode_dtype": getattr(torch, config.decode_dtype),
    }
    place: dict[str, Any] = {"device": device, "dtype": getattr(torch, config.dtype), "text": config.text}
    model = (
        _random(config, options, place)
        if config.weights == "random"
        else _published(config, options, place, base_device)
    )
    model.choose_attention(config.attention)
    return model


def model_needs(config: ModelConfig) -> tuple[Need, ...]:
    """What must be there before `load_model`; nothing for the packaged model and for random weights."""
    if config.folder == MINI or config.weights == "random":
        return ()
    folder = Path(config.folder).expanduser()
    return folder_needs(folder) if folder.is_dir() else (partial(find_folder, config.folder),)


def kin(config: ModelConfig) -> Architecture:
    """The published architecture that a model is treated like where nobody says how: the named one; for a folder, by
    its pipeline, Wan2.1-1.3B or CogVideoX1.5-5B.

    Raises InputError if there is no such model.
    """
    if config.weights == "random":
        return named_architecture(config.folder)
    if (architecture := find_architecture(config.folder)) is not None:
        return architecture
    cogvideox = pipeline_class(find_folder(config.folder)) == COGVIDEOX_PIPELINE
    return COGVIDEOX_1_5_5B if cogvideox else WAN_1_3B


def is_cogvideox(config: ModelConfig) -> bool:
    """Whether it only generates and takes no LoRA; nothing of a known one is fetched or loaded for that.

    Raises InputError as `kin`.
    """
    return config.folder != MINI and kin(config).kind == "cogvideox"


def _random(config: ModelConfig, options: Mapping[str, Any], place: Mapping[str, Any]) -> VideoModel:
    architecture = named_architecture(config.folder)
    if architecture.kind == "cogvideox":
        return CogVideoXSampler.from_architecture(architecture, seed=config.seed, **place, **options)
    return WanPolicy.from_architecture(
        architecture, seed=config.seed, guidance_batch=config.guidance_batch, **place, **options
    )


def _published(
    config: ModelConfig, options: Mapping[str, Any], place: Mapping[str, Any], base_device: str | None
) -> VideoModel:
    folder = mini_base() if config.folder == MINI else find_folder(config.folder)
    if pipeline_class(folder) == COGVIDEOX_PIPELINE:
        return CogVideoXSampler.from_folder(folder, **place, **options)
    return WanPolicy.from_folder(
        folder, base_device=base_device, guidance_batch=config.guidance_batch, **place, **options
    )


def check_dtype(name: str, device: str) -> None:
    """Raises InputError for bfloat16 on a GPU that only emulates it."""
    if name == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f'The GPU {torch.cuda.get_device_name()} has no bfloat16; set model.dtype = "float32" (--dtype float32).'
        )


def compile_model(model: VideoModel, config: ModelConfig) -> None:
    """Compiles the blocks if the recipe says so.

    The mini model meets many batch sizes and gets one code for all; a real one meets one or two, and code for a known
    size is the faster one.
    """
    if config.compile:
        model.compile(dynamic=True if config.folder == MINI else None)


def describe(model: VideoModel, config: ModelConfig) -> str:
    """One line for the start of a run: model, parameters, dtype, attention kernel, compile, checkpointing."""
    weights = " (random weights)" if config.weights == "random" else ""
    dtype = str(model.dtype).removeprefix("torch.")
    kernel = "torch's choice" if model.kernel == "torch" else model.kernel
    parts = [
        f"model {config.folder}{weights}: {_number(model.num_parameters)} parameters in {dtype}",
        f"attention {kernel}",
        f"compile {'on' if model.compiled else 'off'}",
    ]
    if isinstance(model, WanPolicy):
        parts.append(f"checkpointing {'on' if model.checkpointed else 'off'}")
    return ", ".join(parts)


def _number(parameters: int) -> str:
    """For example "1.42 B" or "5.1 M"."""
    return f"{parameters / 1e9:.3g} B" if parameters >= 1e8 else f"{parameters / 1e6:.3g} M"
