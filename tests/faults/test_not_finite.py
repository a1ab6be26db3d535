"""Numbers that are not finite, put in at every place an update computes something: skipped and counted, never saved."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_session import differences, train, untimed_rows
from tiny_trainer import FakeReward
from torch import Tensor

from worldr1.errors import TrainingError
from worldr1.session import Session
from worldr1.train.checkpoint import CHECKPOINTS
from worldr1.train.trainer import Trainer
from worldr1.types import RewardResult

UPDATES = 3
AT = 1
"""The update that is spoilt."""
Spoil = Callable[[Trainer, float], Any]


def _now(trainer: Trainer) -> bool:
    return trainer.updates_done == AT


def _patched(owner: Any, name: str, change: Callable[[Any], Any], when: Callable[[], bool]) -> None:
    """Changes what a method returns."""
    method = getattr(owner, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        return change(result) if when() else result

    setattr(owner, name, patched)


def _fill(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor * 0 + value


def velocity_of_the_rollout(trainer: Trainer, value: float) -> None:
    when = lambda: _now(trainer) and not torch.is_grad_enabled()  # noqa: E731
    _patched(trainer.policy, "velocity", _fill(value), when)


def velocity_of_the_trained_step(trainer: Trainer, value: float) -> None:
    _patched(trainer.policy, "velocity", _fill(value), lambda: _now(trainer) and torch.is_grad_enabled())


def text_embedding(trainer: Trainer, value: float) -> None:
    _patched(trainer.policy, "encode", _fill(value), lambda: _now(trainer))


def start_noise(trainer: Trainer, value: float) -> None:
    _patched(trainer, "_start_noise", _fill(value), lambda: _now(trainer))


def video(trainer: Trainer, value: float) -> None:
    _patched(trainer.policy, "decode", _fill(value), lambda: _now(trainer))


class _Spoilt(FakeReward):
    def __init__(self, trainer: Trainer, value: float, num: int) -> None:
        super().__init__()
        self._trainer, self._value, self._num = trainer, value, num

    def __call__(self, *args: Any) -> list[RewardResult]:
        found = super().__call__(*args)
        num = self._num if _now(self._trainer) else 0
        return [replace(result, value=self._value) for result in found[:num]] + found[num:]


def every_reward(trainer: Trainer, value: float) -> None:
    trainer.reward = _Spoilt(trainer, value, num=8)  # type: ignore[assignment]


def one_reward(trainer: Trainer, value: float) -> None:
    trainer.reward = _Spoilt(trainer, value, num=1)  # type: ignore[assignment]


def advantage(trainer: Trainer, value: float) -> None:
    def change(sampled: Any) -> Any:
        spoilt = [replace(group, advantages=group.advantages * 0 + value) for group in sampled.groups]
        return sampled._replace(groups=spoilt)

    _patched(trainer, "_sample", change, lambda: _now(trainer))


def loss(trainer: Trainer, value: float) -> None:
    """The number alone; its gradient is finite."""
    _patched(trainer.algorithm, "summarise", lambda metrics: metrics | {"loss": value}, lambda: _now(trainer))


def one_gradient(trainer: Trainer, value: float) -> None:
    last = list(trainer.parameters.values())[-1]
    last.register_hook(lambda grad: grad * 0 + value if _now(trainer) else grad)


def huge_gradient(trainer: Trainer, value: float) -> None:
    """Finite numbers whose norm is not."""
    for parameter in trainer.parameters.values():
        parameter.register_hook(lambda grad: grad * 0 + 3e38 if _now(trainer) else grad)


SKIPPED: tuple[Spoil, ...] = (
    velocity_of_the_rollout, velocity_of_the_trained_step, text_embedding, start_noise, video, every_reward, one_reward,
    advantage, loss, one_gradient, huge_gradient,
)  # fmt: skip
"""What the update before the optimizer's step computes."""


