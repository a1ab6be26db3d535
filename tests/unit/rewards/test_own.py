"""A whole reward of the user's own: what it may get wrong costs a video or stops the run, and is never a reward."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.errors import InputError
from worldr1.rewards.own import OwnReward
from worldr1.types import Prompt, RewardResult, Status

VIDEOS = torch.rand(4, 3, 3, 4, 6, generator=torch.Generator().manual_seed(0))
PROMPTS = [Prompt(id=0, text="a wall")] * 2 + [Prompt(id=1, text="a box")] * 2


def sum_of(**parts: float) -> RewardResult:
    return RewardResult(value=sum(parts.values()), parts=parts)


class Bright:
    """The mean of a video, spoiled by `answer`: (index in the call, right result, videos) -> what is returned."""

    licence = "test"
    part_weights: Any = None

    def __init__(self, answer: Callable[..., Any] = lambda i, right, videos: right) -> None:
        self.part_weights = {"bright": 1.0, "extra": 1.0}
        self.answer = answer
        self.calls: list[int] = []

    def __call__(self, videos: Tensor, prompts: Sequence[Prompt], paths: Any, phase_dynamic: bool) -> Any:
        assert not torch.is_grad_enabled() and len(videos) == len(prompts) == len(paths)
        self.calls.append(len(videos))
        right = [sum_of(bright=float(video.mean())) for video in videos]
        return [self.answer(i, r, videos) for i, r in enumerate(right)]


def score(reward: Any, *, batch: int = 8) -> list[RewardResult]:
    return OwnReward(reward, name="my:Reward", batch=batch)(VIDEOS, PROMPTS, [None] * 4, False)


def is_fault(result: RewardResult) -> bool:
    values = [result.value, *result.parts.values()]
    return result.status is Status.FAULT and bool(result.reason) and all(map(math.isnan, values))


@pytest.mark.parametrize(("batch", "calls"), [(8, [4]), (3, [3, 1]), (1, [1, 1, 1, 1])])
def test_every_video_gets_its_own_result_whatever_the_batch(batch: int, calls: list[int]) -> None:
    reward = Bright()
    assert [r.value for r in score(reward, batch=batch)] == [float(video.mean()) for video in VIDEOS]
    assert reward.calls == calls


def test_a_value_that_is_not_finite_is_a_fault_of_that_video() -> None:
    for bad in (sum_of(bright=math.nan), sum_of(bright=math.inf), RewardResult(value=math.nan, parts={"bright": 1.0})):
        results = score(Bright(lambda i, right, videos, bad=bad: bad if i == 1 else right))
        assert [is_fault(r) for r in results] == [False, True, False, False]
        assert "is not finite" in results[1].reason


def test_an_exception_costs_the_video_that_it_comes_from() -> None:
    def fails(i: int, right: RewardResult, videos: Tensor) -> RewardResult:
        if any(torch.equal(video, VIDEOS[2]) for video in videos):
            raise RuntimeError("out of memory")
        return right

    results = score(Bright(fails))
    assert [is_fault(r) for r in results] == [False, False, True, False]
    assert "out of memory" in results[2].reason


def test_a_wrong_number_of_results_is_never_dealt_out() -> None:
    class Short(Bright):
        def __call__(self, videos: Tensor, *rest: Any) -> Any:
            return super().__call__(videos, *rest)[: 3 if len(videos) > 1 else 1]

    assert [r.value for r in score(Short())] == [float(video.mean()) for video in VIDEOS]  # one by one it is right

    class Shorter(Bright):
        def __call__(self, videos: Tensor, *rest: Any) -> Any:
            return []

    results = score(Shorter())
    assert all(map(is_fault, results)) and "0 results for 1 inputs" in results[0].reason

    class NoList(Bright):
        def __call__(self, videos: Tensor, *rest: Any) -> Any:
            return videos.mean((1, 2, 3, 4))

    assert all("answered with a Tensor" in r.reason for r in score(NoList()))


def test_a_fault_and_a_rejection_that_it_says_itself() -> None:
    said = [
        RewardResult(value=7.0, parts={"bright": 7.0}, status=Status.FAULT, reason="the server is gone"),
        RewardResult(value=-1.0, parts={"bright": -1.0}, status=Status.REJECTED, reason="blank"),
    ]
    results = score(Bright(lambda i, right, videos: said[i] if i < 2 else right))
    assert is_fault(results[0]) and results[0].reason == "the server is gone"
    assert (results[1].status, results[1].value, results[1].reason) == (Status.REJECTED, -1.0, "blank")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda i, r, v: r if i else sum_of(other=1.0), "the part other, which has no factor"),
        (lambda i, r, v: r if i else sum_of(bright=0.1, extra=0.2), "the same parts"),
        (lambda i, r, v: RewardResult(value=0.0, parts={}), "gave no part"),
        (lambda i, r, v: RewardResult(value=r.value + 0.01, parts=r.parts), "return the weighted sum"),
        (lambda i, r, v: r.value, "a float where a RewardResult belongs"),
        (lambda i, r, v: RewardResult(value=r.value, parts=r.parts, measures={"loss": 1.0}), "a measure loss"),
        (lambda i, r, v: RewardResult(value=r.value, parts=r.parts, measures={"bright": 1.0}), "a measure bright"),
    ],
)
def test_what_would_spoil_every_number_stops(spoil: Callable[..., Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        score(Bright(spoil))
    assert str(refused.value).startswith("my:Reward") and "\n" not in str(refused.value)


def test_parts_may_differ_between_prompts_and_phases_and_not_between_calls() -> None:
    both = sum_of(bright=0.1, extra=0.2)
    reward = OwnReward(Bright(lambda i, r, v: r if i < 2 else both), name="my:Reward", batch=8)
    assert [set(r.parts) for r in reward(VIDEOS, PROMPTS, [None] * 4, False)] == [{"bright"}] * 2 + [
        {"bright", "extra"}
    ] * 2
    flipped = [PROMPTS[2]] * 2 + [PROMPTS[0]] * 2
    reward(VIDEOS, flipped, [None] * 4, True)
    with pytest.raises(InputError, match="the same parts"):
        reward(VIDEOS, flipped, [None] * 4, False)


def test_a_bug_keeps_its_traceback_and_says_whose_it_is() -> None:
    def bug(i: int, right: RewardResult, videos: Tensor) -> RewardResult:
        return right.no_such_thing  # type: ignore[attr-defined]

    with pytest.raises(AttributeError) as raised:
        score(Bright(bug))
    assert raised.value.__notes__ == ["This comes from my:Reward, the reward that the recipe names."]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": ""}, "does not say its licence"),
        ({"part_weights": None}, "needs part_weights"),
        ({"part_weights": {}}, "needs part_weights"),
        ({"part_weights": {"loss": 1.0}}, "calls a part 'loss'"),
        ({"part_weights": {"My part": 1.0}}, "calls a part 'My part'"),
        ({"part_weights": {"a": -1.0}}, "the factor -1.0"),
        ({"part_weights": {"a": True}}, "the factor True"),
        ({"part_weights": {"a": math.nan}}, "the factor nan"),
    ],
)
def test_an_object_that_is_no_reward_is_refused(changes: dict[str, Any], words: str) -> None:
    reward = Bright()
    for name, value in changes.items():
        setattr(reward, name, value)
    with pytest.raises(InputError, match=words):
        OwnReward(reward, name="my:Reward", batch=8)
    with pytest.raises(InputError, match="makes a str, which cannot be called"):
        OwnReward("reward", name="my:Reward", batch=8)
