"""The trainer on a tiny random Wan with a reward that costs nothing: every rule of an update, and resuming."""

import dataclasses
import math
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import (
    FAULT,
    METHOD,
    NOT_FINITE,
    PROMPTS,
    REJECTED,
    SCORES,
    FakeReward,
    Make,
    mean_reward,
    same,
    same_state,
    untimed,
)
from torch import Tensor

from worldr1.diffusion import kernels
from worldr1.errors import ConfigError, InputError, TrainingError
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rl.phases import PhaseConfig
from worldr1.seeding import make_generator
from worldr1.train import flow_grpo
from worldr1.train.algorithm import Method
from worldr1.train.checkpoint import load_checkpoint, save_checkpoint
from worldr1.train.trainer import TrainConfig, Trainer
from worldr1.types import RewardResult


def _with(**objective: Any) -> Method:
    return dataclasses.replace(METHOD, objective=ObjectiveConfig(**{"kl_beta": 0.0, **objective}))


def _params_after(trainer: Trainer, num_updates: int = 1) -> Mapping[str, Tensor]:
    for _ in range(num_updates):
        trainer.update()
    return trainer.state().params


def _spy(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[Any, Any]]:
    """Arguments and result of every call of a function that Flow-GRPO uses."""
    calls: list[tuple[Any, Any]] = []
    original = getattr(flow_grpo, name)

    def spied(policy: Any, items: Any, **keywords: Any) -> Any:
        result = original(policy, items, **keywords)
        calls.append((items, result))
        return result

    monkeypatch.setattr(flow_grpo, name, spied)
    return calls


@pytest.mark.parametrize("share_prefix", [True, False])
def test_before_an_update_the_ratio_is_one_and_replayed_log_probs_are_the_rollouts(
    make: Make, monkeypatch: pytest.MonkeyPatch, share_prefix: bool
) -> None:
    config = dataclasses.replace(METHOD.sampler, share_prefix=share_prefix)
    replays = _spy(monkeypatch, "replay")
    trainer = make(method=dataclasses.replace(METHOD, sampler=config))
    for _ in range(2):
        metrics = trainer.update()
        assert (metrics["ratio_mean"], metrics["ratio_deviation"]) == (1.0, 0.0)
    assert len(replays) == 4
    for steps, replayed in replays:
        (step,) = steps
        sigmas = config.sigmas[step.step_index : step.step_index + 2]
        velocity, after = step.rollout.old_velocities[step.position], step.rollout.next_states[step.position]
        recorded = kernels.step(config.transition, step.state, velocity, *sigmas, next_x=after)
        assert torch.equal(replayed[0].log_prob, recorded.log_prob)
    second = make(method=_with(updates_per_rollout=2)).update()
    assert second["ratio_deviation"] != 0.0  # of the second step, when the parameters have moved


@pytest.mark.parametrize(("trainable", "lr"), [("lora", 1e-2), ("full", 3e-3)])
def test_updates_climb_the_reward(make: Make, trainable: str, lr: float) -> None:
    method = dataclasses.replace(METHOD, phases=PhaseConfig(dynamic_updates=0))
    trainer = make(method=method, trainable=trainable, lr=lr, group_size=16, groups_per_update=3, decode_batch=48)
    before, state = mean_reward(trainer), trainer.state()
    spread = [float(trainer.update()["reward_std"]) for _ in range(10)]
    after = mean_reward(trainer)
    assert after > before + max(spread)  # more than what chance makes of one prompt; 0.08 to 0.15 with three seeds
    with trainer.ema.swap(trainer.parameters):
        assert before < mean_reward(trainer) < after
    trainer.load_state(state)
    assert mean_reward(trainer) == before


def _counted(roll_out: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    """`roll_out`, which also writes down how many groups it is given."""

    def counted(requests: Any, **given: Any) -> Any:
        sizes.append(len(requests))
        return roll_out(requests, **given)

    return counted


@pytest.mark.parametrize(("kind", "share_prefix"), [("flow-grpo", True), ("flow-grpo", False), ("best-of-n", True)])
def test_groups_in_flight_change_the_memory_and_not_the_gradient(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, share_prefix: bool
) -> None:
    method = dataclasses.replace(
        _with(kl_beta=0.1, kind=kind), sampler=dataclasses.replace(METHOD.sampler, share_prefix=share_prefix, batch=1)
    )
    gradients, metrics, rolled_out = [], [], []
    for in_flight in (None, 2, 1, 7):
        trainer = make(method=method, groups_per_update=5, groups_in_flight=in_flight, decode_batch=4)
        with torch.no_grad():
            for name, parameter in trainer.parameters.items():  # away from the base, so that the KL has a gradient
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=make_generator(1, name)))
        sizes: list[int] = []
        monkeypatch.setattr(trainer.algorithm, "roll_out", _counted(trainer.algorithm.roll_out, sizes))
        metrics.append({name: value for name, value in untimed(trainer.update()).items() if isinstance(value, float)})
        rolled_out.append(sizes)
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.parameters.values() if p.grad is not None]))
    assert rolled_out == [[5], [2, 2, 1], [1] * 5, [5]]
    assert float(gradients[0].norm()) > 0
    for gradient, row in zip(gradients[1:], metrics[1:], strict=True):
        assert float((gradient - gradients[0]).norm() / gradients[0].norm()) < 1e-6
        assert row == pytest.approx(metrics[0], rel=1e-4, abs=1e-7)
        assert row.get("ratio_deviation", 0.0) == 0.0


