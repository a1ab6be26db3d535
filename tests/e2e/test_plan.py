"""`worldr1 plan` as a user types it: tables, JSON, exit codes; and what recipes with real models say without them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from worldr1.cli import main
from worldr1.config import recipe_names
from worldr1.planning.cards import CARDS

Lines = pytest.CaptureFixture[str]
REAL = [name for name in recipe_names() if not name.startswith("mini")]


def asked(capsys: Lines, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a plan that ends with this exit code."""
    assert main(["plan", *arguments]) == code
    out, err = capsys.readouterr()
    return out, err


def object_of(capsys: Lines, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The one JSON object on standard output."""
    out, _ = asked(capsys, *arguments, "--json", code=code)
    assert out.count("\n") == 1
    return json.loads(out)


def has_schema(value: Any, schema: Any) -> bool:
    """Whether keys and types are those of `schema`: dicts by key, {str: X} as {...: X}, lists by their one item."""
    if isinstance(schema, dict) and ... in schema:
        return isinstance(value, dict) and all(has_schema(item, schema[...]) for item in value.values())
    if isinstance(schema, dict):
        return value.keys() == schema.keys() and all(has_schema(value[key], schema[key]) for key in schema)
    if isinstance(schema, list):
        return isinstance(value, list) and all(has_schema(item, schema[0]) for item in value)
    return isinstance(value, schema) and not (schema is int and isinstance(value, bool))


NUMBER = (int, float)
SCHEMA: dict[str, Any] = {
    "recipe": str,
    "gpu": str,
    "gpus": int,
    "hours": NUMBER,
    "fits": bool,
    "memory_gib": {
        "available": NUMBER,
        "needed": NUMBER,
        "peak": NUMBER,
        "peak_stage": str,
        "always": {...: NUMBER},
        "stages": {...: NUMBER},
        "step_with_checkpointing": NUMBER,
        "step_without_checkpointing": NUMBER,
    },
    "checkpointing": bool,
    "tiled": bool,
    "seconds": dict.fromkeys(("update", "rollout", "decode", "reward", "step", "start", "evaluations"), NUMBER),
    "seconds_per_call": dict.fromkeys(("velocity", "rounded", "reference", "trained", "decode", "reward"), NUMBER),
    "updates": int,
    "updates_asked": int,
    "samples": int,
    "notes": [str],
    "advice": (dict, type(None)),
}
ADVICE = {"gpu": str, "set": [str], "needed_gib": NUMBER, "seconds_per_update": NUMBER}


@pytest.mark.parametrize("name", REAL)
def test_the_object_of_every_real_recipe(name: str, capsys: Lines) -> None:
    found = object_of(capsys, name, "--gpu", "h200", "--gpus", "8", "--hours", "48")
    assert has_schema(found, SCHEMA)
    assert (found["recipe"], found["gpu"], found["gpus"], found["hours"]) == (name, "h200", 8, 48.0)
    assert found["fits"] and found["advice"] is None
    stages = ("rollout", "decode", "reward", "step")
    assert found["seconds"]["update"] == pytest.approx(sum(found["seconds"][stage] for stage in stages))
    memory = found["memory_gib"]
    peak = sum(memory["always"].values()) + memory["stages"][memory["peak_stage"]]
    assert memory["peak"] == pytest.approx(peak) and memory["peak"] < memory["needed"] <= memory["available"]


def test_folders_and_clips_that_no_model_has_are_refused(tmp_path: Path, capsys: Lines) -> None:
    _, err = asked(capsys, "small-24gb", "--gpu", "RTX4090", "--set", f"model.folder={tmp_path}", code=2)
    assert f"The model folder {tmp_path} is incomplete: transformer, vae" in err and err.count("\n") == 1
    for clip in ("frames=4097", "width=16400"):
        _, err = asked(capsys, "small-24gb", "--gpu", "h100", "--set", f"clip.{clip}", code=2)
        assert "multiples of 16 up to 16384, frames 4 k + 1 up to 4093" in err
    asked(capsys, "small-24gb", "--gpu", "RTX4090")


def _no_weights(folder: Path) -> None:
    next((folder / "transformer").glob("*.safetensors")).unlink()


def _no_object(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[1]")


def _changed_index(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = folder / "model_index.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | keys))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_weights, "transformer/diffusion_pytorch_model"),
        (_no_object, "vae/config.json holds no JSON object"),
        (_changed_index(boundary_ratio=0.9), "is a Wan 2.2 model"),
        (_changed_index(_class_name="WanImageToVideoPipeline"), "give a WanPipeline folder (text to video)"),
    ],
)
def test_a_folder_that_train_refuses_is_refused_in_the_same_words(
    damage: Callable[[Path], None], said: str, published_wan_folder: Path, tmp_path: Path, capsys: Lines
) -> None:
    folder = tmp_path / "wan"
    shutil.copytree(published_wan_folder, folder)
    words = ["small-24gb", "--set", f"model.folder={folder}"]
    fits = ["--set", "clip.frames=17", "--set", "clip.height=64", "--set", "clip.width=96", "--gpu", "h100"]
    asked(capsys, *words, *fits)
    damage(folder)
    _, err = asked(capsys, *words, *fits, code=2)
    assert said in err and err.count("\n") == 1
    assert main(["train", *words, "--set", "device=cpu", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == err


def test_what_does_not_fit_is_told_with_the_words_that_help(capsys: Lines) -> None:
    arguments = ("world-r1-large", "--gpu", "h100", "--set", "train.updates=5")
    out, err = asked(capsys, *arguments, code=2)
    assert "DOES NOT FIT" in out and "trained step" in out
    assert err.startswith("error: world-r1-large needs ") and err.count("\n") == 1
    assert "the cheapest change that fits is --set reward.placement=swap" in err
    found = object_of(capsys, *arguments, code=2)
    assert has_schema(found, SCHEMA) and has_schema(found["advice"], ADVICE) and not found["fits"]
    words: Sequence[str] = found["advice"]["set"]
    again = object_of(capsys, *arguments, *(part for word in words for part in ("--set", word)))
    assert again["fits"] and again["memory_gib"]["needed"] == found["advice"]["needed_gib"]


def test_where_nothing_helps_the_smallest_other_card_is_named_with_what_it_needs(capsys: Lines) -> None:
    recipe = ("world-r1-small", "--set", "model.folder=wan2.1-14b")
    out, err = asked(capsys, *recipe, "--gpu", "rtx4090", code=2)
    assert "DOES NOT FIT" in out
    said = "the smallest GPU that trains the same is h100 of 79.6 GiB with --set reward.placement=swap (then "
    assert f"no change of the recipe makes it fit there: {said}" in err
    advice = object_of(capsys, *recipe, "--gpu", "rtx4090", code=2)["advice"]
    assert has_schema(advice, ADVICE) and (advice["gpu"], advice["set"]) == ("h100", ["reward.placement=swap"])
    words = [part for word in advice["set"] for part in ("--set", word)]
    assert object_of(capsys, *recipe, "--gpu", advice["gpu"], *words)["fits"]


def test_a_card_that_needs_no_change_is_named_alone(capsys: Lines) -> None:
    _, err = asked(capsys, "small-24gb", "--gpu", "rtx4090", "--memory", "10", code=2)
    assert "the smallest GPU that trains the same is rtx4090 of 24 GiB (then 18.2 GiB and " in err
    vast = [part for size in ("height=16384", "width=16384", "frames=17") for part in ("--set", f"clip.{size}")]
    _, err = asked(capsys, "world-r1-large", "--gpu", "h100", *vast, code=2)
    assert err.endswith("no change of the recipe makes it fit any GPU that plan knows.\n")


def test_another_memory_and_the_usual_card(capsys: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out, _ = asked(capsys, "small-1gpu-day")
    assert out.startswith("small-1gpu-day on 1 x h100 with 79.6 GiB (predicted)")
    assert "in 24 hours: 150 of the recipe's 150 updates" in out and "an estimate" in out
    assert object_of(capsys, "small-1gpu-day", "--memory", "24", code=2)["memory_gib"]["available"] == 24.0


def test_this_machines_gpu_is_the_default(capsys: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 << 30, 140 << 30))
    found = object_of(capsys, "small-1gpu-day")
    assert (found["gpu"], found["memory_gib"]["available"]) == ("h200", 140.0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    _, err = asked(capsys, "small-1gpu-day", code=2)
    assert "this machine's Tesla T4: give --gpu, one of h200, h100" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["small-1gpu-dya"], ("no recipe 'small-1gpu-dya'", "did you mean 'small-1gpu-day'?")),
        (["small-1gpu-day", "--gpu", "rtx4080"], ("knows no GPU 'rtx4080'", *CARDS)),
        (["small-1gpu-day", "--gpus", "0"], ("at least one GPU",)),
        (["small-1gpu-day", "--hours", "-1"], ("a positive time",)),
        (["small-1gpu-day", "--memory", "-1"], ("--memory is -1",)),
        (["small-1gpu-day", "--set", "clip.frames=80"], ("4 k + 1",)),
        (["small-1gpu-day", "--set", "reward.placement=gone"], ("'reward.placement' must be one of",)),
    ],
)
def test_bad_words(arguments: list[str], words: tuple[str, ...], capsys: Lines) -> None:
    out, err = asked(capsys, *arguments, code=2)
    assert out == "" and err.count("\n") == 1 and all(word in err for word in words), err


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("mini")])
def test_the_mini_recipes_are_just_run(name: str, capsys: Lines) -> None:
    out, _ = asked(capsys, name)
    assert "needs no plan" in out and f"worldr1 train {name}" in out
    found = object_of(capsys, name)
    assert (found["recipe"], found["fits"], len(found["notes"])) == (name, True, 1)


@pytest.mark.parametrize("name", REAL)
def test_recipes_with_real_models_name_what_is_missing(
    name: str, capsys: Lines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["train", name, "--out", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and not (tmp_path / "run").exists()
    assert "There is no model folder wan2.1-" in err and "copied from a machine with network" in err
