"""Checkpoints: one folder of safetensors and JSON each, whole or not there at all.

A checkpoint is written into a hidden sibling, synced to disk and renamed, so that neither a kill nor a full disk leaves
half of one; a manifest with sha256 finds later damage, and the one before is used. Numbers that are not finite are
neither written nor read. No pickle anywhere (research/users.md 4). What was measured: docs/reliability.md.
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
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from worldr1.errors import CheckpointError, TrainingError

CHECKPOINTS = "checkpoints"
"""Sub-folder of a run."""
RECIPE_FILE = "recipe.toml"
_MANIFEST = "manifest.json"
"""Format and the sha256 of every other file."""
_STATE = "state.json"
"""Updates done, score, `TrainState.extra`."""
_TENSOR_PARTS = ("params", "ema", "optimizer")
_FILES = (*(f"{part}.safetensors" for part in _TENSOR_PARTS), _STATE, RECIPE_FILE)
_TEMPORARY = ".tmp-"
_DAMAGED = "damaged-"
"""Before the number of a checkpoint that a resume could not use."""
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


def write_whole(path: str | Path, data: bytes) -> None:
    """Writes one file whole or not at all (OSError, for example when the disk is full)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        _write(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str]) -> None:
    """`write_whole` of one safetensors file."""
    write_whole(path, _tensor_bytes(tensors, metadata))


# --------------------------------------------------------------------------------------------------------- checkpoint


def _discard(checkpoint: Path) -> None:
    """Deletes a checkpoint; renamed first, so that a kill in the middle leaves none that looks whole."""
    doomed = checkpoint.with_name(f"{_TEMPORARY}old-{checkpoint.name}")
    checkpoint.replace(doomed)
    shutil.rmtree(doomed)


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of a tensor with a number that is not finite; "" if there is none. Waits for the device once."""
    if not tensors:
        return ""
    finite = torch.stack([torch.isfinite(value).all() for value in tensors.values()]).tolist()
    return next((name for name, good in zip(tensors, finite, strict=True) if not good), "")


def _all_tensors(state: TrainState) -> dict[str, Tensor]:
    return {f"{part}/{name}": value for part in _TENSOR_PARTS for name, value in getattr(state, part).items()}


def save_checkpoint(
    run_dir: str | Path, state: TrainState, *, recipe: str, score: float | None = None, keep_last: int = 3
) -> Path:
    """Writes `run_dir/checkpoints/NNNNNN` (NNNNNN: updates done), then deletes old ones.

    recipe: the resolved recipe as TOML. score: higher is better, decides which checkpoint is the best; None: unknown.
    Kept are the last `keep_last` and the best. Raises TrainingError for a state that is not finite, OSError if it
    cannot be written (disk full); the earlier checkpoints are then as they were.
    """
    if name := first_not_finite(_all_tensors(state)):
        raise TrainingError(
            f"After update {state.update} {name} is not finite, so no checkpoint of it is written; go on from the one "
            f"before with worldr1 train --resume {run_dir}, with a lower train.lr if it happens again."
        )
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
        "score": score if score is not None and math.isfinite(score) else None,
        "extra": dict(state.extra),
    }
    hashes[_STATE] = _write(folder / _STATE, json.dumps(summary, indent=1).encode())
    hashes[RECIPE_FILE] = _write(folder / RECIPE_FILE, recipe.encode())
    _write(folder / _MANIFEST, _manifest(hashes))


def _manifest(hashes: Mapping[str, str], version: int = _FORMAT) -> bytes:
    return json.dumps({"format": version, "sha256": hashes}, indent=1).encode()


def _damaged(file: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint file {file} is damaged or missing; use the checkpoint before it.")


def _read_hashes(path: Path) -> dict[str, str]:
    """File name -> sha256 from the manifest; CheckpointError if it cannot be read."""
    try:
        data = (path / _MANIFEST).read_bytes()
        manifest = json.loads(data)
        found, hashes = manifest["format"], dict(manifest["sha256"])
        if data != _manifest(hashes, found):  # nothing guards the manifest but that it is to the byte what we write
            raise ValueError("the manifest was changed")
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
    scores = {}
    for path in checkpoints:
        with suppress(CheckpointError):
            scores[path] = _read_summary(path)["score"]
    scored = [path for path, score in scores.items() if score is not None]
    best = sorted(scored, key=lambda path: scores[path])[-1:]
    keep = {*checkpoints[-max(1, keep_last) :], *best}
    for path in checkpoints:
        if path not in keep:
            _discard(path)


def load_checkpoint(path: str | Path) -> TrainState:
    """Reads a checkpoint (tensors on the CPU) after verifying every file against the manifest.

    Raises CheckpointError, which names the file and says what to do, if one is damaged or missing, if the folder has
    another checkpoint's number, or if a tensor is not finite.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint {path}; give a folder such as RUN/{CHECKPOINTS}/000010.")
    hashes = _read_hashes(path)
    data = {name: _read_verified(path / name, hashes) for name in _FILES}
    summary = json.loads(data[_STATE])
    if path.name.isdecimal() and int(path.name) != summary["update"]:
        raise CheckpointError(
            f"The checkpoint {path} is that of update {summary['update']}; give its folder that name again."
        )
    tensors = {part: safetensors.torch.load(data[f"{part}.safetensors"]) for part in _TENSOR_PARTS}
    state = TrainState(update=summary["update"], extra=summary["extra"], **tensors)
    if name := first_not_finite(_all_tensors(state)):
        raise CheckpointError(f"The checkpoint {path} is not finite ({name}); use the checkpoint before it.")
    return state


class Newest(NamedTuple):
    """What a run can go on from."""

    path: Path
    state: TrainState
    recipe: str
    """The resolved recipe that it was trained with, TOML."""
    problems: Mapping[Path, str]
    """Newer checkpoints that cannot be used, newest first, and what is wrong with each."""


def find_newest(run_dir: str | Path) -> Newest | None:
    """The newest checkpoint that is whole and finite; None if the run has none at all. Changes nothing.

    Raises CheckpointError if it has some and none can be used.
    """
    problems: dict[Path, str] = {}
    for path in reversed(list_checkpoints(run_dir)):
        try:
            state = load_checkpoint(path)
        except CheckpointError as error:
            problems[path] = str(error).partition(";")[0]
        else:
            return Newest(path, state, (path / RECIPE_FILE).read_text(encoding="utf-8"), problems)
    if not problems:
        return None
    parent = Path(run_dir) / CHECKPOINTS
    raise CheckpointError(
        f"No checkpoint of {run_dir} can be used: {next(iter(problems.values()))}; bring back a copy of one, or delete "
        f"{parent} and resume to begin again."
    )


def latest_checkpoint(run_dir: str | Path) -> Path:
    """Folder of the newest checkpoint that is whole and finite. Raises CheckpointError if there is none."""
    newest = find_newest(run_dir)
    if newest is None:
        raise CheckpointError(f"{run_dir} holds no checkpoint to resume from; start a new run with another --out.")
    return newest.path


def set_aside(newest: Newest) -> str:
    """Renames what could not be used to `damaged-NNNNNN`, so that it does not count as a checkpoint any more.

    Returns a sentence about it; "" if there was nothing to do.
    """
    for path in newest.problems:
        aside = path.with_name(f"{_DAMAGED}{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
    if not newest.problems:
        return ""
    return (
        f"warning: {'; '.join(newest.problems.values())}. Going on from the checkpoint before, of update "
        f"{newest.state.update}; what is damaged is kept as {_DAMAGED}NNNNNN."
    )
