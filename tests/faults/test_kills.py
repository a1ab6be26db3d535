"""Kills from outside at any moment, resumed every time: the run ends as the one that nobody killed, to the bit.

A few here; hundreds, and whole runs of the command line, by `python benchmarks/kills.py` (docs/reliability.md).
"""

import time
from pathlib import Path
from typing import Any

import kills
import pytest
from killing import Life, Phases, live
from kills import Harness, summary, tiny_network
from tiny_session import differences, tiny_models, train, untimed_rows

from worldr1.train import checkpoint_writer
from worldr1.train.checkpoint import TrainState
from worldr1.train.runlog import RunLog
from worldr1.train.trainer import Metrics

UPDATES = 6


@pytest.fixture(scope="module")
def reference(tiny_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    run = tmp_path_factory.mktemp("runs") / "reference"
    with tiny_models(tiny_wan_folder):
        train(run, updates=UPDATES)
    return run


@pytest.mark.slow  # a fork of a test process, which has threads, may hang
def test_a_run_that_is_killed_again_and_again_ends_as_if_nobody_had(
    tiny_wan_folder: Path, reference: Path, tmp_path: Path
) -> None:
    (tmp_path / "reference").symlink_to(reference)
    job = tiny_network(tiny_wan_folder, UPDATES)
    harness = Harness(job=job, work=tmp_path, mean_s=0.5, slow_save_s=0.1, seed=3)
    lives, wrong = harness.run(6, lambda line: None)
    found = summary(lives, wrong)
    assert (found["killed"], found["failed"], found["differences"], found["damaged_checkpoints"]) == (6, [], [], 0)
    assert max(found["lost_updates"]) <= 1 and found["runs_compared"] >= 1
    assert lives[-1].saved == lives[-1].rows == UPDATES


def test_the_same_seed_twice_gives_the_same_files_and_another_seed_does_not(
    tiny_wan_folder: Path, reference: Path, tmp_path: Path
) -> None:
    with tiny_models(tiny_wan_folder):
        train(tmp_path / "again", updates=UPDATES)
    assert differences(tmp_path / "again", reference) == []
    with tiny_models(tiny_wan_folder, seed=1):
        train(tmp_path / "other", updates=UPDATES)
    assert "metrics.jsonl" in differences(tmp_path / "other", reference)
    assert len(untimed_rows(tmp_path / "other")) == UPDATES


def test_a_kill_costs_one_update_also_where_the_disk_is_slower_than_an_update(
    tiny_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    save, write = checkpoint_writer.save_checkpoint, RunLog.write

    def slow(run_dir: Path, state: TrainState, **keywords: Any) -> Path:
        time.sleep(0.5)
        path = save(run_dir, state, **keywords)
        events.append(f"saved {state.update}")
        return path

    def noted(self: RunLog, metrics: Metrics) -> None:
        events.append(f"row {metrics['update']}")
        write(self, metrics)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", slow)
    monkeypatch.setattr(RunLog, "write", noted)
    with tiny_models(tiny_wan_folder):
        train(tmp_path / "run", updates=3)
    assert events == ["row 0", "saved 1", "row 1", "saved 2", "row 2", "saved 3"]


def test_the_harness_sees_a_run_that_did_not_come_back(tmp_path: Path) -> None:
    """What would make the numbers look better than they are is found: a failure, a loss, a difference."""

    def fail(run: Path) -> int:
        raise SystemError("it does not come back")

    harness = Harness(job=fail, work=tmp_path, mean_s=60.0, slow_save_s=0.0, seed=0)
    lives, wrong = harness.run(1, lambda line: None)
    assert summary(lives, wrong)["failed"] == ["SystemError: it does not come back"] and len(wrong) == 1
    phases = Phases()
    life = live(lambda: 0, tmp_path, phases, None, log=tmp_path / "log")
    assert (life.ended, life.phase, life.lost) == ("finished", "", 0)
    assert Life("killed", 1.0, "copy of the state", "", 3, 1, 0, "").row()["lost"] == 2
    assert kills.summary([Life("killed", 1.0, "rollout", "save", 3, 1, 0, "")], [])["lost_updates"] == {2: 1}
