"""What is trained: a LoRA on a frozen base, or the whole network. Its file is `train.adapter_file`'s."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from worldr1.errors import InputError
from worldr1.train.adapter_file import AdapterInfo, BaseShape, LoraConfig, check_base, read_adapter
from worldr1.train.ema import swapped

ADAPTER_NAME = "default"


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


def graph_of(network: nn.Module) -> tuple[dict[str, str], dict[str, tuple[torch.Size, torch.dtype]]]:
    """Classes of all modules, and shapes and dtypes of all parameters, by name: equal where networks compute alike."""
    modules = {name: type(module).__name__ for name, module in network.named_modules()}
    return modules, {name: (parameter.shape, parameter.dtype) for name, parameter in network.named_parameters()}


@torch.no_grad()
def copy_merged(transformer: nn.Module, onto: nn.Module) -> None:
    """Gives `onto`, a network of the same kind that carries no LoRA, the weights of `transformer`.

    A LoRA is added in: W + (alpha / rank) B A in float32. All is rounded once to the dtypes of `onto`.
    """
    targets = dict(onto.named_parameters())
    adapted: dict[str, Any] = {name: m for name, m in transformer.named_modules() if isinstance(m, LoraLayer)}
    plain = {
        name.replace(".base_layer.", "."): parameter
        for name, parameter in transformer.named_parameters()
        if ".lora_A." not in name and ".lora_B." not in name
    }
    for name, layer in adapted.items():  # one by one: float32 copies of all would not fit beside a large model
        weight = plain.pop(f"{name}.weight").float()
        up, down = layer.lora_B[ADAPTER_NAME].weight, layer.lora_A[ADAPTER_NAME].weight
        targets[f"{name}.weight"].copy_(torch.addmm(weight, up, down, alpha=layer.scaling[ADAPTER_NAME]))
    torch._foreach_copy_([targets[name] for name in plain], list(plain.values()))


# ---------------------------------------------------------------------------------------------------------------- file


def load_adapter(path: str | Path, transformer: Any, *, model: str = "") -> AdapterInfo:
    """Puts the adapter in `path` on a transformer of diffusers that carries none yet. model: its name, for the message.

    Raises InputError, and leaves the transformer as it is, if the adapter was trained on a base of another shape.
    """
    info, state = read_adapter(path)
    check_base(path, info, state, BaseShape.of_config(transformer.config), model=model)
    rank, expected = info.config.rank, {}
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and info.config.is_target(name):
            expected[f"{name}.lora_A.weight"] = (rank, module.in_features)
            expected[f"{name}.lora_B.weight"] = (module.out_features, rank)
    difference = _first_difference(expected, _shapes(state))
    if difference:
        raise InputError(f"{path} was trained on {info.base}, which is another base than this model: {difference}.")
    add_lora(transformer, info.config, generator=torch.Generator())
    load_lora_state(transformer, state)
    return info
