"""The simulation of an update against what can be computed by hand, and what must hold for every cluster."""

import random
from collections import deque
from dataclasses import replace
from statistics import fmean

import pytest
from cluster_simulation import Actor, Client, Layout, Loop, Process, Times, rollout_seconds, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

TIMES = Times(
    velocity=1.0, sde_velocity=1.5, decode=2.0, copy=0.1, hand_over=0.0, unpack=0.5, score=3.0, step=6.0,
    reduce=lambda ranks: 0.25 * (ranks > 1),
)  # fmt: skip
SERVICE = 3.5
G, INDEX = 8, 4
ROLLOUT = 4 + 1.5 + 15 * G
DECODE = G * 2.1


def groups(num: int) -> list[int]:
    return [INDEX] * num


def test_a_rollout_shares_its_prefix() -> None:
    """The counts of `planning.work.Work`, which reads them from the sampler's rules."""
    assert rollout_seconds(TIMES, Layout(policy=1, reward=0), INDEX) == ROLLOUT


@pytest.mark.parametrize(("ranks", "most"), [(1, 6), (2, 3), (4, 2), (6, 1)])
def test_in_process_everything_follows_everything(ranks: int, most: int) -> None:
    update = simulate(TIMES, Layout(policy=ranks, reward=0, groups=6), groups(6))
    each = ROLLOUT + G * (2.0 + 3.0) + 6.0
    assert update.seconds == pytest.approx(most * each + 0.25 * (ranks > 1))
    assert update.utilisation == pytest.approx((6 * each + ranks * 0.25 * (ranks > 1)) / (ranks * update.seconds))


def test_the_slowest_rank_ends_the_update() -> None:
    update = simulate(TIMES, Layout(policy=2, reward=0, groups=2), [2, 9])
    assert update.ranks[0].barrier == 0 and update.ranks[1].barrier == pytest.approx(7 * (G - 1))


@pytest.mark.parametrize(("actors", "rounds"), [(8, 1), (100, 1), (4, 2), (3, 3), (1, 8)])
def test_without_overlap_times_add_up(actors: int, rounds: int) -> None:
    update = simulate(TIMES, Layout(policy=1, reward=actors, ahead=0, groups=5), groups(5))
    assert update.seconds == pytest.approx(5 * (ROLLOUT + DECODE + rounds * SERVICE + 6.0))


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_with_overlap_the_slower_side_counts(ahead: int) -> None:
    sampled = simulate(TIMES, Layout(policy=1, reward=1, ahead=ahead, groups=5), groups(5))
    assert ROLLOUT + DECODE > G * SERVICE
    assert sampled.seconds == pytest.approx(5 * (ROLLOUT + DECODE + 6.0) + G * SERVICE)
    slow = replace(TIMES, score=60.0)  # 8 videos take 484 s: the actor never stands still
    scored = simulate(slow, Layout(policy=1, reward=1, ahead=ahead, groups=5), groups(5))
    gaps = DECODE if ahead == 1 else 0.0  # with one flight ahead nothing is decoded while the actor works
    assert scored.seconds == pytest.approx(ROLLOUT + DECODE + 5 * G * 60.5 + 4 * gaps + 5 * 6.0)


def test_handing_over_is_one_after_the_other_and_beside_the_work() -> None:
    times = replace(TIMES, hand_over=0.7)
    for actors, tail in ((8, 8 * 0.7 + SERVICE), (1, 0.7 + 8 * SERVICE)):  # the sender; the actor
        update = simulate(times, Layout(policy=1, reward=actors, groups=1), groups(1))
        assert update.seconds == pytest.approx(ROLLOUT + DECODE + tail + 6.0)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_an_actor_is_an_m_d_1_queue(load: float) -> None:
    """Poisson arrivals, constant service: the mean wait is load * service / (2 (1 - load)) (Pollaczek-Khinchine)."""
    loop, rng, waits = Loop(), random.Random(1), deque[float]()
    actor = Actor(loop, 1.0)
    client = Client(loop, [actor], first=0, in_flight=10**9, hand_over_s=0.0)

    def arrivals() -> Process:
        for _ in range(100_000):
            yield rng.expovariate(load)
            client.submit(lambda came=loop.now: waits.append(loop.now - came - 1.0))

    loop.start(arrivals())
    loop.run()
    assert len(waits) == 100_000 and actor.busy_s == pytest.approx(100_000)
    assert fmean(waits) == pytest.approx(load / (2 * (1 - load)), rel=0.05)


LAYOUTS = st.builds(
    Layout,
    policy=st.integers(1, 9),
    reward=st.integers(0, 9),
    ahead=st.integers(0, 3),
    in_flight=st.integers(1, 3),
    one_queue=st.booleans(),
)
INDICES = st.lists(st.integers(2, 9), min_size=9, max_size=14)
SECONDS = st.floats(0.01, 50.0)


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, INDICES, SECONDS, SECONDS)
def test_no_work_is_lost_and_nobody_works_more_than_all_the_time(
    layout: Layout, indices: list[int], score: float, hand_over: float
) -> None:
    times = replace(TIMES, score=score, hand_over=hand_over)
    update = simulate(times, layout, indices)
    assert len({round(rank.update, 6) for rank in update.ranks}) == 1
    assert sum(rank.rollout for rank in update.ranks) == pytest.approx(
        sum(rollout_seconds(times, layout, index) for index in indices)
    )
    assert sum(update.actors_busy_s) == pytest.approx((0.5 + score) * G * len(indices) * (layout.reward > 0))
    assert 0 < update.utilisation <= 1 + 1e-9
    least = max(sum(update.actors_busy_s) / max(1, layout.reward), max(rank.busy for rank in update.ranks))
    assert update.seconds >= least - 1e-6


@settings(max_examples=40, deadline=None)
@given(LAYOUTS, st.integers(2, 9), st.integers(9, 20), SECONDS)
def test_twice_the_gpus_at_the_same_ratio_are_never_slower(layout: Layout, index: int, num: int, score: float) -> None:
    times = replace(TIMES, score=score, reduce=lambda ranks: 0.0)
    once = simulate(times, layout, [index] * num)
    twice = simulate(times, replace(layout, policy=2 * layout.policy, reward=2 * layout.reward), [index] * num)
    assert twice.seconds <= once.seconds * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(LAYOUTS.filter(lambda layout: layout.reward > 0 and layout.ahead == 0), INDICES, SECONDS)
def test_overlap_never_costs_time_where_one_queue_serves_all(layout: Layout, indices: list[int], score: float) -> None:
    """Not even with many clients does it cost more than a few per cent, but there the order of arrivals matters."""
    times, one = replace(TIMES, score=score), replace(layout, policy=1)
    assert simulate(times, replace(one, ahead=2), indices).seconds <= simulate(times, one, indices).seconds + 1e-6


def test_an_actor_answers_in_the_order_in_which_videos_come() -> None:
    loop, order = Loop(), list[int]()
    actor = Actor(loop, 1.0)
    for number in range(5):
        actor.take(lambda number=number: order.append(number))
    loop.run()
    assert order == [0, 1, 2, 3, 4] and loop.now == 5.0
