"""Rewards elsewhere while the next flight is sampled: the same results, a bounded number of videos, errors as ever."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from tiny_trainer import FAULT, FakeReward, Make, same_state, untimed
from torch import Tensor

from worldr1.errors import InputError, TrainingError
from worldr1.protocols import LaterReward
from worldr1.types import RewardResult

FIVE = {"groups_per_update": 5, "groups_in_flight": 1, "decode_batch": 4}
NAP = threading.Event()
"""Never set."""


class Later(FakeReward):
    """Scores in a thread; `gate` is called there with the number of the flight, before it does."""

    def __init__(self, *fixed: Any, gate: Callable[[int], object] = lambda number: None) -> None:
        super().__init__(*fixed)
        self.gate, self.asked, self.log = gate, 0, list[str]()
        self._thread = ThreadPoolExecutor(1)

    def submit(self, *given: Any) -> "Future[list[RewardResult]]":
        number, self.asked = self.asked, self.asked + 1
        self.log.append(f"asked {number}")
        return self._thread.submit(self._score, number, *given)

    def _score(self, number: int, *given: Any) -> list[RewardResult]:
        self.gate(number)
        results = super().__call__(*given)
        self.log.append(f"scored {number}")
        return results

    def __call__(self, *given: Any) -> list[RewardResult]:
        number, self.asked = self.asked, self.asked + 1
        self.log.append(f"asked {number}")
        return self._score(number, *given)


@pytest.mark.parametrize(("groups", "ahead"), [(1, 2), (3, 1), (5, 0), (5, 2)])
def test_overlap_changes_no_result(make: Make, groups: int, ahead: int) -> None:
    change = {**FIVE, "groups_per_update": groups}
    straight, later = (
        make(plain := FakeReward(), **change),
        make(reward := Later(gate=lambda number: NAP.wait(0.1)), **change, flights_ahead=ahead),
    )
    assert isinstance(reward, LaterReward) and not isinstance(straight.reward, LaterReward)
    for _ in range(3):  # two main updates and a dynamic one
        assert untimed(later.update()) == untimed(straight.update())
    assert same_state(later.state(), straight.state())
    assert [(call[0], call[2]) for call in reward.calls] == [(call[0], call[2]) for call in plain.calls]


def _sampled(trainer: Any, log: list[str], then: Callable[[int], None] = lambda number: None) -> None:
    """Has the trainer's rollouts leave a line when they are done."""
    original, count = trainer.algorithm.roll_out, [0]

    def roll_out(*given: Any, **more: Any) -> Any:
        rollouts = original(*given, **more)
        number, count[0] = count[0], count[0] + 1
        log.append(f"sampled {number}")
        then(number)
        return rollouts

    trainer.algorithm.roll_out = roll_out


def test_the_next_flight_is_sampled_while_the_last_is_scored(make: Make) -> None:
    sampled = [threading.Event() for _ in range(6)]
    sampled[5].set()
    reward = Later(gate=lambda number: sampled[number + 1].wait(10) or pytest.fail("nobody sampled on"))
    trainer = make(reward, **FIVE)
    _sampled(trainer, reward.log, lambda number: sampled[number].set())
    trainer.update()
    for number in range(4):
        assert reward.log.index(f"sampled {number + 1}") < reward.log.index(f"scored {number}")


def test_without_overlap_each_flight_is_waited_for(make: Make) -> None:
    trainer = make(reward := Later(), **FIVE, flights_ahead=0)
    _sampled(trainer, reward.log)
    trainer.update()
    assert reward.log == [f"{what} {number}" for number in range(5) for what in ("sampled", "asked", "scored")]


