"""Keys come from the environment and stay there: in no recipe, record, log, checkpoint, adapter, or tracker's file."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tiny_trainer import FakeReward, build_trainer

from worldr1.assembly import Parts
from worldr1.backends.critics import CriticConfig
from worldr1.backends.critics.server import ServerCritic
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.checkup.record import make_record
from worldr1.config import dump_toml
from worldr1.errors import ConfigError
from worldr1.monitor import shown_recipe
from worldr1.session import Session
from worldr1.train.runlog import RunLog

SECRET = "sk-very-secret-123"
VARIABLES = ("OPENAI_API_KEY", "CRITIC_KEY", "HF_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)


def judged_by_a_server() -> ExperimentConfig:
    sets = (
        "reward.profile=paper",
        "reward.options.critic.base_url='https://judge.example/v1'",
        "reward.options.critic.key_variable=CRITIC_KEY",
    )
    return load_experiment("world-r1-small", sets)


def test_a_critics_key_is_sent_and_written_nowhere() -> None:
    config = judged_by_a_server()
    critic = ServerCritic(CriticConfig(base_url="https://judge.example/v1", key_variable="CRITIC_KEY"))
    assert critic._patient.config.key == SECRET  # or this test could not fail
    record = json.dumps(make_record("own.toml", config, [], 1.0))
    for text in (dump_toml(config), record, repr(config), repr(critic._patient.config), str(shown_recipe(config))):
        assert SECRET not in text
    assert "CRITIC_KEY" in dump_toml(config)
    assert "judge.example" not in record


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="use key_variable"):
        CriticConfig(base_url=f"https://ann:{SECRET}@judge.example/v1")


def test_no_file_of_a_run_has_a_secret_of_the_environment(tiny_wan_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = build_trainer(tiny_wan_folder, FakeReward(0.1, 0.9, 0.4, 0.3), updates=2)
    config = judged_by_a_server()
    log = dataclasses.replace(config.train.log, tensorboard=True)
    train = dataclasses.replace(config.train, updates=2, checkpoint_every=1, log=log)
    config = dataclasses.replace(config, train=train, device="cpu")
    session = Session(config, run, RunLog.create(run, recipe=dump_toml(config)), trainer, Parts([], None, []))
    said = io.StringIO()
    session.console = Console(file=said, width=200)
    with session.log, session.monitor:
        session._train()
    files = [path for path in run.rglob("*") if path.is_file()]
    kinds = {path.name.partition(".")[0] for path in files}
    assert {"metrics", "recipe", "state", "params", "manifest", "events"} <= kinds
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in said.getvalue()
