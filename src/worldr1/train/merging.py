"""An adapter merged into the full weights of its base: a pipeline folder that needs no LoRA loader.

Works on the files, one at a time: nothing is instantiated, so memory is that of the largest file, and every tensor
keeps the type that it has on disk.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldr1.backends.model_folder import PARTS, check_folder, read_json
from worldr1.errors import InputError
from worldr1.train.adapter_file import AdapterInfo, own_metadata
from worldr1.train.lora_formats import LoraPair, adapter_layers

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TYPES = ("F32", "BF16", "F16")
"""As safetensors calls them; quantised weights cannot take a sum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What was merged."""

    layers: int
    """Linear layers that changed."""
    dtype: str
    """Of their weights, as before."""
    rounding: float
    """What rounding to that type lost: norm of the error over the norm of the adapter's change. 0 in float32."""


def merge_folder(
    base: Path,
    out: Path,
    state: Mapping[str, Tensor],
    info: AdapterInfo,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Merged:
    """Writes `base`, a Wan pipeline folder, again to `out` with W + (alpha / rank) B A in its transformer.

    The sum is taken in float32 and rounded to the type of W. state, info: the adapter's (`read_adapter`);
    `read_merged_info` finds info again. All else is copied. `out` appears whole or not at all; a folder that is there
    is replaced. on_progress: files done, and all.
    Raises InputError, before anything is written, if the folder is not complete or the adapter does not fit it.
    """
    check_folder(base, pipeline="WanPipeline")
    pairs = adapter_layers(state)
    files = _weight_files(base / "transformer")
    _check_fit(files, pairs, base)
    temporary = out.with_name(f".tmp-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed while it wrote
    try:
        _copy_all_else(base, temporary)
        sums: list[_Sums] = []
        for number, file in enumerate(files):
            tensors, found = _merged(file, pairs, info.config.scale)
            save_file(tensors, temporary / "transformer" / file.name, metadata=own_metadata(info))
            sums.append(found)
            on_progress(number + 1, len(files))
        _put_in_place(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    change, error = sum(s.change for s in sums), sum(s.error for s in sums)
    types = sorted({name for s in sums for name in s.types})
    return Merged(layers=len(pairs), dtype=", ".join(types), rounding=(error / change) ** 0.5 if change else 0.0)


def _weight_files(folder: Path) -> list[Path]:
    """The transformer's safetensors files, in the order of their names."""
    index = folder / f"{_WEIGHTS}.index.json"
    names = set(read_json(index).get("weight_map", {}).values()) if index.is_file() else {_WEIGHTS}
    files = [folder / name for name in sorted(names)]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing; fetch the model again (only safetensors weights are read).")
    return files


def _check_fit(files: list[Path], pairs: Mapping[str, LoraPair], base: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
                shapes |= {name: tuple(part.get_shape()) for name, part in found.items()}
                types |= {name: part.get_dtype() for name, part in found.items()}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} is damaged ({error}); fetch the model again.") from error
    for layer, pair in pairs.items():
        name, expected = f"{layer}.weight", (len(pair.up), pair.down.shape[1])
        if shapes.get(name) != expected:
            raise InputError(
                f"The adapter does not fit {base}: {name} is {shapes.get(name) or 'absent'} there and {expected} in "
                "the adapter; give the model that it was trained on."
            )
        if types[name] not in _TYPES:
            raise InputError(f"{name} of {base} is {types[name]}; give the base in float32, bfloat16 or float16.")


@dataclass(slots=True)
class _Sums:
    """Over the layers of a file."""

    change: float
    """Sum of squares of what the adapter adds."""
    error: float
    """The same of what rounding lost."""
    types: set[str]


def _merged(file: Path, pairs: Mapping[str, LoraPair], scale: float) -> tuple[dict[str, Tensor], _Sums]:
    sums, tensors = _Sums(0.0, 0.0, set()), {}
    with safe_open(file, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118
            tensor: Tensor = weights.get_tensor(name)
            pair = pairs.get(name.removesuffix(".weight"))
            if pair is not None and name.endswith(".weight"):
                change = scale * (pair.up.float() @ pair.down.float())
                exact = tensor.float() + change
                tensor = exact.to(tensor.dtype)
                sums.change += float(change.double().square().sum())
                sums.error += float((tensor.float() - exact).double().square().sum())
                sums.types.add(str(tensor.dtype).removeprefix("torch."))
            tensors[name] = tensor
    return tensors, sums


def _copy_all_else(base: Path, out: Path) -> None:
    """Every part of the pipeline but the transformer's weights (symbolic links of a hub cache become files)."""
    out.mkdir(parents=True)
    shutil.copyfile(base / "model_index.json", out / "model_index.json")
    for part in PARTS:
        weights = ("*.safetensors", "*.bin") if part == "transformer" else ()
        shutil.copytree(base / part, out / part, ignore=shutil.ignore_patterns(*weights))


def _put_in_place(temporary: Path, out: Path) -> None:
    old = out.with_name(f".tmp-old-{out.name}")
    if out.exists():
        out.replace(old)
    temporary.replace(out)
    shutil.rmtree(old, ignore_errors=True)
