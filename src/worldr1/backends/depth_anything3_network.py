"""The networks of the package `depth-anything-3`: names, licences, building, loading.

Only the package's `cfg` and `model` parts are imported. They need torch, numpy, einops, addict and omegaconf, no more:
its `api` module would bring torchvision and moviepy, and its own Gaussian adapter evo (GPL-3.0) and e3nn, which is why
`RawGaussians` stands in for that adapter and `backends.depth_anything3` does its arithmetic.

Weights lie in a folder of the layout that is published on the hub: config.json, which names the architecture, and
model.safetensors. Nothing else of config.json is used: it could name any class to import.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from worldr1.backends.hub import go_offline_if_unreachable
from worldr1.backends.published_files import RANDOM, Need
from worldr1.errors import InputError, first_line

RAW_CHANNELS = (2, 3, 4, 27, 1)
"""Channels of the Gaussian head: offset in pixels, scales, quaternion, 3 x 9 spherical harmonics, offset of depth."""
INSTALL = (
    "pip install 'worldr1[da3]' and then pip install --no-deps depth-anything-3==0.1.1 "
    "(its own requirements are not needed)"
)


_CFG, _OMEGACONF = "depth_anything_3.cfg", "omegaconf"
_LOGGER, _NETWORK = "depth_anything_3.utils.logger", "depth_anything_3.model.da3"
_MODULES = (_CFG, _OMEGACONF, _LOGGER, _NETWORK)
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """What is published under a name."""

    hub_name: str
    architecture: str
    """The package's own name of it."""
    licence: str
    """Of the weights; the code is Apache-2.0."""


MODELS: Mapping[str, PublishedModel] = {
    "da3-giant-1.1": PublishedModel(
        hub_name="depth-anything/DA3-GIANT-1.1",
        architecture="da3-giant",
        licence="CC BY-NC 4.0 (DA3-GIANT-1.1: no commercial use)",
    ),
    "da3-large-1.1": PublishedModel(
        hub_name="depth-anything/DA3-LARGE-1.1",
        architecture="da3-large",
        licence="CC BY-NC 4.0 (DA3-LARGE-1.1: no commercial use)",
    ),
    "da3-base": PublishedModel(
        hub_name="depth-anything/DA3-BASE", architecture="da3-base", licence="Apache-2.0 (DA3-BASE)"
    ),
    "da3-small": PublishedModel(
        hub_name="depth-anything/DA3-SMALL", architecture="da3-small", licence="Apache-2.0 (DA3-SMALL)"
    ),
}
"""Only da3-giant-1.1 has a Gaussian head."""
DEPRECATED = ("da3-giant", "da3-large")
"""Published before a bug in their training was mended; their authors ask for the ones called -1.1."""


def published_model(name: str) -> PublishedModel:
    """One of `MODELS`; raises InputError for a name that is unknown or deprecated."""
    if name in MODELS:
        return MODELS[name]
    if name in DEPRECATED:
        raise InputError(f"{name} was trained with a bug and is deprecated by its authors; use {name}-1.1 instead.")
    raise InputError(f"There is no Depth Anything 3 model {name!r}; choose one of {', '.join(MODELS)}.")


def load_network(model: PublishedModel, weights: str, *, device: torch.device, seed: int) -> nn.Module:
    """The network on `device`, in eval mode and without gradients.

    weights: a folder, a hub name, "" for the model's own hub name, or `RANDOM` (drawn from `seed`).
    Raises InputError if the package or the weights are missing, damaged, or of another architecture.
    """
    folder = None if weights == RANDOM else _weights_folder(weights or model.hub_name)
    if folder is not None:
        _check_architecture(folder / "config.json", model)
    network = build_network(architecture_config(model.architecture), device=device, seed=seed)
    if folder is not None:
        _load_strictly(network, folder / _WEIGHTS, device)
    return network


def network_needs(model: PublishedModel, weights: str) -> tuple[Need, ...]:
    """The package, and unless weights are `RANDOM` the two files. weights: as `load_network`."""
    if weights == RANDOM:
        return (_check_package,)
    folder = Path(weights or model.hub_name)
    if not folder.is_dir():
        return _check_package, partial(_weights_folder, str(weights or model.hub_name))
    config, file = folder / "config.json", folder / _WEIGHTS
    return _check_package, partial(_check_architecture, config, model), partial(_check_there, file)