@pytest.mark.parametrize("ahead", [1, 2])
def test_no_more_videos_are_made_than_may_wait(make: Make, ahead: int) -> None:
    """A reward that answers only when the trainer stands still for it."""
    waits = threading.Semaphore(0)
    reward = Later(gate=lambda number: waits.acquire(timeout=10) or pytest.fail("nobody waits"))
    trainer = make(reward, **FIVE, flights_ahead=ahead)
    most, decode, submit = [0], trainer.policy.decode, reward.submit

    def counted(latents: Tensor) -> Tensor:
        most[0] = max(most[0], 1 + reward.asked - sum(line.startswith("scored") for line in reward.log))
        return decode(latents)

    class Waited:
        def __init__(self, future: "Future[list[RewardResult]]") -> None:
            self.done, self._future = future.done, future

        def result(self) -> list[RewardResult]:
            waits.release()
            return self._future.result()

    trainer.policy.decode = counted
    reward.submit = lambda *given: Waited(submit(*given))  # pyright: ignore[reportAttributeAccessIssue]
    trainer.update()
    assert most == [ahead]


def test_what_the_trainer_waited_is_said(make: Make) -> None:
    def times(reward: Any, **change: Any) -> tuple[float, float, float, float]:
        row = make(reward, **FIVE, **change).update()
        names = ("seconds", "seconds_rollout", "seconds_reward", "seconds_reward_wait")
        all_s, rollout, reward_s, waited = (float(row[name]) for name in names)
        assert 0 < waited < reward_s and rollout > 0 and rollout + reward_s < all_s
        return all_s, rollout, reward_s, waited

    slow = Later(gate=lambda number: NAP.wait(0.2))
    *_, waited = times(slow, flights_ahead=0)
    assert waited >= 5 * 0.2
    times(Later())


def _raising(error: BaseException, at: int) -> Callable[[int], object]:
    def gate(number: int) -> None:
        if number == at:
            raise error

    return gate


@pytest.mark.parametrize("at", [0, 4])
@pytest.mark.parametrize("error", [TypeError("a bug"), InputError("say it otherwise")])
def test_what_the_reward_raises_stops_the_update_and_changes_nothing(make: Make, error: Exception, at: int) -> None:
    trainer, recorded = make(Later(gate=_raising(error, at)), **FIVE), []
    start = trainer.state()
    with pytest.raises(type(error), match=str(error)):
        trainer.update(recorded.append)
    assert not recorded and same_state(trainer.state(), start)


def test_too_many_faults_stop_the_run_as_without_overlap(make: Make) -> None:
    trainer = make(Later(FAULT, 0.1, 0.2, 0.3), **FIVE, max_fault_fraction=0.2)
    start = trainer.state()
    with pytest.raises(TrainingError, match="5 of 20 rewards failed"):
        trainer.update()
    assert same_state(trainer.state(), start)


def test_answers_that_are_not_one_per_video_are_refused(make: Make) -> None:
    class Short(Later):
        def _score(self, number: int, *given: Any) -> list[RewardResult]:
            return super()._score(number, *given)[:-1]

    with pytest.raises(InputError, match="one reward for every member"):
        make(Short(), **FIVE).update()


@pytest.mark.parametrize("where", ["sampling", "waiting"])
def test_an_interrupt_changes_nothing_and_the_update_can_be_done_again(make: Make, where: str) -> None:
    go = threading.Event()
    straight, reward = make(FakeReward(), **FIVE), Later()
    trainer = make(reward, **FIVE)
    start = trainer.state()
    timer = threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    if where == "sampling":
        _sampled(trainer, reward.log, lambda number: signal.raise_signal(signal.SIGINT) if number == 3 else None)
    else:  # Ctrl-C ends the wait for an actor that never answers
        reward.gate = lambda number: go.wait(10)
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.update()
    go.set()
    assert same_state(trainer.state(), start)
    assert untimed(trainer.update()) == untimed(straight.update())
    assert same_state(trainer.state(), straight.state())


def test_flights_ahead_must_not_be_negative(make: Make) -> None:
    with pytest.raises(InputError, match=r"train\.flights_ahead is -1"):
        make(flights_ahead=-1)
