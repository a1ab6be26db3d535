"""Model folders in the layout that diffusers publishes: found by path, short name or hub name, checked file by file.

Nothing is executed or unpickled: safetensors and JSON only. What is wrong is said with the file's name before anything
is loaded, because the libraries fill what is absent with random numbers or speak of something else.
"""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError

from worldr1.backends.architectures import ARCHITECTURES
from worldr1.backends.hub import go_offline_if_unreachable
from worldr1.backends.published_files import Need
from worldr1.errors import InputError, first_line

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
"""Sub-folders that a model folder must have."""
INDEX = "model_index.json"
AGAIN = "fetch or build the model again"

_WEIGHTS = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Stem of a part's weight files."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ORIGINAL = "models_t5_*.pth"
"""What the original release's folder holds and no other."""
_TOKENIZERS = ("tokenizer.json", "spiece.model")
"""Either makes the published tokenizers."""
_LFS_POINTER = b"version https://git-lfs"


# ----------------------------------------------------------------------------------------------------------- finding


def find_folder(name: str) -> Path:
    """The local folder of a path, a short name of `architectures.ARCHITECTURES`, or a name on the hub.

    A hub's model is downloaded into its usual cache, or taken from there. Raises InputError if there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    hub = ARCHITECTURES[name].hub if name in ARCHITECTURES else name
    wanted = [INDEX, *(f"{part}/{pattern}" for part in PARTS for pattern in ("*.json", "*.safetensors", "*.model"))]
    return fetch_folder(name, hub, wanted, contents=f"{INDEX} and the sub-folders {', '.join(PARTS)}")


def fetch_folder(name: str, hub: str, wanted: Sequence[str], *, contents: str) -> Path:
    """The hub's model `hub` in its usual cache, downloaded if it is not there; for a `name` that is no local folder.

    wanted: patterns of its files. contents: what a folder must hold, in words. Raises InputError if there is none.
    """
    if not _HUB_NAME.fullmatch(hub):
        raise InputError(
            f"There is no model folder {name}; give the folder that save_pretrained wrote, a name on the hub, or one "
            f"of {', '.join(ARCHITECTURES)}."
        )
    go_offline_if_unreachable()
    try:
        return Path(snapshot_download(hub, allow_patterns=list(wanted)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"There is no model folder {name}, and the hub's {hub} cannot be fetched ({first_line(error)}): give the "
            f"path of a folder that holds {contents}, copied from a machine with network."
        ) from error


# ----------------------------------------------------------------------------------------------------------- checking


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a model file; InputError if it is missing or no JSON."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The model file {path} cannot be read ({error}); {AGAIN}.") from error
    if not isinstance(value, dict):
        raise InputError(f"The model file {path} holds no JSON object; {AGAIN}.")
    return value


def pipeline_class(folder: Path) -> str:
    """Which pipeline the folder holds, as its model_index.json says; raises InputError for an incomplete folder."""
    if not folder.is_dir():
        raise InputError(f"There is no model folder {folder}; give the folder that save_pretrained wrote.")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing and (original := sorted(file.name for file in folder.glob(_ORIGINAL))):
        raise InputError(
            f"{folder} has the layout of Wan's own release ({original[0]}); give a folder in diffusers' layout, whose "
            "name on the hub ends in -Diffusers."
        )
    if missing or not (folder / INDEX).is_file():
        what = ", ".join(missing) or INDEX
        raise InputError(f"The model folder {folder} is incomplete: {what} is missing; {AGAIN}.")
    name = read_json(folder / INDEX).get("_class_name")
    if not isinstance(name, str):
        raise InputError(f"The model file {folder / INDEX} names no pipeline (_class_name); {AGAIN}.")
    return name


def check_folder(folder: Path, *, pipeline: str = "WanPipeline") -> None:
    """Raises InputError unless `folder` holds a whole one-transformer model of the named pipeline class."""
    found = pipeline_class(folder)
    if found != pipeline:
        raise InputError(f"{folder} holds a {found}; give a {pipeline} folder (text to video).")
    index = read_json(folder / INDEX)
    if index.get("boundary_ratio") is not None or index.get("expand_timesteps"):
        raise InputError(f"{folder} is a Wan 2.2 model (two transformers or per-token time); give a Wan 2.1 one.")
    for need in _file_needs(folder):
        need()


def folder_needs(folder: Path) -> tuple[Need, ...]:
    """The files of a pipeline's folder, whichever pipeline it is."""
    return partial(pipeline_class, folder), *_file_needs(folder)


