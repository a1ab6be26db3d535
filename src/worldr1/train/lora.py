"""What is trained: a LoRA on a frozen base, or the whole network; and the adapter file that users load.

The file is what `diffusers.WanPipeline.load_lora_weights` reads, with lora_alpha in its metadata: without it diffusers
assumes alpha = rank, and a LoRA of alpha = 2 rank loads at half strength (research/stack.md 6.1, users.md 1).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import peft
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worldr1.errors import InputError
from worldr1.train.checkpoint import write_tensors
from worldr1.train.ema import swapped

ADAPTER_NAME = "default"
ADAPTER_FILE = "adapter.safetensors"
OWN_METADATA_KEY = "worldr1"
_PREFIX = "transformer."


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """The low-rank adapter: W + (alpha / rank) B A on every targeted linear layer."""

    rank: int = 32
    """Width of the bottleneck."""
    alpha: float = 64.0
    """Strength; the product B A is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Names of linear layers; these are the projections of self- and cross-attention (attn1, attn2) of every block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterInfo:
    """What an adapter file says about itself."""

    config: LoraConfig
    base: str
    """Name of the base model that it was trained on."""
    guidance: float
    """Guidance scale of its training; sampling should use the same."""


def add_lora(transformer: Any, config: LoraConfig, *, generator: torch.Generator) -> None:
    """Puts a float32 LoRA on `transformer`, a diffusers model; freezes the base and leaves the output unchanged.

    A is Gaussian with standard deviation 1 / rank, drawn from `generator` (CPU) in the order of names; B is 0.
    Raises InputError if no layer bears a target's name.
    """
    transformer.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):  # peft draws an initialisation of its own: keep the global stream as it is
        try:
            transformer.add_adapter(
                peft.LoraConfig(
                    r=config.rank,
                    lora_alpha=cast(int, config.alpha),  # peft divides it by the rank: a float is as good
                    target_modules=list(config.targets),
                    init_lora_weights="gaussian",
                ),
                adapter_name=ADAPTER_NAME,
            )
        except ValueError as error:
            raise InputError(
                f"No LoRA can be put on this model for the targets {list(config.targets)}: {error}"
            ) from error
    for name, parameter in sorted(lora_parameters(transformer).items()):
        parameter.data = parameter.data.float()
        with torch.no_grad():
            if ".lora_A." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / config.rank)
            else:
                parameter.zero_()


