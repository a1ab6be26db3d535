"""The pool with actors in threads: whose score it is, whatever dies, hangs, stammers or comes too late."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from reward_pool import BATCH, NumberReward, ThreadActors, ask, outcomes, videos_of, wrong_owners

from worldr1.cluster.messages import About, Answer, Request
from worldr1.cluster.pool import SICK_AFTER, Done, Pool
from worldr1.cluster.reward import RemoteReward
from worldr1.errors import InputError, ServerError
from worldr1.rewards.own import SameParts
from worldr1.rewards.remote import RemoteConfig
from worldr1.types import Prompt, RewardResult, Status


def test_of_equally_busy_actors_a_client_turns_to_its_own_first_one() -> None:
    actors = ByHand(3, lambda actor, request, attempt: right(request, attempt))
    actors.first = 1
    with reward_on(actors) as reward:
        for number in range(4):
            assert reward.counts.answered == number
            ask(reward, [number])
    assert [actor for actor, _ in actors.asked] == [1, 1, 1, 1]


def reward_on(actors: Any, *, batch: int = BATCH, same_parts: SameParts | None = None, **config: Any) -> RemoteReward:
    settings = RemoteConfig(**{"actors": actors.num, "timeout_s": 10.0, **config})
    return RemoteReward(actors, settings, batch=batch, same_parts=same_parts, say=lambda line: None)


@pytest.mark.parametrize("clients", [1, 2, 8])
def test_no_video_gets_another_one_s_score(clients: int) -> None:
    with reward_on(ThreadActors(3, slowest_s=0.001)) as reward:
        scored, wrong = wrong_owners(reward, clients=clients, videos=3000)
    assert scored >= 3000 and wrong == 0
    assert reward.counts.requests == reward.counts.answered


@pytest.mark.parametrize("action", ["killed", "raised", "short", "foreign", "shuffled", "duplicate"])
def test_what_goes_wrong_once_costs_no_video(action: str) -> None:
    with reward_on(ThreadActors(2)) as reward:
        found = outcomes(reward, action, times=20)
        assert found == {"injected": 20, "videos": 80, "survived": 80, "masked": 0, "invented": 0}
        counts = reward.counts
    attempts_lost = 0 if action in ("shuffled", "duplicate") else 20
    assert counts.retries == attempts_lost and counts.given_up == 0
    seen = {"killed": counts.deaths, "short": counts.unusable, "foreign": counts.unusable, "raised": counts.sick}
    assert seen.get(action, 20) == 20 and counts.duplicates == (20 if action == "duplicate" else 0)


@pytest.mark.parametrize("action", ["hung", "late"])
def test_what_hangs_is_restarted_and_answers_that_come_too_late_are_dropped(action: str) -> None:
    with reward_on(ThreadActors(2), timeout_s=0.05, restarts=100) as reward:
        assert outcomes(reward, action, times=10)["survived"] == 10 * BATCH
        ask(reward, range(4))  # whatever was held has come
        counts = reward.counts
    assert (counts.timeouts, counts.retries, counts.given_up) == (10, 10, 0)
    assert counts.late == (10 if action == "late" else 0)


def test_a_value_that_is_not_finite_is_a_fault_of_its_video_alone() -> None:
    with reward_on(ThreadActors(1)) as reward:
        results = ask(reward, range(2 * BATCH), "nan")
    assert [r.status is Status.FAULT for r in results] == [i % BATCH == 0 for i in range(2 * BATCH)]
    assert math.isnan(results[0].value) and "not finite" in results[0].reason
    assert [r.value for r in results[1:4]] == [1, 2, 3]


def test_retries_are_bounded_and_the_rest_goes_on() -> None:
    with reward_on(ThreadActors(2), retries=2, restarts=100) as reward:
        results = ask(reward, range(BATCH), "poison")
        assert all(r.status is Status.FAULT and math.isnan(r.value) for r in results)
        assert "its actor died (killed); attempt 3 of 3" in results[0].reason
        assert [r.value for r in ask(reward, [7, 8])] == [7, 8]
        assert (reward.counts.deaths, reward.counts.given_up) == (3, 1)


def test_without_actors_every_video_is_a_fault_and_nobody_waits() -> None:
    with reward_on(ThreadActors(2, restarts=0)) as reward:
        assert all(r.status is Status.FAULT for r in ask(reward, range(3), "poison"))
        begin = time.monotonic()
        results = ask(reward, range(50))
        assert time.monotonic() - begin < 1
    assert len(results) == 50 and all(r.status is Status.FAULT for r in results)
    assert results[0].reason == "no reward actor is left; the last one: it may not start again"


def test_a_death_costs_what_was_being_scored_and_not_what_waited_behind_it() -> None:
    videos = videos_of(range(3 * BATCH), "killed")
    videos[BATCH:, :, 1] = 0
    with reward_on(ThreadActors(1), in_flight=3, retries=0) as reward:
        results = reward(videos, [Prompt(id=0, text="a wall")] * len(videos), [None] * len(videos), False)
    assert [r.status is Status.FAULT for r in results] == [i < BATCH for i in range(3 * BATCH)]
    assert [r.value for r in results[BATCH:]] == list(range(BATCH, 3 * BATCH))


@pytest.mark.parametrize("in_flight", [1, 3])
def test_an_actor_holds_no_more_than_it_may(in_flight: int) -> None:
    actors = ThreadActors(2)
    with reward_on(actors, in_flight=in_flight) as reward:
        wrong_owners(reward, clients=8, videos=400)
        assert reward.counts.most_in_flight <= 2 * in_flight
    assert max(actors.most_held) == in_flight


def test_results_can_be_waited_for_later() -> None:
    with reward_on(ThreadActors(2)) as reward:
        pending = [
            reward.submit(videos_of(range(i, i + 9)), [Prompt(id=0, text="a wall")] * 9, [None] * 9, False)
            for i in range(5)
        ]
        assert [[r.value for r in p.result()] for p in pending] == [list(range(i, i + 9)) for i in range(5)]
        assert all(p.done() for p in pending)


# ------------------------------------------------------------------------------------------- answers, by the hand


class ByHand:
    """Actors whose answers are made by a function of (actor, request, attempt)."""

    def __init__(self, num: int, answer: Callable[[int, Request, int], Any], about: Any = None) -> None:
        self.first = 0
        self.num, self.answer, self.said = num, answer, about or About("none", {"look": 1.0}, False)
        self.restarted: list[int] = []
        self.asked: list[tuple[int, int]] = []

    def about(self, actor: int, done: Done) -> None:
        done(self.said)

    def send(self, actor: int, request: Request, attempt: int, done: Done) -> None:
        self.asked.append((actor, attempt))
        threading.Thread(target=lambda: done(self.answer(actor, request, attempt)), daemon=True).start()

    def restart(self, actor: int) -> None:
        self.restarted.append(actor)

    def close(self) -> None:
        pass


def right(request: Request, attempt: int) -> Answer:
    values = NumberReward()(request.videos, request.prompts, request.trajectories, False)
    return Answer(request.id, attempt, request.video_ids, tuple(values))


def all_faults(request: Request, attempt: int) -> Answer:
    fault = RewardResult(value=math.nan, parts={}, status=Status.FAULT, reason="CUDA error")
    return right(request, attempt)._replace(results=(fault,) * len(request.video_ids))


def twice(request: Request, attempt: int) -> Answer:
    """Two results for the first video."""
    return right(request, attempt)._replace(video_ids=request.video_ids[:1] * 2)


def spoilt(**changes: Any) -> Callable[[int, Request, int], Any]:
    return lambda actor, request, attempt: (
        right(request, attempt)._replace(**changes) if attempt == 1 else right(request, attempt)
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda actor, request, attempt: None if attempt == 1 else right(request, attempt),
        spoilt(request_id="another"),
        spoilt(attempt=0),
        spoilt(video_ids=("a", "b")),
        lambda actor, request, attempt: twice(request, attempt) if attempt == 1 else right(request, attempt),
        spoilt(results=(1.0, 2.0)),
        spoilt(video_ids=(), results=()),
    ],
)  # fmt: skip
def test_only_the_complete_answer_to_what_was_asked_counts_and_a_retry_goes_elsewhere(answer: Any) -> None:
    actors = ByHand(2, answer)
    with reward_on(actors) as reward:
        assert [r.value for r in ask(reward, [3, 4])] == [3, 4]
        assert reward.counts.unusable == 1
    (first, _), (second, attempt) = actors.asked
    assert attempt == 2 and first != second


def test_an_actor_that_only_fails_is_restarted_while_others_do_not() -> None:
    def answer(actor: int, request: Request, attempt: int) -> Answer:
        return all_faults(request, attempt) if actor == 0 and not actors.restarted else right(request, attempt)

    actors = ByHand(2, answer)
    with reward_on(actors) as reward:
        for number in range(4 * SICK_AFTER):
            assert [r.value for r in ask(reward, [number])] == [number]
    assert actors.restarted == [0]


def test_a_reward_that_fails_everywhere_says_so_itself_and_no_actor_is_blamed() -> None:
    actors = ByHand(2, lambda actor, request, attempt: all_faults(request, attempt))
    with reward_on(actors, retries=1) as reward:
        for _ in range(5):
            (result,) = ask(reward, [1])
            assert result.status is Status.FAULT and result.reason == "CUDA error"
    assert not actors.restarted and len(actors.asked) == 10


def test_a_bug_and_a_refusal_stop_the_caller() -> None:
    with reward_on(ByHand(1, lambda *given: TypeError("a bug"))) as reward, pytest.raises(TypeError, match="a bug"):
        ask(reward, [1])
    refusing = ByHand(1, lambda actor, request, attempt: right(request, attempt)._replace(refused="plan it anew."))
    with reward_on(refusing) as reward, pytest.raises(InputError, match="plan it anew"):
        ask(reward, [1])


def test_a_reward_that_cannot_be_loaded_or_never_starts() -> None:
    with pytest.raises(InputError, match="no such folder"):
        reward_on(ByHand(2, spoilt(), About("", {}, False, refused="no such folder")))

    class Silent(ByHand):
        def about(self, actor: int, done: Done) -> None:
            pass

    with pytest.raises(ServerError, match=r"did not start within 0\.05 s"):
        reward_on(Silent(2, spoilt()), start_timeout_s=0.05)


def test_parts_that_differ_between_actors_are_found() -> None:
    def answer(actor: int, request: Request, attempt: int) -> Answer:
        parts = {"look": 1.0} if actor else {"look": 0.5, "more": 0.5}
        result = RewardResult(value=1.0, parts=parts)
        return right(request, attempt)._replace(results=(result,) * len(request.video_ids))

    with (
        reward_on(ByHand(2, answer), batch=1, same_parts=SameParts("my:Reward")) as reward,
        pytest.raises(InputError, match="all videos of a prompt need the same parts"),
    ):
        for _ in range(50):
            ask(reward, [1, 2, 3, 4])


def test_a_closed_pool_answers_nobody_and_lets_nobody_wait() -> None:
    actors = ByHand(1, lambda actor, request, attempt: time.sleep(5))
    pool = Pool(actors, RemoteConfig())
    pool.wait_until_ready()
    future = pool.submit(Request(id="a", video_ids=("a/0",), call="score", videos=videos_of([1])))
    pool.close()
    assert "closed" in str(future.exception(timeout=1))
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(Request(id="b", video_ids=("b/0",), call="score", videos=videos_of([1])))
