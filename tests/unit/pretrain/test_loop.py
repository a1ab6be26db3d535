"""The training loop resumes exactly and refuses what is not its own."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldr1.errors import InputError
from worldr1.pretrain.loop import Fit, FitConfig, bf16_state

Run = Callable[[Fit, int], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Trains for a number of steps: every look at the clock takes a second."""
    ticks = count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))

    def train(fit: Fit, steps: int) -> None:
        fit.config = replace(fit.config, seconds=steps + 0.5)
        fit.run(_task(fit))

    return train


# The schedule does not fall: the learning rate then depends on the step alone, not on when a run was cut.
CONFIG = FitConfig(seconds=1.0, total_s=1e12, lr=0.05, warmup_steps=4)


def _network(width: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))


def _task(fit: Fit) -> Callable[[], tuple[Tensor, dict[str, Tensor]]]:
    """Regression on batches that depend on the step, as the builders seed them."""

    def loss() -> tuple[Tensor, dict[str, Tensor]]:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(fit.steps))
        value = (fit.module(x)[:, 0] - x.sum(1)).square().mean()
        return value, {"loss": value.detach()}

    return loss


def _state(fit: Fit) -> list[Tensor]:
    adam = [fit.optimizer.state[p][name] for p in fit.parameters for name in ("step", "exp_avg", "exp_avg_sq")]
    return [*(p.detach() for p in fit.parameters), *fit.ema, *adam]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, run: Run) -> None:
    whole = Fit(_network(), tmp_path / "whole", CONFIG)
    run(whole, 9)
    assert whole.steps == 9
    first = Fit(_network(), tmp_path / "parts", CONFIG)
    run(first, 4)
    first.save()
    second = Fit(_network(), tmp_path / "parts", CONFIG)
    assert second.steps == 4
    assert second.seconds_done == first.seconds_done > 0
    assert all(torch.equal(a, b) for a, b in zip(_state(first), _state(second), strict=True))
    run(second, 5)
    assert second.steps == 9
    assert all(torch.equal(a, b) for a, b in zip(_state(whole), _state(second), strict=True))
    unlike = zip(_state(first), _state(whole), strict=True)
    assert not any(torch.equal(a, b) for a, b in unlike), "five steps change everything"


def test_training_learns_and_the_average_follows(tmp_path: Path, run: Run) -> None:
    fit = Fit(_network(8), tmp_path / "part", replace(CONFIG, ema_decay=0.9))
    before = _task(fit)()[0].item()
    run(fit, 60)
    after = _task(fit)()[0].item()
    assert after < 0.3 * before
    trained = [p.detach().clone() for p in fit.parameters]
    average = [x.clone() for x in fit.ema]
    fit.use_ema()
    assert all(torch.equal(p, x) for p, x in zip(fit.parameters, average, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(trained, average, strict=True))


def test_the_learning_rate_warms_up_and_falls_with_the_time(tmp_path: Path) -> None:
    fit = Fit(_network(), tmp_path / "part", replace(CONFIG, lr=1.0, total_s=100.0, warmup_steps=10))

    def rate(steps: int, seconds: float) -> float:
        fit.steps, fit.seconds_done = steps, seconds
        fit._set_learning_rate()
        return fit.optimizer.param_groups[0]["lr"]

    assert rate(0, 0.0) == pytest.approx(0.1)
    assert rate(50, 0.0) == pytest.approx(1.0)
    assert rate(50, 50.0) == pytest.approx(0.505)
    assert rate(50, 100.0) == rate(50, 500.0) == pytest.approx(0.01)


def test_a_step_without_finite_gradients_changes_no_weight(tmp_path: Path, run: Run) -> None:
    fit = Fit(_network(), tmp_path / "part", CONFIG)
    before = [p.detach().clone() for p in fit.parameters]
    fit.config = replace(fit.config, seconds=2.5)
    fit.run(lambda: (fit.parameters[0].sum() * float("nan"), {}))
    assert fit.steps == 2
    assert all(torch.equal(p, x) for p, x in zip(fit.parameters, before, strict=True))


def test_the_state_of_another_network_is_refused(tmp_path: Path, run: Run) -> None:
    fit = Fit(_network(3), tmp_path / "part", CONFIG)
    run(fit, 1)
    fit.save()
    with pytest.raises(InputError, match="another network; delete"):
        Fit(_network(5), tmp_path / "part", CONFIG)
    with pytest.raises(InputError, match="another network"):
        Fit(nn.Linear(4, 3), tmp_path / "part", CONFIG)


def test_saving_leaves_no_half_written_file(tmp_path: Path, run: Run) -> None:
    fit = Fit(_network(), tmp_path / "part", CONFIG)
    run(fit, 2)
    fit.save()
    fit.save()
    assert sorted(p.name for p in (tmp_path / "part").iterdir()) == ["progress.json", "state.safetensors"]
    assert json.loads((tmp_path / "part" / "progress.json").read_text())["steps"] == 2


def test_shipped_weights_are_bf16_and_counts_stay_whole() -> None:
    module = nn.BatchNorm1d(2)
    state = bf16_state(module)
    assert state["weight"].dtype == torch.bfloat16
    assert state["num_batches_tracked"].dtype == torch.int64
