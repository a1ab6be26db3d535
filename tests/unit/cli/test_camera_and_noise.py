"""`worldr1 camera` and `worldr1 noise`, through the command line's own entry."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from worldr1.camera.files import read_trajectory
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
    assert json.loads(origin.pop("world_from_camera")) == trajectory.world_from_camera.tolist()
    assert origin == {
        "focal_per_width": "1.2",
        "prompt": PROMPT,
        "tokens": "push_in orbit_left",
        "strength": "0.6",
        "seed": "9",
        "width": "96",
        "height": "64",
        "frames": "17",
        "spatial_stride": "8",
        "transport": "canvas",
    }
    assert "[48, 5, 8, 12]" in capsys.readouterr().out


def assert_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, nothing but one line on standard error."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert len(captured.err.splitlines()) == 1


def _pose_lines(*translations: float, fy: float = 0.75) -> str:
    """A RealEstate10K file of a camera that has moved by the given amounts to the right; fx = 0.5."""
    rows = [f"{i} 0.5 {fy} 0.5 0.5 0 0 1 0 0 {-x} 0 1 0 0 0 0 1 0" for i, x in enumerate(translations)]
    return "\n".join(("https://a.clip", *rows))


def test_camera_reads_and_writes_paths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source, archive = tmp_path / "my_path.txt", tmp_path / "copy.npz"
    source.write_text(_pose_lines(1.0, 2.0, 5.0))
    small = ["--width", "96", "--height", "64", "--depth-unit", "20"]
    assert main(["camera", "--poses", str(source), *small, "--out", str(archive), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["tokens"], record["segments"]) == ([], [])
    assert [pose[0][3] for pose in record["world_from_camera"]] == pytest.approx([0.0, 0.05, 0.2], abs=1e-15)
    picture = tmp_path / "path.png"
    assert main(["camera", "--poses", str(archive), "--frames", "3", "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"3 poses of {archive}, focal length 0.5 of the width"
    assert lines[-3].split() == ["2", "0.2000", "0.0000", "0.0000", "0.00", "0.00", "0.00"]
    assert lines[-1] == f"picture: {picture}"
    assert picture.is_file()


def test_camera_writes_the_path_of_a_prompt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, tolerance in (("a.txt", 1e-6), ("a.npz", 1e-9)):
        file = tmp_path / name
        assert main(["camera", "--prompt", PROMPT, "--width", "480", "--height", "832", "--out", str(file)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"path: {file}"
        again = read_trajectory(file, num_frames=81, aspect=480 / 832)
        expected = synthesize(["push_in", "orbit_left"], 81).world_from_camera
        torch.testing.assert_close(again.world_from_camera, expected, rtol=0, atol=tolerance)
        assert again.focal_per_width == 1.2


def test_poses_may_climb_and_look_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    up = [[1, 0, 0, 0], [0, 0.8, -0.6, -0.5], [0, 0.6, 0.8, 0], [0, 0, 0, 1]]
    np.savez(tmp_path / "a.npz", world_from_camera=np.array([np.eye(4), up]), focal_per_width=1.2)
    assert main(["camera", "--poses", str(tmp_path / "a.npz")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["1", "0.0000", "-0.5000", "0.0000", "0.00", "36.87", "36.87"]


def test_noise_follows_the_poses_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    poses, out = tmp_path / "path.txt", tmp_path / "noise.safetensors"
    poses.write_text(_pose_lines(3.0, 3.2, 3.4, 3.6, 3.8))
    small = ["--width", "96", "--height", "64", "--channels", "2", "--seed", "9", "--depth-unit", "4"]
    assert main(["noise", "--poses", str(poses), "--out", str(out), *small]) == 0
    with safe_open(out, "pt") as file:
        noise, origin = file.get_tensor("noise"), file.metadata()
    trajectory = read_trajectory(poses, depth_unit=4.0)
    expected = start_noise(trajectory, (2, 2, 8, 12), [9], NoiseConfig(), PlanCache())[0]
    assert torch.equal(noise, expected)
    # 0.8 units are 0.2 depth units, which 0.5 * 12 pixels of focal length see as 1.2 pixels to the left.
    assert torch.corrcoef(torch.stack((noise[:, 0, :, 1:].flatten(), noise[:, 1, :, :-1].flatten())))[0, 1] > 0.6
    assert json.loads(origin.pop("world_from_camera")) == trajectory.world_from_camera.tolist()
    assert origin == {
        "poses": str(poses),
        "focal_per_width": "0.5",
        "tokens": "",
        "strength": "1.0",
        "seed": "9",
        "width": "96",
        "height": "64",
        "frames": "5",
        "spatial_stride": "8",
        "transport": "canvas",
    }
    assert f"the path in {poses}" in capsys.readouterr().out


POSES_16_9 = _pose_lines(0.0, 0.1, 0.2, 0.3, fy=0.889)
NOISE = ["noise", "--out", "n.safetensors"]


@pytest.mark.parametrize(
    ("text", "arguments", "complaint"),
    [
        (POSES_16_9, ["camera"], "give either --prompt TEXT or --poses FILE"),
        (POSES_16_9, ["camera", "--prompt", PROMPT, "--poses", "p.txt"], "give either --prompt TEXT or --poses FILE"),
        (POSES_16_9, NOISE, "give either --prompt TEXT or --poses FILE"),
        (POSES_16_9, [*NOISE, "--prompt", PROMPT, "--poses", "p.txt"], "give either --prompt TEXT or --poses FILE"),
        (POSES_16_9, ["camera", "--prompt", PROMPT, "--depth-unit", "2"], "--depth-unit belongs to --poses"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--depth-unit", "0"], "must be a positive number"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--frames", "5"], "has 4 poses and the clip 5 frames"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--frames", "0"], "--frames must be at least 1"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--height", "0"], "--height must be at least 1"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--width", "480", "--height", "832"], "but the clip's is 0.577"),
        (POSES_16_9, ["camera", "--poses", "missing.txt"], "missing.txt is not a file"),
        (POSES_16_9, ["camera", "--poses", "p.json"], "rename or convert 'p.json'"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--out", "o.csv"], "rename or convert 'o.csv'"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--out", "missing/o.txt"], "folder missing does not exist"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--out", "./p.txt"], "--out p.txt is the --poses file itself"),
        (POSES_16_9, ["camera", "--poses", "p.txt", "--out", "o.txt", "--plot", "p.jpg"], "ends in .png"),
        (POSES_16_9, ["camera", "--prompt", "A red ball.", "--out", "o.txt"], "there is no path to write"),
        (POSES_16_9, [*NOISE, "--poses", "p.txt"], "the number of poses in p.txt must be 4 k + 1, got 4: use 1"),
        (POSES_16_9, [*NOISE, "--poses", "p.txt", "--frames", "81"], "has 4 poses and the clip 81 frames"),
        (POSES_16_9.replace("1 0 0 0", "1 0 0 x"), [*NOISE, "--poses", "p.txt"], "not a number"),
        (
            POSES_16_9.replace("0 1 0 0 0 0", "0 1 0 0 0 1"),
            [*NOISE, "--poses", "p.txt"],
            "line 2 of p.txt is not rigid",
        ),
        (POSES_16_9.replace("-0.1", "nan"), [*NOISE, "--poses", "p.txt"], "line 3 of p.txt holds a number that is not"),
        (POSES_16_9.replace("0.5 0.5", "0.6 0.5"), [*NOISE, "--poses", "p.txt"], "principal point"),
    ],
)
def test_bad_poses_are_one_sentence_and_exit_code_2(
    text: str,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text(text)
    assert_refused(arguments, complaint, capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["p.txt"]
    assert Path("p.txt").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["camera", "--prompt", "Camera zoom in."], "unknown camera move 'zoom in'"),
        (["camera", "--prompt", PROMPT, "--frames", "0"], "--frames must be at least 1"),
        (["camera", "--prompt", PROMPT, "--frames", "1000000000"], "--frames must be at most 100,000"),
        (["camera", "--prompt", PROMPT, "--plot", "path.jpg"], "ends in .png"),
        (["camera", "--prompt", PROMPT, "--plot", "missing/path.png"], "folder missing does not exist"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--width", "100"], "multiple of 16, got 100: use 96"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--height", "-16"], "positive multiple of 16"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--frames", "80"], "4 k + 1, got 80: use 77"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--frames", "-3"], "4 k + 1, got -3: use 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--strength", "1.1"], "between 0 and 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--channels", "0"], "--channels must be at least 1"),
        (["noise", "--prompt", PROMPT, "--out", "n.safetensors", "--channels", "1000000"], "more than any model takes"),
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
    assert_refused(arguments, complaint, capsys)
    assert list(tmp_path.iterdir()) == []
