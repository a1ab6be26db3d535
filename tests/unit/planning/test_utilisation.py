"""MFU's operations against torch's own counter on whole updates that are run, and the shares by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import METHOD, FakeReward, build_trainer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from worldr1.build import ExperimentConfig
from worldr1.planning.cards import CARDS
from worldr1.planning.utilisation import Utilisation
from worldr1.rl.objective import ObjectiveConfig
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.algorithm import Method
from worldr1.train.trainer import Trainer

CLIP = (5, 160, 224)


def described(trainer: Trainer, method: Method, **more: Any) -> Utilisation:
    config = ExperimentConfig(
        sampler=method.sampler,
        objective=method.objective,
        train=trainer.config,
        lora=LoraConfig(rank=4, alpha=8.0),
    )
    policy: Any = trainer.policy
    text = policy.encode(["a"]).shape[1]
    return Utilisation.of(config, policy.config, trainer.latent_shape, CARDS["h200"], text_tokens=text, **more)


@pytest.mark.parametrize("kind", ["flow-grpo", "best-of-n"])
@pytest.mark.parametrize("trainable", ["lora", "full"])
def test_an_updates_operations(
    tiny_wan_folder: Path, monkeypatch: pytest.MonkeyPatch, trainable: str, kind: Any
) -> None:
    sampler = dataclasses.replace(METHOD.sampler, exact_replay=False)  # rollouts on merged weights, as on a GPU
    objective = ObjectiveConfig(kl_beta=0.1, kind=kind)
    method = dataclasses.replace(METHOD, sampler=sampler, objective=objective)
    reward = FakeReward(0.1, 0.9, 0.4, 0.3)
    trainer = build_trainer(tiny_wan_folder, reward, method=method, clip=CLIP, trainable=trainable)
    policy: Any = trainer.policy
    text = policy.encode(["a", "b"])
    monkeypatch.setattr(policy, "encode", lambda prompts: text)
    monkeypatch.setattr(policy, "decode", lambda latents: torch.zeros(len(latents), 5, 3, 8, 8))
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        row = trainer.update()
    found = described(trainer, method)
    # best-of-n's samples run with the adapter unmerged, which is not counted: 6 % of a network of this width
    tolerance = 0.06 if (kind, trainable) == ("best-of-n", "lora") else 0.01
    assert found.rollout_flops(row) + found.step_flops(row) == pytest.approx(counter.get_total_flops(), rel=tolerance)


def test_the_shares_are_of_the_seconds_they_are_named_after(tiny_wan_folder: Path) -> None:
    found = described(build_trainer(tiny_wan_folder, clip=CLIP), METHOD, gpus=2)
    assert found.peak == 2 * 989e12
    assert found.describe() == "mfu is of 1978 TFLOP/s, the dense bfloat16 peak of 2 x h200"
    row = {"videos": 8, "kept_groups": 2.0, "first_sde_step": 1.5, "seconds": 8.0, "seconds_step": 2.0}
    shares = found.metrics({**row, "seconds_rollout": 4.0})
    rollout, step = found.rollout_flops(row), found.step_flops(row)
    assert shares["mfu_rollout"] == pytest.approx(rollout / 4 / found.peak)
    assert shares["mfu_step"] == pytest.approx(step / 2 / found.peak)
    assert shares["mfu"] == pytest.approx((rollout + step) / 8 / found.peak)
    assert found.metrics({**row, "kept_groups": 0.0})["mfu"] == pytest.approx(rollout / 8 / found.peak)
    later = found.rollout_flops({**row, "first_sde_step": 2.0})  # groups part later: fewer forwards
    assert later < rollout
