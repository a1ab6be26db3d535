"""Says so when a run has stood still for long, and writes down where: the stacks of all threads. It never ends a run.

A hung reward, collective or driver looks like a slow one from outside: no error, no line, a GPU at 0 %
(research/users.md 4). Two clocks watch. A thread of ours writes the stacks and tells the user; should it not come to
run, because something holds Python's lock, faulthandler's own thread, which needs none, writes them somewhat later.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

STACKS_FILE = "stacks.txt"
LOCKED_FACTOR = 1.5
"""Times the limit after which the clock that needs no lock writes the stacks."""
_LOOKS_PER_LIMIT = 20
_LONGEST_LOOK_S = 15.0


class Watchdog:
    """Context manager around what is watched; `beat` is called whenever something has moved.

    `kill -USR1 PID` writes the stacks at any time, where the system has that signal and the main thread made this
    object. Of several at a time the last one has faulthandler's clock and the signal: a process has one of each.
    """

    def __init__(self, file: Path, *, limit_s: float | None, say: Callable[[str], None]) -> None:
        """file: is made, and deleted at the end if nothing was written. limit_s: None watches for the signal alone.

        say: shows the user a line; called by another thread.
        """
        self._path, self._limit_s, self._say = file, limit_s, say
        self._moved_at, self._what = time.monotonic(), "start"
        self._told_at = -1.0
        """`_moved_at` of the standstill that was reported."""
        self._over = threading.Event()

    def beat(self, what: str = "") -> None:
        """Something has moved. what: is done now, in words; "": as before."""
        self._what = what or self._what
        self._moved_at = time.monotonic()

    def __enter__(self) -> Self:
        self.beat()
        self._file = self._path.open("a", encoding="utf-8")
        self._signalled = _can_register()
        if self._signalled:
            faulthandler.register(signal.SIGUSR1, file=self._file, all_threads=True)
        self._thread: threading.Thread | None = None
        if self._limit_s is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._limit_s,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._signalled:
            faulthandler.unregister(signal.SIGUSR1)
        self._file.close()
        if self._path.stat().st_size == 0:
            self._path.unlink()

    def _watch(self, limit_s: float) -> None:
        look_s = min(limit_s / _LOOKS_PER_LIMIT, _LONGEST_LOOK_S)
        while True:
            still_s = time.monotonic() - self._moved_at
            faulthandler.dump_traceback_later(LOCKED_FACTOR * limit_s, file=self._file)  # put off while we can
            if still_s > limit_s and self._told_at != self._moved_at:
                self._told_at = self._moved_at
                self._report(still_s)
            if self._over.wait(look_s):
                faulthandler.cancel_dump_traceback_later()
                return

    def _report(self, still_s: float) -> None:
        minutes = f"{still_s / 60:.0f} minutes" if still_s >= 120 else f"{still_s:.0f} s"
        try:
            clock = time.strftime("%Y-%m-%d %H:%M:%S")
            self._file.write(f"\n{clock}: nothing has moved for {minutes} (at: {self._what}), process {os.getpid()}\n")
            self._file.flush()
            faulthandler.dump_traceback(self._file, all_threads=True)
            where = f"where it stands is in {self._path}"
        except OSError as error:  # a full disk must not end the watch, much less the run
            where = f"where it stands cannot be written to {self._path} ({error.strerror})"
        self._say(f"warning: nothing has moved for {minutes} (at: {self._what}); {where}; the run goes on waiting")


def _can_register() -> bool:
    return hasattr(faulthandler, "register") and threading.current_thread() is threading.main_thread()
