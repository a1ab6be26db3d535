"""The packaged recipes, and what `worldr1 train` says to bad ones: exit 2, one sentence, nothing lost."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.cli import main
from worldr1.config import RECIPES_DIR, dump_toml, parse_config, recipe_names
from worldr1.train.checkpoint import TrainState, save_checkpoint
from worldr1.train.runlog import RunLog

Lines = pytest.CaptureFixture[str]


def refusal(capsys: Lines, *arguments: str) -> str:
    """The one sentence on stderr of a `train` that ends with exit code 2."""
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


def test_the_recipes_that_always_exist_do() -> None:
    assert {"mini", "mini-demo", "mini-gpu", "mini-smoke"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_a_dry_run_prints_all_of_it(name: str, capsys: Lines) -> None:
    config = load_experiment(name)
    assert main(["train", name, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text == dump_toml(config)
    assert parse_config(ExperimentConfig, tomllib.loads(text), where="dump") == config
    given = tomllib.loads((RECIPES_DIR / f"{name}.toml").read_text(encoding="utf-8"))
    printed = tomllib.loads(text)
    given.pop("base", None)
    assert _holds(printed, given)


def _holds(whole: dict[str, Any], part: dict[str, Any]) -> bool:
    """Whether every key of `part`, at any depth, has the same value in `whole`."""
    return all(
        _holds(whole[key], value) if isinstance(value, dict) else whole[key] == value for key, value in part.items()
    )


@pytest.mark.parametrize("name", recipe_names())
def test_both_phases_come_in_every_recipe(name: str) -> None:
    config = load_experiment(name)
    phases = {config.phases.phase_at(update) for update in range(config.train.updates)}
    assert len(phases) == 2


def test_the_default_recipe_is_mini_and_overrides_are_on_top(capsys: Lines) -> None:
    assert main(["train", "--dry-run", "--set", "train.lr=0.5", "--set", "reward.weights.meta=2"]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    assert (printed["train"]["lr"], printed["reward"]["weights"]["meta"]) == (0.5, 2.0)
    assert printed["train"]["updates"] == load_experiment("mini").train.updates


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mini-smok"], ("no recipe 'mini-smok'", "did you mean 'mini-smoke'?")),
        (["none.toml"], ("no recipe file none.toml", "mini-smoke")),
        (["mini", "--set", "train.group_sise=4"], ("'train.group_sise'", "did you mean 'train.group_size'?")),
        (["mini", "--set", "trian.lr=1"], ("'trian'", "did you mean 'train'?")),
        (["mini", "--set", "train.group_size=many"], ("'train.group_size' must be an integer", "'many'")),
        (["mini", "--set", "train.group_size=1"], ("train.group_size is 1", "at least 2")),
        (["mini", "--set", "sampler.kernel=flow_sd"], ("'sampler.kernel' must be one of", "did you mean 'flow_sde'?")),
        (["mini", "--set", "train.lr"], ("--set needs key=value", "'train.lr'")),
        (["mini", "--set", "sampler.last_index=19"], ("num_steps - 2 = 18",)),
        (["mini", "--set", "prompts.dynamic=0"], ("prompts.dynamic",)),
    ],
)
def test_bad_recipes(arguments: list[str], words: tuple[str, ...], capsys: Lines) -> None:
    for dry in ([], ["--dry-run"]):
        line = refusal(capsys, *arguments, *dry)
        assert all(word in line for word in words), line


def test_a_bad_recipe_file_is_named(tmp_path: Path, capsys: Lines) -> None:
    path = tmp_path / "own.toml"
    path.write_text('base = "mini"\n[train]\nleraning_rate = 1.0\n')
    assert str(path) in refusal(capsys, str(path))
    path.write_text("[train\n")
    assert "is not valid TOML" in refusal(capsys, str(path))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("clip.height=60", "nearest that does is 17 frames of 64 x 96"),
        ("clip.frames=18", "nearest that does is 17 frames of 64 x 96"),
        ("clip.frames=33", "17 frames of 64 x 96 only"),
        ("model.folder=no/such/folder", "There is no model folder no/such/folder"),
        ("lora.targets=['no_such_layer']", "no_such_layer"),
    ],
)
def test_what_only_the_models_can_know_is_refused_before_the_run_has_a_folder(
    override: str, words: str, tmp_path: Path, capsys: Lines
) -> None:
    assert words in refusal(capsys, "mini-smoke", "--set", override, "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path: Path, capsys: Lines) -> None:
    RunLog.create(tmp_path, recipe="mine").close()
    assert "already holds a run" in refusal(capsys, "mini-smoke", "--out", str(tmp_path))
    assert (tmp_path / "recipe.toml").read_text() == "mine"


@pytest.mark.parametrize("extra", [["--out", "x"], ["--dry-run"]])
def test_resume_stays_in_the_runs_own_folder(extra: list[str], tmp_path: Path, capsys: Lines) -> None:
    RunLog.create(tmp_path, recipe=dump_toml(load_experiment("mini-smoke"))).close()
    assert "--resume goes on in the run's own folder" in refusal(capsys, "--resume", str(tmp_path), *extra)


def _run_with_a_checkpoint(run: Path) -> None:
    recipe = dump_toml(load_experiment("mini-smoke"))
    with RunLog.create(run, recipe=recipe) as log:
        log.write({"update": 0, "phase": "main", "reward": 1.0, "seconds": 1.0})
    save_checkpoint(run, TrainState(update=1, params={}, ema={}, optimizer={}), recipe=recipe)


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--set", "train.lr=1e-3"], "train.lr 0.0003 -> 0.001"),
        (
            ["--set", "train.lr=1e-3", "--set", "reward.weights.meta=3"],
            "reward.weights.meta 2.0 -> 3.0; train.lr 0.0003",
        ),
        (["mini-smoke", "--set", "train.updates=9"], "train.updates 3 -> 9"),
        (["mini"], "train.group_size 2 -> "),
    ],
)
def test_resume_refuses_another_recipe_and_says_what_differs(
    words: list[str], difference: str, tmp_path: Path, capsys: Lines
) -> None:
    _run_with_a_checkpoint(tmp_path)
    line = refusal(capsys, "--resume", str(tmp_path), *words)
    assert f"{tmp_path} was trained with another recipe (" in line and difference in line and "--override" in line
    assert tmp_path.joinpath("recipe.toml").read_text() == dump_toml(load_experiment("mini-smoke"))
    # told to, it goes on (to the next obstacle, for this checkpoint is of no model), and says the same
    assert main(["train", "--resume", str(tmp_path), "--override", *words]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: going on with a changed recipe: ") and difference in note
    assert "do not belong to this model" in error


@pytest.mark.parametrize("words", [[], ["mini-smoke"], ["--set", "train.updates=3"], ["--override"]])
def test_resume_with_the_same_recipe_is_no_change(words: list[str], tmp_path: Path, capsys: Lines) -> None:
    _run_with_a_checkpoint(tmp_path)
    assert "do not belong to this model" in refusal(capsys, "--resume", str(tmp_path), *words)


def test_a_recipe_that_was_edited_in_the_run_folder_is_another_one(tmp_path: Path, capsys: Lines) -> None:
    _run_with_a_checkpoint(tmp_path)
    file = tmp_path / "recipe.toml"
    file.write_text(file.read_text().replace("ema_decay = 0.9", "ema_decay = 0.5"))
    assert "train.ema_decay 0.9 -> 0.5" in refusal(capsys, "--resume", str(tmp_path))


def test_override_belongs_to_resume(capsys: Lines) -> None:
    assert "--override goes with --resume" in refusal(capsys, "mini-smoke", "--override")


def test_resume_needs_a_run(tmp_path: Path, capsys: Lines) -> None:
    assert f"{tmp_path} holds no run" in refusal(capsys, "--resume", str(tmp_path))


def test_a_checkpoint_that_cannot_be_used_is_named_and_nothing_is_lost(tmp_path: Path, capsys: Lines) -> None:
    recipe = dump_toml(load_experiment("mini-smoke"))
    with RunLog.create(tmp_path, recipe=recipe) as log:
        log.write({"update": 0, "reward": 1.0})
        log.write({"update": 1, "reward": 2.0})
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    foreign = save_checkpoint(tmp_path, TrainState(update=1, params={}, ema={}, optimizer={}), recipe=recipe)
    assert "do not belong to this model" in refusal(capsys, "--resume", str(tmp_path))
    damaged = foreign / "ema.safetensors"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    line = refusal(capsys, "--resume", str(tmp_path))
    assert f"{damaged} is damaged" in line and f"delete {foreign.parent} and resume to begin again" in line
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    assert sorted(path.name for path in foreign.iterdir()) == sorted(
        ["ema.safetensors", "manifest.json", "optimizer.safetensors", "params.safetensors", "recipe.toml", "state.json"]
    )