def _file_needs(folder: Path) -> list[Need]:
    """Of the parts that are there: the others are missing whole, which `pipeline_class` says."""
    needs: list[Need] = []
    for part, stem in _WEIGHTS.items():
        if (folder / part).is_dir():
            needs += [partial(read_json, folder / part / "config.json"), partial(check_weights, folder / part, stem)]
    tokenizer = folder / "tokenizer"
    return [*needs, partial(check_one_of, tokenizer, _TOKENIZERS)] if tokenizer.is_dir() else needs


def check_one_of(folder: Path, names: Sequence[str]) -> None:
    """Raises InputError, with the first name, unless one of these files is there."""
    if not any((folder / name).is_file() for name in names):
        raise InputError(f"The model file {folder / names[0]} is missing; {AGAIN}.")


def check_weights(part: Path, stem: str) -> None:
    """Raises InputError unless every weight file of a part is there and is one.

    part: its folder. stem: of the files' names, as in `stem`.safetensors or `stem`.safetensors.index.json.
    """
    whole, index = part / f"{stem}.safetensors", part / f"{stem}.safetensors.index.json"
    names = [whole.name]
    if not whole.is_file() and index.is_file():
        weight_map = read_json(index).get("weight_map")
        named = isinstance(weight_map, dict) and all(isinstance(file, str) for file in weight_map.values())
        if not named or not weight_map:
            raise InputError(f"The model file {index} lists no weights; {AGAIN}.")
        names = sorted(set(weight_map.values()))
    absent = [name for name in names if not (part / name).is_file()]
    if absent and (pickled := sorted(file.name for file in part.iterdir() if file.suffix in _PICKLES)):
        raise InputError(
            f"{part} holds pickled weights ({pickled[0]}), which are not loaded because they can run code; "
            "give a model with .safetensors files."
        )
    if absent:
        others = f" and {len(absent) - 1} of {len(names)} more" if len(absent) > 1 else ""
        raise InputError(f"The model file {part / absent[0]} is missing{others}; {AGAIN}.")
    for name in names:
        with (part / name).open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise InputError(f"{part / name} is a Git LFS pointer and not the file itself; run git lfs pull there.")


# ------------------------------------------------------------------------------------------------------------ loading


def load_part(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """`kind.from_pretrained` from disk only; InputError for a damaged part, also for absent weights.

    The libraries fail in many ways on a damaged file, and fill weights that are absent with random numbers.
    """
    try:
        loaded = kind.from_pretrained(folder, subfolder=part, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder / part} cannot be loaded ({reason}); {AGAIN}.") from error
    if not options.get("output_loading_info"):
        return loaded
    model, info = loaded
    if info["missing_keys"]:
        absent = sorted(info["missing_keys"])
        raise InputError(f"{folder / part} lacks {len(absent)} weights ({absent[0]}); {AGAIN}.")
    return model


def load_scheduler(folder: Path, classes: tuple[Any, ...]) -> Any:
    """The scheduler if it is one of `classes`; raises InputError that names them otherwise."""
    known = {kind.__name__: kind for kind in classes}
    name = read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name", "nothing")
    if name not in known:
        raise InputError(f"{folder / 'scheduler'} is a {name}; the known ones are {', '.join(known)}.")
    return load_part(known[name], folder, "scheduler")
