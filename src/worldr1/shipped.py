"""The long run that ships with worldr1: its adapter, its recipe, and its evaluations before and after training."""

import shutil
from pathlib import Path

import torch

from worldr1.backends.mini import mini_index, mini_weights
from worldr1.build import MINI
from worldr1.errors import InputError
from worldr1.evaluate.comparison import Comparison
from worldr1.evaluate.report import AFTER, BEFORE, PREVIEWS, SHIPPED_AFTER, SHIPPED_BEFORE
from worldr1.pretrain.pack import write_index
from worldr1.train.checkpoint import RECIPE_FILE
from worldr1.train.lora import ADAPTER_FILE, read_adapter, save_adapter

FINAL = "final"
"""Folder of a run's result."""
SHIPPED = "adapter"
"""Folder in the packaged weights."""


def shipped_adapter(weights: Path | None = None) -> Path:
    """The packaged adapter. Raises InputError if this installation has none."""
    path = (weights or mini_weights()) / SHIPPED / ADAPTER_FILE
    if not path.is_file():
        raise InputError(f"This installation has no packaged adapter ({path} is missing); install worldr1 again.")
    return path


def copy_evaluations(previews: Path, weights: Path | None = None) -> Comparison | None:
    """Put the shipped run's evaluations into a run's `previews/`, where the report finds them; None if none shipped."""
    home = (weights or mini_weights()) / SHIPPED
    if not home.is_dir():
        return None
    for name, copy in ((BEFORE, SHIPPED_BEFORE), (AFTER, SHIPPED_AFTER)):
        shutil.copytree(home / name, previews / copy, dirs_exist_ok=True)
    return Comparison.load(previews / SHIPPED_BEFORE, previews / SHIPPED_AFTER)


def ship(run_dir: Path, weights: Path | None = None) -> dict[str, float]:
    """Put a finished run of the packaged model into the packaged weights, its adapter as bfloat16.

    Returns {"megabytes": total of all weights}. Raises InputError if the run has no adapter or lacks an evaluation, if
    it trained another model, or if the weights get too large.
    """
    weights = weights or mini_weights()
    info, tensors = read_adapter(run_dir / FINAL / ADAPTER_FILE)
    if info.base != MINI:
        raise InputError(f"{run_dir} trained {info.base}, not the packaged model; ship a run with model.folder = mini.")
    previews = run_dir / PREVIEWS
    if notes := Comparison.load(previews / BEFORE, previews / AFTER).notes:
        raise InputError(f"{run_dir} cannot ship: {notes[0]}")
    home = weights / SHIPPED
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    halved = {name: x.to(torch.bfloat16) for name, x in tensors.items()}
    save_adapter(home / ADAPTER_FILE, halved, info.config, base=info.base, guidance=info.guidance)
    shutil.copyfile(run_dir / RECIPE_FILE, home / RECIPE_FILE)
    for name in (BEFORE, AFTER):
        shutil.copytree(previews / name, home / name, ignore=shutil.ignore_patterns("*.png"))
    return write_index(weights, mini_index(weights)["metrics"])
