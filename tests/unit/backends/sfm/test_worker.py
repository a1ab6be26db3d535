"""A process that may raise, hang or die without taking its owner along."""

import math
import os
import signal
import time

import pytest

from worldr1.backends.sfm.worker import Worker, WorkerError


def test_results_and_exceptions_come_back() -> None:
    worker = Worker(math.sqrt, timeout_s=30)
    assert worker(9.0) == 3.0
    with pytest.raises(WorkerError, match="math domain error"):
        worker(-1.0)
    assert worker(16.0) == 4.0
    worker.close()
    worker.close()
    assert worker(25.0) == 5.0  # another child
    worker.close()


def test_a_hang_ends_in_time_and_the_worker_goes_on() -> None:
    worker = Worker(time.sleep, timeout_s=2)
    worker(0)
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="longer than 2 seconds"):
        worker(60)
    assert time.monotonic() - begin < 5
    assert Worker(time.sleep, timeout_s=30)(0) is None


def test_a_child_that_dies_is_replaced() -> None:
    worker = Worker(signal.raise_signal, timeout_s=30)
    for _ in range(2):
        with pytest.raises(WorkerError, match="died"):
            worker(signal.SIGKILL)
    worker.close()


def test_a_child_killed_between_calls_is_replaced() -> None:
    worker = Worker(os.getpid, timeout_s=30)
    child = worker()
    assert child != os.getpid()
    os.kill(child, signal.SIGKILL)
    time.sleep(0.5)
    with pytest.raises(WorkerError, match="died"):
        worker()
    assert worker() not in (child, os.getpid())
    worker.close()
