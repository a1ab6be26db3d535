"""The run folder: never overwritten, and after a resume without lines of updates that will be done again."""

import json
from pathlib import Path

import pytest

from worldr1.errors import InputError
from worldr1.train.runlog import RunLog, read_metrics

RECIPE = "seed = 1\n"


def _run_with_updates(out: Path, num_updates: int) -> None:
    with RunLog.create(out, recipe=RECIPE) as log:
        for update in range(num_updates):
            log.write({"update": update, "reward": update / 2})


def test_a_new_run_has_its_recipe_metrics_and_previews(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "a"
    with RunLog.create(out, recipe=RECIPE) as log:
        log.write({"update": 0, "phase": "main", "reward": float("nan"), "kl": float("inf"), "judge": None})
        lines = (out / "metrics.jsonl").read_text().splitlines()  # on disk before the log is closed
        assert log.previews.is_dir()
    assert (out / "recipe.toml").read_text() == RECIPE
    strict = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"update": 0, "phase": "main", "reward": None, "kl": None, "judge": None}


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    _run_with_updates(tmp_path / "run", 1)
    with pytest.raises(InputError, match=r"already holds a run; .*--resume .*--out"):
        RunLog.create(tmp_path / "run", recipe="seed = 2\n")
    assert (tmp_path / "run" / "recipe.toml").read_text() == RECIPE
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    RunLog.create(tmp_path / "other", recipe=RECIPE).close()  # foreign files do not make a run
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file is in the way"):
        RunLog.create(tmp_path / "file", recipe=RECIPE)


def test_resume_drops_the_lines_after_the_checkpoint_and_appends(tmp_path: Path) -> None:
    out = tmp_path / "run"
    _run_with_updates(out, 5)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"update": 5, "rew')  # killed in the middle of a line
    with RunLog.resume(out, update=3) as log:
        assert [row["update"] for row in read_metrics(out)] == [0, 1, 2]
        log.write({"update": 3, "reward": 9.0})
    assert [(row["update"], row["reward"]) for row in read_metrics(out)] == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 9.0)]


def test_resume_needs_a_run_and_readable_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        RunLog.resume(tmp_path, update=1)
    _run_with_updates(tmp_path / "run", 2)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"update": 0}\nnonsense\n{"update": 1}\n')
    with pytest.raises(InputError, match="line 2 is damaged"):
        RunLog.resume(tmp_path / "run", update=1)


def test_metrics_need_their_update(tmp_path: Path) -> None:
    with RunLog.create(tmp_path / "run", recipe=RECIPE) as log, pytest.raises(ValueError, match="'update'"):
        log.write({"reward": 1.0})
