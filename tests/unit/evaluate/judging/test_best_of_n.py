"""Best of N at inference against trying everything by hand; videos are made of their seeds, rewards of their pixels."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.judging import best_of_n
from worldr1.evaluate.judging.best_of_n import BestOfN, sibling
from worldr1.evaluate.judging.tables import best_of_line
from worldr1.types import Prompt, RewardResult, Status

TASKS = [Task(Prompt(id=i, text=f"A red ball, number {i}.", dynamic=i == 3), (), None, seed=100 + i) for i in range(5)]


def film(tasks: Sequence[Task]) -> Tensor:
    """Noise of the task's seed, brighter or darker as a whole."""
    videos = []
    for task in tasks:
        generator = torch.Generator().manual_seed(task.seed % 2**32)
        level = torch.rand(1, generator=generator)
        videos.append(0.5 * level + 0.5 * torch.rand(3, 3, 4, 4, generator=generator))
    return torch.stack(videos)


class Brightness:
    """The reward is the mean pixel. spoiled: positions (call, video) whose result is this instead."""

    def __init__(self, spoiled: dict[tuple[int, int], RewardResult] | None = None) -> None:
        self.spoiled = spoiled or {}
        self.calls: list[tuple[list[Prompt], bool]] = []

    def __call__(
        self, videos: Tensor, prompts: Sequence[Prompt], paths: Sequence[Any], phase_dynamic: bool
    ) -> list[RewardResult]:
        call = len(self.calls)
        self.calls.append((list(prompts), phase_dynamic))
        values = [RewardResult(value=value, parts={}) for value in videos.mean((1, 2, 3, 4)).tolist()]
        return [self.spoiled.get((call, i), value) for i, value in enumerate(values)]


FAULT = RewardResult(value=99.0, parts={}, status=Status.FAULT, reason="it crashed")
NOT_FINITE = RewardResult(value=math.nan, parts={})


def candidates(num: int) -> Tensor:
    """[N, tasks, ...]."""
    return torch.stack([film([sibling(task, member) for task in TASKS]) for member in range(num)])


def test_the_brightest_of_all_is_kept() -> None:
    reward = Brightness()
    chosen = BestOfN(film, reward, 6)(TASKS)
    of_all = candidates(6)
    best = of_all.mean((2, 3, 4, 5)).argmax(0)
    assert len(set(best.tolist())) > 1 and (best != 0).any()
    assert torch.equal(chosen, of_all[best, torch.arange(len(TASKS))])
    assert [dynamic for _, dynamic in reward.calls] == [False] * 6  # the full reward, for dynamic prompts too
    assert all(prompts == [task.prompt for task in TASKS] for prompts, _ in reward.calls)


def test_one_is_the_source_itself_to_the_bit() -> None:
    assert torch.equal(BestOfN(film, Brightness(), 1)(TASKS), film(TASKS))
    assert sibling(TASKS[0], 0) == TASKS[0]


def test_start_noises_are_all_different_and_always_the_same() -> None:
    seeds = [sibling(task, member).seed for task in TASKS for member in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [sibling(task, member).seed for task in TASKS for member in range(8)]


@pytest.mark.parametrize("bad", [FAULT, NOT_FINITE])
def test_faults_are_never_kept_unless_there_is_nothing_else(bad: RewardResult) -> None:
    of_all = candidates(3)
    means = of_all.mean((2, 3, 4, 5))
    best = int(means[:, 0].argmax())
    second = int(means[:, 0].argsort()[1])
    spoiled = {(best, 0): bad, (0, 1): bad, (1, 1): bad, (0, 2): bad, (1, 2): bad, (2, 2): bad}
    chosen = BestOfN(film, Brightness(spoiled), 3)(TASKS)
    assert torch.equal(chosen[0], of_all[second, 0])
    assert torch.equal(chosen[1], of_all[2, 1])  # the only one that could be scored
    assert torch.equal(chosen[2], of_all[0, 2])  # nothing could: its own


def test_of_equal_rewards_its_own_video_stays() -> None:
    same = RewardResult(value=0.5, parts={})
    reward = Brightness({(call, i): same for call in range(3) for i in range(len(TASKS))})
    assert torch.equal(BestOfN(film, reward, 3)(TASKS), film(TASKS))


def test_the_price_and_the_gain_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(x) for x in range(0, 1000))
    monkeypatch.setattr(best_of_n.time, "monotonic", lambda: next(clock))
    chooser = BestOfN(film, Brightness({(0, 0): FAULT}), 4)
    for batch in (TASKS[:3], TASKS[3:]):
        chooser(batch)
    facts = chooser.facts()
    assert (facts["num"], facts["seconds"], facts["seconds_filming"], facts["seconds_scoring"]) == (4, 16.0, 8.0, 8.0)
    assert facts["seconds_one_sample"] == 2.0
    means = candidates(4).mean((2, 3, 4, 5))
    assert facts["reward_own"] == pytest.approx(float(means[0, 1:].mean()))
    means[0, 0] = -1
    assert facts["reward_kept"] == pytest.approx(float(means.amax(0).mean()))
    line = best_of_line(facts)
    assert "best of 4" in line and "16.0 s" in line and "8.0 times the 2.0 s of one sample" in line
    assert "no reward could be had" in best_of_line(facts | {"reward_own": None})


def test_best_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        BestOfN(film, Brightness(), 0)
