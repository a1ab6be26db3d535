"""`worldr1 score` as a user runs it: files in, a table, JSON, a page and 3D scenes out."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldr1.camera.files import write_trajectory
from worldr1.camera.trajectory import synthesize
from worldr1.cli import main
from worldr1.evaluate.scoring.figures import SCORE_METRICS
from worldr1.evaluate.scoring.scorer import STILL_NOTE, ShotScore
from worldr1.mini.promptset import random_scenes
from worldr1.mini.render import render
from worldr1.video_io import write_mp4

Lines = pytest.CaptureFixture[str]
FRAMES, HEIGHT, WIDTH = 13, 112, 176


def film(scene: int, token: str) -> Tensor:
    """A rendered clip of one of a few seeded scenes."""
    scenes, _ = random_scenes(4, seed=11, stream="test-score", dynamic=False)
    path = synthesize((token,), FRAMES).world_from_camera[None].float()
    return render(scenes[slice(scene, scene + 1)], path, height=HEIGHT, width=WIDTH).video[0]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An orbit; the same orbit cut against a move; a still; noise; a blank one."""
    folder = tmp_path_factory.mktemp("videos")
    orbit = film(ORBIT_SCENE, "orbit_left")
    write_mp4(folder / "orbit.mp4", orbit)
    write_mp4(folder / "cut.mp4", torch.cat((orbit, film(MOVE_SCENE, "move_right"))))
    write_mp4(folder / "still.mp4", orbit[:1].expand_as(orbit))
    write_mp4(folder / "noise.mp4", torch.rand(orbit.shape, generator=torch.Generator().manual_seed(0)))
    write_mp4(folder / "blank.mp4", torch.full_like(orbit, 0.5))
    return folder


ORBIT_SCENE, MOVE_SCENE = 3, 1