def lora_parameters(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by their names in the file, e.g. `blocks.0.attn1.to_q.lora_A.weight`."""
    return {
        name.replace(f".{ADAPTER_NAME}.", "."): parameter
        for name, parameter in transformer.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }


def prepare_trainable(
    transformer: nn.Module, trainable: Literal["lora", "full"], *, lora: LoraConfig, generator: torch.Generator
) -> dict[str, nn.Parameter]:
    """Freezes or thaws `transformer` and returns the parameters to train, by name.

    "lora": adds the adapter `lora`, in float32. "full": everything, in the dtype that was loaded: load float32.
    """
    if trainable == "lora":
        add_lora(transformer, lora, generator=generator)
        return lora_parameters(transformer)
    transformer.requires_grad_(True)
    return dict(transformer.named_parameters())


def lora_state(transformer: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU of the adapter's parameters, by their names in the file."""
    return {name: p.detach().to("cpu", copy=True) for name, p in lora_parameters(transformer).items()}


def load_lora_state(transformer: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copies `state` into the adapter that is there.

    Raises InputError, before anything is changed, if names or shapes differ: the adapter belongs to another base.
    """
    load_parameters(lora_parameters(transformer), state)


def load_parameters(parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copies `state` into `parameters` by name; InputError, before anything is changed, if names or shapes differ."""
    difference = _first_difference(_shapes(parameters), _shapes(state))
    if difference:
        raise InputError(f"The weights do not belong to this model ({difference}); use the base they were trained on.")
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _first_difference(model: Mapping[str, tuple[int, ...]], weights: Mapping[str, tuple[int, ...]]) -> str:
    """In words, the first name at which the shapes of the model and of the weights differ; empty if there is none."""
    for name in sorted(model.keys() | weights.keys()):
        here, there = model.get(name), weights.get(name)
        if here != there:
            return f"{name} is {there or 'absent'} in the weights and {here or 'absent'} in the model"
    return ""


@contextmanager
def base_model(transformer: nn.Module, base_state: Mapping[str, Tensor] | None = None) -> Iterator[None]:
    """Inside, `transformer` is the base model: the reference policy of the KL term.

    With a LoRA it is switched off, exactly and for free. A fully trained network has no base left, so it needs
    `base_state`, a copy of its parameters from before the training, which is swapped in.
    """
    if base_state is not None:
        with swapped(dict(transformer.named_parameters()), base_state):
            yield
        return
    layers = [module for module in transformer.modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ValueError("the transformer carries no LoRA: pass base_state, a copy of its parameters before training")
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextmanager
def merged_lora(transformer: nn.Module) -> Iterator[None]:
    """Inside, every LoRA is added into its layer's weights: W + (alpha / rank) B A, one product instead of four calls.

    For rollouts without gradient on a GPU, where launches cost more than arithmetic. Outputs equal the separate
    products' up to rounding, so a replay's ratio is 1 to about 1e-6 (float32) and not exactly: not for `exact_replay`.
    Afterwards the base's weights are the tensors they were, so nothing drifts. A network without a LoRA is left as it
    is, and so is a layer in bfloat16, which would round the adapter away.
    """
    lora: Any  # peft's layer, and its base layer a linear one
    layers = [
        (lora, lora.get_base_layer(), lora.get_base_layer().weight.data)
        for lora in transformer.modules()
        if isinstance(lora, LoraLayer)
    ]
    layers = [(lora, base, weight) for lora, base, weight in layers if weight.dtype == torch.float32]
    with torch.no_grad():
        for lora, base, weight in layers:
            up, down = lora.lora_B[ADAPTER_NAME].weight, lora.lora_A[ADAPTER_NAME].weight
            base.weight.data = torch.addmm(weight, up, down, alpha=lora.scaling[ADAPTER_NAME])
            lora.enable_adapters(False)
    try:
        yield
    finally:
        for lora, base, weight in layers:
            base.weight.data = weight
            lora.enable_adapters(True)


# ------------------------------------------------------------------------------------------------------ adapter file


def save_adapter(
    path: str | Path, state: Mapping[str, Tensor], config: LoraConfig, *, base: str, guidance: float
) -> None:
    """Writes `adapter.safetensors` whole or not at all.

    state: from `lora_state` (or its EMA). base: name of the base model. guidance: the training's guidance scale.
    """
    adapter = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": list(config.targets),
        "lora_dropout": 0.0,
        "bias": "none",
    }
    metadata = {
        "format": "pt",
        LORA_ADAPTER_METADATA_KEY: json.dumps({_PREFIX + key: value for key, value in adapter.items()}),
        OWN_METADATA_KEY: json.dumps({"base": base, "guidance": guidance}),
    }
    write_tensors(path, {_PREFIX + name: value for name, value in state.items()}, metadata=metadata)


def _adapter_info(metadata: Mapping[str, str], path: Path) -> AdapterInfo:
    try:
        adapter = json.loads(metadata[LORA_ADAPTER_METADATA_KEY])
        own = json.loads(metadata[OWN_METADATA_KEY])
        config = LoraConfig(
            rank=int(adapter[_PREFIX + "r"]),
            alpha=float(adapter[_PREFIX + "lora_alpha"]),
            targets=tuple(adapter[_PREFIX + "target_modules"]),
        )
        return AdapterInfo(config=config, base=str(own["base"]), guidance=float(own["guidance"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no adapter of worldr1 (its metadata are missing); give one that train wrote."
        ) from error


def read_adapter(path: str | Path) -> tuple[AdapterInfo, dict[str, Tensor]]:
    """What an adapter file holds; InputError if it is missing, damaged or from another program."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no adapter file {path}; give the adapter.safetensors of a run.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            state = {name.removeprefix(_PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error}); copy it again.") from error
    return _adapter_info(metadata, path), state


def load_adapter(path: str | Path, transformer: nn.Module) -> AdapterInfo:
    """Puts the adapter in `path` on a transformer that carries none yet.

    Raises InputError, and leaves the transformer as it is, if the adapter was trained on a base of another shape.
    """
    info, state = read_adapter(path)
    rank, expected = info.config.rank, {}
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(info.config.targets):
            expected[f"{name}.lora_A.weight"] = (rank, module.in_features)
            expected[f"{name}.lora_B.weight"] = (module.out_features, rank)
    difference = _first_difference(expected, _shapes(state))
    if difference:
        raise InputError(f"{path} was trained on {info.base}, which is another base than this model: {difference}.")
    add_lora(transformer, info.config, generator=torch.Generator())
    load_lora_state(transformer, state)
    return info
