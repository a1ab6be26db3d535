"""Best of N at inference: several videos of each task, the one that the reward likes most is kept.

The baseline that costs no training: what a reward can do by choosing among a model's own videos, at N times the price.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Reward, Task
from worldr1.evaluate.judging.judge import Source
from worldr1.rl.best_of_n import best_member
from worldr1.seeding import derive_seed
from worldr1.types import RewardResult

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Cost:
    """What choosing took so far, in seconds of the device that films and scores, and what it brought."""

    filming_s: float = 0.0
    """All N videos of every task, from start noise to pixels."""
    scoring_s: float = 0.0
    own: list[float] = field(default_factory=list)
    """Rewards of the tasks' own videos, where these are no faults."""
    kept: list[float] = field(default_factory=list)
    """Rewards of the kept videos, where these are no faults."""


class BestOfN:
    """A `Source` that keeps the best of N videos by another source.

    The first is the task's own, from its own start noise, so N = 1 gives the source's videos bit for bit. Faults are
    never chosen: a task whose N rewards all failed keeps its own video. Of equal rewards the first counts.
    """

    def __init__(self, source: Source, reward: Reward, num: int) -> None:
        """num: N. reward: called with the full reward for dynamic prompts too, as evaluations do.

        Raises InputError for N < 1.
        """
        if num < 1:
            raise InputError(f"Best of {num} is no video: choose among at least 1.")
        self.num, self.cost = num, Cost()
        self._source, self._reward = source, reward

    def __call__(self, tasks: Sequence[Task]) -> Float[Tensor, "B T 3 H W"]:
        """One video per task. Films each N-th of them at the source's own batch shape."""
        best, rewards = self._film_and_score(tasks)
        self.cost.own += _values(rewards)
        for member in range(1, self.num):
            videos, found = self._film_and_score([sibling(task, member) for task in tasks])
            is_better = [best_member(pair) == 1 for pair in zip(rewards, found, strict=True)]
            chosen_B = torch.tensor(is_better, device=videos.device)
            best = torch.where(chosen_B[:, None, None, None, None], videos, best)
            rewards = [new if better else old for old, new, better in zip(rewards, found, is_better, strict=True)]
        self.cost.kept += _values(rewards)
        return best

    def facts(self) -> dict[str, Any]:
        """N, the seconds and the mean rewards so far, as strict JSON. One sample: a video of every task, unscored."""
        cost = self.cost
        return {
            "num": self.num,
            "seconds": cost.filming_s + cost.scoring_s,
            "seconds_filming": cost.filming_s,
            "seconds_scoring": cost.scoring_s,
            "seconds_one_sample": cost.filming_s / self.num,
            "reward_own": fmean(cost.own) if cost.own else None,
            "reward_kept": fmean(cost.kept) if cost.kept else None,
        }

    def _film_and_score(self, tasks: Sequence[Task]) -> tuple[Tensor, list[RewardResult]]:
        videos, filming_s = _timed(lambda: self._source(tasks))
        prompts, paths = [task.prompt for task in tasks], [task.path for task in tasks]
        results, scoring_s = _timed(lambda: self._reward(videos, prompts, paths, False))
        self.cost.filming_s += filming_s
        self.cost.scoring_s += scoring_s
        return videos, results


def sibling(task: Task, member: int) -> Task:
    """The same task from another start noise; member 0 is the task itself."""
    return task if member == 0 else task._replace(seed=derive_seed(task.seed, "best-of-n", member))


def _values(rewards: Sequence[RewardResult]) -> list[float]:
    return [reward.value for reward in rewards if best_member([reward]) is not None]


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns and the seconds until the GPU, if there is one in use, has finished it."""
    begin = time.monotonic()
    result = work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return result, time.monotonic() - begin
