"""`worldr1 generate` as a user runs it, with the mini models."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from merged_folder import damage, merged_folder
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE, mini_base
from worldr1.backends.model_folder import PARTS
from worldr1.backends.wan import WanPolicy
from worldr1.cli import filming, main
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.seeding import make_generator
from worldr1.train.adapter_file import AdapterInfo, BaseShape, LoraConfig, TrainedWith, save_adapter
from worldr1.train.lora import add_lora, lora_state
from worldr1.video_io import read_comment, read_mp4

Lines = pytest.CaptureFixture[str]

PROMPT = "Camera push in, then pan left. A plain red ball on a blue tiled floor in a green brick room."
FEW = ["--prompt", PROMPT, "--steps", "2"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two videos by a process of their own."""
    folder = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "worldr1", "generate", *FEW, "--num", "2", "--seed", "7"]
    done = subprocess.run([*command, "--out", str(folder / "a.mp4")], capture_output=True, text=True, check=False)
    return folder, done


def adapter(path: Path, *, base: str, guidance: float, shrink: int = 0, **more: Any) -> Path:
    """An adapter of the mini model, or of one whose first matrix is `shrink` smaller. more: of its `AdapterInfo`."""
    transformer = WanPolicy.from_folder(mini_base()).transformer
    config = LoraConfig(rank=2, alpha=2)
    add_lora(transformer, config, generator=make_generator(0, "test"))
    state: dict[str, Tensor] = lora_state(transformer)
    name = min(state)
    state[name] = state[name][:, shrink:].contiguous()
    save_adapter(path, state, AdapterInfo(config=config, base=base, guidance=guidance, **more))
    return path


# ----------------------------------------------------------------------------------------------------------- generate


