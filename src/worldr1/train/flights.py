"""The rewards of an update's flights, asked for in order and brought back in order, while the next flight is sampled.

A flight is what is sampled, decoded and scored together (`train.groups_in_flight` groups). A reward of this process
shares the policy's GPU, so it is called and waited for. One elsewhere (`protocols.LaterReward`) is asked, and the
trainer samples on: at most `ahead` flights have videos whose rewards are not there yet. What is asked, in which batches
and in which order, is the same either way, so the results are too.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from worldr1.protocols import LaterReward, PendingRewards, VideoReward
from worldr1.rollout.collector import GroupBatch, collect
from worldr1.types import RewardResult, Rollout


class _Asked(NamedTuple):
    rollouts: Sequence[Rollout]
    pending: PendingRewards


class Flights:
    """Those of one update: `make_room` for and `score` each of them, then take `all_scored`.

    Whatever the reward raises is raised here, perhaps some flights later than its own. After an exception, its own or
    an interrupt of the caller's, throw this away: what is still being computed elsewhere is then nobody's.
    """

    def __init__(self, reward: VideoReward, *, ahead: int, std_floor: float, phase_dynamic: bool) -> None:
        """ahead: most flights whose videos exist and whose rewards do not; 0 waits for every flight. std_floor: see
        `rl.advantage.group_advantages`."""
        self._reward, self._ahead = reward, ahead
        self._std_floor, self._dynamic = std_floor, phase_dynamic
        self._asked: deque[_Asked] = deque()
        self._scored: list[GroupBatch] = []
        self.waited_s = 0.0
        """How long the caller stood still because rewards were not there."""

    def make_room(self) -> None:
        """Waits until there may be another flight's videos: call it before they are decoded."""
        self._collect(most=max(0, self._ahead - 1))

    def score(self, rollouts: Sequence[Rollout], videos_BT3HW: Float[Tensor, "B T 3 H W"]) -> None:
        """Asks for the rewards of these groups' videos, which are not kept here."""
        members = [rollout for rollout in rollouts for _ in rollout.seeds]
        asked = (videos_BT3HW, [r.prompt for r in members], [r.trajectory for r in members], self._dynamic)
        if self._ahead and isinstance(self._reward, LaterReward):
            self._asked.append(_Asked(rollouts, self._reward.submit(*asked)))
            return
        with self._waiting():
            results = self._reward(*asked)
        self._take(rollouts, results)

    def all_scored(self) -> list[GroupBatch]:
        """Every group, in the order in which they were given; waits for the rewards that are not there."""
        self._collect(most=0)
        return self._scored

    def _collect(self, *, most: int) -> None:
        """Takes what is there, and waits until no more than so many flights are being scored."""
        while self._asked and (len(self._asked) > most or self._asked[0].pending.done()):
            rollouts, pending = self._asked.popleft()
            with self._waiting():
                results = pending.result()
            self._take(rollouts, results)

    def _take(self, rollouts: Sequence[Rollout], results: Sequence[RewardResult]) -> None:
        size = len(results) // len(rollouts)
        grouped = [results[start : start + size] for start in range(0, len(results), size or 1)]
        self._scored += collect(rollouts, grouped, std_floor=self._std_floor)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.waited_s += time.monotonic() - start
