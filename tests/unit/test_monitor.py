"""What is measured around updates, who is told of it, and what a tracker is not shown."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trainer import build_trainer

from worldr1 import monitor
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.monitor import Monitor, shown_recipe
from worldr1.rewards.recipe import RewardConfig
from worldr1.rewards.remote import RemoteConfig
from worldr1.train.runlog import RunLog, read_metrics
from worldr1.train.trackers import LogConfig
from worldr1.train.trainer import Trainer
from worldr1.train.watchdog import Watchdog


@pytest.fixture
def trainer(tiny_wan_folder: Path) -> Trainer:
    return build_trainer(tiny_wan_folder)


def config_with(log: LogConfig) -> ExperimentConfig:
    config = load_experiment("mini-smoke", ("device=cpu",))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, log=log))


def watched(trainer: Trainer, run: Path, said: list[str], log: LogConfig | None = None) -> Monitor:
    config = config_with(log or LogConfig())
    return Monitor(config, run, RunLog.create(run, recipe=""), trainer, said.append)


def test_what_was_done_between_updates_is_in_the_next_row(trainer: Trainer, tmp_path: Path) -> None:
    said: list[str] = []
    with watched(trainer, tmp_path / "run", said) as looking:
        with looking.stage("evaluation"):
            time.sleep(0.02)
        trainer.update(looking.record)
        for _ in range(2):
            with looking.stage("judge"):
                time.sleep(0.01)
        trainer.update(looking.record)
        trainer.update(looking.record)
    first, second, third = read_metrics(tmp_path / "run")
    assert first["seconds_evaluation"] >= 0.02 and "seconds_judge" not in first
    assert second["seconds_judge"] >= 0.02 and "seconds_evaluation" not in second
    assert not {"seconds_evaluation", "seconds_judge"} & third.keys()
    assert not [name for row in (first, second, third) for name in row if name.startswith(("mfu", "memory_"))]
    assert said == [] and not (tmp_path / "run" / "stacks.txt").exists()


def test_every_forward_pass_and_every_stage_is_a_sign_of_life(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []
    monkeypatch.setattr(Watchdog, "beat", lambda self, what="": beats.append(what))
    with watched(trainer, tmp_path / "run", []) as looking:
        trainer.update(looking.record)
    named = [what for what in beats if what]
    stages = ("rollout", "rollout", "reward", "decode", "reward", "reward", "step", "optimizer", "hash")
    assert named == [f"{stage} of update {1 if stage == 'hash' else 0}" for stage in stages]
    assert beats.count("") > trainer.method.sampler.num_steps
    beats.clear()
    trainer.policy.velocity(torch.zeros(1, *trainer.latent_shape), 0.5, trainer.policy.encode(["a"]))
    assert beats == []  # the hook went with the monitor


def test_a_standstill_of_a_run_is_said_with_its_stage(trainer: Trainer, tmp_path: Path) -> None:
    said: list[str] = []
    reward: Any = trainer.reward

    def hangs(*given: Any) -> Any:
        until = time.monotonic() + 10
        while not said and time.monotonic() < until:
            time.sleep(0.02)
        return reward(*given)

    trainer.reward = hangs  # type: ignore[assignment]
    with watched(trainer, tmp_path / "run", said, LogConfig(standstill_minutes=0.01)) as looking:
        trainer.update(looking.record)
    assert "nothing has moved" in said[0] and "(at: reward of update 0)" in said[0]
    assert "hangs" in (tmp_path / "run" / "stacks.txt").read_text()
    assert len(read_metrics(tmp_path / "run")) == 1  # it went on


def test_mfu_is_there_where_the_peak_is_known(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    looking = watched(trainer, tmp_path / "run", said)
    with looking:
        row = trainer.update()
        monkeypatch.setattr(trainer, "device", torch.device("cuda"))
        monkeypatch.setattr(monitor.torch.cuda, "get_device_name", lambda device: "Some Future GPU")
        looking.record(dict(row))
        monkeypatch.setattr(monitor.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
        looking.record(dict(row))
        looking.record(dict(row))
    unknown, known, _ = read_metrics(tmp_path / "run")
    assert "mfu" not in unknown
    assert 0 < known["mfu"] < known["mfu_step"]
    assert said == ["mfu is of 989 TFLOP/s, the dense bfloat16 peak of h200"]


def test_a_tracker_is_shown_no_option_of_own_code_and_no_address() -> None:
    reward = RewardConfig(
        custom="my:Reward", options={"custom": {"api_key": "sk-secret"}}, remote=RemoteConfig(address="10.0.0.7:6379")
    )
    text = str(shown_recipe(dataclasses.replace(config_with(LogConfig()), reward=reward)))
    assert "my:Reward" in text and "sk-secret" not in text and "10.0.0.7" not in text