def _put(tensor: Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.view(-1)[-1] = value


def parameter_before_the_update(trainer: Trainer, value: float) -> None:
    def change(drawn: Any) -> Any:
        _put(next(iter(trainer.parameters.values())), value)
        return drawn

    _patched(trainer, "_draw_prompts", change, lambda: _now(trainer))


def _after_the_step(trainer: Trainer, tensor: Callable[[], Tensor], value: float) -> None:
    _patched(trainer, "_apply", lambda metrics: (_put(tensor(), value), metrics)[1], lambda: _now(trainer))


def parameter_after_the_step(trainer: Trainer, value: float) -> None:
    _after_the_step(trainer, lambda: next(iter(trainer.parameters.values())), value)


def average(trainer: Trainer, value: float) -> None:
    _after_the_step(trainer, lambda: list(trainer.ema.values.values())[-1], value)


def moment(trainer: Trainer, value: float) -> None:
    last = list(trainer.parameters.values())[-1]
    _after_the_step(trainer, lambda: trainer.optimizer.state[last]["exp_avg_sq"], value)


STOPPED: tuple[Spoil, ...] = (parameter_before_the_update, parameter_after_the_step, average, moment)
"""What is the run's state: there is nothing finite to go on with but the last checkpoint."""


def _saved(run: Path) -> int:
    """How many tensor files the run holds; asserts that every number in them is finite."""
    files = list(run.rglob("*.safetensors"))
    for file in files:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(file).values()), file
    return len(files)


@contextmanager
def _watching_saves(monkeypatch: pytest.MonkeyPatch, run: Path) -> Iterator[None]:
    """Also what is written and deleted again is looked at."""
    from worldr1.train import checkpoint

    prune = checkpoint._prune
    monkeypatch.setattr(checkpoint, "_prune", lambda *args: (_saved(run), prune(*args))[1])
    yield


VALUES = [math.nan, pytest.param(math.inf, marks=pytest.mark.slow), pytest.param(-math.inf, marks=pytest.mark.slow)]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("spoil", SKIPPED, ids=lambda spoil: spoil.__name__)
def test_an_update_that_computed_something_not_finite_is_skipped_and_counted(
    spoil: Spoil, value: float, models: None, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with _watching_saves(monkeypatch, run):
        session = train(run, updates=UPDATES, spoil=lambda session: spoil(session.trainer, value))
    rows, whole = untimed_rows(run), untimed_rows(reference)
    assert rows[:AT] == whole[:AT] and len(rows) == UPDATES
    if spoil is one_reward:  # a fault of that video alone; the others teach
        assert rows[AT]["fault_fraction"] == 1 / 8 and rows[-1]["skipped"] == 0.0
    else:
        assert [row["skipped"] for row in rows] == [0.0] * AT + [1.0] * (UPDATES - AT)
        before, after = (load_file(run / CHECKPOINTS / f"{n:06d}" / "params.safetensors") for n in (AT + 1, UPDATES))
        assert any(not torch.equal(before[name], after[name]) for name in before), "later updates learn again"
    assert session.trainer.counters.skipped_in_a_row == 0
    assert _saved(run) == 9
    json.loads((run / "metrics.jsonl").read_text().splitlines()[AT], parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("spoil", STOPPED, ids=lambda spoil: spoil.__name__)
def test_a_state_that_is_not_finite_stops_the_run_and_a_resume_is_as_if_nothing_had_been(
    spoil: Spoil, value: float, models: None, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with _watching_saves(monkeypatch, run):
        with pytest.raises(TrainingError, match=r"not finite.*go on from the one before") as caught:
            train(run, updates=UPDATES, spoil=lambda session: spoil(session.trainer, value))
        assert len(str(caught.value).splitlines()) == 1
        assert _saved(run) == 3 * AT
        train(run, updates=UPDATES)
    assert differences(run, reference) == []


def test_a_run_in_which_nothing_is_finite_any_more_stops(models: None, tmp_path: Path) -> None:
    def spoil(session: Session) -> None:
        trainer = session.trainer
        next(iter(trainer.parameters.values())).register_hook(
            lambda grad: grad * math.nan if trainer.updates_done >= AT else grad
        )

    with pytest.raises(TrainingError, match="10 optimizer steps in a row had no finite gradient"):
        train(tmp_path / "run", updates=50, spoil=spoil)
    assert len(untimed_rows(tmp_path / "run")) == AT + 10
    _saved(tmp_path / "run")
