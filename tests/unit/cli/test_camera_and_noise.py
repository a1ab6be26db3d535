"""`worldr1 camera` and `worldr1 noise`, through the command line's own entry."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from worldr1.camera.trajectory import synthesize
from worldr1.cli import main
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise

PROMPT = "Camera push in, then orbit left. A red ball."
SMALL = ["--width", "96", "--height", "64", "--frames", "17", "--channels", "48"]


def test_camera_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "--prompt", PROMPT, "--frames", "17", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tokens"] == ["push_in", "orbit_left"]
    assert record["segments"] == [
        {"token": "push_in", "span": [7, 14], "text": "push in"},
        {"token": "orbit_left", "span": [21, 31], "text": "orbit left"},
    ]
    poses = torch.tensor(record["world_from_camera"], dtype=torch.float64)
    assert torch.equal(poses, synthesize(["push_in", "orbit_left"], 17).world_from_camera)


def test_camera_without_words_has_no_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["camera", "--prompt", "A red ball.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tokens": [], "segments": [], "world_from_camera": []}
    assert main(["camera", "--prompt", "A red ball."]) == 0
    assert "no camera words" in capsys.readouterr().out
    assert main(["camera", "--prompt", "A red ball.", "--plot", str(tmp_path / "a.png")]) == 2


def test_camera_table_says_where_the_path_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "--prompt", "Camera pull left."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["move", "1:", "pull_left"]
    assert lines[-1].split() == ["80", "-0.1600", "-0.3000", "-8.00"]


def test_camera_plot_draws_the_path_where_it_goes(tmp_path: Path) -> None:
    picture = tmp_path / "path.png"
    assert main(["camera", "--prompt", "Camera move left.", "--frames", "17", "--plot", str(picture)]) == 0
    red, _, blue = np.moveaxis(np.asarray(Image.open(picture)).astype(int), 2, 0)
    columns = np.arange(red.shape[1])
    blue_column = np.average(columns, weights=((blue > red + 100).sum(axis=0)))
    red_column = np.average(columns, weights=((red > blue + 100).sum(axis=0)))
    assert red_column < blue_column - 50, "the end (red) lies to the left of the start (blue)"


def test_noise_writes_the_start_noise_and_its_origin(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "noise.safetensors"
    assert main(["noise", "--prompt", PROMPT, "--out", str(out), *SMALL, "--strength", "0.6", "--seed", "9"]) == 0
    with safe_open(out, "pt") as file:
        assert list(file.keys()) == ["noise"]
        noise, origin = file.get_tensor("noise"), file.metadata()
    trajectory = synthesize(["push_in", "orbit_left"], 17)
    expected = start_noise(trajectory, (48, 5, 8, 12), [9], NoiseConfig(strength=0.6), PlanCache())[0]
    assert torch.equal(noise, expected)
    assert origin == {
        "prompt": PROMPT,
        "tokens": "push_in orbit_left",
        "strength": "0.6",
        "seed": "9",
        "width": "96",
        "height": "64",
        "frames": "17",
        "spatial_stride": "8",
    }
    assert "[48, 5, 8, 12]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["camera", "--prompt", "Camera zoom in."], "unknown camera move 'zoom in'"),
        (["camera", "--prompt", PROMPT, "--frames", "0"], "--frames must be at least 1"),
        (["camera", "--prompt", PROMPT, "--plot", "path.jpg"], "ends in .png"),
        (["camera", "--prompt", PROMPT, "--plot", "missing/path.png"], "folder missing does not exist"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--width", "100"], "multiple of 16, got 100: use 96"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--height", "-16"], "positive multiple of 16"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--frames", "80"], "4 k + 1, got 80: use 77"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--frames", "-3"], "4 k + 1, got -3: use 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--strength", "1.1"], "between 0 and 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--channels", "0"], "--channels must be at least 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--spatial-stride", "7"], "must divide"),
        (["noise", "--prompt", "Camera tilt up.", "--out", "n.safetensors"], "unknown camera move 'tilt up'"),
        (["noise", "--prompt", PROMPT, "--out", "missing/n.safetensors"], "folder missing does not exist"),
        (["noise", "--prompt", PROMPT, "--out", "."], "is a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
