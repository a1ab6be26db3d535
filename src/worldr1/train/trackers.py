"""TensorBoard and Weights & Biases beside `metrics.jsonl`, which stays the record: a tracker that fails costs a line.

Each tracker lives in a thread of its own that is handed rows. So neither a slow disk nor a server that does not answer
holds an update up: rows wait in memory, the oldest of too many are dropped, the end of a run waits a minute at most.
"""

import contextlib
import importlib
import importlib.util
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from worldr1.errors import ConfigError, InputError, first_line
from worldr1.train.checkpoint import write_whole

TENSORBOARD_FOLDER = "tensorboard"
WANDB_FILE = "wandb.json"
"""The run's id there, and the last update that was sent."""
HINT = "pip install 'worldr1[track]'"
MOST_WAITING = 10_000
"""Rows."""
LAST_WAIT_S = 60.0
"""For all trackers together, at the end of a run."""

Row = Mapping[str, float | int | str]
"""A line of metrics.jsonl."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """Who is told of a run beside `metrics.jsonl`, and when it is said to stand still. Raises ConfigError."""

    tensorboard: bool = False
    """Event files in the run folder's tensorboard/."""
    wandb: Literal["off", "offline", "online"] = "off"
    """"offline": files in the run folder's wandb/, for `wandb sync`. "online": also sent, with the key wandb keeps."""
    project: str = "worldr1"
    """Of wandb."""
    standstill_minutes: float | None = 60.0
    """After so long without a forward pass, a scored batch or a finished stage the stacks of all threads are written
    down (`train.watchdog`). More than one call of the reward takes. None: never."""

    def __post_init__(self) -> None:
        if self.standstill_minutes is not None and not self.standstill_minutes > 0:
            raise ConfigError(
                f"train.log.standstill_minutes is {self.standstill_minutes}: give a positive number, or none."
            )


class Tracker(Protocol):
    """Where rows go. Made, called and closed by one thread."""

    def write(self, row: Row) -> None:
        """One update."""
        ...

    def close(self) -> None:
        """After the last one."""
        ...


def check_trackers(config: LogConfig) -> None:
    """Raises InputError, in one sentence, for a library that is asked for and missing; imports none."""
    asked = {"tensorboard": config.tensorboard, "wandb": config.wandb != "off"}
    for name in asked:
        if asked[name] and importlib.util.find_spec(name) is None:
            raise InputError(f"train.log.{name} needs {name}, which is not installed: {HINT}.")


class Trackers:
    """Hands every row to all trackers of a run; a context manager, whose end waits for them."""

    def __init__(self, makers: Mapping[str, Callable[[], Tracker]], say: Callable[[str], None]) -> None:
        """makers: name -> makes a tracker, in its own thread. say: shows the user a line."""
        self._workers = [_Worker(name, make, say) for name, make in makers.items()]

    @classmethod
    def of(
        cls, config: LogConfig, run_dir: Path, *, recipe: Mapping[str, Any], update: int, say: Callable[[str], None]
    ) -> Self:
        """A run's. recipe: shown beside the numbers. update: the first that will be written; those before are there."""
        makers: dict[str, Callable[[], Tracker]] = {}
        if config.tensorboard:
            makers["tensorboard"] = partial(TensorBoard, run_dir / TENSORBOARD_FOLDER, update=update)
        if config.wandb != "off":
            makers["wandb"] = partial(
                WandB, run_dir, project=config.project, online=config.wandb == "online", recipe=recipe
            )
        return cls(makers, say)

    def write(self, row: Row) -> None:
        """Returns at once."""
        for worker in self._workers:
            worker.put(dict(row))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        until = time.monotonic() + LAST_WAIT_S
        for worker in self._workers:
            worker.put(None)
        for worker in self._workers:
            worker.wait(until)


class _Worker:
    """One tracker's thread. It is a daemon: a tracker that hangs does not keep the process."""

    def __init__(self, name: str, make: Callable[[], Tracker], say: Callable[[str], None]) -> None:
        self._name, self._make, self._say = name, make, say
        self._rows: queue.Queue[Row | None] = queue.Queue(MOST_WAITING)
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=f"{name} tracker", daemon=True)
        self._thread.start()

    def put(self, row: Row | None) -> None:
        while not self._failed:
            try:
                return self._rows.put_nowait(row)
            except queue.Full:
                with contextlib.suppress(queue.Empty):  # its thread was quicker
                    self._rows.get_nowait()

    def wait(self, until: float) -> None:
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._say(f"warning: {self._name} did not finish in {LAST_WAIT_S:.0f} s; metrics.jsonl has everything")

    def _run(self) -> None:
        try:
            tracker = self._make()
            while (row := self._rows.get()) is not None:
                tracker.write(row)
            tracker.close()
        except Exception as error:  # any at all: of a library, a disk, a network; the run is worth more
            self._failed = True
            reason = first_line(error)[:200]
            self._say(f"warning: {self._name} failed and gets no more of this run ({reason}); metrics.jsonl goes on")


class TensorBoard:
    """Every number of a row under its own name, text left out; the step is the update."""

    def __init__(self, folder: Path, *, update: int) -> None:
        """update: points at this step and later ones, from before a resume, are taken back (TensorBoard's purge)."""
        from torch.utils.tensorboard import SummaryWriter

        resumed = update if update > 0 and folder.is_dir() else None
        self._writer = SummaryWriter(str(folder), purge_step=resumed, flush_secs=10)

    def write(self, row: Row) -> None:
        """One update."""
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "update":
                self._writer.add_scalar(name, value, int(row["update"]))

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WandB:
    """One run of Weights & Biases for a run folder, resumed or not; the step is the update.

    A point cannot be taken back there. So updates that a resume does again are not sent again: what was sent first
    stays, which on a CPU is the same to the bit. Sent are the rows and the recipe; the code, the git state, the console
    and the command line stay here.
    """

    def __init__(self, run_dir: Path, *, project: str, online: bool, recipe: Mapping[str, Any]) -> None:
        self._file = run_dir / WANDB_FILE
        known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        self._id, self._sent = known.get("id") or secrets.token_hex(8), known.get("sent", -1)
        wandb: Any = importlib.import_module("wandb")
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            silent=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=project,
            id=self._id,
            name=run_dir.resolve().name,
            dir=str(run_dir),
            config=dict(recipe),
            mode="online" if online else "offline",
            resume="allow" if online else None,
            settings=settings,
        )
        self._note()

    def write(self, row: Row) -> None:
        """One update."""
        update = int(row["update"])
        if update <= self._sent:
            return
        self._run.log({name: value for name, value in row.items() if name != "update"}, step=update)
        self._sent = update
        self._note()

    def close(self) -> None:
        """Writes what is left."""
        self._run.finish()

    def _note(self) -> None:
        write_whole(self._file, json.dumps({"id": self._id, "sent": self._sent}).encode())