def test_groups_in_flight_must_be_at_least_one() -> None:
    with pytest.raises(ConfigError, match=r"groups_in_flight is 0: give at least 1, or none"):
        TrainConfig(groups_in_flight=0)


def test_phases_switch_prompts_and_reward(make: Make) -> None:
    reward = FakeReward()
    trainer = make(reward)
    phases = [trainer.update()["phase"] for _ in range(4)]
    assert phases == ["main", "main", "dynamic", "main"]
    assert [dynamic for _, _, dynamic in reward.calls] == [False, False, True, False]
    for prompts, paths, dynamic in reward.calls:
        assert {prompt.dynamic for prompt in prompts} == {dynamic}
        assert [path is None for path in paths] == [dynamic] * 8  # these dynamic prompts have no camera words
        assert len({prompt.id for prompt in prompts}) == 2
        assert prompts == [prompts[0]] * 4 + [prompts[4]] * 4


def test_prompts_are_different_until_a_set_is_used_up() -> None:
    draws = [[p.id for p in PROMPTS.draw(PhaseConfig().phase_at(0), 7, make_generator(0, "x", i))] for i in range(9)]
    assert all(sorted(ids[:3]) == sorted(ids[3:6]) == [0, 1, 2] for ids in draws)
    assert len({tuple(ids) for ids in draws}) > 5


def test_what_an_update_draws_depends_on_its_index_alone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = _spy(monkeypatch, "sample_groups")
    run, jumped, other = make(), make(FakeReward(*SCORES), trainable="full"), make(seed=1)
    for _ in range(4):
        run.update()
    jumped.updates_done = 3
    jumped.update()
    other.update()
    third, third_again = sampled[3][0], sampled[4][0]
    for a, b in zip(third, third_again, strict=True):
        assert (a.prompt, a.step_indices, a.seeds) == (b.prompt, b.step_indices, b.seeds)
        assert torch.equal(a.start, b.start)
    requests = [request for asked, _ in sampled if asked is not third_again for request in asked]
    seeds = [seed for request in requests for seed in request.seeds]
    assert len(set(seeds)) == len(seeds) == 5 * 2 * 4
    starts = torch.stack([request.start.flatten() for request in requests])
    assert torch.corrcoef(starts).fill_diagonal_(0).abs().max() < 0.35  # 256 numbers each, about half of them shared


@pytest.mark.parametrize("bad", [FAULT, NOT_FINITE])
def test_a_fault_is_as_if_the_member_were_not_there(make: Make, bad: RewardResult) -> None:
    trainer = make(FakeReward(*SCORES[:3], bad), groups_per_update=1)
    metrics = trainer.update()
    assert same(trainer.state().params, _params_after(make(FakeReward(*SCORES), groups_per_update=1, group_size=3)))
    assert metrics["reward"] == pytest.approx(sum(SCORES[:3]) / 3)
    assert metrics["doubled"] == pytest.approx(2 * sum(SCORES[:3]) / 3)
    assert (metrics["fault_fraction"], trainer.state().extra["faults"]) == (0.25, 1)
    assert not same(trainer.state().params, _params_after(make(FakeReward(*SCORES), groups_per_update=1)))


def test_a_rejected_video_counts_with_its_floor(make: Make) -> None:
    trainer = make(FakeReward(*SCORES[:3], REJECTED))
    metrics = trainer.update()
    assert same(trainer.state().params, _params_after(make(FakeReward(*SCORES[:3], 0.0))))
    assert metrics["reward"] == pytest.approx(sum(SCORES[:3]) / 4)
    assert (metrics["fault_fraction"], metrics["rejected_fraction"]) == (0.0, 0.25)


@pytest.mark.parametrize(("bad", "reason"), [(FAULT, "it crashed"), (NOT_FINITE, "not finite")])
def test_too_many_faults_stop_the_run(make: Make, bad: RewardResult, reason: str) -> None:
    trainer = make(FakeReward(*SCORES[:3], bad), max_fault_fraction=0.24)
    start = trainer.state()
    with pytest.raises(TrainingError, match=rf"2 of 8 rewards failed in update 0 \(.*{reason}"):
        trainer.update()
    assert same_state(trainer.state(), start)
    make(FakeReward(*SCORES[:3], bad), max_fault_fraction=0.25).update()


