"""A run folder as the processes of a run open it: rank 0 locks, reads and writes it, the others are told."""

import sys
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

from worldr1.build import ExperimentConfig
from worldr1.config import config_differences, parse_config
from worldr1.errors import InputError
from worldr1.train.checkpoint import RECIPE_FILE, Newest, find_newest
from worldr1.train.environment import is_recorded_recipe, restore_environment
from worldr1.train.ranks import Ranks
from worldr1.train.run_lock import RunLock
from worldr1.train.runlog import Metric, RunLog, check_is_run
from worldr1.train.stopping import JudgeConfig, Look
from worldr1.train.trainer import Trainer
from worldr1.train.watch import Watch


class OpenRun(NamedTuple):
    """A run that goes on."""

    lock: RunLock
    newest: Newest | None


def open_run(config: ExperimentConfig, run_dir: Path, override: bool, stack: ExitStack) -> OpenRun:
    """A run that is to go on, locked until `stack` closes; gives torch its number of threads.

    Raises InputError if the folder holds no run, is in use, or was trained with another recipe and not `override`;
    CheckpointError if it has checkpoints and none can be used.
    """
    check_is_run(run_dir)
    lock = stack.enter_context(closing(RunLock(run_dir)))
    newest = find_newest(run_dir)
    recipe = (run_dir / RECIPE_FILE).read_text(encoding="utf-8")
    if newest is not None and not is_recorded_recipe(run_dir, recipe):
        recipe = newest.recipe  # somebody has edited the file since
    say = partial(print, file=sys.stderr)
    if changed := _check_recipe(recipe, config, run_dir, override):
        say(changed)
    restore_environment(run_dir, say)
    return OpenRun(lock, newest)


def _check_recipe(recipe: str, config: ExperimentConfig, run_dir: Path, override: bool) -> str:
    """A line about the keys in which `config` differs from the TOML `recipe` of a run; InputError unless `override`."""
    before = parse_config(ExperimentConfig, tomllib.loads(recipe), where=f"the recipe of {run_dir}")
    differences = config_differences(before, config)
    if not differences:
        return ""
    if not override:
        raise InputError(
            f"{run_dir} was trained with another recipe ({'; '.join(differences)}): resume without the change, or "
            "add --override to go on with it."
        )
    return f"note: going on with a changed recipe: {'; '.join(differences)}"


class _Unwritten(RunLog):
    """The log of a rank that writes nothing."""

    def __init__(self) -> None:
        pass

    def write(self, metrics: Mapping[str, Metric]) -> None:
        pass

    def close(self) -> None:
        pass


def log_on_first(ranks: Ranks, make: Callable[[], RunLog]) -> RunLog:
    """What rank 0 opens; the others write nothing."""
    opened: list[RunLog] = []
    ranks.share(lambda: opened.append(make()))
    return opened[0] if opened else _Unwritten()


def judge_watch(config: JudgeConfig, run_dir: Path, trainer: Trainer) -> Watch:
    """What the judge said so far, as rank 0 reads it."""
    watch = Watch(config, run_dir, updates_done=trainer.updates_done, looks=None if trainer.ranks.is_first else ())
    looks = trainer.ranks.share(lambda: [asdict(look) for look in watch.looks])
    if not trainer.ranks.is_first:
        watch.looks = [Look(**look) for look in looks]
    return watch
