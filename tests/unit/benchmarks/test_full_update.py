"""benchmarks/full_update.py and full_sample.py run dry: the trainer's own updates, every number in its place."""

import json
import math
import weakref
from pathlib import Path
from typing import Any

import full_sample
import full_update
import pytest
import torch
import update
from full_update import PRESETS, Row, Watched

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.errors import TrainingError
from worldr1.rewards.profiles import ROLES
from worldr1.session import Session
from worldr1.train.startup import StartupChecks


@pytest.fixture
def dry(tmp_path: Path) -> Any:
    """Runs a preset on the tiny model -> its numbers."""

    def run(preset: str, *words: str) -> dict[str, Any]:
        cache = f"model.text_cache={tmp_path / 'text'}"
        full_update.main([preset, "--tiny", "--out", str(tmp_path), "--set", cache, *words])
        assert (tmp_path / f"update-{preset}.md").read_text().startswith("command: ")
        return json.loads((tmp_path / f"update-{preset}.json").read_text())

    return run


def test_three_updates_and_a_resumed_one_are_measured_stage_by_stage(
    dry: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[object]] = []
    create, resume = Session.create, Session.resume

    def create_watched(config: ExperimentConfig, out: Path) -> Session:
        session = create(config, out)
        made.append(weakref.ref(session.policy.transformer))
        return session

    def resume_alone(config: ExperimentConfig, out: Path, **keywords: Any) -> Session:
        assert made[0]() is None, "two models at a time would count twice"
        return resume(config, out, **keywords)

    monkeypatch.setattr(Session, "create", create_watched)
    monkeypatch.setattr(Session, "resume", resume_alone)
    found = dry("1.3b")
    rows = found["rows"]
    assert [(row["update"], row["resumed"]) for row in rows] == [(1, False), (2, False), (3, False), (4, True)]
    assert [row["metrics"]["update"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert set(row["seconds"]) >= {"rollout", "decode", "reward", "step", "optimizer", "start noise"}
        assert min(row["seconds"][name] for name in ("rollout", "decode", "reward", "step")) > 0
        assert sum(row["seconds"].values()) == pytest.approx(row["metrics"]["seconds"], rel=0.3, abs=0.05)
        assert math.isfinite(row["metrics"]["loss"]) and row["metrics"]["reward_std"] > 0
        assert row["metrics"]["ratio_deviation"] == 0 and row["metrics"]["grad_norm"] > 0
    assert rows[1]["metrics"]["kl"] > 0 == rows[0]["metrics"]["kl"]
    assert found["says"] == ["resumed parameters are those that were saved, bit for bit: True"]
    assert set(found["once"]) >= {"models", "text", "checkpoint", "models, checkpoint loaded"}
    # index 1 of 4 steps: two forwards of the shared latent, two of each member
    assert found["counts"] | {"checkpointing": 0} == {
        "videos": 4, "forwards": 2 + 2 * 4, "trained": 1, "references": 1, "checkpointing": 0,
    }  # fmt: skip
    assert "start-up checks passed" in capsys.readouterr().err


def test_a_failed_check_is_said_and_what_was_measured_stays(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: StartupChecks, first: object) -> None:
        raise TrainingError("the ratio is off")

    monkeypatch.setattr(StartupChecks, "__call__", fail)
    found = dry("14b")
    assert found["says"] == ["STOPPED: the ratio is off"]
    (row,) = found["rows"]
    assert row["metrics"] == {} and row["seconds"]["step"] > 0


def test_guidance_counts_twice(dry: Any) -> None:
    counts = dry("1.3b-joint-33")["counts"]
    assert (counts["videos"], counts["forwards"], counts["trained"]) == (8, 2 * 2 * (2 + 2 * 4), 2 * 2)


def test_every_preset_is_a_recipe_that_fits_its_card_and_is_predicted() -> None:
    lines = full_update.preset_table()
    assert len(lines) == 2 + len(PRESETS)
    for name, preset in PRESETS.items():
        config, emulated = full_update.configure(name)
        assert config.train.updates == config.train.checkpoint_every == preset.updates
        assert full_update.predict(name, config, emulated).fits
    assert full_update.configure("small-24gb")[1] == 24.0


def test_the_small_card_has_its_recipes_own_reward_under_the_same_limit() -> None:
    config, emulated = full_update.configure("small-24gb-rewards")
    recipe = load_experiment("small-24gb").reward
    assert emulated == 24.0 and config.reward.custom is None
    assert (config.reward.profile, config.reward.placement) == (recipe.profile, recipe.placement) == ("light", "swap")
    assert {config.reward.models.of(role) for role in ROLES} == {"random"}
    assert {model.role for model in config.reward.published_models} == set(ROLES)
    plans = [full_update.predict(n, *full_update.configure(n)) for n in ("small-24gb", "small-24gb-rewards")]
    assert plans[1].seconds.reward > plans[0].seconds.reward == 0
    assert plans[1].fits and plans[1].card.memory_gib == 24.0


def test_a_stage_has_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"now": 0.0, "peak": 0.0}

    def allocate(size: float) -> None:
        memory["now"] += size
        memory["peak"] = max(memory.values())

    monkeypatch.setattr(update.torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(update.torch.cuda, "max_memory_allocated", lambda device: memory["peak"])
    monkeypatch.setattr(
        update.torch.cuda, "reset_peak_memory_stats", lambda device: memory.__setitem__("peak", memory["now"])
    )
    stages = Watched(torch.device("cuda"))
    stages.start()
    with stages.stage("rollout"):
        allocate(5)
        allocate(-3)
        with stages.stage("decode"):
            allocate(9)
            allocate(-9)
        allocate(1)
    with stages.stage("rollout"):
        allocate(1)
    stages.stop()
    assert {name: stages.peaks[name] for name in ("rollout", "decode")} == {"rollout": 5, "decode": 11}


def test_emulated_memory_is_a_limit_of_the_allocator_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_update.limit_memory(24.0).startswith("NOT emulated")
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 * 2**30, 116 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    said = full_update.limit_memory(24.0)
    assert said == "EMULATED: torch may allocate 23.2 GiB, as if this card had 24."
    assert fractions == [pytest.approx(23.2 / 116)]


def test_measured_and_predicted_stand_side_by_side() -> None:
    config, _ = full_update.configure("1.3b")
    plan = full_update.predict("1.3b", config, None)

    def row(factor: float) -> Row:
        seconds = {name: factor * getattr(plan.seconds, name) for name in full_update.PREDICTED}
        memory: dict[str, Any] = {"peak_gib": {"step": 70.0 * factor}, "kept_gib": 5.0, "reserved_gib": 80.0}
        return Row(update=1, resumed=False, seconds=seconds, metrics={}, **memory)

    found = full_update.compared(plan, [row(1.0), row(1.1), row(3.0)])
    predicted, measured = found["update, s"]
    assert measured == pytest.approx(1.1 * predicted) and predicted == plan.seconds.update
    assert found["peak of an update, GiB"] == (pytest.approx(plan.memory.peak), 210.0)
    line = next(x for x in full_update.comparison_table(found) if x.startswith("| rollout"))
    assert line.endswith("| +10.0% |")


@pytest.mark.parametrize("model", ["tiny", "tiny-cogvideox"])
def test_one_video_is_sampled_and_decoded(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sample.md"
    full_sample.main([model, "--device", "cpu", "--steps", "3", "--out", str(out)])
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert len(numbers["steps_s"]) == 3 and numbers["finite"]
    assert numbers["measured"]["sampling, s"] >= sum(numbers["steps_s"]) > 0
    assert numbers["measured"]["decode, s"] > 0
    assert set(numbers["predicted"]) == (
        {"sampling, s", "decode, s", "sampling, GiB", "decode, GiB"} if model == "tiny" else set()
    )
    assert "video (1, 9, 3, 32, 48), all finite: True" in capsys.readouterr().out
