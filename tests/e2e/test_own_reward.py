"""examples/own_reward as its README runs it: train, resume, score, and the same on a Wan with random weights."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import TINY_WAN

from worldr1.backends import architectures
from worldr1.cli import main
from worldr1.train.checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint
from worldr1.train.runlog import read_metrics

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_reward"
RECIPE = str(EXAMPLE / "colour.toml")
NAME = "colour_reward:ColourReward"
Lines = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


def test_the_example_trains_resumes_and_scores(tmp_path: Path, capsys: Lines) -> None:
    run = tmp_path / "run"
    options = ["--set", "device=cpu", "--set", "train.updates=2", "--set", "phases.main_updates=1"]
    options += ["--set", "prompts.test_dynamic=0"]
    assert main(["train", RECIPE, "--out", str(run), *options]) == 0
    said = capsys.readouterr()
    assert f"own code reward.custom = {NAME} from colour_reward.py; licence: Apache-2.0" in said.err
    rows = read_metrics(run)
    assert [row["phase"] for row in rows] == ["main", "dynamic"]
    for row in rows:
        assert row["reward"] == pytest.approx(float(row["vivid"]) + 0.25 * float(row["steady"]))
        assert float(row["vivid_std"]) > 0 and row["fault_fraction"] == 0 and "s_recon" not in row
    records = json.loads((run / "previews" / "after" / "records.json").read_text())["records"]
    assert all(set(record["parts"]) == {"vivid", "steady"} for record in records)
    assert all(record["recovered_path"] is None for record in records)
    assert "vivid" in (run / "report.html").read_text()
    capsys.readouterr()

    clips = [str(run / "previews" / side / "000.mp4") for side in ("before", "after")]
    assert main(["score", "--rewards", RECIPE, *clips, "--json", "--out", str(tmp_path / "page")]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert [set(video["parts"]) for video in group["videos"]] == [{"vivid", "steady"}] * 2
    assert set(group["share"]) == {"vivid", "steady"} and sum(group["share"].values()) == pytest.approx(1)
    page = (tmp_path / "page" / "rewards.html").read_text()
    assert "<h3>vivid" in page and "S_meta" not in page


@pytest.fixture
def tiny_random_wan(monkeypatch: pytest.MonkeyPatch) -> str:
    """A published architecture, small enough for a CPU."""
    known = {**architectures.ARCHITECTURES, "wan-tiny": replace(TINY_WAN, name="wan-tiny")}
    monkeypatch.setattr(architectures, "ARCHITECTURES", known)
    return "wan-tiny"


def keys(**values: Any) -> list[str]:
    """--set options; "__" stands for the dot."""
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def test_the_paper_recipe_with_random_weights_updates_checkpoints_and_resumes(
    tiny_random_wan: str, tmp_path: Path, capsys: Lines
) -> None:
    given = keys(
        device="cpu",
        model__folder=tiny_random_wan,
        model__weights="random",
        model__text_cache=tmp_path / "text",
        reward__custom=NAME,
        clip__frames=9,
        clip__height=32,
        clip__width=48,
        prompts__main=4,
        prompts__dynamic=2,
        prompts__test=1,
        prompts__test_dynamic=0,
        sampler__num_steps=6,
        noise__min_cells=2,
        train__groups_per_update=2,
        train__group_size=2,
        train__checkpoint_every=1,
        phases__main_updates=2,
        phases__dynamic_updates=1,
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["train", "world-r1-small", *given, "--set", "train.updates=3", "--out", str(whole)]) == 0
    assert [path.name for path in list_checkpoints(whole)] == ["000001", "000002", "000003"]
    rows = read_metrics(whole)
    assert all(row["fault_fraction"] == 0 and float(row["grad_norm"]) > 0 for row in rows)
    assert rows[0]["ratio_deviation"] == 0

    assert main(["train", "world-r1-small", *given, "--set", "train.updates=2", "--out", str(cut)]) == 0
    assert main(["train", "--resume", str(cut), "--set", "train.updates=3", "--override"]) == 0
    ends = [load_checkpoint(latest_checkpoint(run)).params for run in (whole, cut)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_run_whose_code_is_gone_says_so(tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["train", RECIPE, "--dry-run"]) == 0  # reads the recipe, imports nothing
    recipe = capsys.readouterr().out
    (tmp_path / "recipe.toml").write_text(recipe.replace(NAME, "colour_of_yesterday:ColourReward"))
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "there is no module colour_of_yesterday" in capsys.readouterr().err


def test_plan_counts_what_it_knows_and_says_what_not(capsys: Lines) -> None:
    assert main(["plan", "world-r1-small", "--gpu", "h200", "--set", "reward.custom=nowhere:Reward", "--json"]) == 0
    plan = SimpleNamespace(**json.loads(capsys.readouterr().out))
    assert any("reward.custom = nowhere:Reward needs" in note for note in plan.notes)
    assert plan.seconds_per_call["reward"] == 0
