"""A run that a judge looks at: what it writes down, that it stops a hacked run, and that the best weights come back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from worldr1.assembly import judge_prompts, run_prompts
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.records import VideoRecord
from worldr1.rewards.composite import CompositeReward
from worldr1.session import Session
from worldr1.types import RewardResult, Status

SMOKE = ("device=cpu", "train.judge.every=1", "train.judge.prompts=1", "train.judge.patience=1", "train.updates=3")


class Disappointed:
    """Sees fewer words at every look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, videos: Tensor, tasks: Sequence[Task]) -> list[VideoRecord]:
        self.looks += 1
        assert tuple(videos.shape[1:]) == (17, 3, 64, 96)
        return [
            VideoRecord(
                prompt_id=task.prompt.id,
                prompt=task.prompt.text,
                dynamic=task.prompt.dynamic,
                tokens=task.tokens,
                seed=task.seed,
                status=Status.OK,
                reason="",
                reward=None,
                measures={"words": 1.0 - 0.2 * self.looks},
            )
            for task in tasks
        ]


class Rising:
    """The real reward; the judge's one video gets more at every look."""

    def __init__(self, reward: CompositeReward) -> None:
        self.licence, self.part_weights = reward.licence, reward.part_weights
        self._reward, self._value = reward, 0.0

    def __call__(self, videos: Tensor, *rest: Any) -> list[RewardResult]:
        results = self._reward(videos, *rest)
        if len(videos) > 1:
            return results
        self._value += 0.1
        return [replace(result, value=self._value) for result in results]


def test_a_hacked_run_stops_and_keeps_the_weights_of_the_best_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Disappointed()
    monkeypatch.setattr("worldr1.assembly.build_judge", lambda device: judge)
    session = Session.create(load_experiment("mini-smoke", SMOKE), tmp_path / "run")
    monkeypatch.setattr(session.trainer, "reward", Rising(cast(CompositeReward, session.trainer.reward)))
    start = {name: value.clone() for name, value in session.trainer.ema.values.items()}
    with session.log:
        session._train()
    assert session.trainer.updates_done == 1, "stopped at the second look"
    lines = [json.loads(line) for line in (tmp_path / "run" / "judge.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [0, 1]
    assert lines[0]["scores"] == {"words": pytest.approx(0.8)}
    best = load_file(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(best[name], value) for name, value in start.items())
    assert session.watch.restore_best(session.trainer.ema.values).update == 0
    assert "judge after 1 updates" in capsys.readouterr().err


def test_the_judges_prompts_are_seen_nowhere_else() -> None:
    config: ExperimentConfig = load_experiment("mini")
    judged = replace(config, train=replace(config.train, judge=replace(config.train.judge, prompts=40)))
    shown = judge_prompts(judged, run_prompts(config))
    assert len(shown) == 40 and sum(prompt.dynamic for prompt in shown) == 10
    assert len({(prompt.id, prompt.dynamic) for prompt in shown}) == 40
    assert not {prompt.text for prompt in shown} & {prompt.text for prompt in run_prompts(config).all}


def test_a_missing_judge_leaves_no_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(device: str) -> None:
        raise InputError("there is no judge")

    monkeypatch.setattr("worldr1.assembly.build_judge", missing)
    with pytest.raises(InputError, match="no judge"):
        Session.create(load_experiment("mini-smoke", SMOKE), tmp_path / "run")
    assert not (tmp_path / "run").exists()
