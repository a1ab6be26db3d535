"""Checkpoints: one folder of safetensors and JSON each, whole or not there at all.

A checkpoint is written into a hidden sibling, synced to disk and renamed, so that neither a kill nor a full disk leaves
half of one; a manifest with sha256 finds later damage. No pickle anywhere (research/users.md 4).
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from worldr1.errors import CheckpointError

CHECKPOINTS = "checkpoints"
"""Sub-folder of a run."""
RECIPE_FILE = "recipe.toml"
_MANIFEST = "manifest.json"
"""Format and the sha256 of every other file."""
_STATE = "state.json"
"""Updates done, whether all tensors are finite, score, `TrainState.extra`."""
_TENSOR_PARTS = ("params", "ema", "optimizer")
_FILES = (*(f"{part}.safetensors" for part in _TENSOR_PARTS), _STATE, RECIPE_FILE)
_TEMPORARY = ".tmp-"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainState:
    """All that a run needs to go on as if it had never stopped."""

    update: int
    """Updates done."""
    params: Mapping[str, Tensor]
    """Trained parameters by name."""
    ema: Mapping[str, Tensor]
    """`Ema.state_dict()`."""
    optimizer: Mapping[str, Tensor]
    """`optimizer_state()`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """JSON: seeds, data cursor, phase, counters, gradient-norm history, ... Generators that are seeded by
    `derive_seed(seed, stream, update, ...)` need nothing here."""


# ---------------------------------------------------------------------------------------------------------- optimizer


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU of the optimizer's tensors, as `exp_avg/<parameter name>`; empty before the first step.

    Learning rate and the like are not in it: they belong to the recipe. Raises ValueError for state that is no tensor.
    """
    tensors = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise ValueError(f"optimizer state {key} of {name} is a {type(value).__name__}, not a tensor")
            tensors[f"{key}/{name}"] = value.detach().to("cpu", copy=True)
    return tensors


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_state` gave; raises CheckpointError if it is of other parameters."""
    # AdamW keeps its step counter on the CPU unless it is fused or capturable.
    counts_on_device = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    optimizer.state.clear()
    for key, value in state.items():
        kind, _, name = key.partition("/")
        parameter = parameters.get(name)
        if parameter is None or (kind != "step" and value.shape != parameter.shape):
            raise CheckpointError(f"The optimizer's {kind} of {name} is of another model; resume with its own recipe.")
        device = parameter.device if kind != "step" or counts_on_device else "cpu"
        optimizer.state[parameter][kind] = value.to(device, copy=True)


# -------------------------------------------------------------------------------------------------------------- files


def _sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> str:
    """Writes and syncs one file; returns its sha256."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _tensor_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file. Built in memory, because then a full disk is an OSError with its number."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return safetensors.torch.save(plain, metadata=metadata)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """Writes one safetensors file whole or not at all (OSError, for example when the disk is full)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        _write(temporary, _tensor_bytes(tensors, metadata))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


# --------------------------------------------------------------------------------------------------------- checkpoint


def _discard(checkpoint: Path) -> None:
    """Deletes a checkpoint; renamed first, so that a kill in the middle leaves none that looks whole."""
    doomed = checkpoint.with_name(f"{_TEMPORARY}old-{checkpoint.name}")
    checkpoint.replace(doomed)
    shutil.rmtree(doomed)


def _is_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values())


