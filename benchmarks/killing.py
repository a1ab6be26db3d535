"""SIGKILL from outside: a forked child works and notes what it is doing in shared memory, its parent kills it.

The parent has imported everything, so that a life costs no imports (in which nothing is written). Phases are noted by
wrapping methods of the product in the child alone; the product knows nothing of it.
"""

import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from worldr1 import session as sessions
from worldr1.session import Session
from worldr1.train import checkpoint, checkpoint_writer
from worldr1.train.checkpoint import find_newest
from worldr1.train.runlog import RunLog, read_metrics
from worldr1.train.trainer import Trainer

_SLOT = 40
"""Bytes for one name; one slot for the main thread, one for the thread that writes checkpoints."""
WRITER = "checkpoint"
"""Name of that thread."""


class Phases:
    """What a process is doing: written by the child, read by the parent after its death."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * _SLOT)  # shared with children, and outlives them

    def note(self, name: str) -> str:
        """Sets the calling thread's phase; returns the one before."""
        slot = int(threading.current_thread().name == WRITER)
        before = self._read(slot)
        self._memory[slot * _SLOT : (slot + 1) * _SLOT] = name.encode().ljust(_SLOT)
        return before

    def clear(self) -> None:
        """Nobody is doing anything."""
        self._memory[:] = b" " * (2 * _SLOT)

    def read(self) -> tuple[str, str]:
        """Of the main thread and of the writer; "" is none."""
        return self._read(0), self._read(1)

    def _read(self, slot: int) -> str:
        return self._memory[slot * _SLOT : (slot + 1) * _SLOT].decode().strip(" \0")

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, during which the phase is `name`."""

        @wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            before = self.note(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.note(before)

        return noted

    def watch(self, slow_save_s: float) -> None:
        """Wraps the stages of a run, in this process. slow_save_s: how much longer a checkpoint's writing takes, spread
        over the middles of its files: a hook of this harness, so that as many kills as wanted fall into a save."""
        stages: list[tuple[Any, str, str]] = [
            (Session, "_evaluate", "evaluation"),
            (Session, "_save_result", "result"),
            (sessions, "write_report", "report"),
            (Trainer, "_roll_out", "rollout"),
            (Trainer, "_score", "decode and reward"),
            (Trainer, "_step", "loss and optimizer step"),
            (Trainer, "state", "copy of the state"),
            (RunLog, "write", "metrics line"),
            (checkpoint_writer, "save_checkpoint", "save"),
            (checkpoint, "_prune", "save: retention"),
        ]
        for owner, attribute, name in stages:
            function = getattr(owner, attribute)
            setattr(owner, attribute, self.wrap(name, function))
        begin = Session._train

        def training(session: Session) -> None:
            self.note("between stages")
            begin(session)

        Session._train = training
        whole = checkpoint._write

        def slowly(path: Path, data: bytes) -> str:
            if threading.current_thread().name != WRITER:
                return whole(path, data)
            before = self.note(f"save: {path.name}")
            if slow_save_s:
                with path.open("wb") as file:  # half of it is on disk while the kill may come
                    file.write(data[: len(data) // 2])
                    file.flush()
                    time.sleep(slow_save_s / _NUM_FILES)
            digest = whole(path, data)
            self.note(before)
            return digest

        checkpoint._write = slowly


_NUM_FILES = 6
"""Of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Life:
    """One process of a run, from its start to its end."""

    ended: str
    """"killed", "finished" or "failed"."""
    seconds: float
    phase: str
    """Of the main thread when the kill came."""
    writer: str
    """Of the thread that writes checkpoints; "" if it was idle."""
    rows: int
    """Lines of metrics.jsonl after it: updates that were finished."""
    saved: int
    """Updates in the newest checkpoint that is whole."""
    damaged: int
    """Checkpoints that are there under their name and not whole."""
    said: str
    """Last line on stderr of a life that failed."""

    @property
    def lost(self) -> int:
        """Finished updates that have to be done again."""
        return self.rows - self.saved

    @property
    def in_save(self) -> bool:
        """Whether the kill came during a save (the copy, or the writing beside the next update)."""
        return bool(self.writer) or self.phase == "copy of the state"

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"lost": self.lost, "in_save": self.in_save}


def live(job: Callable[[], int], run: Path, phases: Phases, kill_after_s: float | None, *, log: Path) -> Life:
    """Forks a process that does `job` (an exit code) and kills it after so many seconds, or never."""
    phases.clear()
    phases.note("start")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _work(job, log)
    if kill_after_s is not None:
        while time.monotonic() < start + kill_after_s and not _is_over(child):
            time.sleep(min(0.02, max(0.0, start + kill_after_s - time.monotonic())))
        os.kill(child, signal.SIGKILL)  # a zombie, if it is over
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    good = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    phase, writer = phases.read() if killed else ("", "")
    newest = find_newest(run)
    return Life(
        ended="killed" if killed else "finished" if good else "failed",
        seconds=round(seconds, 3),
        phase=phase,
        writer=writer,
        rows=len(read_metrics(run)),
        saved=newest.state.update if newest else 0,
        damaged=len(newest.problems) if newest else 0,
        said="" if killed or good else (log.read_text(errors="replace").strip().splitlines() or [""])[-1],
    )


def _is_over(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _work(job: Callable[[], int], log: Path) -> None:
    """In the child; never returns."""
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has put others there
        code = job()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
