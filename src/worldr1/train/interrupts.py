"""Ctrl-C and SIGTERM where they must not act at once: in the middle of an optimizer step, or while others wait."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Ctrl-C inside takes effect afterwards: a half-done update is no state to go on from."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *received: caught.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        signal.raise_signal(signal.SIGINT)  # to whoever handled it before, be it Python, a notebook or nobody


class Interrupts:
    """Those of a process that others wait for: remembered, and raised only in work that may be given up."""

    def __init__(self) -> None:
        self.pending = False
        """Whether one came; stays so."""
        self._raising = False

    def catch(self) -> None:
        """From now on, for the rest of the process: SIGTERM too, by which torchrun and SLURM end a run."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def run(self, work: Callable[[], Any]) -> Any:
        """What `work` returns; raises KeyboardInterrupt for an interrupt that comes inside, or came before."""
        if self.pending:
            raise KeyboardInterrupt
        try:
            self._raising = True
            return work()
        finally:
            self._raising = False

    def _caught(self, *received: Any) -> None:
        self.pending = True
        if self._raising:
            self._raising = False  # once: what is done about the first must not be interrupted by a second
            raise KeyboardInterrupt
