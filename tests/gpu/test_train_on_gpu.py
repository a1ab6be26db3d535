"""A whole small run on the GPU, batched as mini-gpu is: gsplat, the reward and the replay work together there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldr1.cli import main
from worldr1.train.runlog import read_metrics

pytestmark = pytest.mark.gpu

SHORT = (
    "device=cuda", "train.groups_per_update=2", "train.group_size=6", "train.checkpoint_every=3", "prompts.test=2",
    "prompts.test_dynamic=1",
)  # fmt: skip
"""mini-gpu, but for what makes it long."""


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


def test_a_resumed_run_differs_no_more_than_the_same_run_twice(tmp_path: Path) -> None:
    """Kernels that add in no fixed order are the GPU's; all that a checkpoint could lose would come on top."""

    def train(name: str, updates: int) -> None:
        words = [x for setting in (*SHORT, f"train.updates={updates}") for x in ("--set", setting)]
        assert main(["train", "mini-gpu", "--out", str(tmp_path / name), *words]) == 0

    def products(name: str) -> torch.Tensor:
        """What the adapter learned: the halves that begin at 0."""
        adapter = load_file(tmp_path / name / "final" / "adapter.safetensors")
        return torch.cat([x.flatten() for key, x in sorted(adapter.items()) if "lora_B" in key]).double()

    train("once", 6)
    train("twice", 6)
    train("resumed", 3)
    assert main(["train", "--resume", str(tmp_path / "resumed"), "--set", "train.updates=6", "--override"]) == 0
    once, twice, resumed = (products(name) for name in ("once", "twice", "resumed"))
    rounding, change = (float((x - once).norm() / once.norm()) for x in (twice, resumed))
    print(f"the same run twice differs by {rounding:.1e}, a resumed one by {change:.1e}")
    assert float(once.abs().max()) > 0
    assert change <= max(2 * rounding, 1e-6)
    rows = {name: read_metrics(tmp_path / name) for name in ("once", "resumed")}
    assert [row["update"] for row in rows["resumed"]] == [row["update"] for row in rows["once"]]
