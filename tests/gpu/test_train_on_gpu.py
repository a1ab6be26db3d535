"""A whole small run on the GPU, batched as mini-gpu is: gsplat, the reward and the replay work together there."""

from pathlib import Path

import pytest

from worldr1.cli import main
from worldr1.train.runlog import read_metrics

pytestmark = pytest.mark.gpu


def test_a_run_on_the_gpu_replays_what_it_sampled(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("device=cuda", "sampler.exact_replay=false", "train.groups_per_update=3", "reward.batch=4")
    assert main(["train", "mini-smoke", "--out", str(run), *(x for s in settings for x in ("--set", s))]) == 0
    rows = read_metrics(run)
    assert [row["phase"] for row in rows] == ["main", "main", "dynamic"]
    assert all(row["fault_fraction"] == 0 and row["ratio_deviation"] < 1e-4 for row in rows)
    assert (run / "final" / "adapter.safetensors").is_file()


def test_groups_in_flight_wait_in_host_memory_and_are_replayed_as_they_were(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("device=cuda", "train.groups_per_update=3", "train.groups_in_flight=1", "sampler.batch=1")
    assert main(["train", "mini-smoke", "--out", str(run), *(x for s in settings for x in ("--set", s))]) == 0
    rows = read_metrics(run)
    assert all(row["kept_groups"] == 3 and row["ratio_deviation"] < 1e-4 for row in rows)
