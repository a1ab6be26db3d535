"""`worldr1` with the reward on Ray actors: what the commands say, and a run whose actors are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reward_pool import NumberReward, actor_processes

from worldr1.build import load_experiment
from worldr1.checkup import actors
from worldr1.checkup import recipe as checkup
from worldr1.checkup.findings import Finding
from worldr1.cli import doctor, main
from worldr1.train.metrics import untimed
from worldr1.train.runlog import read_metrics
from worldr1.types import RewardResult, Status

pytest.importorskip("ray", reason="pip install 'worldr1[cluster]'")
REMOTE = ("reward.placement=remote", "reward.remote.actors=2")


def test_a_dry_run_says_where_the_reward_would_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "mini-smoke", "--dry-run", *(w for text in ("device=cpu", *REMOTE) for w in ("--set", text))]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "[reward.remote]" in said.out and "rewards:" not in said.out
    assert "2 Ray actors, on the CPU, on a Ray of this machine" in said.err and "is installed" in said.err
    monkeypatch.setattr("worldr1.cluster.ray_actors.ray_version", lambda: "")
    assert main(words) == 0
    assert "Ray is not installed: pip install 'worldr1[cluster]'" in capsys.readouterr().err
    assert main([*words[:2], *words[3:], "--out", "/nonexistent/run"]) == 2
    assert "needs Ray" in capsys.readouterr().err


def test_doctor_says_whether_ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = doctor._ray()
    assert found.ok and not found.core and "127.0.0.1" in found.detail
    monkeypatch.setattr(doctor, "ray_version", lambda: "")
    assert not doctor._ray().ok and "worldr1[cluster]" in doctor._ray().fix


def test_doctor_asks_the_actors_of_a_remote_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Finding(name="sampling", value=0.0, at_most=1.0, detail="", fix="")
    monkeypatch.setattr(checkup, "_sampled", lambda *given: sound)
    monkeypatch.setattr(checkup, "judging", lambda reward, clips: [])
    monkeypatch.setattr(checkup, "build_local_reward", lambda *given: NumberReward())

    def check(answer: Callable[[RewardResult], RewardResult]) -> Finding:
        there = NumberReward()
        monkeypatch.setattr(actors, "build_reward", lambda *given: lambda *asked: list(map(answer, there(*asked))))
        return checkup.check_recipe(load_experiment("mini", ("device=cpu", *REMOTE)))[-1]

    assert check(lambda result: result).verdict == "ok"
    found = check(lambda result: replace(result, value=result.value + 0.01))
    assert (found.name, found.verdict, round(found.value, 6)) == ("reward actors", "FAILED", 0.01)
    found = check(lambda result: replace(result, status=Status.FAULT, reason="no reward actor is left"))
    assert found.verdict == "FAILED" and found.broken == "a fault there: no reward actor is left"


@pytest.mark.slow
def test_a_run_whose_actors_are_killed_equals_one_in_process(tmp_path: Path) -> None:
    rows = []
    for name, sets in (("resident", ()), ("remote", (*REMOTE, "reward.remote.restarts=100"))):
        command = [sys.executable, "-m", "worldr1", "train", "mini-smoke", "--out", str(tmp_path / name)]
        command += [word for text in ("device=cpu", *sets) for word in ("--set", text)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        killed = 0
        while process.poll() is None:
            time.sleep(1)
            if name == "remote" and killed < 3 and (found := list(actor_processes(process.pid))):
                time.sleep(8)
                os.kill(found[0], signal.SIGKILL)
                killed += 1
        assert process.returncode == 0, process.stderr and process.stderr.read()
        assert name == "resident" or killed == 3
        metrics = read_metrics(tmp_path / name)
        rows.append([untimed(row) for row in metrics])
    assert rows[0] == rows[1]
