"""Every attempt at a job, kept: ledger.jsonl has a line for each, also for those that failed or were killed.

under_way.json lists the attempts that have not ended. It outlives a killed `reproduce`, whose jobs live on in process
groups of their own: the next start finds them there and stops them before anything else.
"""

import json
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from worldr1.train.checkpoint import write_whole

STOP_PATIENCE_S = 180.0
"""How long a job that was told to stop may take for its checkpoint before it is killed."""


class Outcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    """Told to, by Ctrl-C or SIGTERM to `reproduce`."""
    KILLED = "killed"
    """With `reproduce` itself: when it ended is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One line of the ledger; `exit_code`, `seconds` and `outcome` are None while it is under way."""

    job: str
    kind: str
    start: str
    """UTC, ISO 8601."""
    seconds: float | None = None
    exit_code: int | None = None
    """Negative: of the signal that ended it."""
    outcome: Outcome | None = None
    error: str = ""
    """The last line that a failed one wrote."""
    priced_minutes: float = 0.0
    """By `prices`, for a slot as it had, before this machine's pace was known."""
    device: str = ""
    commit: str = ""
    """Of the code, "unknown" outside a git checkout; "+" if it has changed since."""
    command: tuple[str, ...] = ()
    log: str = ""
    """Its output, relative to the folder."""
    host: str = ""
    pid: int = 0


class Ledger:
    """The two files of one folder."""

    def __init__(self, path: Path, under_way: Path) -> None:
        self._path, self._under_way = path, under_way
        self._open: dict[int, Attempt] = {}

    def read(self) -> list[Attempt]:
        """All attempts that have ended, in the order of their ends. Lines that no attempt can be read from are left
        out: they were cut short by a kill, or written by somebody else."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [attempt for line in lines if (attempt := _attempt(line)) is not None]

    def begin(self, attempt: Attempt) -> None:
        """Notes an attempt whose process runs."""
        self._open[attempt.pid] = attempt
        self._save_open()

    def end(self, attempt: Attempt) -> None:
        """Writes the line of an attempt that has ended; on disk at once."""
        self._append(attempt)
        self._open.pop(attempt.pid, None)
        self._save_open()

    def close_leftovers(self, say: Callable[[str], None], *, patience_s: float = STOP_PATIENCE_S) -> None:
        """Stops what a killed start has left running, and writes it all down as killed."""
        try:
            rows = json.loads(self._under_way.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        left = [attempt for row in rows if (attempt := _attempt(json.dumps(row))) is not None]
        alive = [attempt for attempt in left if _lives(attempt)]
        for attempt in alive:
            say(f"stopping process {attempt.pid} ({attempt.job}), which a killed start has left behind")
            signal_group(attempt.pid, signal.SIGINT)
        deadline = time.monotonic() + patience_s
        while any(_lives(attempt) for attempt in alive) and time.monotonic() < deadline:
            time.sleep(0.1)
        for attempt in alive:
            if _lives(attempt):
                signal_group(attempt.pid, signal.SIGKILL)
        for attempt in left:
            self._append(replace(attempt, outcome=Outcome.KILLED))
        self._save_open()

    def _append(self, attempt: Attempt) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            text = file.read()
            cut_short = bool(text) and not text.endswith("\n")
            file.write("\n" * cut_short + json.dumps(asdict(attempt)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _save_open(self) -> None:
        if self._open:
            write_whole(self._under_way, json.dumps([asdict(one) for one in self._open.values()], indent=1).encode())
        else:
            self._under_way.unlink(missing_ok=True)


def signal_group(pid: int, number: signal.Signals) -> None:
    """To a job and all that it has started; nothing if it has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def this_host() -> str:
    """As attempts name it."""
    return socket.gethostname()


def code_commit() -> str:
    """Of the checkout that this package lies in; "unknown" for an installed one. "+": files have changed since."""
    folder = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if not git("ls-files", Path(__file__).name):  # a virtual environment inside somebody else's repository
        return "unknown"
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return "unknown" if commit is None else commit + "+" * bool(changed)


def device_name(device: str) -> str:
    """For tables. Makes no CUDA context, which would stay beside the jobs'."""
    if device == "cuda":
        words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
            return done.stdout.partition("\n")[0].strip()
        return "CUDA GPU"
    return f"{platform.machine()} CPU"


def _lives(attempt: Attempt) -> bool:
    """Whether that very process still runs here: a number alone may be another's by now."""
    if attempt.host != this_host() or attempt.pid <= 0:
        return False
    try:
        words = Path(f"/proc/{attempt.pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return False
    return [os.fsdecode(word) for word in words] == list(attempt.command)


def _attempt(line: str) -> Attempt | None:
    try:
        table: dict[str, Any] = json.loads(line)
        outcome = table.get("outcome")
        command = tuple(table.get("command", ()))
        known = {field.name: table[field.name] for field in fields(Attempt) if field.name in table}
        return Attempt(**(known | {"outcome": outcome and Outcome(outcome), "command": command}))
    except (ValueError, TypeError, AttributeError):
        return None
