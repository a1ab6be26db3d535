"""Videos made elsewhere: what a manifest may say, and what becomes of the files."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from worldr1.camera.files import read_trajectory, write_trajectory
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.suites.export import export_suite
from worldr1.evaluate.suites.manifest import MANIFEST, read_manifest, take
from worldr1.evaluate.suites.suite import load_suite
from worldr1.evaluate.suites.videos import suite_videos
from worldr1.seeding import derive_seed, make_generator
from worldr1.video_io import read_mp4, write_mp4

SUITE = load_suite("camera")
CLIP = (9, 48, 64)


def video(path: Path, num_frames: int = 9, seed: int = 0) -> Path:
    noise = torch.rand(num_frames, 3, 6, 8, generator=make_generator(seed, "test"))
    write_mp4(path, torch.nn.functional.interpolate(noise, size=CLIP[1:]))
    return path


def manifest(folder: Path, *lines: dict[str, Any] | str) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / MANIFEST).write_text(text)
    return folder


def test_lines_become_videos_in_the_suites_order(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    path = synthesize(("orbit_left",), 9)
    write_trajectory(tmp_path / "own.txt", path, aspect=64 / 48)
    lines = [
        {"file": "a.mp4", "prompt_id": 3, "sample": 1, "poses": "own.txt", "depth_unit": 2.0},
        {"file": "a.mp4", "prompt_id": 3},
        {"file": "a.mp4", "prompt_id": 0},
    ]
    made = read_manifest(manifest(tmp_path, *lines), SUITE)
    assert [(m.line, m.video.name) for m in made] == [(3, "000-0.mp4"), (2, "003-0.mp4"), (1, "003-1.mp4")]
    assert [m.video.seed for m in made] == [0, 0, 0]
    asked = made[2].video.path(5).world_from_camera
    assert torch.allclose(asked[:, :3, 3], path.world_from_camera[::2, :3, 3] / 2, atol=1e-7), "every other pose"
    assert torch.equal(
        made[0].video.path(5).world_from_camera, synthesize(SUITE.prompts[0].camera, 5).world_from_camera
    )


OK = {"file": "a.mp4", "prompt_id": 0}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "has no lines"),
        (["{"], "line 1 is not JSON"),
        (["[1]"], "line 1 needs file and prompt_id"),
        ([OK | {"path": "x"}], "nothing else"),
        ([OK, {"file": "a.mp4"}], "line 2 needs file and prompt_id"),
        ([OK | {"prompt_id": "0"}], "prompt_id is '0'"),
        ([OK | {"sample": True}], "sample is True"),
        ([OK | {"sample": -1}], "numbered from 0"),
        ([OK | {"prompt_id": 68}], "the suite camera has no prompt 68; its ids are 0 to 67"),
        ([OK, OK], "line 2: prompt 0, sample 0 is on line 1 already"),
        ([OK | {"file": "b.mp4"}, OK | {"file": "c.mp4"}], r"line 1: there is no file .*b.mp4 \(and 1 more"),
        ([OK | {"file": "../a.mp4"}], "lies outside"),
        ([OK | {"file": "/a.mp4"}], "lies outside"),
        ([OK | {"poses": "none.txt"}], "none.txt"),
        ([OK | {"poses": "../x.txt"}], "lies outside"),
    ],
)
def test_a_wrong_line_is_one_sentence_that_names_it(lines: list[Any], sentence: str, tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=sentence):
        read_manifest(manifest(tmp_path, *lines), SUITE)


def test_without_a_manifest_the_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--export-suite DIR --suite camera"):
        read_manifest(tmp_path, SUITE)


def test_what_browsers_play_is_copied_and_everything_else_is_written_again(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    frames = (read_mp4(tmp_path / "a.mp4").permute(0, 2, 3, 1) * 255).round().byte().numpy()
    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    lines = [OK, {"file": "b.mkv", "prompt_id": 1}]
    out = tmp_path / "out"
    out.mkdir()
    for made in read_manifest(manifest(tmp_path, *lines), SUITE):
        assert take(made, out / made.video.name) == 9
    assert (out / "000-0.mp4").read_bytes() == (tmp_path / "a.mp4").read_bytes()
    assert float((read_mp4(out / "001-0.mp4") - read_mp4(tmp_path / "a.mp4")).abs().mean()) < 0.02
    for made in read_manifest(tmp_path, SUITE):
        assert take(made, out / made.video.name) == 9, "again: it is known"
    for name, seed in (("a.mp4", 1), ("b.mkv", 2)):
        video(tmp_path / "c.mp4", seed=seed).replace(tmp_path / name)
    for made in read_manifest(tmp_path, SUITE):
        with pytest.raises(InputError, match="is another video than the one that was taken before; give another --out"):
            take(made, out / made.video.name)


def test_short_and_broken_videos_and_poses_of_another_length_are_refused_by_line(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", num_frames=4)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    video(tmp_path / "c.mp4")
    write_trajectory(tmp_path / "own.npz", synthesize(("fixed",), 8))
    lines = [OK, OK | {"file": "b.mp4", "prompt_id": 1}, OK | {"file": "c.mp4", "prompt_id": 2, "poses": "own.npz"}]
    made = read_manifest(manifest(tmp_path, *lines), SUITE)
    for one, sentence in zip(
        made, ("line 1: .* has 4 frames", "line 2: .* cannot be read", "line 3: its poses are 8 for .* 9"), strict=True
    ):
        with pytest.raises(InputError, match=sentence):
            take(one, tmp_path / "out.mp4")
        (tmp_path / "out.mp4").unlink(missing_ok=True)


def test_an_export_has_every_prompt_and_comes_back_through_its_own_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    export_suite(SUITE, folder, clip=CLIP, samples=2)
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    whole, scenes, cameras = (
        (folder / f"{name}.txt").read_text().splitlines() for name in ("prompts", "scenes", "camera")
    )
    for prompt, row, text, scene, camera in zip(SUITE.prompts, rows, whole, scenes, cameras, strict=True):
        assert text == row["prompt"] == prompt.text == f"{camera} {scene}"
        assert parse_plan(camera).tokens == prompt.camera
        wanted = synthesize(prompt.camera, 9).world_from_camera
        for name in ("poses_txt", "poses_npz"):
            found = read_trajectory(folder / row[name], num_frames=9, aspect=64 / 48).world_from_camera
            assert torch.allclose(found, wanted, atol=1e-6)
    readme = (folder / "README.md").read_text()
    assert "$" not in readme and "--suite camera" in readme and "067-1.mp4" in readme
    for name in ("ViewCrafter", "Voyager", "FlashWorld", "ReCamMaster", "CamCloneMaster", "CogVideoX", "closed model"):
        assert name in readme
    with pytest.raises(InputError, match=r"line 1: there is no file .*000-0.mp4 \(and 135 more"):
        read_manifest(folder, SUITE)
    for line in (folder / MANIFEST).read_text().splitlines():
        (folder / json.loads(line)["file"]).write_bytes(b"")
    made = read_manifest(folder, SUITE)
    assert [m.video.name for m in made] == [v.name for v in suite_videos(SUITE, samples=2, seed=0)]
    with pytest.raises(InputError, match="exists and is not empty"):
        export_suite(SUITE, folder, clip=CLIP, samples=1)


def test_seeds_depend_on_prompt_and_sample_alone() -> None:
    all_of_them = suite_videos(SUITE, samples=3, seed=7)
    assert len({video.seed for video in all_of_them}) == len(all_of_them) == 3 * 68
    few = suite_videos(SUITE, samples=2, seed=7, limit=5)
    assert [v.seed for v in few] == [v.seed for v in all_of_them if v.prompt.id < 5 and v.sample < 2]
    # the first sample starts from the noise of every other evaluation of the prompt
    assert few[2].seed == derive_seed(7, "evaluation", few[2].prompt.id, 0)
