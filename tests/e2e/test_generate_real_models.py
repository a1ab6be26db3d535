"""`worldr1 generate` on small random folders in the published layout: the same again, documented, refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from worldr1.backends import models
from worldr1.backends.wan import WanPolicy
from worldr1.cli import filming, main
from worldr1.seeding import make_generator
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, TrainedWith, save_adapter
from worldr1.train.lora import add_lora, lora_parameters, lora_state
from worldr1.video_io import read_comment, read_mp4

Lines = pytest.CaptureFixture[str]

PROMPT = "Camera push in. A red ball on the floor."
SIZE = ["--frames", "9", "--height", "32", "--width", "48", "--steps", "2"]
WAN = ["generate", "--prompt", PROMPT, *SIZE]
TRAINED = TrainedWith(transport="canvas", strength=1.0, shift=3.0, steps=2, frames=9, height=32, width=48)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _about(path: Path) -> dict[str, object]:
    return json.loads(read_comment(path))


def test_a_seed_makes_the_same_file_alone_in_a_row_and_again(
    published_wan_folder: Path, tmp_path: Path, capsys: Lines
) -> None:
    command = [*WAN, "--model", str(published_wan_folder), "--json"]
    assert main([*command, "--seeds", "5", "7", "--out", str(tmp_path / "row.mp4")]) == 0
    printed = capsys.readouterr()
    videos = json.loads(printed.out)["videos"]
    assert [(video["seed"], video["index"]) for video in videos] == [(5, 0), (7, 0)]
    row = [tmp_path / f"row-{index:03d}.mp4" for index in range(2)]
    assert [video["path"] for video in videos] == [str(path) for path in row]
    assert f"model {published_wan_folder}: " in printed.err
    assert "in bfloat16, attention torch's choice, compile off, checkpointing off" in printed.err
    assert main([*command, "--seed", "7", "--out", str(tmp_path / "alone.mp4")]) == 0
    assert main([*command, "--seeds", "7", "5", "--out", str(tmp_path / "back.mp4")]) == 0
    assert main([*command, "--seed", "7", "--num", "2", "--out", str(tmp_path / "two.mp4")]) == 0
    digests = [_digest(path) for path in row]
    assert digests[0] != digests[1]
    assert [_digest(tmp_path / f"back-{index:03d}.mp4") for index in (1, 0)] == digests
    assert _digest(tmp_path / "alone.mp4") == _digest(tmp_path / "two-000.mp4") == digests[1]
    pictures = [read_mp4(path) for path in (row[0], row[1], tmp_path / "two-001.mp4")]
    assert pictures[0].shape == (9, 3, 32, 48)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert float((pictures[a] - pictures[b]).abs().mean()) > 0.01, "another noise"


def test_the_file_says_how_it_was_made(published_wan_folder: Path, tmp_path: Path) -> None:
    transformer = WanPolicy.from_folder(published_wan_folder).transformer
    add_lora(transformer, LoraConfig(rank=2, alpha=4), generator=make_generator(0, "test"))
    with torch.no_grad():
        for parameter in lora_parameters(transformer).values():
            parameter.add_(0.2)
    lora = tmp_path / "adapter.safetensors"
    info = AdapterInfo(config=LoraConfig(rank=2, alpha=4), base=published_wan_folder.name, guidance=2.0)
    save_adapter(lora, lora_state(transformer), info)
    plain, adapted = tmp_path / "plain.mp4", tmp_path / "adapted.mp4"
    command = [*WAN, "--model", str(published_wan_folder), "--negative-prompt", 'böses "Wort"', "--dtype", "float32"]
    command += ["--seed", "3", "--strength", "0.8", "--guidance", "2"]
    assert main([*command, "--out", str(plain)]) == 0
    assert main([*command, "--lora", str(lora), "--out", str(adapted)]) == 0
    about = _about(adapted)
    assert about == _about(plain) | {"lora": lora.name, "lora_sha256": _digest(lora)}
    expected = {
        "made_with": "worldr1",
        "prompt": PROMPT,
        "negative_prompt": 'böses "Wort"',
        "seed": 3,
        "index": 0,
        "model": str(published_wan_folder),
        "weights": "published",
        "dtype": "float32",
        "guidance": 2.0,
        "steps": 2,
        "shift": 3.0,
        "strength": 0.8,
        "transport": "canvas",
        "frames": 9,
        "height": 32,
        "width": 48,
        "fps": 16,
    }
    assert {name: about[name] for name in expected} == expected
    assert about.keys() - expected.keys() == {"version", "lora", "lora_sha256"}
    assert float((read_mp4(adapted) - read_mp4(plain)).abs().mean()) > 0.005


def test_the_negative_prompt_and_the_dtype_count(published_wan_folder: Path, tmp_path: Path) -> None:
    command = [*WAN, "--model", str(published_wan_folder), "--dtype", "float32"]
    digests: list[str] = []
    for number, options in enumerate(([], ["--negative-prompt", "the floor"], ["--guidance", "1"])):
        out = tmp_path / f"{number}.mp4"
        assert main([*command, *options, "--out", str(out)]) == 0
        digests.append(hashlib.sha256(read_mp4(out).numpy().tobytes()).hexdigest())
    assert len(set(digests)) == 3
    halves = tmp_path / "half.mp4"
    assert main([*command[:-1], "bfloat16", "--out", str(halves)]) == 0
    assert 0 < float((read_mp4(halves) - read_mp4(tmp_path / "0.mp4")).abs().mean()) < 0.05


def test_cogvideox_generates_and_ignores_the_camera_by_default(
    published_cogvideox_folder: Path, tmp_path: Path, capsys: Lines
) -> None:
    command = [*WAN, "--model", str(published_cogvideox_folder), "--dtype", "float32", "--json"]
    facts = []
    for name, options in (("a", []), ("b", []), ("c", ["--strength", "1"])):
        assert main([*command, *options, "--out", str(tmp_path / f"{name}.mp4")]) == 0
        facts.append(json.loads(capsys.readouterr().out))
    assert [fact["strength"] for fact in facts] == [0.0, 0.0, 1.0]
    assert facts[0]["guidance"] == 6.0
    assert _digest(tmp_path / "a.mp4") == _digest(tmp_path / "b.mp4")
    videos = {name: read_mp4(tmp_path / f"{name}.mp4") for name in "ac"}
    assert videos["a"].shape == (9, 3, 32, 48)
    assert float((videos["a"] - videos["c"]).abs().mean()) > 0.01, "the camera's noise is another"
    about = _about(tmp_path / "a.mp4")
    assert (about["shift"], about["strength"], about["fps"]) == (None, 0.0, 16)


def test_random_weights_need_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_models import TINY_WAN

    monkeypatch.setattr(models, "named_architecture", lambda name: TINY_WAN)
    out = tmp_path / "a.mp4"
    command = [*WAN, "--model", "wan2.1-1.3b", "--weights", "random", "--dtype", "float32"]
    assert main([*command, "--out", str(out)]) == 0
    assert _about(out)["weights"] == "random"
    assert float(read_mp4(out).std()) > 0.01


def test_a_prompt_that_is_too_long_is_said_once(published_wan_folder: Path, tmp_path: Path, capsys: Lines) -> None:
    prompt = "A red ball. " * 300
    command = ["generate", "--prompt", prompt, *SIZE, "--model", str(published_wan_folder), "--num", "2"]
    assert main([*command, "--out", str(tmp_path / "a.mp4")]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert len(notes) == 1 and "the text encoder takes 512; cut off: " in notes[0]


def test_too_little_memory_is_one_sentence(
    published_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(filming, "sample_ode", fail)
    assert main([*WAN, "--model", str(published_wan_folder), "--out", str(tmp_path / "a.mp4")]) == 2
    assert "not enough memory for 9 frames of 32 x 48" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--height", "40"], "the nearest that does is 9 frames of 32 x 48"),
        (["--frames", "129"], "the nearest that does is 125 frames of 32 x 48"),  # what the rotary embeddings reach
        (["--width", "528"], "the nearest that does is 9 frames of 32 x 512"),
        (["--width", "160000", "--height", "160000"], "lower --height or --width"),
        (["--attention", "cudnn"], "does not run on this CPU"),
        (["--attention", "flash3"], "FlashAttention-3 is made for NVIDIA's Hopper alone"),
        (["--seeds", "1", "--seed", "2"], "--seeds stands in for --seed and --num"),
        (["--model", "wan2.1-14b"], "Wan-AI/Wan2.1-T2V-14B-Diffusers cannot be fetched"),
        (["--model", "no-such-model", "--weights", "random"], "choose one of wan2.1-1.3b, wan2.1-14b, cogvideox1.5-5b"),
        (["--negative-prompt", "the floor", "--guidance", "1"], "guidance 1 is none: leave it out"),
        (["--model", "cogvideox", "--shift", "3"], "CogVideoX has a schedule of its own, which no shift changes"),
        (["--model", "cogvideox", "--lora", "adapter.safetensors"], "cogvideox is CogVideoX: give the model"),
        (
            ["--model", "cogvideox1.5-5b", "--lora", "adapter.safetensors"],
            "5b is CogVideoX: give the model that it was",
        ),
    ],
)
def test_refusals(
    options: list[str],
    says: str,
    published_wan_folder: Path,
    published_cogvideox_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Lines,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cogvideox").symlink_to(published_cogvideox_folder)
    if "--lora" in options:
        transformer = WanPolicy.from_folder(published_wan_folder).transformer
        add_lora(transformer, LoraConfig(rank=2, alpha=2), generator=make_generator(0, "test"))
        state = lora_state(transformer)
        info = AdapterInfo(config=LoraConfig(rank=2, alpha=2), base="cogvideox", guidance=6.0, training=TRAINED)
        save_adapter("adapter.safetensors", state, info)
        capsys.readouterr()
    command = [*WAN, "--model", str(published_wan_folder), "--out", "a.mp4", *options]
    assert main(command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and says in lines[0], lines
    assert not (tmp_path / "a.mp4").exists()


def test_an_incomplete_folder_names_the_file(published_wan_folder: Path, tmp_path: Path, capsys: Lines) -> None:
    broken = Path(shutil.copytree(published_wan_folder, tmp_path / "broken"))
    shard = sorted((broken / "transformer").glob("*-of-*.safetensors"))[1]
    shard.unlink()
    assert main([*WAN, "--model", str(broken), "--out", str(tmp_path / "a.mp4")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"{shard} is missing" in lines[0]
