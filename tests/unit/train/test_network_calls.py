"""How often an update runs the network: one trained forward per recorded step, and at most one reference beside it."""

import dataclasses
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_trainer import METHOD, Make

from worldr1.train.algorithm import Method
from worldr1.train.trainer import Trainer


def _method(sampler: dict[str, Any], objective: dict[str, Any]) -> Method:
    return dataclasses.replace(
        METHOD,
        sampler=dataclasses.replace(METHOD.sampler, **sampler),
        objective=dataclasses.replace(METHOD.objective, **objective),
    )


def _calls(trainer: Trainer) -> dict[str, list[int]]:
    """Rows of every forward of one update, by its kind."""
    calls: dict[str, list[int]] = {"rollout": [], "reference": [], "trained": []}
    transformer: Any = trainer.policy.transformer
    adapted = [module for module in transformer.modules() if isinstance(module, LoraLayer)]

    def seen(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        kind = "trained" if torch.is_grad_enabled() else "rollout"
        if all(module.disable_adapters for module in adapted):
            kind = "reference"
        calls[kind].append(len(kwargs["hidden_states"]))

    hook = transformer.register_forward_pre_hook(seen, with_kwargs=True)
    trainer.update()
    hook.remove()
    return calls


@pytest.mark.parametrize("kl_beta", [0.004, 0.0])
def test_a_group_costs_one_trained_forward_and_at_most_one_reference(make: Make, kl_beta: float) -> None:
    groups, steps = 3, METHOD.sampler.num_steps
    trainer = make(
        method=_method({"exact_replay": True, "share_prefix": True}, {"kl_beta": kl_beta}), groups_per_update=groups
    )
    calls = _calls(trainer)
    assert calls["trained"] == [1] * groups
    assert calls["reference"] == ([1] * groups if kl_beta else [])
    assert len(calls["rollout"]) <= steps + groups


@pytest.mark.parametrize(
    ("sampler", "objective"),
    [
        ({"exact_replay": True, "share_prefix": True}, {}),
        ({"exact_replay": True, "share_prefix": False}, {}),
        ({"exact_replay": False, "share_prefix": True, "batch": 2}, {}),
        ({"exact_replay": False, "share_prefix": True, "batch": 64}, {}),
        ({"batch": 3}, {"kind": "best-of-n", "draws": 2}),
        ({"batch": 64}, {"kind": "best-of-n", "draws": 2}),
    ],
)
def test_trained_rows_are_the_most_in_one_forward(
    make: Make, sampler: dict[str, Any], objective: dict[str, Any]
) -> None:
    trainer = make(method=_method(sampler, objective), groups_per_update=3)
    predicted = trainer.algorithm.trained_rows(3, trainer.config.group_size)
    assert max(_calls(trainer)["trained"]) == predicted
