"""The run folder: recipe.toml, metrics.jsonl, previews/ (and checkpoints/, which `checkpoint` writes)."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from worldr1.errors import InputError
from worldr1.train.checkpoint import CHECKPOINTS, RECIPE_FILE

METRICS_FILE = "metrics.jsonl"
PREVIEWS = "previews"

Metric = float | int | str | bool | None


def _strict(value: Metric) -> Metric:
    """JSON knows no NaN and no infinity: they become null, so that every reader can read the file."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class RunLog:
    """Writes one run's folder. Make one with `create` or `resume`; use it as a context manager."""

    def __init__(self, run_dir: Path) -> None:
        """Opens the metrics of an existing run folder for appending."""
        self.run_dir = run_dir
        self.previews = run_dir / PREVIEWS
        self.previews.mkdir(exist_ok=True)
        self._metrics = (run_dir / METRICS_FILE).open("a", encoding="utf-8")

    @classmethod
    def create(cls, out: str | Path, *, recipe: str) -> Self:
        """A new run folder with the resolved recipe (TOML) in it.

        Raises InputError if `out` already holds a run or is a file.
        """
        out = Path(out)
        if any((out / name).exists() for name in (RECIPE_FILE, METRICS_FILE, CHECKPOINTS)):
            raise InputError(f"{out} already holds a run; go on with it by --resume {out}, or give another --out.")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise InputError(f"{out} cannot be a run folder, a file is in the way; give another --out.") from error
        (out / RECIPE_FILE).write_text(recipe, encoding="utf-8")
        return cls(out)

    @classmethod
    def resume(cls, run_dir: str | Path, *, update: int) -> Self:
        """An existing run folder, going on after `update` updates (`TrainState.update`).

        Metrics of updates that were done after that checkpoint will be done again, so their lines are dropped: kept
        are the lines whose `update` (0 for the first update) is less. Raises InputError if there is no run.
        """
        run_dir = Path(run_dir)
        if not (run_dir / RECIPE_FILE).is_file():
            raise InputError(f"{run_dir} holds no run to resume; give the folder that train --out wrote.")
        metrics = run_dir / METRICS_FILE
        kept = [json.dumps(line) + "\n" for line in read_metrics(run_dir) if line["update"] < update]
        temporary = metrics.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(metrics)
        return cls(run_dir)

    def write(self, metrics: Mapping[str, Metric]) -> None:
        """Appends one update's metrics (`update` must be among them), on disk at once. Non-finite numbers are null."""
        if "update" not in metrics:
            raise ValueError("metrics need the key 'update'")
        self._metrics.write(json.dumps({key: _strict(value) for key, value in metrics.items()}) + "\n")
        self._metrics.flush()
        os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Closes the metrics file."""
        self._metrics.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
