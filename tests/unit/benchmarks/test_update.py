"""Where an update's time goes: costs are booked on the right stage, counts are what one counts by hand."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
import update
from torch import nn
from update import REST, Stages, count

from worldr1.backends.swapping import Swapped

STAGES = {
    "text", "start noise", "rollout", "rollout: network", "decode", "3D model", "camera path", "renderer", "critic",
    "re-rendering: Gaussians and images", "off-path view: Gaussians and images", "perceptual distance", "quality",
    "advantages", "reference velocity: network", "replay forward: network", "loss terms", "backward",
    "optimizer and EMA", "input checks, image gradient", REST,
}  # fmt: skip


def test_a_stage_pauses_while_another_runs_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(update.time, "perf_counter", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    stages = Stages(lambda: None)
    network = stages.wrap(": network", wait)
    stages.start()
    wait(1)
    with stages.stage("rollout"):
        wait(2)
        network(4)
        wait(8)
    wait(16)
    network(32)
    seconds = {name: cost.seconds for name, cost in stages.stop().items()}
    assert seconds == {REST: 17, "rollout": 10, "rollout: network": 4, f"{REST}: network": 32}


class Model:
    """Stands for a reward model."""

    licence = "test"

    def __init__(self) -> None:
        self.network = nn.Linear(2, 2)

    def __call__(self) -> None:
        assert self.network.weight.is_leaf


class Critic(Model): ...


class Distance(Model): ...


@pytest.mark.parametrize("place", [lambda model: model, lambda model: Swapped(model, "cpu")], ids=["resident", "swap"])
def test_swapped_reward_models_are_told_apart_and_their_transfers_from_their_work(place: Callable[[Any], Any]) -> None:
    reward = SimpleNamespace(reconstructor=place(Model()), critic=place(Critic()), perceptual=place(Distance()))
    methods = [(owner, name, stage) for owner, name, stage in update.reward_stages(reward) if owner is not reward]
    stages = Stages(lambda: None)
    with ExitStack() as stack:
        for owner, name, stage in methods:
            stack.enter_context(patch.object(owner, name, stages.wrap(stage, getattr(owner, name))))
        for model, stage in ((reward.critic, "critic"), (reward.perceptual, "perceptual distance")):
            stages.start()
            model()
            seen = stages.stop().keys() - {REST, "3D model"}  # Model's own method is inside the others'
            assert seen == ({stage, "models moved in"} if isinstance(model, Swapped) else {stage})


def test_operators_and_reads_are_counted_where_they_happen() -> None:
    stages = Stages(lambda: None)
    x = torch.ones(4, 4, requires_grad=True)
    with count(stages):
        stages.start()
        with stages.stage("forward"):
            y = (x @ x).t()[0].relu()  # two operators; the transpose and the row are views
        with stages.stage("read"):
            values = y.detach()
            assert float(values[0]) == 4.0
            assert values.tolist() == [4.0] * 4
            assert len(values[values > 0]) == 4  # a comparison, and an index that waits
        with stages.stage("backward"):
            y.sum().backward()
        costs = stages.stop()
    assert (costs["forward"].operators, costs["forward"].reads) == (2, 0)
    assert (costs["read"].operators, costs["read"].reads) == (3, 3)
    assert costs["backward"].operators >= 4  # a sum, and the two products' four gradients at least
    assert REST not in costs or costs[REST].operators == 0


def test_the_table_of_a_small_update_names_every_stage(tmp_path: Path) -> None:
    settings = ("sampler.num_steps=3", "sampler.last_index=1", "phases.main_updates=9", "train.ema_decay=0.5")
    overrides = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "update.md"
    update.main(["mini-smoke", *overrides, "--updates", "1", "--warm-up", "0", "--out", str(out)])
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert numbers["stage_s"].keys() >= STAGES
    assert numbers["counted"]["rollout: network"]["operators"] > 1000
    assert numbers["counted"]["backward"]["operators"] > 500
    assert "Plain update of 2 videos" in out.read_text()
