"""The estimate in a process of its own: native code that hangs or dies takes one video along, not the program."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class WorkerError(Exception):
    """The work took too long, or its process died, or it raised: the text says which."""


class Worker:
    """Runs a function in a child process that is started when first needed and lives until `close`.

    function: of a module, so that the child can import it; arguments and results are pickled. The child is a fresh
    interpreter: a fork would share locks with threads that it does not have.
    """

    def __init__(self, function: Callable[..., Any], *, timeout_s: float) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """The function's result; raises WorkerError instead of hanging or dying."""
        pipe = self._start()
        try:
            pipe.send(arguments)
            if not pipe.poll(self._timeout_s):
                self._kill()
                raise WorkerError(f"it took longer than {self._timeout_s:.0f} seconds")
            result, failure = pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._kill()
            raise WorkerError("its process died") from error
        except KeyboardInterrupt:
            self._kill()
            raise
        if failure:
            raise WorkerError(failure)
        return result

    def close(self) -> None:
        """Ends the child; a later call starts another."""
        if self._pipe is not None:
            self._pipe.close()  # the child sees the end of the pipe and leaves
            self._process.join(5)
        self._kill()

    def __del__(self) -> None:
        self.close()

    def _start(self) -> Any:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe

    def _kill(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


def _serve(pipe: Connection, function: Callable[..., Any]) -> None:
    """The child: answers until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # COLMAP's logging would print a stack
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    while True:
        try:
            arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = (function(*arguments), "")
        except Exception:
            answer = (None, traceback.format_exc(limit=-3).strip())
        pipe.send(answer)
