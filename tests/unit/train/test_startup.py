"""The start-up checks: each sees what it is for, is quiet otherwise, and stops a run before anything has changed."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from tiny_trainer import FAULT, METHOD, REJECTED, SCORES, FakeReward, Make, same_state
from torch import Tensor, nn

from worldr1.errors import TrainingError
from worldr1.rl.objective import ObjectiveConfig
from worldr1.train.ranks import Ranks
from worldr1.train.startup import (
    RatioLimits,
    StartupChecks,
    check_ranks_agree,
    check_text_cache,
    checksum,
    unusable_gradient,
)
from worldr1.train.trainer import Trainer
from worldr1.types import RewardResult

EXACT, FLOAT32 = RatioLimits.of(exact=True, rounded=False), RatioLimits.of(exact=False, rounded=False)
ROUNDED = RatioLimits.of(exact=False, rounded=True)


def run(trainer: Trainer, limits: RatioLimits = EXACT, *, resumed: bool = False, updates: int = 1) -> list[str]:
    """What is said during the first updates."""
    said: list[str] = []
    checks = StartupChecks(limits, resumed=resumed, say=said.append)
    for _ in range(updates):
        trainer.update(examine=checks)
    return said


def refusal(trainer: Trainer, limits: RatioLimits = EXACT, *, resumed: bool = False) -> str:
    """The sentence that stops the run, which must have changed nothing."""
    before = trainer.state()
    with pytest.raises(TrainingError) as caught:
        run(trainer, limits, resumed=resumed)
    assert same_state(trainer.state(), before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------------- well


@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_a_sound_start_says_so_once(make: Make, trainable: str) -> None:
    line = "start-up checks passed: ratio exactly 1, rewards differ in their groups, gradient finite and not 0"
    assert run(make(FakeReward(*SCORES), trainable=trainable), updates=3) == [line]
    resumed = make(FakeReward(*SCORES), trainable=trainable)
    resumed.update()  # a LoRA's A has a gradient now, too
    assert run(resumed, resumed=True) == [line]


def test_several_optimizer_steps_are_judged_by_the_first(make: Make) -> None:
    method = dataclasses.replace(METHOD, objective=ObjectiveConfig(kl_beta=0.0, updates_per_rollout=2))
    assert "ratio exactly 1" in run(make(FakeReward(*SCORES), method=method))[0]


def test_a_method_without_a_ratio_has_none_to_check(make: Make) -> None:
    method = dataclasses.replace(METHOD, objective=ObjectiveConfig(kind="best-of-n", kl_beta=0.0))
    said = run(make(FakeReward(*SCORES), method=method))
    assert said == ["start-up checks passed: rewards differ in their groups, gradient finite and not 0"]


@pytest.mark.parametrize(("exact_replay", "limits"), [(True, EXACT), (False, FLOAT32)])
def test_the_limits_hold_for_float32_with_and_without_exact_replay(
    make: Make, exact_replay: bool, limits: RatioLimits
) -> None:
    sampler = dataclasses.replace(METHOD.sampler, exact_replay=exact_replay)
    (said,) = run(make(FakeReward(*SCORES), method=dataclasses.replace(METHOD, sampler=sampler)), limits)
    assert ("ratio exactly 1" in said) or not exact_replay


def test_an_update_without_a_valid_group_is_not_judged_but_the_next_is(make: Make) -> None:
    reward = FakeReward(FAULT)
    trainer, said = make(reward), list[str]()
    checks = StartupChecks(EXACT, resumed=False, say=said.append)
    trainer.update(examine=checks)
    assert said == []
    reward.fixed = SCORES
    trainer.update(examine=checks)
    assert len(said) == 1


# -------------------------------------------------------------------------------------------------------------- ratio


def disturb(trainer: Trainer, size: float) -> None:
    """Makes every velocity with gradient another one, as dropout would."""
    policy: Any = trainer.policy
    velocity = policy.velocity

    def disturbed(*inputs: Any) -> Tensor:
        found = velocity(*inputs)
        return found + size * torch.sign(found.detach()) if torch.is_grad_enabled() else found

    policy.velocity = disturbed


def test_a_replay_that_differs_from_the_rollout_stops_the_run(make: Make) -> None:
    trainer = make(FakeReward(*SCORES))
    disturb(trainer, 0.3)
    for limits, allowed in ((EXACT, "at most 0 is"), (FLOAT32, "at most 1e-05 is")):
        sentence = refusal(trainer, limits)
        assert sentence.startswith("Before the first optimizer step the ratio is off 1 by ") and allowed in sentence
    assert "off 1 by" in refusal(trainer, FLOAT32, resumed=True)  # it is the program that is wrong


def test_rounding_in_bfloat16_is_said_and_only_more_than_rounding_stops(make: Make) -> None:
    trainer = make(FakeReward(*SCORES))
    disturb(trainer, 0.02)
    warning, passed = run(trainer, ROUNDED)
    assert warning.startswith("warning: before the first optimizer step the ratio is off 1 by ")
    assert passed.startswith("start-up checks passed: ratio 1 (off by ")
    disturb(trainer, 3.0)
    assert "at most 0.01 is rounding" in refusal(trainer, ROUNDED)


def test_a_ratio_that_is_no_number_stops_the_run(make: Make) -> None:
    trainer = make(FakeReward(*SCORES))
    disturb(trainer, math.nan)
    assert "off 1 by nan" in refusal(trainer, ROUNDED)


# ------------------------------------------------------------------------------------------------------------ rewards


def result(recon: float, gen: float) -> RewardResult:
    return RewardResult(value=recon + gen, parts={"s_recon": recon, "r_gen": gen})


def test_rewards_that_are_equal_in_every_group_stop_a_run_and_their_parts_are_named(make: Make) -> None:
    sentence = refusal(make(FakeReward(*[result(0.25, 0.5)] * 4, *[result(0.5, 0.5)] * 4)))  # two groups
    assert "(r_gen, s_recon are constant)" in sentence
    assert "worldr1 score --rewards RECIPE" in sentence
    assert "(s_recon is constant" not in sentence
    sentence = refusal(make(FakeReward(result(0.25, 0.5), result(0.5, 0.25))))
    assert "(the parts cancel)" in sentence
    sentence = refusal(make(FakeReward(REJECTED)))
    assert "(look is constant, 8 of 8 videos were rejected (nothing to see))" in sentence
    rounding = FakeReward(*[result(0.25, 0.5 + 1e-8 * i) for i in range(4)])
    assert "r_gen, s_recon are constant" in refusal(make(rounding))


def test_one_group_that_differs_is_enough_and_faults_do_not_count(make: Make) -> None:
    equal = [result(0.25, 0.5)] * 4
    assert len(run(make(FakeReward(*equal, *equal[:3], result(0.3, 0.5))))) == 1
    fault = dataclasses.replace(FAULT, value=9.0, parts={"s_recon": 9.0})
    assert "constant" in refusal(make(FakeReward(*equal, *equal[:3], fault)))


def test_a_resumed_run_is_warned_and_goes_on(make: Make) -> None:
    trainer = make(FakeReward(0.5))
    said = run(trainer, resumed=True, updates=2)
    assert len(said) == 1 and said[0].startswith("warning: In no group of the first update do the rewards differ")
    assert trainer.updates_done == 2


# ----------------------------------------------------------------------------------------------------------- gradient


def test_a_first_gradient_that_is_not_finite_stops_a_run(make: Make) -> None:
    trainer = make(FakeReward(*SCORES))
    name = "blocks.0.attn1.to_v.lora_B.weight"
    trainer.parameters[name].register_hook(lambda grad: grad * math.inf)
    assert f"not finite in 1 of 16 tensors (first {name})" in refusal(trainer)
    assert "warning: The first gradient is not finite" in run(trainer, resumed=True)[0]


def test_a_layer_that_the_loss_does_not_reach_stops_a_run(make: Make) -> None:
    trainer = make(FakeReward(*SCORES))
    for name in ("blocks.0.attn2.to_k.lora_B.weight", "blocks.1.attn1.to_q.lora_B.weight"):
        trainer.parameters[name].register_hook(torch.zeros_like)
    assert "is 0 in 2 of 16 tensors that must have one (first blocks.0.attn2.to_k.lora_B.weight)" in refusal(trainer)


def parameters(**grads: Tensor | None) -> dict[str, nn.Parameter]:
    found = {}
    for name, grad in grads.items():
        found[name.replace("_", ".", 1).replace("A", "lora_A.weight").replace("B", "lora_B.weight")] = p = nn.Parameter(
            torch.zeros(2, 2)
        )
        p.grad = grad
    return found


def test_a_has_no_gradient_at_first_and_b_must() -> None:
    one, zero = torch.ones(2, 2), torch.zeros(2, 2)
    assert unusable_gradient(parameters(q_A=zero, q_B=one)) == ""
    assert unusable_gradient(parameters(q_A=None, q_B=one, k_A=zero, k_B=one)) == ""
    assert "0 in 1 of 1 tensors" in unusable_gradient(parameters(q_A=one, q_B=zero))
    assert "0 in 1 of 2 tensors that must have one (first k.lora_B.weight)" in unusable_gradient(
        parameters(q_A=zero, q_B=one, k_A=zero, k_B=None)
    )
    whole = {"w": nn.Parameter(one), "unused": nn.Parameter(one)}  # of a network that is trained as a whole
    assert "0 in 2 of 2" in unusable_gradient(whole)
    whole["w"].grad = one
    assert unusable_gradient(whole) == ""


# -------------------------------------------------------------------------------------------------------------- ranks


def test_the_checksum_tells_values_names_and_types_apart_and_nothing_else() -> None:
    a, b = torch.randn(3, 2), torch.randn(4)
    known = checksum({"a": a, "b": b})
    assert known == checksum({"b": b.clone(), "a": a.clone().T.contiguous().T})
    others = [{"a": a, "c": b}, {"a": b, "b": a}, {"a": a, "b": b.bfloat16()}, {"a": a, "b": b + 1e-6}, {"a": a}]
    assert len({known, *map(checksum, others)}) == len(others) + 1
    assert checksum({"scalar": torch.tensor(1.0)}) != checksum({"scalar": torch.tensor(2.0)})
    assert 0 <= known < 2**63


def test_ranks_that_differ_stop_the_run_by_number(make: Make) -> None:
    assert check_ranks_agree(5, Ranks().gather) == 1  # alone
    assert check_ranks_agree(5, lambda mine: [mine] * 3) == 3
    with pytest.raises(TrainingError, match=r"Rank 2 does not hold the trained parameters of rank 0 \(2 of 4 differ\)"):
        check_ranks_agree(5, lambda mine: [mine, mine, 6, 7])
    said: list[str] = []
    trainer = make(FakeReward(*SCORES))
    trainer.update(examine=StartupChecks(EXACT, resumed=False, say=said.append, gather=lambda mine: [mine, mine]))
    assert said[0].endswith("gradient finite and not 0, 2 ranks agree")
    apart = StartupChecks(EXACT, resumed=True, say=said.append, gather=lambda mine: [mine, mine + 1])
    with pytest.raises(TrainingError, match="Rank 1"):
        trainer.update(examine=apart)


def test_every_rank_is_asked_even_where_it_has_no_group_to_learn_from(make: Make) -> None:
    asked: list[int] = []
    checks = StartupChecks(EXACT, resumed=False, say=print, gather=lambda mine: [asked.append(mine) or mine])
    reward = FakeReward(FAULT)
    trainer = make(reward)
    trainer.update(examine=checks)
    assert len(asked) == 1
    reward.fixed = SCORES
    trainer.update(examine=checks)
    assert len(asked) == 1


# --------------------------------------------------------------------------------------------------------------- text


def test_a_text_cache_of_another_encoder_is_refused_and_rounding_is_not() -> None:
    encoded = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    check_text_cache("a ball", encoded.clone(), encoded)
    check_text_cache("a ball", encoded.bfloat16(), encoded)
    with pytest.raises(TrainingError, match=r"of 'a ball' differ from the encoder's by .* delete the cache"):
        check_text_cache("a ball", encoded.roll(1, dims=1), encoded)
    with pytest.raises(TrainingError, match="differ"):
        check_text_cache("a ball", encoded * 1.001, encoded)
    with pytest.raises(TrainingError, match="differ from the encoder's by nan"):
        check_text_cache("a ball", encoded * math.nan, encoded)
    with pytest.raises(TrainingError, match=r"have the shape \(1, 5, 8\) and the encoder's \(1, 6, 8\)"):
        check_text_cache("a ball", encoded[:, :5], encoded)
