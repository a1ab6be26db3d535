"""What the planner says an update consists of, against updates that are run and watched."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import CLIP, METHOD, build_trainer

from worldr1.build import ClipConfig, ExperimentConfig, ModelConfig
from worldr1.planning.work import Guidance, Share, Work
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rollout.sampler import SamplerConfig
from worldr1.train.algorithm import Method
from worldr1.train.trainer import TrainConfig

GROUPS, SIZE = 3, 4


def _method(sampler: dict[str, Any], objective: dict[str, Any]) -> Method:
    return dataclasses.replace(
        METHOD,
        sampler=SamplerConfig(**{"num_steps": 5, "first_index": 1, "last_index": 1, **sampler}),
        objective=ObjectiveConfig(**{"kl_beta": 0.0, **objective}),
    )


@pytest.mark.parametrize(
    ("sampler", "objective"),
    [
        ({}, {}),
        ({"batch": 1}, {"kl_beta": 0.1, "updates_per_rollout": 2}),
        ({"share_prefix": False, "batch": 3}, {"kl_beta": 0.1}),
        ({"last_index": 3, "sde_steps": 3}, {}),
        ({"exact_replay": False, "batch": 2}, {"kl_beta": 0.1}),
        ({"exact_replay": False, "share_prefix": False}, {}),
        ({"batch": 8}, {"kind": "best-of-n", "kl_beta": 0.1, "draws": 3}),
    ],
)
def test_an_update_does_the_work_that_is_planned(
    tiny_wan_folder: Path, monkeypatch: pytest.MonkeyPatch, sampler: dict[str, Any], objective: dict[str, Any]
) -> None:
    method = _method(sampler, objective)
    trainer = build_trainer(tiny_wan_folder, method=method, group_size=SIZE, groups_per_update=GROUPS)
    rows = {"sampled": 0, "reference": 0, "trained": 0}
    waiting, widest, in_backward = 0, 0, False
    velocity, backward = trainer.policy.velocity, trainer.algorithm.backward

    def watched(latents: torch.Tensor, sigma: Any, embeddings: torch.Tensor) -> torch.Tensor:
        nonlocal waiting, widest
        kind = "trained" if torch.is_grad_enabled() else "reference" if in_backward else "sampled"
        rows[kind] += len(latents)
        waiting += len(latents) if kind == "trained" else 0
        widest = max(widest, waiting)
        return velocity(latents, sigma, embeddings)

    def stepping(groups: Sequence[Any], **given: Any) -> list[dict[str, float]]:
        nonlocal in_backward
        in_backward = True
        found = backward(groups, **given)
        in_backward = False
        return found

    original = torch.Tensor.backward

    def through(tensor: torch.Tensor, *given: Any, **named: Any) -> None:
        nonlocal waiting
        waiting = 0
        original(tensor, *given, **named)

    monkeypatch.setattr(trainer.policy, "velocity", watched)
    monkeypatch.setattr(trainer.algorithm, "backward", stepping)
    monkeypatch.setattr(torch.Tensor, "backward", through)
    trainer.update()
    config = ExperimentConfig(
        sampler=method.sampler,
        objective=method.objective,
        train=TrainConfig(group_size=SIZE, groups_per_update=GROUPS),
        clip=ClipConfig(frames=CLIP[0], height=CLIP[1], width=CLIP[2]),
    )
    work = Work.of(config)
    planned = {"sampled": work.sampled, "reference": work.reference, "trained": work.trained}
    assert {kind: GROUPS * number for kind, number in planned.items()} == rows
    assert work.graph_rows == widest


def test_the_mean_over_the_drawn_step() -> None:
    """Indices 2 to 9 of 20 steps, group of 8: each draw k costs k + 1 + 8 (19 - k)."""
    mean = sum(k + 1 + 8 * (19 - k) for k in range(2, 10)) / 8
    assert Work.of(ExperimentConfig()).sampled == pytest.approx(mean)


@pytest.mark.parametrize(
    ("guidance", "mode", "tokens", "halves", "joint"),
    [
        (1.0, "auto", 100, 1, False),
        (5.0, "auto", 100, 2, True),
        (5.0, "auto", 32_760, 2, False),
        (5.0, "joint", 32_760, 2, True),
        (5.0, "separate", 100, 2, False),
    ],
)
def test_guidance(guidance: float, mode: Any, tokens: int, halves: int, joint: bool) -> None:
    config = ExperimentConfig(model=ModelConfig(guidance=guidance, guidance_batch=mode))
    found = Guidance.of(config, rows=1, tokens=tokens)
    assert (found.halves, found.joint) == (halves, joint)
    assert found.passes * found.rows_factor == halves


@pytest.mark.parametrize(
    ("gpus", "in_flight", "groups", "flights"), [(1, None, 48, 1), (1, 5, 48, 10), (7, 5, 7, 2), (96, 5, 1, 1)]
)
def test_groups_are_dealt_out_whole(gpus: int, in_flight: int | None, groups: int, flights: int) -> None:
    share = Share.of(ExperimentConfig(train=TrainConfig(groups_in_flight=in_flight)), gpus)
    assert (share.groups, share.flights) == (groups, flights)