def test_a_video_is_measured_without_weights(videos: Path, tmp_path: Path, capsys: Lines) -> None:
    files = [str(videos / f"{name}.mp4") for name in ("orbit", "still", "noise", "blank")]
    out = tmp_path / "out"
    assert main(["score", *files, "--prompt", "Camera orbit left. A room.", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert "COLMAP" in printed.err
    assert list(record) == ["videos", "metrics"]
    assert list(record["metrics"]) == [metric.field for metric in SCORE_METRICS]
    assert record["metrics"]["psnr_holdout"] == "psnr_holdout@1;sfm;even-odd;24-frames"
    orbit, still, noise, blank = record["videos"]
    assert all(list(row) == [field.name for field in fields(ShotScore)] for row in record["videos"])
    assert [row["path"] for row in record["videos"]] == files
    assert [row["valid"] for row in record["videos"]] == [True, True, False, False]

    assert orbit["rotation_error_deg"] < 2
    assert orbit["translation_error"] < 0.15
    low, high = orbit["consistency_interval"]
    assert 0.5 < low <= orbit["consistency"] <= high <= 1
    assert orbit["psnr_holdout"] > 20
    assert STILL_NOTE in still["notes"]
    assert still["camera_travel"] == 0
    assert all(still[name] is None for name in ("consistency", "psnr_holdout", "ssim_holdout", "mvcs"))
    assert all(row["camera_travel"] is row["consistency"] is None for row in (noise, blank))
    assert noise["reason"]
    assert blank["reason"]

    assert json.loads((out / "scores.json").read_text()) == record
    assert [p.name for p in sorted(out.glob("*.ply"))] == ["000-orbit.ply"]
    page = (out / "score.html").read_text()
    assert page.count("<section") == 4
    assert "No score" in page


def test_shots_are_scored_one_by_one(videos: Path, capsys: Lines) -> None:
    assert main(["score", str(videos / "cut.mp4"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["videos"]
    assert [(row["shot"], row["num_shots"]) for row in rows] == [(0, 2), (1, 2)]
    assert rows[0]["end_s"] < rows[1]["start_s"]
    assert all(len(row["times_s"]) == FRAMES for row in rows)


def test_own_poses_are_the_request(videos: Path, tmp_path: Path, capsys: Lines) -> None:
    path = synthesize(("orbit_left",), FRAMES)
    write_trajectory(tmp_path / "path.txt", path, aspect=WIDTH / HEIGHT)
    assert main(["score", str(videos / "orbit.mp4"), "--poses", str(tmp_path / "path.txt"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["videos"]
    assert row["translation_error"] < 0.1
    assert main(["score", str(videos / "cut.mp4"), "--poses", str(tmp_path / "path.txt")]) == 2
    assert "2 shots" in capsys.readouterr().err


def test_the_mini_model_scores_what_worldr1_generates(tmp_path: Path, capsys: Lines) -> None:
    small = render_small("push_in")
    write_mp4(tmp_path / "a.mp4", small, upscale=4)
    arguments = ["--reconstructor", "mini", "--prompt", "Camera push in. A room.", "--json"]
    assert main(["score", str(tmp_path / "a.mp4"), *arguments]) == 0
    printed = capsys.readouterr()
    (row,) = json.loads(printed.out)["videos"]
    assert "mini world only" in printed.err
    assert row["valid"]
    assert row["reconstructor"] == "mini"
    assert row["rotation_error_deg"] < 0.7
    assert row["translation_error"] < 0.1


def render_small(token: str) -> Tensor:
    """At the mini models' size."""
    scenes, _ = random_scenes(1, seed=9, stream="test-score", dynamic=False)
    path = synthesize((token,), 17).world_from_camera[None].float()
    return render(scenes, path, height=64, width=96).video[0]


def test_score_prints_a_table(videos: Path, capsys: Lines) -> None:
    assert main(["score", str(videos / "still.mp4"), str(videos / "blank.mp4"), "--prompt", "A red ball."]) == 0
    printed = capsys.readouterr()
    assert "no camera words" in printed.err
    assert "PSNR" in printed.out
    assert "path\n" not in printed.out
    assert f"{videos / 'blank.mp4'}; not valid: only 0 points can be followed" in printed.out
    assert max(map(len, printed.out.splitlines()[:4])) <= 80
    assert "…" not in printed.out


def test_the_table_with_a_request_fits_too(videos: Path, capsys: Lines) -> None:
    assert main(["score", str(videos / "orbit.mp4"), "--prompt", "Camera orbit left."]) == 0
    table = capsys.readouterr().out
    assert "path" in table
    assert "…" not in table
    assert max(map(len, table.splitlines()[:3])) <= 80


def test_scoring_imports_no_diffusers_and_no_transformers(videos: Path) -> None:
    code = (
        "import sys; from worldr1.cli import main; "
        f"code = main(['score', {str(videos / 'still.mp4')!r}]); "
        "sys.exit(code or int(any(name in sys.modules for name in ('diffusers', 'transformers'))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["short.mp4", "./short.mp4"], "the video ./short.mp4 is given twice: give different ones"),
        (["short.mp4", "short.mp4", "--rewards", "mini"], "the video short.mp4 is given twice"),
        (["text.mp4"], "text.mp4"),
        (["short.mp4"], "short.mp4 holds only 3 frames"),
        (["short.mp4", "--reconstructor", "colmap"], "known are: sfm, mini"),
        (["short.mp4", "--prompt", "Camera zoom in."], "zoom in"),
        (["short.mp4", "--out", "text.mp4"], "cannot be used as a folder"),
        (["short.mp4", "--focal", "wide"], "--focal is a number"),
        (["short.mp4", "--focal", "1.0", "--reconstructor", "mini"], "belongs to sfm"),
        (["short.mp4", "--weights", "folder"], "--weights belongs to Depth Anything 3"),
        (["short.mp4", "--rewards", "mini", "--focal", "1.0"], "leave out --focal: with --rewards"),
        (["short.mp4", "--rewards", "mini", "--frames", "9"], "leave out --frames: with --rewards"),
        (["short.mp4", "--rewards", "mini", "--reconstructor", "mini"], "leave out --reconstructor: with --rewards"),
        (["short.mp4", "--set", "train.updates=3"], "--set belongs to a recipe: give --rewards RECIPE"),
        (["short.mp4", "--frames", "3"], "--frames must be at least 5"),
        (["short.mp4", "--prompt", "Camera pan left.", "--poses", "path.txt"], "one of the two"),
        (["short.mp4", "--rewards", "mimi"], "mini"),
    ],
)
def test_score_refuses_in_one_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    write_mp4("short.mp4", torch.rand(3, 3, 64, 96))
    assert main(["score", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
