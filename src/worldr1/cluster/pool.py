"""Which actor answers which request, and what happens when it does not.

A request is sent to one actor at a time. What comes back is used only if it is the complete answer to that attempt
(`messages.results_in_order`); a timeout, a death, an incomplete answer or one of faults alone cost an attempt, and the
next one goes to another actor. Without attempts left, or without actors, the future says so, and its owner makes faults
of it: nothing here invents a score. One thread owns all of this state and is told events, in the order in which they
come.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from worldr1.cluster.messages import About, Answer, Request, results_in_order
from worldr1.errors import InputError, ServerError
from worldr1.rewards.remote import RemoteConfig
from worldr1.types import RewardResult, Status

SICK_AFTER = 3
"""Answers of faults alone, one after the other, after which an actor is restarted while another one gives better ones:
a GPU whose context is broken answers fast, and would get all of the work."""
Done = Callable[[Any], None]
"""Is told what a call brought: an answer, or the exception in its place."""


class ActorLost(Exception):
    """In the place of an answer: the actor's process is not there (any more); str() says why."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class NoAnswer(Exception):
    """A request that nobody could answer; str() says why."""


class Actors(Protocol):
    """Processes that answer, by number. Nothing here waits: `done` is called later, from any thread."""

    num: int
    first: int
    """Where this client turns to first, so that clients of one pool are spread over it."""

    def about(self, actor: int, done: Done) -> None:
        """Has the actor load its reward; brings an `About`."""
        ...

    def send(self, actor: int, request: Request, attempt: int, done: Done) -> None:
        """Brings an `Answer`."""
        ...

    def restart(self, actor: int) -> None:
        """Ends the actor's process; a new one is started if it may."""
        ...


@dataclass(kw_only=True, slots=True)
class Counts:
    """What the pool met so far."""

    requests: int = 0
    answered: int = 0
    retries: int = 0
    timeouts: int = 0
    deaths: int = 0
    """Of actors that held a request or were starting."""
    unusable: int = 0
    """Answers that were not the complete answer to what was asked."""
    sick: int = 0
    """Answers of faults alone."""
    late: int = 0
    """Answers to an attempt that had been given up; dropped."""
    duplicates: int = 0
    """Second answers to an attempt; dropped."""
    given_up: int = 0
    """Requests without an answer."""
    most_in_flight: int = 0


class Results(NamedTuple):
    """What a request brought."""

    values: list[Any]
    """One per video, in the request's order."""
    failed: str
    """Why there are none."""


@dataclass(eq=False, slots=True)
class _Job:
    request: Request
    future: "Future[Results]"
    attempts: int = 0
    failures: int = 0
    tried: set[int] = field(default_factory=set)
    faults: Results | None = None
    """What an actor answered if it were faults alone."""


class _Attempt(NamedTuple):
    number: int
    job: _Job


@dataclass(eq=False, slots=True)
class _Actor:
    number: int
    ready: bool = False
    gone: bool = False
    life: int = 0
    """Goes up when what was said to it before does not count any more."""
    line: deque[_Attempt] = field(default_factory=deque)
    """What it holds; the first is what it works on."""
    deadline: float = 0.0
    """Of its start, or of the first in line."""
    sick: int = 0
    """Answers of faults alone since the last other one."""
    healthy: bool = False
    """Its last answer was another one."""