def test_a_group_with_one_valid_member_gives_nothing(make: Make) -> None:
    one_left, all_equal = make(FakeReward(*SCORES, FAULT, 0.7, FAULT, FAULT)), make(FakeReward(*SCORES, *[0.5] * 4))
    assert (one_left.update()["kept_groups"], all_equal.update()["kept_groups"]) == (1.0, 2.0)
    for name, parameter in one_left.parameters.items():  # the other has the same gradient, in a mean over two groups
        assert torch.equal(parameter.grad, 2 * all_equal.parameters[name].grad)  # type: ignore[arg-type,operator]


def test_an_update_without_valid_rewards_changes_nothing(make: Make) -> None:
    trainer = make(FakeReward(FAULT))
    start = trainer.state()
    metrics = trainer.update()
    assert (metrics["kept_groups"], metrics["skipped"], metrics["fault_fraction"]) == (0.0, 1.0, 1.0)
    assert math.isnan(float(metrics["grad_norm"]))
    assert trainer.updates_done == 1
    assert same(trainer.state().params, start.params) and same(trainer.state().ema, start.ema)


def test_gradients_that_are_not_finite_are_skipped_and_then_stop_the_run(make: Make) -> None:
    trainer = make(max_skipped=3)
    trainer.update()
    good = trainer.state()

    def spoil() -> Any:
        return next(iter(trainer.parameters.values())).register_hook(lambda grad: grad * math.nan)

    hook = spoil()
    assert [trainer.update()["skipped"] for _ in range(2)] == [1.0, 2.0]
    state = trainer.state()
    assert all(same(getattr(state, part), getattr(good, part)) for part in ("params", "ema", "optimizer"))
    assert state.extra["grad_norms"] == good.extra["grad_norms"]
    hook.remove()
    assert math.isfinite(float(trainer.update()["grad_norm"]))  # a good one starts the count again
    spoil()
    for _ in range(2):
        trainer.update()
    recorded = []
    with pytest.raises(TrainingError, match="3 optimizer steps in a row had no finite gradient"):
        trainer.update(recorded.append)
    assert (trainer.updates_done, recorded[0]["update"]) == (7, 6)  # the last line says what went wrong


def test_gradients_are_clipped_at_a_multiple_of_their_running_median(make: Make) -> None:
    trainer = make(max_grad_norm_ratio=2.0)

    def norm_of_gradients() -> float:
        return float(torch.nn.utils.get_total_norm([p.grad for p in trainer.parameters.values() if p.grad is not None]))

    usual = [float(trainer.update()["grad_norm"]) for _ in range(3)]
    for parameter in trainer.parameters.values():
        parameter.register_hook(lambda grad: 1000 * grad)
    outlier = float(trainer.update()["grad_norm"])
    assert outlier > 100 * max(usual)
    low, high = sorted(usual)[1:]
    assert norm_of_gradients() == pytest.approx(2.0 * (low + high) / 2, rel=1e-4)


def test_a_start_of_equal_rewards_does_not_clip_later_gradients_away(make: Make) -> None:
    trainer = make(FakeReward(0.5))
    assert [trainer.update()["grad_norm"] for _ in range(3)] == [0.0] * 3
    before = trainer.state().params
    trainer.reward = FakeReward(*SCORES)  # type: ignore[assignment]
    norm = trainer.update()["grad_norm"]
    assert trainer.state().extra["grad_norms"] == [norm]
    assert not same(trainer.state().params, before)


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_the_kl_is_to_the_base_and_holds_the_policy_back(make: Make, trainable: str) -> None:
    kl = {}
    for beta in (1e-6, 100.0):
        trainer = make(method=_with(kl_beta=beta), trainable=trainable, lr=1e-3)
        kl[beta] = [float(trainer.update()["kl"]) for _ in range(5)]
    assert kl[1e-6][0] == kl[100.0][0] == 0.0  # nothing is trained yet
    assert 0 < 3 * kl[100.0][-1] < kl[1e-6][-1]


