"""Fine-tuning on the best of N by the same trainer: what it samples, which video it fits, how, and resuming."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import (
    CLIP,
    FAULT,
    METHOD,
    NOT_FINITE,
    SCORES,
    FakeReward,
    Make,
    mean_reward,
    same_state,
    untimed,
)
from torch import Tensor

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rl.phases import PhaseConfig
from worldr1.rollout.sampler import sample_ode
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.seeding import derive_seed
from worldr1.train import best_of_n
from worldr1.train.algorithm import Method
from worldr1.train.checkpoint import load_checkpoint, save_checkpoint
from worldr1.train.trainer import Trainer
from worldr1.types import RewardResult

BEST = 1
"""Position of the highest of SCORES."""


def _method(**objective: Any) -> Method:
    config = ObjectiveConfig(**{"kind": "best-of-n", "kl_beta": 0.0, **objective})
    return dataclasses.replace(METHOD, objective=config)


def _spy_fit(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """What each call of the loss was given."""
    calls: list[dict[str, Tensor]] = []
    original = best_of_n.fit_loss

    def spied(velocity: Tensor, reference: Tensor | None, **given: Any) -> Any:
        calls.append({"velocity": velocity.detach(), "clean": given["clean"], "noise": given["noise"]})
        return original(velocity, reference, **given)

    monkeypatch.setattr(best_of_n, "fit_loss", spied)
    return calls


def _spy_rollouts(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    rollouts: list[Any] = []
    original = trainer.algorithm.roll_out

    def spied(*args: Any, **keywords: Any) -> Any:
        rollouts.extend(original(*args, **keywords))
        return rollouts

    monkeypatch.setattr(trainer.algorithm, "roll_out", spied)
    return rollouts


def _gradients(trainer: Trainer) -> Tensor:
    return torch.cat([p.grad.flatten() for p in trainer.parameters.values() if p.grad is not None])


@pytest.mark.parametrize(("trainable", "lr"), [("lora", 1e-2), ("full", 3e-3)])
def test_updates_climb_the_reward(make: Make, trainable: str, lr: float) -> None:
    method = dataclasses.replace(_method(), phases=PhaseConfig(dynamic_updates=0))
    trainer = make(method=method, trainable=trainable, lr=lr, group_size=16, groups_per_update=3, decode_batch=48)
    before = mean_reward(trainer)
    metrics = [trainer.update() for _ in range(10)]
    assert mean_reward(trainer) > before + max(float(m["reward_std"]) for m in metrics)
    assert all(float(m["reward_best"]) > float(m["reward"]) for m in metrics)


def test_members_are_noise_free_samples_of_start_noises_of_their_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(method=_method())
    rollouts = _spy_rollouts(trainer, monkeypatch)
    state = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    trainer.update()
    with torch.no_grad():
        for name, parameter in trainer.parameters.items():
            parameter.copy_(state[name])
    for slot, rollout in enumerate(rollouts):
        assert rollout.step_indices == rollout.states == ()
        path = requested_path(parse_plan(rollout.prompt.text).tokens, CLIP[0])
        seeds = [derive_seed(0, "start-noise", 0, slot, rollout.prompt.id, member) for member in range(4)]
        start = start_noise(path, trainer.latent_shape, seeds, METHOD.noise, PlanCache())
        text = trainer.policy.encode([rollout.prompt.text]).expand(4, -1, -1)
        torch.testing.assert_close(rollout.latents, sample_ode(trainer.policy, text, start, METHOD.sampler))
        assert torch.pdist(rollout.latents.flatten(1)).min() > 1.0


def test_the_best_video_is_fitted_from_the_cameras_own_noise_at_the_samplers_levels(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(FakeReward(*SCORES), method=_method(draws=3))
    rollouts, calls = _spy_rollouts(trainer, monkeypatch), _spy_fit(monkeypatch)
    seen: list[tuple[Tensor, Any]] = []
    velocity = trainer.policy.velocity

    def spied(latents: Tensor, sigma: Any, embeddings: Tensor) -> Tensor:
        seen.append((latents, sigma))
        return velocity(latents, sigma, embeddings)

    monkeypatch.setattr(trainer.policy, "velocity", spied)
    metrics = trainer.update()
    (call,) = calls
    assert torch.equal(call["clean"], torch.cat([r.latents[[BEST] * 3] for r in rollouts]))
    plans, expected = PlanCache(), []
    for rollout in rollouts:
        seeds = [derive_seed(rollout.seeds[BEST], "fit-noise", 0, draw) for draw in range(3)]
        expected.append(start_noise(rollout.trajectory, trainer.latent_shape, seeds, METHOD.noise, plans))
    assert torch.equal(call["noise"], torch.cat(expected))
    noised, sigmas = seen[-1]
    levels = torch.tensor(METHOD.sampler.sigmas[:-1])
    assert torch.isin(sigmas, levels).all()
    assert len(set(sigmas.tolist())) > 1
    level = sigmas[:, None, None, None, None]
    assert torch.equal(noised, (1 - level) * call["clean"] + level * call["noise"])
    by_hand = (call["velocity"] - (call["noise"] - call["clean"])).square().mean()
    assert metrics["loss"] == metrics["flow_matching"] == pytest.approx(float(by_hand))
    assert metrics["reward_best"] == max(SCORES)
    assert metrics["reward"] == pytest.approx(sum(SCORES) / 4)
    assert not {"ratio_mean", "ratio_deviation", "clip_fraction", "kl"} & metrics.keys()


def test_the_gradient_is_the_losss_whatever_the_batch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = make(FakeReward(*SCORES), method=_method(draws=3)), _spy_fit(monkeypatch)
    small_batches = dataclasses.replace(_method(draws=3), sampler=dataclasses.replace(METHOD.sampler, batch=4))
    chunked = make(FakeReward(*SCORES), method=small_batches)
    metrics = [whole.update(), chunked.update()]
    assert [len(call["clean"]) for call in calls] == [6, 4, 2]
    torch.testing.assert_close(_gradients(chunked), _gradients(whole), rtol=1e-3, atol=1e-7)
    assert metrics[1]["loss"] == pytest.approx(metrics[0]["loss"], rel=1e-5)
    assert _gradients(whole).norm() > 1e-4


@pytest.mark.parametrize("bad", [FAULT, NOT_FINITE])
def test_faults_are_never_fitted(make: Make, monkeypatch: pytest.MonkeyPatch, bad: RewardResult) -> None:
    bad = dataclasses.replace(bad, value=9.0) if bad is FAULT else bad
    trainer = make(FakeReward(bad, 0.1, 0.7, bad), method=_method())
    rollouts, calls = _spy_rollouts(trainer, monkeypatch), _spy_fit(monkeypatch)
    assert trainer.update()["reward_best"] == 0.7
    assert torch.equal(calls[0]["clean"][0], rollouts[0].latents[2])


def test_a_group_without_a_choice_is_left_out(make: Make) -> None:
    trainer = make(FakeReward(*SCORES, FAULT, 5.0, FAULT, FAULT), method=_method())
    metrics = trainer.update()
    assert (metrics["kept_groups"], metrics["reward_best"]) == (1.0, max(SCORES))
    nothing = make(FakeReward(FAULT), method=_method())
    before = nothing.state()
    assert nothing.update()["skipped"] == 1.0
    assert all(torch.equal(before.params[name], value) for name, value in nothing.state().params.items())


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_the_kl_is_to_the_base_and_holds_the_policy_back(make: Make, trainable: str) -> None:
    kl = {}
    for beta in (1e-6, 100.0):
        trainer = make(method=_method(kl_beta=beta), trainable=trainable, lr=1e-3)
        kl[beta] = [float(trainer.update()["kl"]) for _ in range(5)]
    assert kl[1e-6][0] == kl[100.0][0] == 0.0  # nothing is trained yet
    assert 0 < 3 * kl[100.0][-1] < kl[1e-6][-1]


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_a_resumed_run_equals_an_uninterrupted_one(make: Make, tmp_path: Path, trainable: str) -> None:
    method = _method(kl_beta=0.01, updates_per_rollout=2)  # updates 0, 1 and 3 are of the main phase, 2 is dynamic
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


def test_every_epoch_on_a_rollout_draws_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _spy_fit(monkeypatch)
    make(method=_method(updates_per_rollout=2)).update()
    first, second = calls
    assert torch.equal(first["clean"], second["clean"])
    assert (first["noise"] - second["noise"]).abs().min(dim=0).values.mean() > 0.1
