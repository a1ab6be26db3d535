"""A discrete-event simulation of one update on many GPUs: ranks that sample, reward actors that score, one barrier.

It follows what the trainer and the reward's pool do (`train.flights`, `cluster.pool`), with seconds in the place of
work: groups are dealt out whole, a rank samples and decodes one flight of groups after the other, its client sends each
video to the actor with the shortest line, actors answer in the order in which videos come, a rank takes its optimizer
step when all its rewards are there, and the slowest rank ends the update. `benchmarks/scaling.py` asks the questions.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

Process = Generator["float | Signal", None, None]
"""Yields seconds to pass, or a signal to wait for."""


class Loop:
    """The clock, and who goes on when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Process]] = []
        self._order = itertools.count()  # of equal times the first comes first

    def start(self, process: Process, after: float = 0.0) -> None:
        """Has a process go on so many seconds from now."""
        heapq.heappush(self._heap, (self.now + after, next(self._order), process))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._heap:
            self.now, _, process = heapq.heappop(self._heap)
            wanted = next(process, None)
            if isinstance(wanted, Signal):
                wanted.wait(process)
            elif wanted is not None:
                self.start(process, wanted)


class Signal:
    """Something that happens once."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self._waiting, self.happened = loop, list[Process](), False

    def wait(self, process: Process) -> None:
        """Has a process go on when it happens."""
        if self.happened:
            self._loop.start(process)
        else:
            self._waiting.append(process)

    def happen(self) -> None:
        """Now."""
        self.happened = True
        for process in self._waiting:
            self._loop.start(process)


class Actor:
    """Answers one video at a time, in the order in which they come."""

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._line: deque[Callable[[], None]] = deque()
        self._works = False
        self.busy_s = 0.0

    def take(self, done: Callable[[], None]) -> None:
        """A video; done: is called when it has its reward."""
        self._line.append(done)
        if not self._works:
            self._works = True
            self._loop.start(self._work())

    def _work(self) -> Process:
        while self._line:
            done = self._line.popleft()
            yield self._seconds
            self.busy_s += self._seconds
            done()
        self._works = False


class Client:
    """One rank's side of the pool: sends one video after the other to where it has least in line."""

    def __init__(self, loop: Loop, actors: Sequence[Actor], *, first: int, in_flight: int, hand_over_s: float) -> None:
        self._loop, self._actors, self._first = loop, actors, first
        self._in_flight, self._hand_over_s = in_flight, hand_over_s
        self._lines = [0] * len(actors)
        self._waiting: deque[Callable[[], None]] = deque()
        self._sends = False

    def submit(self, done: Callable[[], None]) -> None:
        """A video; done: is called when its reward is here."""
        self._waiting.append(done)
        self._go_on()

    def _go_on(self) -> None:
        if not self._sends:
            self._sends = True
            self._loop.start(self._send())

    def _send(self) -> Process:
        while self._waiting and (actor := self._choose()) is not None:
            done = self._waiting.popleft()
            self._lines[actor] += 1
            if self._hand_over_s:
                yield self._hand_over_s
            self._actors[actor].take(lambda actor=actor, done=done: self._answered(actor, done))
        self._sends = False

    def _answered(self, actor: int, done: Callable[[], None]) -> None:
        self._lines[actor] -= 1
        done()
        self._go_on()

    def _choose(self) -> int | None:
        """As `cluster.pool.Pool` does."""
        num = len(self._actors)
        free = [number for number in range(num) if self._lines[number] < self._in_flight]
        return min(free, key=lambda number: (self._lines[number], (number - self._first) % num), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Seconds of the stages."""

    velocity: float
    """Of one latent in an ODE step of a rollout, guidance included."""
    sde_velocity: float
    """The same of the SDE step, which the policy's own weights take."""
    decode: float
    """Of one video."""
    copy: float
    """Of one video to host memory, for which the rank stands still."""
    hand_over: float
    """Of one video into the pool's memory, beside the rank's work and one after the other."""
    unpack: float
    """Of one video at its actor."""
    score: float
    """Of one video: all reward models."""
    step: float
    """Of one group: forward and backward of the trained step, and the reference."""
    reduce: Callable[[int], float] = lambda ranks: 0.0
    """All-reduce of the gradient over so many ranks, and the optimizer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Who does what."""

    policy: int
    """Ranks, a GPU each."""
    reward: int
    """Actors, a GPU each; 0: every rank scores its own videos in its own process."""
    ahead: int = 2
    """train.flights_ahead; 0: no overlap."""
    in_flight: int = 2
    """reward.remote.in_flight."""
    groups: int = 48
    """train.groups_per_update."""
    group_size: int = 8
    num_steps: int = 20
    one_queue: bool = False
    """All ranks are one client: the ideal that the ranks' own clients are compared with."""


@dataclass(kw_only=True, slots=True)
class RankTime:
    """Where one rank's seconds went."""

    rollout: float = 0.0
    decode: float = 0.0
    """With the copy."""
    score: float = 0.0
    """In its own process."""
    wait: float = 0.0
    """For rewards elsewhere."""
    step: float = 0.0
    barrier: float = 0.0
    """For slower ranks."""
    reduce: float = 0.0

    @property
    def update(self) -> float:
        """All of it."""
        return self.busy + self.wait + self.barrier

    @property
    def busy(self) -> float:
        """The seconds in which its GPU works."""
        return self.rollout + self.decode + self.score + self.step + self.reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """One simulated update."""

    ranks: Sequence[RankTime]
    actors_busy_s: Sequence[float]

    @property
    def seconds(self) -> float:
        """From its first forward to its last."""
        return self.ranks[0].update

    @property
    def utilisation(self) -> float:
        """Share of all GPUs' seconds in which they work."""
        busy = sum(rank.busy for rank in self.ranks) + sum(self.actors_busy_s)
        return busy / (self.seconds * (len(self.ranks) + len(self.actors_busy_s)))

    @property
    def reward_utilisation(self) -> float:
        """The same of the reward GPUs alone."""
        return fmean(self.actors_busy_s) / self.seconds if self.actors_busy_s else math.nan

    def mean(self, name: str) -> float:
        """Over ranks, of one of their times."""
        return fmean(getattr(rank, name) for rank in self.ranks)


def rollout_seconds(times: Times, layout: Layout, index: int) -> float:
    """Of a group whose SDE step is `index`: a prefix for all, that step, and the rest for each member."""
    after = (layout.num_steps - index - 1) * layout.group_size
    return (index + after) * times.velocity + times.sde_velocity


def simulate(times: Times, layout: Layout, indices: Sequence[int]) -> Update:
    """One update. indices: the SDE step of every group; group i belongs to rank i modulo the ranks."""
    loop = Loop()
    actors = [Actor(loop, times.unpack + times.score) for _ in range(layout.reward)]
    dealt = [indices[number :: layout.policy] for number in range(layout.policy)]
    ranks = [RankTime() for _ in dealt]
    common = Client(loop, actors, first=0, in_flight=1, hand_over_s=0.0) if layout.one_queue else None
    for number, (rank, groups) in enumerate(zip(ranks, dealt, strict=True)):
        first = number * layout.reward // layout.policy if layout.policy <= layout.reward else number
        first %= max(1, layout.reward)
        client = common or Client(loop, actors, first=first, in_flight=layout.in_flight, hand_over_s=times.hand_over)
        loop.start(_Rank(loop, times, layout, rank, client).update(groups))
    loop.run()
    last, reduce = max(rank.update for rank in ranks), times.reduce(layout.policy)
    for rank in ranks:
        rank.barrier, rank.reduce = last - rank.update, reduce
    return Update(ranks=ranks, actors_busy_s=[actor.busy_s for actor in actors])


@dataclass(slots=True)
class _Rank:
    loop: Loop
    times: Times
    layout: Layout
    spent: RankTime
    client: Client
    asked: deque[Signal] = field(default_factory=deque)

    def update(self, groups: Sequence[int]) -> Process:
        times, size, spent = self.times, self.layout.group_size, self.spent
        for index in groups:
            rollout = rollout_seconds(times, self.layout, index)
            spent.rollout += rollout
            yield rollout
            yield from self._wait(most=max(0, self.layout.ahead - 1))
            decode = size * (times.decode + (times.copy if self.layout.reward else 0.0))
            spent.decode += decode
            yield decode
            if not self.layout.reward:
                spent.score += size * times.score
                yield size * times.score
                continue
            self._ask(size)
            if not self.layout.ahead:
                yield from self._wait(most=0)
        yield from self._wait(most=0)
        spent.step += len(groups) * times.step
        yield len(groups) * times.step

    def _ask(self, videos: int) -> None:
        scored, left = Signal(self.loop), [videos]

        def done() -> None:
            left[0] -= 1
            if not left[0]:
                scored.happen()

        self.asked.append(scored)
        for _ in range(videos):
            self.client.submit(done)

    def _wait(self, *, most: int) -> Process:
        while self.asked and (len(self.asked) > most or self.asked[0].happened):
            start = self.loop.now
            yield self.asked.popleft()
            self.spent.wait += self.loop.now - start
