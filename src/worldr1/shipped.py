"""The long run that ships with worldr1: its adapter (called mini-r1), its recipe, its evaluations before and after."""

import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch

from worldr1.backends.mini import mini_index, mini_weights
from worldr1.build import MINI, ExperimentConfig, build_policy, choose_device, evaluation_config
from worldr1.errors import InputError
from worldr1.evaluate.comparison import Comparison
from worldr1.evaluate.evaluation import evaluate, path_finder, save_evaluation
from worldr1.evaluate.pages.report import AFTER, BEFORE, MINI_R1, PREVIEWS, SHIPPED_AFTER, SHIPPED_BEFORE
from worldr1.evaluate.records import RECORDS_FILE, Evaluation
from worldr1.pretrain.pack import write_index
from worldr1.protocols import VideoReward
from worldr1.train.adapter_file import ADAPTER_FILE, read_adapter, save_adapter
from worldr1.train.checkpoint import RECIPE_FILE
from worldr1.types import Prompt

FINAL = "final"
"""Folder of a run's result."""
SHIPPED = "adapter"
"""Folder in the packaged weights."""

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: of what, and up to which number; inside, it is called with the number that is done."""


def shipped_adapter(weights: Path | None = None) -> Path:
    """The packaged adapter. Raises InputError if this installation has none."""
    path = (weights or mini_weights()) / SHIPPED / ADAPTER_FILE
    if not path.is_file():
        raise InputError(f"This installation has no packaged adapter ({path} is missing); install worldr1 again.")
    return path


def find_adapter(name: str, weights: Path | None = None) -> Path:
    """The adapter that a user named: "mini-r1", the packaged one, or a file. Raises InputError if there is none."""
    if name == MINI_R1:
        return shipped_adapter(weights)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"There is no adapter file {name}: give the adapter.safetensors of a run, or {MINI_R1}, the packaged one."
        )
    return path


def evaluate_shipped(
    config: ExperimentConfig,
    prompts: Sequence[Prompt],
    reward: VideoReward,
    run_dir: Path,
    *,
    bar: Bar,
    weights: Path | None = None,
) -> Evaluation | None:
    """Evaluate the packaged adapter as the run evaluated its own result, into the run's previews/mini-r1.

    All prompts, the same start noises and sampler, the adapter's own guidance; the same videos are kept as in
    previews/after, which must exist. None if the run trained another model than the packaged one, or if none ships.
    """
    previews = run_dir / PREVIEWS
    adapter = (weights or mini_weights()) / SHIPPED / ADAPTER_FILE
    if config.model.folder != MINI or not adapter.is_file():
        return None
    if (previews / MINI_R1 / RECORDS_FILE).is_file():  # the run is resumed
        return Evaluation.load(previews / MINI_R1)
    try:
        model = replace(config.model, guidance=read_adapter(adapter)[0].guidance)
        policy = build_policy(model, choose_device(config.device), lora=adapter)
    except InputError as error:  # must not cost a finished run its report
        print(f"note: {MINI_R1} is not in the report: {error}", file=sys.stderr)
        return None
    settings = replace(
        evaluation_config(config, seed=config.prompts.seed),
        guidance=model.guidance,
        keep_videos=sum(record.video is not None for record in Evaluation.load(previews / AFTER).records),
        all_paths=False,
    )
    with bar(f"evaluation {MINI_R1}", len(prompts)) as show:
        evaluated = evaluate(
            policy,
            reward,
            path_finder(reward),
            prompts,
            config=settings,
            on_progress=lambda done, total: show(done),
        )
    save_evaluation(evaluated.evaluation, evaluated.videos, previews / MINI_R1)
    return evaluated.evaluation


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
    save_adapter(home / ADAPTER_FILE, halved, info)
    shutil.copyfile(run_dir / RECIPE_FILE, home / RECIPE_FILE)
    for name in (BEFORE, AFTER):
        shutil.copytree(previews / name, home / name, ignore=shutil.ignore_patterns("*.png"))
    return write_index(weights, mini_index(weights)["metrics"])
