"""`worldr1 train mini-smoke` as a user runs it: a whole run, Ctrl-C and going on, a full disk."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from worldr1 import __version__
from worldr1.backends.mini import mini_base
from worldr1.build import load_experiment
from worldr1.cli import main
from worldr1.config import dump_toml
from worldr1.evaluate.records import Evaluation
from worldr1.train.adapter_file import BaseShape, TrainedWith, read_info
from worldr1.train.checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint
from worldr1.train.metrics import untimed
from worldr1.train.runlog import METRICS_FILE, read_metrics

STABLE = {
    "update", "phase", "reward", "r_gen", "fault_fraction", "rejected_fraction", "ratio_mean", "kl", "clip_fraction",
    "grad_norm", "seconds",
}  # fmt: skip
"""Fields of every line of metrics.jsonl (DESIGN 8); with R_3D come s_meta, s_recon and s_traj."""
CPU = "device=cpu"
"""Only there are runs equal to the bit."""
PATIENCE_S = 300.0


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worldr1", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """Without the times, which no two runs share."""
    return [untimed(row) for row in read_metrics(run)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the standard output of one whole run."""
    run = tmp_path_factory.mktemp("runs") / "smoke"
    process = start("mini-smoke", "--set", CPU, "--out", str(run))
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert err.count("start-up checks passed: ratio exactly 1, ") == 1
    return run, out


def begun(finished: tuple[Path, str], run: Path) -> Path:
    """A copy of the run as it was before its first update (what it measured around the training is kept)."""
    shutil.copytree(finished[0], run, ignore=shutil.ignore_patterns("checkpoints", "final", "*.html", METRICS_FILE))
    return run


def test_a_run_leaves_everything_the_interface_promises(finished: tuple[Path, str]) -> None:
    run, out = finished
    assert (run / "recipe.toml").read_text() == dump_toml(load_experiment("mini-smoke", (CPU,)))
    rows = read_metrics(run)
    assert [(row["update"], row["phase"]) for row in rows] == [(0, "main"), (1, "main"), (2, "dynamic")]
    given = load_experiment("mini-smoke").reward.weights
    main = {"s_meta": given.meta, "s_recon": given.recon, "s_traj": given.traj, "r_gen": given.gen}
    for row in rows:
        weights = {"r_gen": given.gen, "s_motion": given.motion} if row["phase"] == "dynamic" else main
        parts = weights.keys() & row.keys()
        assert row.keys() >= STABLE | {f"{part}_std" for part in parts} | {"reward_std"}
        assert row["reward"] == pytest.approx(sum(weights[part] * row[part] for part in parts))
        assert (row["ratio_mean"], row["fault_fraction"]) == (1.0, 0.0)
        assert ("s_recon" in row, "s_traj" in row) == (row["phase"] == "main",) * 2
    assert rows[0]["kl"] == 0.0 < rows[1]["kl"]
    assert json.loads((run / "previews" / "shipped_after" / "records.json").read_text())["records"][0]["reward"] > 0
    for name in ("before", "after", "mini-r1"):
        folder = run / "previews" / name
        records = json.loads((folder / "records.json").read_text())["records"]
        assert [record["video"] for record in records] == ["000.mp4", "001.mp4"]
        assert all((folder / record["video"]).stat().st_size > 1000 for record in records)
    assert [path.name for path in list_checkpoints(run)] == ["000001", "000002", "000003"]
    lines = out.splitlines()
    longer, own = lines[:2]
    assert longer.startswith("mini-r1, its own prompts: Reward: ") and own.startswith("this run: Reward: ")
    assert lines[2:] == [f"trained: {run / 'final' / 'adapter.safetensors'}", f"report:  {run / 'report.html'}"]
    assert (run / "report.html").stat().st_size > 10_000


def test_the_adapter_is_the_average_and_says_its_strength(finished: tuple[Path, str]) -> None:
    run, _ = finished
    ema = load_checkpoint(latest_checkpoint(run)).ema
    with safe_open(run / "final" / "adapter.safetensors", "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
        assert names == {f"transformer.{name}" for name in ema if name != "num_updates"}
        assert all(file.get_tensor(name).equal(ema[name.removeprefix("transformer.")]) for name in names)
    assert json.loads(metadata["lora_adapter_metadata"])["transformer.lora_alpha"] == 64.0
    info = read_info(run / "final" / "adapter.safetensors")
    assert (info.base, info.guidance, info.version) == ("mini", 1.0, __version__)
    assert info.shape == BaseShape.of_folder(mini_base())
    assert info.training == TrainedWith(
        transport="canvas", strength=0.5, shift=3.0, steps=4, frames=17, height=64, width=96
    )
    assert info.reward_model == "mini"
    assert info.recipe_sha256 == hashlib.sha256((run / "recipe.toml").read_bytes()).hexdigest()


def test_a_lost_evaluation_before_is_made_again_with_the_base_model(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    shutil.rmtree(run / "previews" / "before")
    assert main(["train", "--resume", str(run)]) == 0
    assert capsys.readouterr().out.replace(str(run), str(finished[0])) == finished[1]
    kept, made = (Evaluation.load(folder / "previews" / "before") for folder in (finished[0], run))
    assert made.records == kept.records


def test_ctrl_c_keeps_a_checkpoint_and_resume_ends_as_if_nothing_had_been(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun(finished, tmp_path / "run")
    process = start("--resume", str(run))
    deadline = time.monotonic() + PATIENCE_S
    while not read_metrics(run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    done = load_checkpoint(latest_checkpoint(run)).update
    assert 1 <= done < 3
    last = f"stopped after update {done}; go on with: worldr1 train --resume {run}"
    assert (out, err.splitlines()[-1]) == ("", last)
    assert "Traceback" not in err
    assert len(read_metrics(run)) == done

    assert main(["train", "--resume", str(run)]) == 0
    assert capsys.readouterr().out.replace(str(run), str(finished[0])) == finished[1]
    assert metrics_of(run) == metrics_of(finished[0])
    for name in ("params.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"):
        path = Path("checkpoints", "000003", name)
        assert (run / path).read_bytes() == (finished[0] / path).read_bytes(), name


def test_a_full_disk_is_one_sentence_and_costs_no_checkpoint(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(finished, tmp_path / "run")
    shutil.copytree(finished[0] / "checkpoints" / "000002", run / "checkpoints" / "000002")
    shutil.copy(finished[0] / METRICS_FILE, run)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["train", "--resume", str(run)]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "error: the disk is full; free some space and run the same command again"
    assert "Traceback" not in err
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000002"]
    assert load_checkpoint(latest_checkpoint(run)).update == 2


def test_training_the_whole_network_leaves_a_model_folder_that_generates(tmp_path: Path) -> None:
    run, video = tmp_path / "run", tmp_path / "a.mp4"
    overrides = [CPU, "train.trainable=full", "train.updates=1", "train.lr=1e-5", "prompts.test_dynamic=0"]
    settings = [word for override in overrides for word in ("--set", override)]
    assert main(["train", "mini-smoke", *settings, "--out", str(run)]) == 0
    model = run / "final" / "model"
    prompt = "Camera push in. A plain red box on a white tiled floor under a blue sky."
    size = ["--frames", "17", "--height", "64", "--width", "96", "--steps", "2", "--guidance", "1"]
    assert main(["generate", "--prompt", prompt, "--model", str(model), *size, "--out", str(video)]) == 0
    assert video.stat().st_size > 1000
