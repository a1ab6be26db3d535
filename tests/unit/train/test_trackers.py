"""TensorBoard for real, wandb behind its calls: every point once over resumes; no tracker stops or slows a run."""

import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worldr1.errors import InputError
from worldr1.train import trackers
from worldr1.train.trackers import LogConfig, Row, Trackers, check_trackers

RECIPE = {"train": {"lr": 1e-4}}


def rows(first: int, end: int) -> list[dict[str, Any]]:
    return [{"update": u, "phase": "main", "reward": u / 2, "grad_norm": float("nan")} for u in range(first, end)]


def tell(config: LogConfig, run: Path, first: int, end: int) -> list[str]:
    """Updates first .. end - 1 of a run, as a session tells them; what the user was shown."""
    said: list[str] = []
    with Trackers.of(config, run, recipe=RECIPE, update=first, say=said.append) as all_of_them:
        for row in rows(first, end):
            all_of_them.write(row)
    return said


def test_tensorboard_has_every_point_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = LogConfig(tensorboard=True)
    assert tell(config, tmp_path, 0, 5) == []
    assert tell(config, tmp_path, 3, 8) == []  # killed after update 4, resumed from the checkpoint after update 2
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"reward", "grad_norm"}  # text is no curve, the update is the axis
    assert [(event.step, event.value) for event in events.Scalars("reward")] == [(u, u / 2) for u in range(8)]


class FakeRun:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.points, self.finished = given, list[tuple[int, Mapping[str, Any]]](), False

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self.points.append((step, dict(row)))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """Every run that a stand-in for the library was asked for."""
    runs: list[FakeRun] = []

    def init(**given: Any) -> FakeRun:
        runs.append(FakeRun(given))
        return runs[-1]

    settings: Callable[..., Any] = SimpleNamespace
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=settings))
    return runs


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_wandb_goes_on_with_the_same_run_and_sends_no_point_twice(
    wandb: list[FakeRun], tmp_path: Path, mode: Any
) -> None:
    config = LogConfig(wandb=mode, project="mine")
    assert tell(config, tmp_path, 0, 5) == tell(config, tmp_path, 3, 8) == []
    first, second = wandb
    assert first.given["id"] == second.given["id"] == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert (first.given["project"], first.given["mode"], first.given["config"]) == ("mine", mode, RECIPE)
    assert first.given["resume"] == ("allow" if mode == "online" else None)
    assert [step for step, _ in first.points + second.points] == list(range(8))
    assert all(row["reward"] == step / 2 and "update" not in row for step, row in first.points + second.points)
    assert first.finished and second.finished


def test_wandb_is_told_to_keep_code_git_console_and_machine_to_itself(wandb: list[FakeRun], tmp_path: Path) -> None:
    tell(LogConfig(wandb="offline"), tmp_path, 0, 1)
    settings = vars(wandb[0].given["settings"])
    assert settings["console"] == "off"
    private = ("disable_code", "disable_git", "x_disable_meta")
    assert all(settings[name] is True for name in private)
    assert settings["save_code"] is settings["x_save_requirements"] is False


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed (extra track)")
def test_the_real_wandb_offline(tmp_path: Path) -> None:
    config = LogConfig(wandb="offline")
    assert tell(config, tmp_path, 0, 2) == tell(config, tmp_path, 1, 3) == []
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    found = json.loads((tmp_path / "wandb.json").read_text())
    assert found["sent"] == 2 and first.name == second.name == f"run-{found['id']}.wandb"
    assert b"reward" in second.read_bytes()


class Broken:
    def __init__(self, at: int) -> None:
        self._at = at

    def write(self, row: Row) -> None:
        if row["update"] == self._at:
            raise ConnectionError("the server is gone\nand this is why")

    def close(self) -> None: ...


class Kept:
    def __init__(self) -> None:
        self.updates: list[Any] = []

    def write(self, row: Row) -> None:
        self.updates.append(row["update"])

    def close(self) -> None: ...


def test_a_tracker_that_fails_is_said_once_and_the_others_go_on() -> None:
    said: list[str] = []
    kept = Kept()

    def cannot_start() -> Any:
        raise RuntimeError("No API key configured")

    makers = {"broken": lambda: Broken(1), "keyless": cannot_start, "kept": lambda: kept}
    with Trackers(makers, said.append) as all_of_them:
        for row in rows(0, 5):
            all_of_them.write(row)
            time.sleep(0.01)
    assert sorted(said) == [
        "warning: broken failed and gets no more of this run (the server is gone); metrics.jsonl goes on",
        "warning: keyless failed and gets no more of this run (No API key configured); metrics.jsonl goes on",
    ]
    assert kept.updates == list(range(5))


def test_a_tracker_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "MOST_WAITING", 3)
    monkeypatch.setattr(trackers, "LAST_WAIT_S", 0.2)
    said: list[str] = []
    begun, held, kept = threading.Event(), threading.Event(), Kept()

    class Hangs(Kept):
        def write(self, row: Row) -> None:
            begun.set()
            held.wait()
            kept.write(row)

    start = time.monotonic()
    with Trackers({"slow": Hangs}, said.append) as all_of_them:
        for row in rows(0, 50):
            all_of_them.write(row)
            assert begun.wait(5)
    assert time.monotonic() - start < 5
    assert said == ["warning: slow did not finish in 0 s; metrics.jsonl has everything"]
    held.set()
    until = time.monotonic() + 5
    while len(kept.updates) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert kept.updates == [0, 48, 49]  # the newest waited, the oldest were dropped


@pytest.mark.parametrize(
    ("name", "config"), [("tensorboard", LogConfig(tensorboard=True)), ("wandb", LogConfig(wandb="offline"))]
)
def test_a_missing_library_is_a_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, config: LogConfig
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None)
    check_trackers(LogConfig())
    with pytest.raises(InputError) as refused:
        check_trackers(config)
    expected = f"train.log.{name} needs {name}, which is not installed: pip install 'worldr1[track]'."
    assert str(refused.value) == expected
