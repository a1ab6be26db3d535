"""Checkpoints written on a thread of their own: an update waits for the copy of its state, not for the disk."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from worldr1.errors import TrainingError, first_line
from worldr1.train.checkpoint import TrainState, save_checkpoint


class CheckpointWriter:
    """Takes a state at a time and writes it while training goes on. A context manager: leaving it waits for the disk.

    A failure is a TrainingError of the next `check`, `wait` or `save`, or of the end; it is raised once.
    """

    def __init__(self, run_dir: Path, *, recipe: str, keep_last: int) -> None:
        """As `save_checkpoint` takes them."""
        self._run_dir, self._recipe, self._keep_last = run_dir, recipe, keep_last
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.failed = False
        """Whether a checkpoint could not be written; the next one would hardly fare better."""

    def save(self, state: TrainState, *, score: float | None = None) -> None:
        """Hands over a state whose tensors nobody changes any more (`Trainer.state` copies them).

        Waits for the checkpoint before this one, so that never more than two states are in memory.
        """
        self.wait()
        # no daemon: should the interpreter end by another way, it waits for the file all the same
        self._thread = threading.Thread(target=self._write, args=(state, score), name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raises what went wrong so far; does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Returns when the state handed over last is on disk. Raises TrainingError if it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, state: TrainState, score: float | None) -> None:
        try:
            save_checkpoint(self._run_dir, state, recipe=self._recipe, score=score, keep_last=self._keep_last)
        except Exception as error:  # anything: it is raised again where somebody sees it
            self.failed = True
            self._error = error
            if isinstance(error, OSError):
                reason = error.strerror or first_line(error)
                self._error = TrainingError(
                    f"The checkpoint of update {state.update} could not be written ({reason}); the earlier ones are "
                    f"whole: make {self._run_dir} writable, with space left, and go on with worldr1 train --resume "
                    f"{self._run_dir}."
                )
                self._error.__cause__ = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as late:
            if error is None or isinstance(error, KeyboardInterrupt):  # who stops a run wants to know what is on disk
                raise
            error.add_note(str(late))  # the first one is the reason