def test_dynamic_prompts_may_have_a_kl_of_their_own(make: Make) -> None:
    dynamic_alone = PhaseConfig(main_updates=1, dynamic_updates=5)
    params, kl = {}, {}
    for beta in (None, 100.0):
        method = dataclasses.replace(_with(kl_beta=1e-6, dynamic_kl_beta=beta), phases=dynamic_alone)
        trainer = make(method=method, lr=1e-3)
        trainer.update()
        params[beta] = trainer.state().params
        kl[beta] = [float(trainer.update()["kl"]) for _ in range(5)]
    assert same(params[None], params[100.0])  # a main update knows nothing of it
    assert 0 < 3 * kl[100.0][-1] < kl[None][-1]


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_a_resumed_run_equals_an_uninterrupted_one(make: Make, tmp_path: Path, trainable: str) -> None:
    method = _with(kl_beta=0.01, updates_per_rollout=2)  # updates 0, 1 and 3 are of the main phase, 2 is dynamic
    straight = make(method=method, trainable=trainable)
    expected = [untimed(straight.update()) for _ in range(4)]
    first = make(method=method, trainable=trainable)
    metrics = [untimed(first.update()) for _ in range(2)]
    path = save_checkpoint(tmp_path, first.state(), recipe="")
    second = make(method=method, trainable=trainable)
    second.load_state(load_checkpoint(path))
    metrics += [untimed(second.update()) for _ in range(2)]
    assert metrics == expected
    assert same_state(second.state(), straight.state())


@pytest.mark.parametrize("updates_per_rollout", [1, 2])
def test_an_interrupt_of_the_optimizer_waits_for_the_whole_update(
    make: Make, monkeypatch: pytest.MonkeyPatch, updates_per_rollout: int
) -> None:
    method = _with(updates_per_rollout=updates_per_rollout)
    straight, trainer = make(method=method), make(method=method)
    expected = untimed(straight.update())
    step, recorded = trainer.optimizer.step, []

    def interrupted_step() -> None:
        signal.raise_signal(signal.SIGINT)
        step()

    monkeypatch.setattr(trainer.optimizer, "step", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        trainer.update(recorded.append)
    assert [untimed(metrics) for metrics in recorded] == [expected]
    assert same_state(trainer.state(), straight.state())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_of_the_reward_leaves_the_state_as_it_was(make: Make) -> None:
    class Interrupted(FakeReward):
        def __call__(self, *args: Any) -> list[RewardResult]:
            signal.raise_signal(signal.SIGINT)
            return super().__call__(*args)

    trainer, recorded = make(Interrupted()), []
    start = trainer.state()
    with pytest.raises(KeyboardInterrupt):
        trainer.update(recorded.append)
    assert not recorded
    assert same_state(trainer.state(), start)


@pytest.mark.parametrize(
    "change",
    [
        {"updates": 0}, {"group_size": 1}, {"groups_per_update": 0}, {"lr": 0.0}, {"ema_decay": 1.0},
        {"std_floor": 0.0}, {"max_fault_fraction": 1.5}, {"max_skipped": 0}, {"max_grad_norm_ratio": math.nan},
        {"max_minutes": 0.0},
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"train.{next(iter(change))} is"):
        TrainConfig(**change)


def test_a_phase_without_prompts_and_a_clip_that_does_not_fit_are_refused(make: Make) -> None:
    without = dataclasses.replace(PROMPTS, dynamic=[])
    with pytest.raises(ConfigError, match=r"prompts\.dynamic"):
        make(prompts=without)
    make(prompts=without, method=dataclasses.replace(METHOD, phases=PhaseConfig(dynamic_updates=0)))
    with pytest.raises(ConfigError, match=r"prompts\.main"):
        make(prompts=dataclasses.replace(PROMPTS, main=[]))
    with pytest.raises(InputError, match="does not fit the model"):
        make(clip=(6, 16, 16))


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_a_rounded_network_takes_the_ode_steps_and_follows_the_weights(
    make: Make, monkeypatch: pytest.MonkeyPatch, trainable: str
) -> None:
    rollouts = _spy(monkeypatch, "sample_groups")
    exact = make(trainable=trainable, lr=0.03)
    sampler = dataclasses.replace(METHOD.sampler, ode_dtype="bfloat16")
    rounded = make(method=dataclasses.replace(METHOD, sampler=sampler), trainable=trainable)
    for trainer in (exact, exact, rounded, exact):
        trainer.update()
    trained = exact.state()
    rounded.load_state(trained)
    assert rounded.update()["ratio_deviation"] == 0.0  # SDE steps are the policy's own
    exact.update()
    found, wanted = (torch.cat([rollout.latents for rollout in result]) for _, result in rollouts[-2:])
    difference = (found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert 1e-4 < float(difference) < 0.02  # 0.3 and more by the weights of its first update


def test_best_of_n_samples_by_the_rounded_network_too(make: Make) -> None:
    def rewards(dtype: str) -> list[float]:
        sampler = dataclasses.replace(METHOD.sampler, ode_dtype=dtype)
        objective = ObjectiveConfig(kind="best-of-n", kl_beta=0.0)
        trainer = make(method=dataclasses.replace(METHOD, sampler=sampler, objective=objective))
        return [float(trainer.update()["reward"]) for _ in range(2)]

    exact, rounded = rewards("float32"), rewards("bfloat16")
    assert rounded == pytest.approx(exact, rel=0.01) and rounded != exact
