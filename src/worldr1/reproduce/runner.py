"""Runs jobs side by side, each in a process of its own, until all is done, the budget is used up or somebody stops it.

A job's process has a group of its own: a Ctrl-C in the terminal reaches this process alone, which tells the jobs to
stop once, and waits for their checkpoints. Whatever happens, every attempt has its line in the ledger.
"""

import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worldr1.reproduce.job import Job, State
from worldr1.reproduce.ledger import (
    STOP_PATIENCE_S,
    Attempt,
    Ledger,
    Outcome,
    now,
    signal_group,
    this_host,
)
from worldr1.reproduce.prices import Kind, Pace, in_words
from worldr1.reproduce.schedule import Planned, minutes_until_done

TRIES = 2
"""A job that fails so often in one start is left out; the next start tries again."""
BAD_INPUT = 2
"""Exit code of our commands for what they cannot work with, which a second attempt would meet again: it is not made."""
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
"""Of jobs: their log is in order and up to date, and an error its last line."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one job at a time."""

    environment: dict[str, str]
    """Which card and how many threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How it went."""

    interrupted: bool
    failed: dict[str, str]
    """Job -> what was wrong: those given up, and those whose place holds what must not be counted."""
    left: list[Job]
    """Neither done nor failed: the budget did not allow them, they wait for such a one, or it was interrupted."""


@dataclass(slots=True)
class _Running:
    job: Job
    slot: int
    process: subprocess.Popen[bytes]
    attempt: Attempt
    begin: float
    log_start: int
    """Bytes of the log that are older."""
    expected_s: float


