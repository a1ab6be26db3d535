"""The warning about a part that decides alone, and the start-up checks' place in a run, without a whole run."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from tiny_trainer import SCORES, FakeReward, build_trainer

from worldr1.assembly import Parts
from worldr1.backends.prompts import TextOptions
from worldr1.backends.wan import WanPolicy
from worldr1.build import load_experiment
from worldr1.errors import InputError, TrainingError
from worldr1.rewards.composite import weight_of
from worldr1.rewards.recipe import RewardConfig, RewardWeights
from worldr1.session import Session
from worldr1.train.checkpoint import list_checkpoints
from worldr1.train.run_lock import RunLock
from worldr1.train.runlog import RunLog, read_metrics
from worldr1.train.startup import RatioLimits
from worldr1.train.trainer import Trainer


def warning(weights: RewardWeights, metrics: dict[str, float]) -> str:
    """What is said after a first update with these metrics."""
    said = io.StringIO()
    session = SimpleNamespace(
        config=SimpleNamespace(reward=RewardConfig(weights=weights)),
        trainer=SimpleNamespace(reward=SimpleNamespace(part_weights=weight_of(weights))),
        console=Console(file=said, width=200),
    )
    Session._warn_of_dominance(session, metrics)  # type: ignore[arg-type]
    return said.getvalue()


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"s_recon_std": 0.09, "r_gen_std": 0.01}, "s_recon makes up 90%"),
        ({"s_recon_std": 0.25, "r_gen_std": 1.0}, ""),  # 80 % is not more than 80 %
        ({"s_recon_std": 0.0, "r_gen_std": 0.0}, ""),
        ({"reward_std": 3.0}, ""),
    ],
)
def test_one_part_that_holds_most_of_the_spread_is_named(metrics: dict[str, float], said: str) -> None:
    text = warning(RewardWeights(), metrics)
    assert said in text and bool(text) == bool(said)


def test_spreads_count_by_their_weight() -> None:
    metrics = {"s_recon_std": 0.09, "r_gen_std": 0.01}
    assert warning(RewardWeights(gen=9.0), metrics) == ""
    assert "r_gen makes up 100%" in warning(RewardWeights(recon=0.0), metrics)


def session(trainer: Trainer, run: Path, *overrides: str) -> tuple[Session, io.StringIO]:
    """A session around a tiny trainer, and what it says."""
    config = load_experiment("mini-smoke", ("device=cpu", *overrides))
    made = Session(config, run, RunLog.create(run, recipe=""), trainer, Parts([], None, []))
    said = io.StringIO()
    made.console = Console(file=said, width=200)
    return made, said


def test_a_run_that_could_not_learn_stops_before_its_first_step(tiny_wan_folder: Path, tmp_path: Path) -> None:
    made, _ = session(build_trainer(tiny_wan_folder, FakeReward(0.5)), tmp_path / "run")
    with made.log, pytest.raises(TrainingError, match="In no group of the first update do the rewards differ"):
        made._train()
    assert (read_metrics(tmp_path / "run"), list_checkpoints(tmp_path / "run")) == ([], [])


def test_a_run_that_fails_before_all_else_lets_others_in(
    tiny_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = session(build_trainer(tiny_wan_folder), tmp_path / "run")
    with pytest.raises(InputError, match="in use by"):
        RunLock(tmp_path / "run")
    monkeypatch.setattr("worldr1.session.describe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(made.run())
    RunLock(tmp_path / "run").close()


def test_a_sound_run_says_so_and_a_resumed_one_is_only_warned(tiny_wan_folder: Path, tmp_path: Path) -> None:
    trainer = build_trainer(tiny_wan_folder, FakeReward(*SCORES))
    made, said = session(trainer, tmp_path / "first", "train.updates=1")
    with made.log:
        made._train()
    assert said.getvalue().count("start-up checks passed: ratio exactly 1") == 1
    trainer.reward = FakeReward(0.5)  # type: ignore[assignment]
    made, said = session(trainer, tmp_path / "second")
    with made.log:
        made._train()
    assert "warning: In no group of the first update" in said.getvalue() and trainer.updates_done == 3


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (0, "all prompts were encoded anew"),
        (1, "text cache agrees"),
        (2, "all prompts were stored, encoder not loaded"),
    ],
)
def test_the_line_says_what_became_of_the_check_of_the_text_cache(
    stored: int, words: str, tiny_wan_folder: Path, tmp_path: Path
) -> None:
    trainer = build_trainer(tiny_wan_folder, FakeReward(*SCORES))
    text = TextOptions(keep=False, cache_folder=tmp_path / "cache", max_length=16)
    policy = trainer.policy
    assert isinstance(policy, WanPolicy)
    policy.prompts = WanPolicy.from_folder(tiny_wan_folder, text=text).prompts
    texts = [prompt.text for prompt in (*trainer.prompts.main, *trainer.prompts.dynamic)]
    policy.prompts.prepare(texts[: stored * len(texts) // 2])
    made, said = session(trainer, tmp_path / "run", "train.updates=1")
    with made.log:
        made._encode_prompts()
        made._train()
    assert f"gradient finite and not 0, {words}\n" in said.getvalue()


@pytest.mark.parametrize(
    ("override", "limits"),
    [
        ("model.dtype=bfloat16", RatioLimits(warn=0.0, stop=0.0)),  # the same calls on a CPU give the same bits
        ("model.tf32=true", RatioLimits(warn=0.0, stop=0.0)),  # there is none on a CPU
        ("model.compile=true", RatioLimits(warn=1e-5, stop=1e-5)),
        ("sampler.exact_replay=false", RatioLimits(warn=1e-5, stop=1e-5)),
    ],
)
def test_how_exact_the_ratio_must_be(override: str, limits: RatioLimits, tiny_wan_folder: Path, tmp_path: Path) -> None:
    made, _ = session(build_trainer(tiny_wan_folder), tmp_path / "run", override)
    with made.log:
        assert made._ratio_limits() == limits
        made.trainer.device = made.trainer.device.__class__("cuda")
        rounded = override in ("model.dtype=bfloat16", "model.tf32=true")
        assert made._ratio_limits() == RatioLimits(warn=1e-5, stop=1e-2 if rounded else 1e-5)
