"""`train.max_minutes`: what counts, before and after a resume; and a whole run of the best-of-N baseline."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worldr1.build import load_experiment
from worldr1.cli import main
from worldr1.session import Session
from worldr1.train.checkpoint import latest_checkpoint, list_checkpoints
from worldr1.train.runlog import read_metrics
from worldr1.train.trainer import Metrics

RECIPE = ("device=cpu", "train.max_minutes=1", "train.updates=9", "train.checkpoint_every=9")


def slow_updates(session: Session, seconds: float, interrupt_at: int | None = None) -> None:
    """Replaces the session's updates by ones that do nothing but say that they took so long."""
    trainer = session.trainer

    def update(record: Callable[[Metrics], None], examine: object) -> Metrics:
        if trainer.updates_done == interrupt_at:
            raise KeyboardInterrupt
        metrics: Metrics = {"update": trainer.updates_done, "phase": "main", "reward": 0.0, "seconds": seconds}
        record(metrics)
        trainer.updates_done += 1
        return metrics

    trainer.update = update  # type: ignore[method-assign]


def test_a_run_ends_with_the_update_that_uses_up_the_time_and_is_saved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    session = Session.create(load_experiment("mini-smoke", RECIPE), run)
    slow_updates(session, 25.0)
    with session.log:
        session._train()
    assert session.trainer.updates_done == 3  # 50 s are not enough, 75 are
    assert [path.name for path in list_checkpoints(run)] == ["000003"]
    again = Session.resume(load_experiment("mini-smoke", RECIPE), run)
    assert again.seconds == 75.0
    with again.log:
        again._train()
    assert again.trainer.updates_done == 3 and len(read_metrics(run)) == 3


def test_the_time_before_a_resume_counts(tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", load_experiment("mini-smoke", RECIPE)
    first = Session.create(recipe, run)
    slow_updates(first, 25.0, interrupt_at=2)
    with first.log, pytest.raises(KeyboardInterrupt, match="--resume"):
        first._train()
    second = Session.resume(recipe, run)
    assert second.seconds == 50.0
    slow_updates(second, 6.0)
    with second.log:
        second._train()
    assert second.trainer.updates_done == 4  # 50 + 6 + 6


def test_without_a_limit_only_the_number_of_updates_counts(tmp_path: Path) -> None:
    session = Session.create(load_experiment("mini-smoke", (*RECIPE, "train.max_minutes=none")), tmp_path / "run")
    slow_updates(session, 1e6)
    with session.log:
        session._train()
    assert session.trainer.updates_done == 9


def test_the_best_of_n_baseline_trains_evaluates_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    overrides = ["device=cpu", "objective.kind=best-of-n", "prompts.test_dynamic=0", "train.max_minutes=0.0001"]
    assert main(["train", "mini-smoke", *(w for o in overrides for w in ("--set", o)), "--out", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "max_minutes is used up after update 1" in err
    (row,) = read_metrics(run)
    assert row["reward_best"] >= row["reward"] and row["flow_matching"] > 0 and row["kl"] == 0.0
    assert "ratio_mean" not in row
    assert latest_checkpoint(run).name == "000001"
    assert (run / "final" / "adapter.safetensors").is_file() and (run / "report.html").stat().st_size > 10_000
    assert "this run: Reward: " in out