@dataclass
class Runner:
    """Make one, then `run` it once."""

    root: Path
    jobs: Sequence[Job]
    slots: Sequence[Slot]
    ledger: Ledger
    pace: Pace
    say: Callable[[str], None]
    budget_minutes: float | None = None
    """From now on. None: no limit."""
    device: str = ""
    commit: str = ""
    on_done: Callable[[Job], None] = lambda job: None
    """Is told of every job that was done, here and not in its process; another one is started afterwards."""
    patience_s: float = STOP_PATIENCE_S
    _running: dict[int, _Running] = field(default_factory=dict)
    _errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Of every job's failed attempts."""
    _no_chance: set[tuple[Kind, str]] = field(default_factory=set)
    """Errors that a second attempt has met again in the same words: nor would another job's."""
    _problems: dict[str, str] = field(default_factory=dict)
    _begin: float = field(default_factory=time.monotonic)

    def run(self) -> Ended:
        """Returns when nothing runs any more and nothing more can be begun."""
        with _stop_signals() as stop:
            try:
                self._work(stop)
            except BaseException:  # a full disk, say: the next start takes care of what is in `under_way`
                for running in self._running.values():
                    signal_group(running.process.pid, signal.SIGINT)
                raise
        left = [job for job in self.jobs if job.name not in self._problems and job.state() is not State.DONE]
        return Ended(interrupted=stop.is_set(), failed=dict(self._problems), left=left)

    def _work(self, stop: "_Stop") -> None:
        self._fill()
        while self._running:
            if stop.is_set():
                self._stop_all(stop)
            elif not self._reap():
                time.sleep(POLL_S)
            elif not stop.is_set():
                self._fill()

    def minutes(self, job: Job) -> float:
        """Expected of what is left of a job, on this machine."""
        return job.minutes() * self.pace.factor(job.kind)

    def rest_minutes(self, jobs: Sequence[Job]) -> float:
        """Expected until these jobs are done, and those that run: they share the slots."""
        clock = time.monotonic()
        running = {one.job.name: max(0.0, one.expected_s - (clock - one.begin)) / 60 for one in self._running.values()}
        planned = [Planned(job.name, self.minutes(job), job.after) for job in jobs]
        return minutes_until_done(planned, running, len(self.slots))

    # ------------------------------------------------------------------------------------------------------- beginning

    def _fill(self) -> None:
        """Begins jobs in their order while there are slots, places and time for them."""
        for job in self.jobs:
            busy = {running.slot for running in self._running.values()}
            free = [number for number in range(len(self.slots)) if number not in busy]
            if not free:
                return
            if job.name in self._problems or any(r.job.place == job.place for r in self._running.values()):
                continue
            state = job.state()
            if state is State.UNUSABLE:
                self._problems[job.name] = job.problem()
                self.say(f"{job.name} is left out: {job.problem()}")
            if state is State.READY and self._has_time_for(job):
                self._start(job, free[0])

    def _has_time_for(self, job: Job) -> bool:
        if self.budget_minutes is None:
            return True
        then = job.then_minutes() * self.pace.factor(Kind.JUDGE)
        return self.minutes(job) + then <= self._left_of(self.budget_minutes)

    def _left_of(self, budget_minutes: float) -> float:
        return budget_minutes - (time.monotonic() - self._begin) / 60

    def _start(self, job: Job, slot: int) -> None:
        command, log = [*job.command()], job.log
        log.parent.mkdir(parents=True, exist_ok=True)
        priced, expected = job.minutes(), self.minutes(job)
        with log.open("ab") as output:
            log_start = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **UNBUFFERED, **self.slots[slot].environment},
                start_new_session=True,
            )
        attempt = Attempt(
            job=job.name,
            kind=job.kind,
            start=now(),
            priced_minutes=round(priced, 3),
            device=self.device,
            commit=self.commit,
            command=tuple(command),
            log=os.path.relpath(log, self.root),
            host=this_host(),
            pid=process.pid,
        )
        self.ledger.begin(attempt)
        self._running[process.pid] = _Running(
            job, slot, process, attempt, time.monotonic(), log_start, expected_s=60 * expected
        )
        self.say(f"begun: {job.name}, about {in_words(expected)}")

    # --------------------------------------------------------------------------------------------------------- ending

    def _reap(self) -> bool:
        """Whether a job has ended."""
        ended = [running for running in self._running.values() if running.process.poll() is not None]
        for running in ended:
            self._end(running)
        return bool(ended)

    def _end(self, running: _Running, *, stopped: bool = False) -> None:
        job, code = running.job, running.process.returncode
        seconds = time.monotonic() - running.begin
        del self._running[running.process.pid]
        done = code == 0 and job.state() is State.DONE
        outcome = Outcome.FINISHED if done else Outcome.STOPPED if stopped else Outcome.FAILED
        error = "" if outcome is not Outcome.FAILED else _why(code, _last_line(job.log, running.log_start))
        attempt = replace(running.attempt, seconds=round(seconds, 2), exit_code=code, outcome=outcome, error=error)
        self.ledger.end(attempt)
        if done:
            self.pace.add(job.kind, taken=seconds / 60, priced=attempt.priced_minutes)
            self.say(f"done: {job.name} in {in_words(seconds / 60)}{self._rest()}")
            self.on_done(job)
        elif outcome is Outcome.STOPPED:
            self.say(f"stopped: {job.name} after {in_words(seconds / 60)}")
        else:
            self._failed(job, code, error)

    def _failed(self, job: Job, code: int, error: str) -> None:
        errors = self._errors[job.name]
        errors.append(error)
        if code >= 0 and errors.count(error) == TRIES:  # a kill says nothing of its reason
            self._no_chance.add((job.kind, error))
        again = len(errors) < TRIES and code != BAD_INPUT and (job.kind, error) not in self._no_chance
        if not again:
            self._problems[job.name] = error
        what = "it is tried once more" if again else f"it is left out until the next start, see {job.log}"
        self.say(f"failed: {job.name}: {error.rstrip('.')}; {what}")

    def _rest(self) -> str:
        """In words, what there is still to do."""
        running = {one.job.name for one in self._running.values()}
        jobs = [job for job in self.jobs if job.name not in self._problems and job.name not in running]
        todo = [job for job in jobs if job.state() in (State.READY, State.WAITING) and job.after not in self._problems]
        if not todo and not running:
            return ""
        text = f"; {len(todo) + len(running)} more, about {in_words(self.rest_minutes(todo))}"
        if self.budget_minutes is None:
            return text
        return f"{text}, and {in_words(max(0.0, self._left_of(self.budget_minutes)))} of the budget left"

    def _stop_all(self, stop: "_Stop") -> None:
        """Tells every job to stop, and waits; a second signal kills them."""
        self.say(f"stopping {len(self._running)} job(s), which may write a checkpoint; once more to kill them")
        for running in self._running.values():
            signal_group(running.process.pid, signal.SIGINT)
        deadline, killed = time.monotonic() + self.patience_s, False
        while self._running:
            for running in [one for one in self._running.values() if one.process.poll() is not None]:
                self._end(running, stopped=True)
            if not killed and (stop.times > 1 or time.monotonic() > deadline):
                killed = True
                for running in self._running.values():
                    signal_group(running.process.pid, signal.SIGKILL)
            time.sleep(POLL_S)


class _Stop:
    """Signals so far."""

    def __init__(self) -> None:
        self.times = 0

    def is_set(self) -> bool:
        return self.times > 0

    def catch(self, *received: Any) -> None:
        self.times += 1


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Inside, signals that end a process are counted. In a thread, where Python lets nobody catch them, none comes."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        before[number] = signal.signal(number, stop.catch)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _why(code: int, last_line: str) -> str:
    """In words, how an attempt failed."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" + (f" after {last_line!r}" if last_line else "")
    if code == 0:
        return "it ended well and has not left what it was to make"
    return last_line.removeprefix("error: ") or f"exit code {code}"


def _last_line(log: Path, start: int, most: int = 400) -> str:
    """That an attempt wrote, cut at `most` characters."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    shown = ["".join(c for c in line if c.isprintable()).strip() for line in lines]
    return next((line[:most] for line in reversed(shown) if line), "")
