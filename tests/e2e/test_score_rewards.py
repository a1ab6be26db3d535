"""`worldr1 score --rewards` as a user runs it, on the packaged clips."""

import argparse
import base64
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from worldr1.backends.mini import mini_weights
from worldr1.build import build_reward, load_experiment
from worldr1.camera.trajectory import synthesize
from worldr1.cli.places import add_overwrite
from worldr1.cli.score_rewards import add_reward_arguments, run_rewards
from worldr1.errors import InputError
from worldr1.types import Prompt
from worldr1.video_io import read_mp4, write_mp4

Lines = pytest.CaptureFixture[str]

CLIPS = mini_weights() / "adapter"
PAIR = [str(CLIPS / "before" / "003.mp4"), str(CLIPS / "after" / "003.mp4")]
PROMPT = (
    "Camera pan left. A striped orange box, a plain purple cone and a marbled blue ball on a white checkered floor "
    "under a cyan sky."
)


def score(*argv: str) -> int:
    """Runs the command through the arguments that `worldr1 score` has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--prompt")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    add_overwrite(parser)
    add_reward_arguments(parser)
    return run_rewards(parser.parse_args(argv))


def test_a_pair_with_pictures_and_prompts_from_its_records(tmp_path: Path, capsys: Lines) -> None:
    out = tmp_path / "deep" / "out"
    assert score(*PAIR, "--rewards", "mini", "--out", str(out), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "rewards.json").read_text())
    (group,) = printed["groups"]
    assert group["prompt"] == PROMPT
    assert list(group["absent"]) == ["s_meta", "s_motion"]
    assert [video["path"] for video in group["videos"]] == PAIR
    # what training computes for these frames, at the size before they were enlarged
    config = load_experiment("mini")
    reward = build_reward(config.reward, "cpu", config.clip)
    videos = torch.stack([F.avg_pool2d(read_mp4(path), 4) for path in PAIR])
    expected = reward(videos, [Prompt(id=3, text=PROMPT)] * 2, [synthesize(["pan_left"], 17)] * 2, False)
    for video, result in zip(group["videos"], expected, strict=True):
        assert video["parts"] == pytest.approx(result.parts)
        assert video["measures"] == pytest.approx(result.measures)
    assert "<html" in (out / "rewards.html").read_text()


def test_the_table_with_overrides_and_a_prompt(capsys: Lines, tmp_path: Path) -> None:
    small = tmp_path / "small.mp4"
    write_mp4(small, F.avg_pool2d(read_mp4(PAIR[0]), 4))
    code = score(str(small), "--rewards", "mini", "--set", "reward.weights.recon=0", "--prompt", "A box.")
    printed = capsys.readouterr().out
    assert code == 0
    assert "requested camera: free (no camera words)" in printed
    assert "S_recon is absent: reward.weights.recon is 0" in printed
    assert "One video alone is no group" in printed


def test_a_text_file_beside_the_video_is_its_prompt(tmp_path: Path, capsys: Lines) -> None:
    shutil.copy(PAIR[0], tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("Camera fixed.\n A red box.\n")
    weights = [f"reward.weights.{name}=0" for name in ("meta", "recon", "traj")]
    sets = [word for key in [*weights, "phases.dynamic_updates=0"] for word in ("--set", key)]
    assert score(str(tmp_path / "a.mp4"), "--rewards", "mini", "--json", *sets) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert (group["prompt"], group["tokens"]) == ("Camera fixed. A red box.", ["fixed"])
    assert list(group["videos"][0]["parts"]) == ["r_gen"]


@pytest.mark.parametrize("size", [(16, 64, 96), (17, 64, 192), (17, 80, 112), (17, 32, 48)])
def test_another_size_says_what_the_model_makes(size: tuple[int, int, int], tmp_path: Path) -> None:
    frames, height, width = size
    write_mp4(tmp_path / "a.mp4", torch.rand(frames, 3, height, width))
    with pytest.raises(InputError, match=f"{frames} frames of {height} x {width}, but .* 17 frames of 64 x 96"):
        score(str(tmp_path / "a.mp4"), "--rewards", "mini", "--prompt", "A box.")


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    video, broken, file = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "file"
    shutil.copy(PAIR[0], video)
    broken.write_bytes(b"no video at all")
    file.write_text("")
    cases = {
        ("mini", video, ""): "has no prompt.*give --prompt TEXT",
        ("minii", video, "A box."): "no recipe 'minii'; did you mean 'mini'",
        ("mini", broken, "A box."): "cannot be read as a video",
        ("mini", tmp_path / "c.mp4", "A box."): "no video file",
        ("mini", tmp_path / "c.mp4", ""): "no video file",
    }
    for (recipe, path, prompt), words in cases.items():
        with pytest.raises(InputError, match=words):
            score(str(path), "--rewards", recipe, *(["--prompt", prompt] if prompt else []))
    good = [str(video), "--rewards", "mini", "--prompt", "A box."]
    for more, words in (
        (["--set", "reward.weight.gen=1"], "weight"),
        (["--out", str(file)], "cannot be used as a fol"),
    ):
        with pytest.raises(InputError, match=words):
            score(*good, *more)
    for text, words in ((b"", "is empty"), (b"\xff\xfe", "cannot be read as text")):
        video.with_suffix(".txt").write_bytes(text)
        with pytest.raises(InputError, match=words):
            score(str(video), "--rewards", "mini")


def test_models_of_ones_own_and_clips_of_another_size(tmp_path: Path, capsys: Lines) -> None:
    roles = {"reconstructor": "SidewaysReconstructor", "critic": "BrightCritic", "quality": "ContrastQuality"}
    keys = [f"reward.models.{role}=own_models:{name}" for role, name in roles.items()]
    keys += ["reward.options.reconstructor.process_res_px=112", "clip.frames=5", "clip.height=240", "clip.width=416"]
    sets = [word for key in keys for word in ("--set", key)]
    clips = [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    for seed, clip in enumerate(clips):
        coarse = torch.rand(5, 3, 15, 26, generator=torch.Generator().manual_seed(seed))
        write_mp4(clip, F.interpolate(coarse, size=(240, 416), mode="bilinear"))
    out = tmp_path / "out"
    prompt = ["--prompt", "Camera move left. A box."]
    assert score(*clips, "--rewards", "mini", *sets, *prompt, "--out", str(out), "--json") == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert all(set(v["parts"]) == {"s_meta", "s_recon", "s_traj", "r_gen"} for v in group["videos"])
    page = (out / "rewards.html").read_text()
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"image/png;base64,([A-Za-z0-9+/=]+)", page)
    ]
    widths = {image.size for image in pictures}
    assert widths == {(320, 185), (112, 70)}, "frames at most 320 wide; re-renders at the size that the 3D model saw"
    assert "No picture" not in page