def save_checkpoint(
    run_dir: str | Path, state: TrainState, *, recipe: str, score: float | None = None, keep_last: int = 3
) -> Path:
    """Writes `run_dir/checkpoints/NNNNNN` (NNNNNN: updates done), then deletes old ones.

    recipe: the resolved recipe as TOML. score: higher is better, decides which checkpoint is the best; None: unknown.
    Kept are the last `keep_last`, the newest whose tensors are all finite, and the best of the finite ones.
    Raises OSError if it cannot be written (disk full); the earlier checkpoints are then as they were.
    """
    parent = Path(run_dir) / CHECKPOINTS
    parent.mkdir(parents=True, exist_ok=True)
    for stale in parent.glob(f"{_TEMPORARY}*"):  # left by a process that was killed while it wrote
        shutil.rmtree(stale)
    final = parent / f"{state.update:06d}"
    temporary = parent / f"{_TEMPORARY}{final.name}"
    temporary.mkdir()
    try:
        _write_parts(temporary, state, recipe=recipe, score=score)
        _sync_folder(temporary)
        if final.exists():  # the run was resumed from an earlier checkpoint and has come here again
            _discard(final)
        temporary.replace(final)
        _sync_folder(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _prune(run_dir, keep_last)
    return final


def _write_parts(folder: Path, state: TrainState, *, recipe: str, score: float | None) -> None:
    parts = {f"{part}.safetensors": getattr(state, part) for part in _TENSOR_PARTS}
    hashes = {name: _write(folder / name, _tensor_bytes(tensors)) for name, tensors in parts.items()}
    summary = {
        "update": state.update,
        "finite": all(_is_finite(tensors) for tensors in parts.values()),
        "score": score if score is not None and math.isfinite(score) else None,
        "extra": dict(state.extra),
    }
    hashes[_STATE] = _write(folder / _STATE, json.dumps(summary, indent=1).encode())
    hashes[RECIPE_FILE] = _write(folder / RECIPE_FILE, recipe.encode())
    _write(folder / _MANIFEST, json.dumps({"format": _FORMAT, "sha256": hashes}, indent=1).encode())


def _damaged(file: Path) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint file {file} is damaged or missing; delete the folder {file.parent} and resume from the "
        "checkpoint before it."
    )


def _read_hashes(path: Path) -> dict[str, str]:
    """File name -> sha256 from the manifest; CheckpointError if it cannot be read."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        found, hashes = manifest["format"], dict(manifest["sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path / _MANIFEST) from error
    if found != _FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this worldr1 reads {_FORMAT}; use the one it is of."
        )
    return hashes


def _read_verified(file: Path, hashes: Mapping[str, str]) -> bytes:
    """One file's content; CheckpointError unless its sha256 is the manifest's."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _damaged(file) from error
    if hashlib.sha256(data).hexdigest() != hashes.get(file.name):
        raise _damaged(file)
    return data


def _read_summary(path: Path) -> dict[str, Any]:
    """`state.json`, verified."""
    return json.loads(_read_verified(path / _STATE, _read_hashes(path)))


def list_checkpoints(run_dir: str | Path) -> list[Path]:
    """Folders of all checkpoints of a run, oldest first."""
    parent = Path(run_dir) / CHECKPOINTS
    found = [path for path in parent.glob("*") if path.name.isdecimal() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def _prune(run_dir: str | Path, keep_last: int) -> None:
    """Deletes the checkpoints that `save_checkpoint` does not promise to keep; a damaged one is none of these."""
    checkpoints = list_checkpoints(run_dir)
    summaries = {}
    for path in checkpoints:
        with suppress(CheckpointError):
            summaries[path] = _read_summary(path)
    finite = [path for path, summary in summaries.items() if summary["finite"]]
    scored = [path for path in finite if summaries[path]["score"] is not None]
    best = sorted(scored, key=lambda path: summaries[path]["score"])[-1:]
    keep = {*checkpoints[-max(1, keep_last) :], *finite[-1:], *best}
    for path in checkpoints:
        if path not in keep:
            _discard(path)


def latest_checkpoint(run_dir: str | Path) -> Path:
    """Folder of the newest checkpoint whose tensors are all finite.

    Raises CheckpointError if the run has none or its newest is damaged; only `load_checkpoint` verifies the tensors.
    """
    for path in reversed(list_checkpoints(run_dir)):
        if _read_summary(path)["finite"]:
            return path
    raise CheckpointError(f"{run_dir} holds no checkpoint to resume from; start a new run with another --out.")


def load_checkpoint(path: str | Path) -> TrainState:
    """Reads a checkpoint (tensors on the CPU) after verifying every file against the manifest.

    Raises CheckpointError, which names the file and says what to do, if one is damaged or missing.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint {path}; give a folder such as RUN/{CHECKPOINTS}/000010.")
    hashes = _read_hashes(path)
    data = {name: _read_verified(path / name, hashes) for name in _FILES}
    summary = json.loads(data[_STATE])
    tensors = {part: safetensors.torch.load(data[f"{part}.safetensors"]) for part in _TENSOR_PARTS}
    return TrainState(update=summary["update"], extra=summary["extra"], **tensors)
