"""`worldr1 train` under torchrun, as a user starts it: a rank that is killed, a signal, a launch that cannot be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from worldr1.evaluate.records import Evaluation
from worldr1.train.checkpoint import latest_checkpoint, load_checkpoint
from worldr1.train.metrics import untimed
from worldr1.train.runlog import read_metrics

PATIENCE_S = 300.0
PARAMETERS, METRICS = 2e-5, 2e-3
"""Tolerances: absolute and relative."""


def torchrun(processes: int, *arguments: str, restarts: int = 0, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, f"--max-restarts={restarts}", tiny_run.__file__, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    assert tiny_run.run([str(run)]) == 0
    return run


def check_same(run: Path, alone: Path) -> None:
    rows, expected = read_metrics(run), read_metrics(alone)
    assert [row["update"] for row in rows] == [row["update"] for row in expected] == [0, 1, 2, 3]
    for row, other in zip(rows, expected, strict=True):
        numbers = {name for name, value in other.items() if isinstance(value, float) and not name.startswith("seconds")}
        assert untimed(row).keys() == untimed(other).keys()
        assert {n: row[n] for n in numbers} == pytest.approx({n: other[n] for n in numbers}, rel=METRICS, abs=1e-6)
    found, wanted = (load_checkpoint(latest_checkpoint(folder)) for folder in (run, alone))
    assert max(float((found.params[n] - p).abs().max()) for n, p in wanted.params.items()) < PARAMETERS
    ups = [p for n, p in wanted.params.items() if ".lora_B." in n]  # they start at 0
    assert max(float(p.abs().max()) for p in ups) > 20 * PARAMETERS
    before = [Evaluation.load(folder / "previews" / "before").records for folder in (run, alone)]
    assert before[0] == before[1] and [record.video for record in before[0]] == ["000.mp4", "001.mp4", "002.mp4"]
    assert all((run / "previews" / "before" / f"00{i}.mp4").stat().st_size > 500 for i in range(3))
    assert (run / "final" / "adapter.safetensors").is_file() and (run / "report.html").is_file()


def test_a_killed_rank_costs_nothing_but_time(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = torchrun(2, str(run), restarts=1, KILL="1:3")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "exitcode: -9" in err and err.count("started again by torchrun: going on with the run in") == 1
    assert [line.split(":")[0] for line in out.splitlines()] == ["this run", "trained", "report"]
    check_same(run, alone)


@pytest.mark.slow
def test_a_signal_ends_all_ranks_and_one_process_goes_on(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = torchrun(2, str(run))
    deadline = time.monotonic() + PATIENCE_S
    while not read_metrics(run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    done = len(read_metrics(run))
    assert f"stopped after update {done}; go on with: worldr1 train --resume {run}" in err, err
    assert load_checkpoint(latest_checkpoint(run)).update == done < 4
    assert tiny_run.run(["--resume", str(run)]) == 0
    check_same(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "words", "sentence"),
    [
        (3, (), "An update has 2 groups (train.groups_per_update) for 3 processes"),
        (2, ("--set", "reward.custom=nowhere:Reward"), "nowhere"),
    ],
)
def test_a_launch_that_cannot_be_is_one_sentence(
    tmp_path: Path, processes: int, words: tuple[str, ...], sentence: str
) -> None:
    process = torchrun(processes, str(tmp_path / "run"), *words)
    _, err = process.communicate(timeout=PATIENCE_S)
    said: list[Any] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and sentence in said[0], err
    assert "exitcode: 2" in err or "exitcode  : 2" in err
    assert not (tmp_path / "run").exists()