def test_generate_writes_what_it_says(generated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = generated
    assert done.returncode == 0, done.stderr
    files = [folder / "a-000.mp4", folder / "a-001.mp4"]
    assert done.stdout.splitlines() == [
        "camera: push_in, then pan_left; noise strength 0.5, guidance 1.0",
        *(str(file) for file in files),
    ]
    first, second = (read_mp4(file) for file in files)
    assert first.shape == second.shape == (CLIP_SIZE[0], 3, 4 * CLIP_SIZE[1], 4 * CLIP_SIZE[2])
    assert float((first - second).abs().mean()) > 0.02


def test_a_video_does_not_depend_on_how_many_are_made(
    generated: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: Lines
) -> None:
    out = tmp_path / "alone.mp4"
    assert main(["generate", *FEW, "--seed", "7", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tokens"] == ["push_in", "pan_left"]
    assert record["videos"][0]["path"] == str(out)
    assert float((read_mp4(out) - read_mp4(generated[0] / "a-000.mp4")).abs().mean()) < 0.002


def test_without_camera_words_no_noise_follows_the_camera(tmp_path: Path, capsys: Lines) -> None:
    out = tmp_path / "a.mp4"
    command = ["generate", "--prompt", "A red ball.", "--steps", "2", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["strength"] == 0.0
    assert main([*command, "--overwrite"]) == 0
    assert "no camera words, so the camera is free; noise strength 0.0," in capsys.readouterr().out
    assert json.loads(read_comment(out))["strength"] == 0.0


def test_generate_from_a_model_folder(tiny_wan_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.mp4"
    size = ["--frames", "5", "--height", "32", "--width", "48", "--strength", "0"]
    assert main(["generate", *FEW, "--model", str(tiny_wan_folder), *size, "--out", str(out)]) == 0
    assert read_mp4(out).shape == (5, 3, 32, 48)


def test_the_packaged_adapter_changes_the_video(
    generated: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    out = tmp_path / "trained.mp4"
    assert main(["generate", *FEW, "--seed", "7", "--lora", "mini-r1", "--out", str(out)]) == 0
    difference = float((read_mp4(out) - read_mp4(generated[0] / "a-000.mp4")).abs().mean())
    assert 0.002 < difference < 0.1, "the same scene, another model"


def test_an_unknown_adapter_is_one_sentence_that_names_the_packaged_one(tmp_path: Path, capsys: Lines) -> None:
    assert main(["generate", *FEW, "--lora", "mini", "--out", str(tmp_path / "a.mp4")]) == 2
    sentence = "There is no adapter file mini: give the adapter.safetensors of a run, or mini-r1, the packaged one."
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_an_adapter_brings_its_guidance(tmp_path: Path, capsys: Lines) -> None:
    file = adapter(tmp_path / "adapter.safetensors", base="elsewhere", guidance=2.0)
    command = ["generate", *FEW, "--lora", str(file), "--out", str(tmp_path / "a.mp4"), "--json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["guidance"] == 2.0
    assert "was trained on elsewhere, not on mini" in printed.err
    assert main([*command, "--guidance", "1", "--overwrite"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["guidance"] == 1.0
    assert f"{file} was trained with guidance 2.0, not 1.0" in printed.err


TRAINED = TrainedWith(
    transport="flow", strength=0.3, parallax_strength=0.1, shift=5.0, steps=3, frames=17, height=64, width=96
)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini base with a LoRA of that training in its weights."""
    return merged_folder(mini_base(), tmp_path_factory.mktemp("merged") / "mine", base="mini", training=TRAINED)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How the last video was sampled in fact."""
    made: dict[str, Any] = {}
    sample, noise = filming.sample_ode, filming.start_noise

    def sampled(policy: Any, text: Tensor, start: Tensor, sampler: SamplerConfig, **keywords: Any) -> Tensor:
        made.update(steps=sampler.num_steps, shift=sampler.shift, guidance=policy.guidance)
        return sample(policy, text, start, sampler, **keywords)

    def started(path: Any, shape: Any, seeds: Any, config: NoiseConfig, plans: Any) -> Tensor:
        made.update(transport=config.transport, strength=config.strength_for(path), latent=shape[1:])
        return noise(path, shape, seeds, config, plans)

    monkeypatch.setattr(filming, "sample_ode", sampled)
    monkeypatch.setattr(filming, "start_noise", started)
    return made


@pytest.mark.parametrize("where", ["beside", "merged"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"transport": "flow", "strength": 0.1, "steps": 3, "guidance": 1.0, "shift": 5.0}),  # a push has parallax
        (["--strength", "0.7", "--transport", "canvas"], {"transport": "canvas", "strength": 0.7, "steps": 3}),
        (["--steps", "2", "--shift", "2", "--guidance", "1.5"], {"steps": 2, "shift": 2.0, "guidance": 1.5}),
        (["--steps", "2", "--guidance", "1.5", "--negative-prompt", "a floor"], {"steps": 2, "guidance": 1.5}),
    ],
)
def test_what_the_adapter_was_trained_with_is_the_default(
    where: str,
    arguments: list[str],
    expected: dict[str, Any],
    merged: Path,
    made: dict[str, Any],
    tmp_path: Path,
    capsys: Lines,
) -> None:
    if where == "beside":
        origin = adapter(tmp_path / "adapter.safetensors", base="mini", guidance=1.0, training=TRAINED)
    else:
        origin = merged
    option = "--lora" if where == "beside" else "--model"
    command = ["generate", "--prompt", PROMPT, option, str(origin), "--out", str(tmp_path / "a.mp4"), "--json"]
    assert main([*command, *arguments]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert {key: made[key] for key in expected} == expected
    assert made["latent"] == (5, 8, 12)
    assert all(record[key] == expected[key] for key in expected.keys() & record.keys())
    words = "17 frames of 96 x 64, 3 steps, shift 5, guidance 1, noise transport flow, strength 0.3"
    line = f"defaults as {origin} was trained: {words} (0.1 where the camera's centre moves)\n"
    assert printed.err.count(line) == 1
    note = f"note: {origin} was trained with guidance 1.0, not 1.5"
    assert (note in printed.err) == ("--guidance" in arguments)


@pytest.mark.parametrize("training", [replace(TRAINED, transport="canvas", steps=2, shift=3.0), None])
def test_a_lora_on_a_merged_model_has_its_own_way(
    training: TrainedWith | None, merged: Path, made: dict[str, Any], tmp_path: Path, capsys: Lines
) -> None:
    """Of an older file, which says its guidance alone, the rest is the model's, as of any model."""
    lora = adapter(tmp_path / "adapter.safetensors", base=merged.name, guidance=2.0, training=training)
    command = ["generate", "--prompt", PROMPT, "--model", str(merged), "--lora", str(lora)]
    assert main([*command, "--out", str(tmp_path / "a.mp4")]) == 0
    told = training or TRAINED
    assert (made["transport"], made["steps"], made["shift"]) == (told.transport, told.steps, told.shift)
    assert made["guidance"] == 2.0
    error = capsys.readouterr().err
    assert f"defaults as {lora} was trained: " in error and f"as {merged} was" not in error


def test_damaged_words_about_what_was_merged_are_one_sentence(merged: Path, tmp_path: Path, capsys: Lines) -> None:
    shutil.copytree(merged, tmp_path / "mine")
    file = damage(tmp_path / "mine")
    sentence = f"error: {file} has a LoRA of worldr1 merged into it, but its metadata are damaged; export the folder"
    for command in (["generate", *FEW, "--out", str(tmp_path / "a.mp4")], ["evaluate", "--out", str(tmp_path / "out")]):
        assert main([*command, "--model", str(tmp_path / "mine")]) == 2
        assert capsys.readouterr().err == f"{sentence} again.\n"
    assert sorted(os.listdir(tmp_path)) == ["mine"]


def test_the_size_of_the_training_is_the_default(tiny_wan_folder: Path, tmp_path: Path) -> None:
    transformer = WanPolicy.from_folder(tiny_wan_folder).transformer
    add_lora(transformer, LoraConfig(rank=2), generator=make_generator(0, "test"))
    small = replace(TRAINED, frames=5, height=32, width=48, steps=2)
    info = AdapterInfo(config=LoraConfig(rank=2), base=tiny_wan_folder.name, guidance=1.0, training=small)
    save_adapter(tmp_path / "a.safetensors", lora_state(transformer), info)
    out = tmp_path / "tiny.mp4"
    command = [
        "generate",
        "--prompt",
        PROMPT,
        "--model",
        str(tiny_wan_folder),
        "--lora",
        str(tmp_path / "a.safetensors"),
    ]
    assert main([*command, "--out", str(out)]) == 0
    assert read_mp4(out).shape == (5, 3, 32, 48)
    assert main([*command, "--out", str(out), "--height", "16", "--overwrite"]) == 0
    assert read_mp4(out).shape == (5, 3, 16, 48)


def test_an_adapter_of_a_larger_model_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    small = BaseShape(class_name="WanTransformer3DModel", layers=30, width=1536, heads=12, ffn=8960, text=4096)
    file = adapter(tmp_path / "adapter.safetensors", base="Wan2.1-T2V-1.3B", guidance=5.0, shape=small)
    for part in PARTS:  # its configuration alone
        (tmp_path / "Wan2.1-T2V-14B" / part).mkdir(parents=True)
    (tmp_path / "Wan2.1-T2V-14B" / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    config = {
        "num_attention_heads": 40,
        "attention_head_dim": 128,
        "num_layers": 40,
        "ffn_dim": 13824,
        "text_dim": 4096,
    }
    (tmp_path / "Wan2.1-T2V-14B" / "transformer" / "config.json").write_text(json.dumps(config))
    command = ["generate", *FEW, "--lora", str(file), "--model", str(tmp_path / "Wan2.1-T2V-14B")]
    assert main([*command, "--out", str(tmp_path / "a.mp4")]) == 2
    assert capsys.readouterr().err == (
        f"error: {file} was trained on Wan2.1-T2V-1.3B (1536 wide, 30 layers); this model, Wan2.1-T2V-14B, is "
        "5120 wide, 40 layers: give the model that it was trained on.\n"
    )


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, capsys: Lines) -> None:
    file = adapter(tmp_path / "adapter.safetensors", base="mini", guidance=1.0, shrink=1)
    assert main(["generate", *FEW, "--lora", str(file), "--out", str(tmp_path / "a.mp4")]) == 2
    assert "another base" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prompt", "Camera zoom in. A ball."], "zoom in"),
        (["--height", "60"], "64 x 96"),
        (["--frames", "16"], "17 frames"),
        (["--model", "no/such/folder"], "no model folder no/such/folder"),
        (["--lora", "missing.safetensors"], "no adapter file missing.safetensors"),
        (["--strength", "1.5"], "between 0 and 1"),
        (["--out", "a.gif"], ".mp4"),
        (["--out", "no/such/folder/a.mp4"], "no/such/folder does not exist"),
        (["--out", "folder.mp4"], "is a folder"),
        (["--seeds", "1", "2", "1"], "--seeds 1 is given twice: give different ones"),
        (["--num", "0"], "--num must be at least 1"),
        (["--steps", "1"], "--steps must be at least 2"),
        (["--upscale", "0"], "--upscale must be at least 1"),
        (["--upscale", "100000"], "--upscale 100000 makes pictures of 64 x 96 larger than videos can be"),
        (["--steps", "1000000000"], "give at most 1000"),
        (["--guidance", "nan"], "guidance is nan"),
        (["--guidance", "-1"], "guidance is -1.0"),
        (["--frames", "0"], "frames is 0: give at least 1"),
        (["--shift", "0"], "--shift must be a positive number, got 0.0"),
    ],
)
def test_generate_refuses_in_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    assert main(["generate", *FEW, "--out", "a.mp4", *arguments]) == 2  # of an option given twice the last one counts
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert os.listdir(tmp_path) == ["folder.mp4"]
