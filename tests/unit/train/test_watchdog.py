"""The watchdog: silent while something moves; one sentence and all stacks when nothing does, even without the GIL."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worldr1.errors import ConfigError
from worldr1.train.trackers import LogConfig
from worldr1.train.watchdog import Watchdog


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_it_says_once_where_a_run_stands_and_again_after_it_has_moved(tmp_path: Path) -> None:
    said: list[str] = []
    stuck = threading.Event()

    def waits_for_a_reward_that_never_comes() -> None:
        stuck.wait()

    thread = threading.Thread(target=waits_for_a_reward_that_never_comes, daemon=True)
    thread.start()
    file = tmp_path / "stacks.txt"
    with Watchdog(file, limit_s=0.3, say=said.append) as dog:
        dog.beat("reward of update 7")
        assert until(lambda: len(said) == 1)
        time.sleep(0.6)
        assert len(said) == 1  # one standstill, one sentence
        dog.beat()
        assert until(lambda: len(said) == 2)
    stuck.set()
    assert re.fullmatch(
        r"warning: nothing has moved for 0 s \(at: reward of update 7\); where it stands is in .*stacks\.txt; "
        "the run goes on waiting",
        said[0],
    )
    text = file.read_text()
    assert text.count("nothing has moved") == 2
    assert "waits_for_a_reward_that_never_comes" in text
    assert "test_it_says_once_where_a_run_stands" in text  # the main thread too


def test_it_is_silent_and_leaves_no_file_while_something_moves(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "stacks.txt"
    with Watchdog(file, limit_s=2.0, say=said.append) as dog:
        for _ in range(25):
            time.sleep(0.1)
            dog.beat()
    assert said == [] and not file.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_a_signal_writes_the_stacks_at_any_time_and_the_run_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "stacks.txt"
    before = signal.getsignal(signal.SIGUSR1)
    with Watchdog(file, limit_s=None, say=lambda line: None):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert until(lambda: "test_a_signal_writes_the_stacks" in file.read_text())
    assert signal.getsignal(signal.SIGUSR1) == before
    assert file.exists()


def test_without_pythons_lock_the_stacks_come_all_the_same(tmp_path: Path) -> None:
    """A regular expression that takes for ever holds the lock: no thread of Python's own can run."""
    file = tmp_path / "stacks.txt"
    script = (
        "import re, sys; from pathlib import Path; from worldr1.train.watchdog import Watchdog\n"
        "def holds_the_lock(): re.match('(a+)+$', 'a' * 60 + 'b')\n"
        "with Watchdog(Path(sys.argv[1]), limit_s=0.4, say=print): holds_the_lock()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(file)])
    try:
        assert until(lambda: file.is_file() and "holds_the_lock" in file.read_text())
        assert process.poll() is None  # never kills
    finally:
        process.kill()
        process.wait()


def test_a_file_that_cannot_be_written_costs_the_stacks_and_not_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    said: list[str] = []
    monkeypatch.setattr("faulthandler.dump_traceback", full)
    with Watchdog(tmp_path / "stacks.txt", limit_s=0.1, say=said.append):
        assert until(lambda: bool(said))
    assert "cannot be written" in said[0] and "No space left" in said[0]


def test_the_limit_is_a_time() -> None:
    with pytest.raises(ConfigError, match="standstill_minutes is 0"):
        LogConfig(standstill_minutes=0.0)
