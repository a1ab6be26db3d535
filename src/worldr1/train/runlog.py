"""The run folder: recipe.toml, metrics.jsonl, previews/ (and checkpoints/, which `checkpoint` writes).

A kill at any moment leaves a folder that can be resumed: files are replaced whole, metrics grow by whole lines.
"""

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from worldr1.errors import InputError
from worldr1.train.checkpoint import CHECKPOINTS, RECIPE_FILE, write_whole
from worldr1.train.environment import record_environment, record_recipe
from worldr1.train.run_lock import RunLock, unwritable

METRICS_FILE = "metrics.jsonl"
PREVIEWS = "previews"

Metric = float | int | str | bool | None


def _strict(value: Metric) -> Metric:
    """JSON knows no NaN and no infinity: they become null, so that every reader can read the file."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class RunLog:
    """Writes one run's folder. Make one with `create` or `resume`; use it as a context manager."""

    def __init__(self, run_dir: Path, lock: RunLock) -> None:
        """Of an existing run folder. lock: the folder's, given back by `close`."""
        self.run_dir, self._lock = run_dir, lock
        self.previews = run_dir / PREVIEWS
        self.previews.mkdir(exist_ok=True)
        (run_dir / METRICS_FILE).touch()

    @classmethod
    def create(cls, out: str | Path, *, recipe: str) -> Self:
        """A new run folder with the resolved recipe (TOML) in it.

        Raises InputError if `out` already holds a run, is a file, is in use or cannot be written.
        """
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise InputError(f"{out} cannot be a run folder, a file is in the way; give another --out.") from error
        except OSError as error:
            raise unwritable(out, error) from error
        with ExitStack() as stack:
            lock = stack.enter_context(closing(RunLock(out)))
            check_is_no_run(out)
            record_environment(out, recipe=recipe)
            write_whole(out / RECIPE_FILE, recipe.encode())  # last: a folder with a recipe can be resumed
            stack.pop_all()
            return cls(out, lock)

    @classmethod
    def resume(
        cls, run_dir: str | Path, *, update: int, lock: RunLock | None = None, recipe: str | None = None
    ) -> Self:
        """An existing run folder, going on after `update` updates (`TrainState.update`).

        Metrics of updates that were done after that checkpoint will be done again, so their lines are dropped: kept
        are the lines whose `update` (0 for the first update) is less. lock: the folder's, if the caller holds it
        already. recipe: replaces the run's. Raises InputError if there is no run, or if a line is missing.
        """
        run_dir = Path(run_dir)
        check_is_run(run_dir)
        lock = lock or RunLock(run_dir)
        kept = [line for line in read_metrics(run_dir) if line["update"] < update]
        if [line["update"] for line in kept] != list(range(update)):
            raise InputError(
                f"{run_dir / METRICS_FILE} has not one line for each of the {update} updates of the checkpoint; bring "
                f"the file back from a copy, or delete {run_dir / CHECKPOINTS} to begin again."
            )
        write_whole(run_dir / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())
        if recipe is not None and recipe != (run_dir / RECIPE_FILE).read_text(encoding="utf-8"):
            write_whole(run_dir / RECIPE_FILE, recipe.encode())
            record_recipe(run_dir, recipe)
        return cls(run_dir, lock)

    def write(self, metrics: Mapping[str, Metric]) -> None:
        """Appends one update's metrics (`update` must be among them), on disk at once. Non-finite numbers are null."""
        if "update" not in metrics:
            raise ValueError("metrics need the key 'update'")
        with (self.run_dir / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: _strict(value) for key, value in metrics.items()}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Lets others into the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_is_no_run(out: Path) -> None:
    """Raises InputError if `out` already holds a run, or part of one."""
    if any((out / name).exists() for name in (RECIPE_FILE, METRICS_FILE, CHECKPOINTS)):
        raise InputError(f"{out} already holds a run; go on with it by --resume {out}, or give another --out.")


def check_is_run(run_dir: Path) -> None:
    """Raises InputError unless `run_dir` holds a run."""
    if not (run_dir / RECIPE_FILE).is_file():
        raise InputError(f"{run_dir} holds no run to resume; give the folder that train --out wrote.")


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """The metrics of a run, one dict per update. A last line that a kill cut short is left out.

    Raises InputError if any other line is no JSON object with the key `update`.
    """
    path = Path(run_dir) / METRICS_FILE
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # the last piece is empty, or cut short
        try:
            row = json.loads(line)
            row["update"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} line {number} is damaged; delete the line, or resume elsewhere.") from error
        rows.append(row)
    return rows