def _check_package() -> None:
    for module in _MODULES:
        _import(module)


def architecture_config(architecture: str) -> dict[str, Any]:
    """The package's own description of an architecture, as plain dicts. Raises InputError without the package."""
    cfg = _import(_CFG)
    described = cfg.load_config(f"depth_anything_3.configs.{architecture}")
    config = _import(_OMEGACONF).OmegaConf.to_container(described, resolve=True)
    del config["__object__"]
    return config


def build_network(config: Mapping[str, Any], *, device: torch.device, seed: int) -> nn.Module:
    """The randomly initialised network of an `architecture_config`; the global random state is left as it was."""
    parts = dict(config)
    if "gs_adapter" in parts:
        parts["gs_adapter"] = RawGaussians()
    # its messages go to stdout, which belongs to --json
    _import(_LOGGER).logger.level = 0
    network_class = _import(_NETWORK).DepthAnything3Net
    with torch.random.fork_rng(range(torch.cuda.device_count())), device:
        torch.manual_seed(seed)
        network: nn.Module = network_class(**parts)
    return network.to(device).eval().requires_grad_(False)


class RawGaussians(nn.Module):
    """In the place of the package's Gaussian adapter: hands on what the Gaussian head says, per pixel.

    The adapter would place the Gaussians with the network's own cameras; here cameras can be replaced first. It has no
    parameters either, so that published weights fit.
    """

    d_in = sum(RAW_CHANNELS)

    def forward(self, *, raw_gaussians: Tensor, opacities: Tensor, **_: object) -> dict[str, Tensor]:
        """`raw` [1, T, H, W, 37] and `opacities` [1, T, H, W]; cameras and depth are ignored."""
        return {"raw": raw_gaussians, "opacities": opacities}


def _import(module: str) -> Any:
    """A module of the package or of what it needs; raises InputError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"Depth Anything 3 cannot be imported ({error}): {INSTALL}.") from error


def _weights_folder(weights: str) -> Path:
    """The local folder of a folder's or a hub's name; downloads what the hub's cache lacks."""
    if Path(weights).is_dir():
        return Path(weights)
    name = weights.lower()
    if name.startswith("depth-anything/") and name.removeprefix("depth-anything/") in DEPRECATED:
        raise InputError(f"{weights} was trained with a bug and is deprecated; use {weights}-1.1 instead.")
    remedy = "give the path of a folder that holds config.json and model.safetensors"
    go_offline_if_unreachable()
    try:
        config, _ = (hf_hub_download(weights, name) for name in ("config.json", _WEIGHTS))
    except HFValidationError as error:
        raise InputError(f"{weights!r} is neither a folder nor a name on the hub; {remedy}.") from error
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"The weights {weights} cannot be downloaded ({first_line(error)}); {remedy}.") from error
    return Path(config).parent


def _check_architecture(path: Path, model: PublishedModel) -> None:
    """Raises InputError unless config.json names the model's architecture."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} is missing; download the whole folder of {model.hub_name}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON; download {model.hub_name} again.") from error
    found = config.get("model_name") if isinstance(config, dict) else None
    if found != model.architecture:
        raise InputError(
            f"{path} describes {found!r}, not {model.architecture!r}; choose the model that it belongs to."
        )


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; download the whole folder.")


def _load_strictly(network: nn.Module, path: Path, device: torch.device) -> None:
    """Fills every parameter from the file, and no tensor is left over; raises InputError otherwise.

    Some of the network's layers are one and the same under several names, of which a published file holds one.
    """
    _check_there(path)
    try:
        # published by a wrapper that holds the network as its member `model`
        tensors = {name.removeprefix("model."): x for name, x in load_file(path, device=str(device)).items()}
        left_over = network.load_state_dict(tensors, strict=False).unexpected_keys
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is damaged or of another model ({reason}); download it again.") from error
    state = network.state_dict()
    filled = {state[name].data_ptr() for name in tensors.keys() & state.keys()}
    empty = [name for name, x in state.items() if x.data_ptr() not in filled]
    if empty or left_over:
        problems = [f"{len(x)} {what}, such as {x[0]}" for x, what in ((empty, "missing"), (left_over, "unknown")) if x]
        raise InputError(f"{path} is of another model (tensors: {'; '.join(problems)}); choose the right one.")