class Pool:
    """Make one, `wait_until_ready`, `submit` from any thread, `close`."""

    def __init__(self, actors: Actors, config: RemoteConfig, *, say: Callable[[str], None] = lambda line: None) -> None:
        """say: shows the user a line."""
        self.counts = Counts()
        self._calls, self._config, self._say = actors, config, say
        self._actors = [_Actor(number) for number in range(actors.num)]
        self._waiting: deque[_Job] = deque()
        self._given_up: set[tuple[str, int]] = set()
        self._about: Future[About] = Future()
        self._no_actor = ""
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="reward pool", daemon=True)
        self._events.put(self._open_all)
        self._thread.start()

    def wait_until_ready(self) -> About:
        """What the first loaded actor says of its reward; the others may still be loading.

        Raises InputError if the reward cannot be loaded, ServerError if no actor starts.
        """
        return self._about.result()

    def submit(self, request: Request) -> "Future[Results]":
        """The future's result is in the order of the videos. Its exception: `NoAnswer`, an InputError of the reward,
        or a bug's."""
        future: Future[Results] = Future()
        if self._closed:
            raise RuntimeError("the reward pool is closed")
        job = _Job(request, future)
        self._events.put(lambda: self._take(job))
        return future

    def close(self) -> None:
        """Requests that are still open get no answer."""
        if self._closed:
            return
        self._closed = True
        self._events.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    # ------------------------------------------------------------------------------------------------- the one thread

    def _run(self) -> None:
        try:
            while True:
                try:
                    event = self._events.get(timeout=self._patience())
                except queue.Empty:
                    self._check_clocks()
                    continue
                if event is None:
                    break
                event()
                self._check_clocks()
            self._fail_all("the reward pool was closed")
        except BaseException as error:  # a bug of ours: nobody may wait for ever
            self._fail_all(f"the reward pool broke: {type(error).__name__}: {error}")
            raise

    def _patience(self) -> float | None:
        clocks = [actor.deadline for actor in self._actors if self._has_clock(actor)]
        return max(0.0, min(clocks) - time.monotonic()) if clocks else None

    @staticmethod
    def _has_clock(actor: _Actor) -> bool:
        return not actor.gone and (not actor.ready or bool(actor.line))

    def _check_clocks(self) -> None:
        now = time.monotonic()
        for actor in self._actors:
            if not self._has_clock(actor) or actor.deadline > now:
                continue
            if actor.ready:
                self.counts.timeouts += 1
                self._restart(actor, f"no answer within {self._config.timeout_s:g} s")
            else:
                self._calls.restart(actor.number)
                self._lose_for_good(actor, f"it did not start within {self._config.start_timeout_s:g} s")

    # ------------------------------------------------------------------------------------------------------- requests

    def _take(self, job: _Job) -> None:
        self.counts.requests += 1
        self._waiting.append(job)
        self._dispatch()

    def _dispatch(self) -> None:
        if self._no_actor:
            while self._waiting:
                self._give_up(self._waiting.popleft(), self._no_actor)
            return
        left: deque[_Job] = deque()
        while self._waiting:
            job = self._waiting.popleft()
            actor = self._choose(job)
            if actor is None:
                left.append(job)
            else:
                self._send(actor, job)
        self._waiting = left

    def _choose(self, job: _Job) -> _Actor | None:
        """The free actor with the least to do that has not failed at this job; None: wait."""
        ready = [actor for actor in self._actors if actor.ready]
        fresh = [actor for actor in ready if actor.number not in job.tried]
        free = [actor for actor in fresh or ready if len(actor.line) < self._config.in_flight]
        num, first = self._calls.num, self._calls.first
        return min(free, key=lambda actor: (len(actor.line), (actor.number - first) % num), default=None)

    def _send(self, actor: _Actor, job: _Job) -> None:
        job.attempts += 1
        attempt = _Attempt(job.attempts, job)
        if not actor.line:
            actor.deadline = time.monotonic() + self._config.timeout_s
        actor.line.append(attempt)
        self.counts.most_in_flight = max(self.counts.most_in_flight, sum(len(a.line) for a in self._actors))
        life = actor.life

        def done(outcome: Any) -> None:
            self._events.put(lambda: self._answered(actor, life, attempt, outcome))

        self._calls.send(actor.number, job.request, attempt.number, done)

    def _answered(self, actor: _Actor, life: int, attempt: _Attempt, outcome: Any) -> None:
        job, key = attempt.job, (attempt.job.request.id, attempt.number)
        if attempt not in actor.line or life != actor.life:
            if isinstance(outcome, BaseException):
                return  # the end of an attempt that was given up
            late = key in self._given_up
            self._given_up.discard(key)
            self.counts.late += late
            self.counts.duplicates += not late
            return
        if isinstance(outcome, ActorLost):
            self.counts.deaths += 1
            self._say(f"reward actor {actor.number} died: {outcome}")
            self._requeue(actor, f"its actor died ({outcome})")
            self._open(actor)
            return
        actor.line.remove(attempt)
        actor.deadline = time.monotonic() + self._config.timeout_s
        if isinstance(outcome, BaseException):
            job.future.set_exception(outcome)  # a bug: its traceback is worth more than a fault
        elif isinstance(outcome, Answer) and outcome.refused:
            job.future.set_exception(InputError(outcome.refused))
        else:
            self._judge(actor, attempt, outcome)
        self._dispatch()

    def _judge(self, actor: _Actor, attempt: _Attempt, outcome: Any) -> None:
        job = attempt.job
        if isinstance(outcome, Answer) and outcome.failed:
            found = Results([], outcome.failed)
        else:
            try:
                found = Results(results_in_order(job.request, attempt.number, outcome), "")
            except ValueError as error:
                self.counts.unusable += 1
                self._failed(actor, job, str(error))
                return
        if not (found.failed or all(_is_fault(value) for value in found.values)):
            actor.sick, actor.healthy = 0, True
            self._finish(job, found)
            return
        self.counts.sick += 1
        actor.sick, actor.healthy = actor.sick + 1, False
        job.faults = found
        if actor.sick >= SICK_AFTER and any(other.healthy for other in self._actors if other is not actor):
            self._restart(actor, f"{actor.sick} answers of faults alone")
        self._failed(actor, job, found.failed or found.values[0].reason)

    def _finish(self, job: _Job, found: Results) -> None:
        self.counts.answered += 1
        job.future.set_result(found)

    def _failed(self, actor: _Actor, job: _Job, reason: str) -> None:
        """An attempt is used up."""
        job.failures += 1
        job.tried.add(actor.number)
        if job.failures <= self._config.retries:
            self.counts.retries += 1
            self._waiting.appendleft(job)
        elif job.faults is not None:  # the reward itself says that it cannot
            self._finish(job, job.faults)
        else:
            self._give_up(job, f"{reason}; attempt {job.failures} of {job.failures}")

    def _give_up(self, job: _Job, reason: str) -> None:
        self.counts.given_up += 1
        job.future.set_exception(NoAnswer(reason))

    # --------------------------------------------------------------------------------------------------------- actors

    def _open_all(self) -> None:
        for actor in self._actors:
            self._open(actor)

    def _open(self, actor: _Actor) -> None:
        actor.ready, actor.life = False, actor.life + 1
        actor.deadline = time.monotonic() + self._config.start_timeout_s
        life = actor.life
        self._calls.about(actor.number, lambda outcome: self._events.put(lambda: self._opened(actor, life, outcome)))

    def _opened(self, actor: _Actor, life: int, outcome: Any) -> None:
        if actor.gone or life != actor.life:
            return
        if isinstance(outcome, ActorLost) and not outcome.for_good:
            self.counts.deaths += 1
            self._open(actor)
        elif isinstance(outcome, BaseException):
            self._lose_for_good(actor, str(outcome), bug=None if isinstance(outcome, ActorLost) else outcome)
        elif outcome.refused:
            if not self._about.done():
                self._about.set_exception(InputError(outcome.refused))
            self._lose_for_good(actor, outcome.refused)
        else:
            actor.ready = True
            if not self._about.done():
                self._about.set_result(outcome)
            self._dispatch()

    def _restart(self, actor: _Actor, reason: str) -> None:
        self._say(f"reward actor {actor.number} is started again: {reason}")
        self._calls.restart(actor.number)
        self._requeue(actor, reason)
        self._open(actor)
        self._dispatch()

    def _requeue(self, actor: _Actor, reason: str) -> None:
        """Takes away what an actor holds. Only what it worked on is an attempt; the others had not begun."""
        actor.ready, actor.healthy, actor.sick = False, False, 0
        line, actor.line = list(actor.line), deque()
        for attempt in line:
            self._given_up.add((attempt.job.request.id, attempt.number))
        for attempt in reversed(line[1:]):
            self._waiting.appendleft(attempt.job)
        if line:
            self._failed(actor, line[0].job, reason)

    def _lose_for_good(self, actor: _Actor, reason: str, *, bug: BaseException | None = None) -> None:
        actor.ready, actor.gone = False, True
        self._say(f"reward actor {actor.number} is gone: {reason}")
        self._requeue(actor, reason)
        if all(other.gone for other in self._actors):
            self._no_actor = f"no reward actor is left; the last one: {reason}"
            if not self._about.done():
                self._about.set_exception(bug or ServerError(f"No reward actor could be started: {reason}."))
        self._dispatch()

    def _fail_all(self, reason: str) -> None:
        self._no_actor = reason
        if not self._about.done():
            self._about.set_exception(ServerError(f"No reward actor could be started: {reason}."))
        for actor in self._actors:
            for attempt in actor.line:
                self._give_up(attempt.job, reason)
            actor.line.clear()
        self._dispatch()


def _is_fault(value: Any) -> bool:
    return isinstance(value, RewardResult) and value.status is Status.FAULT


def every(futures: Sequence["Future[Results]"]) -> list[list[Any] | str]:
    """Waits for all: a request's values, or in words why there are none. Raises any exception but `NoAnswer`."""
    found: list[list[Any] | str] = []
    for future in futures:
        try:
            values, failed = future.result()
            found.append(failed or values)
        except NoAnswer as error:
            found.append(str(error))
    return found
