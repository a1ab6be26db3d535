"""Camera paths in files: what is read, what is written, and what is refused."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from worldr1.camera.files import read_trajectory, write_trajectory
from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.types import Trajectory

GOLDEN = """https://www.youtube.com/watch?v=a-clip
0 0.45 0.8 0.5 0.5 0 0  0 0 -1 3  0 1 0 -2  1 0 0 -1
33366 0.45 0.8 0.5 0.5 0 0  1 0 0 -5  0 1 0 -2  0 0 1 -3

"""
"""Camera 0 is at (1, 2, 3) and looks along the world's +x; camera 1 at (5, 2, 3) looks along its +z: 4 units ahead of
camera 0, turned to the left by a right angle."""


def _path(num_frames: int = 5) -> Trajectory:
    """A path with all six degrees of freedom: moves of words, with a growing tilt and climb on top."""
    poses = synthesize(["orbit_left", "pull_right"], num_frames).world_from_camera
    tilt = torch.linspace(0, 0.3, num_frames, dtype=torch.float64)
    cos, sin, zero, one = tilt.cos(), tilt.sin(), torch.zeros_like(tilt), torch.ones_like(tilt)
    rows = ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    rotation = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    climb = make_pose(rotation, torch.stack((zero, -tilt, zero), dim=-1))
    return Trajectory(world_from_camera=poses @ climb, focal_per_width=0.83)


def _text(path: Path, text: str = GOLDEN) -> Path:
    path.write_text(text)
    return path


def _npz(path: Path, **arrays: object) -> Path:
    np.savez(path, allow_pickle=True, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def test_golden_text_gives_the_pose_computed_by_hand(tmp_path: Path) -> None:
    trajectory = read_trajectory(_text(tmp_path / "a.txt"), num_frames=2, depth_unit=2.0, aspect=832 / 480)
    ahead_and_left = [[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 2], [0, 0, 0, 1]]
    expected = torch.stack((torch.eye(4), torch.tensor(ahead_and_left, dtype=torch.float32))).double()
    assert trajectory.world_from_camera.dtype == torch.float64
    assert torch.equal(trajectory.world_from_camera[0], expected[0])
    torch.testing.assert_close(trajectory.world_from_camera, expected, rtol=0, atol=1e-15)
    assert trajectory.focal_per_width == 0.45


def test_written_text_has_the_columns_of_camera_ctrl(tmp_path: Path) -> None:
    file = tmp_path / "a.TXT"
    write_trajectory(file, synthesize(["push_in"], 2), aspect=1.75)
    comment, first, second = file.read_text().removesuffix("\n").split("\n")
    assert comment.startswith("#")
    assert [float(word) for word in first.split(" ")] == [
        0,
        1.2,
        2.1,
        0.5,
        0.5,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        0,
    ]
    assert [float(word) for word in second.split(" ")[-4:]] == [0, 0, 1, -0.6], (
        "camera_from_world: the scene comes closer"
    )
    assert second.split(" ")[0] == "1"


@pytest.mark.parametrize(("name", "tolerance"), [("a.npz", 1e-9), ("a.NPZ", 1e-9), ("a.txt", 1e-6)])
def test_what_is_written_is_read_back(name: str, tolerance: float, tmp_path: Path) -> None:
    path = _path()
    write_trajectory(tmp_path / name, path, aspect=1.5)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    again = read_trajectory(tmp_path / name, num_frames=5, aspect=1.5)
    torch.testing.assert_close(again.world_from_camera, path.world_from_camera, rtol=0, atol=tolerance)
    assert again.focal_per_width == pytest.approx(path.focal_per_width, abs=tolerance)


@pytest.mark.parametrize("focal", [{"focal_per_width": 0.83}, {"fx": [0.83] * 5}, {"fx": np.float32(0.83)}])
def test_npz_in_any_world_frame_and_unit_is_relative_to_frame_0(focal: dict[str, object], tmp_path: Path) -> None:
    path = _path()
    scaled = path.world_from_camera.clone()
    scaled[:, :3, 3] *= 250
    anywhere = make_pose(rotation_y(torch.tensor(2.0).double()), torch.tensor([3390.0, 1380.0, 240.0]).double())
    file = _npz(tmp_path / "a.npz", world_from_camera=(anywhere @ scaled).numpy(), **focal)
    again = read_trajectory(file, depth_unit=250.0)
    torch.testing.assert_close(again.world_from_camera, path.world_from_camera, rtol=0, atol=1e-9)
    assert again.focal_per_width == pytest.approx(0.83, abs=1e-7)


def test_rounded_rotations_are_made_exact(tmp_path: Path) -> None:
    poses = _path().world_from_camera.numpy().round(4)
    again = read_trajectory(_npz(tmp_path / "a.npz", world_from_camera=poses, fx=1.2)).world_from_camera
    rotation = again[:, :3, :3]
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).double().expand(5, 3, 3), rtol=0, atol=1e-14)
    torch.testing.assert_close(again, _path().world_from_camera, rtol=0, atol=2e-4)


SECOND = GOLDEN.splitlines()[2]
BAD_TEXT = {
    "no rows": ("# nothing\n", "has 0 poses: a camera path needs at least 2"),
    "empty": ("", "has 0 poses"),
    "one row": (GOLDEN.replace(SECOND, ""), "has 1 pose: a camera path needs at least 2"),
    "no header": (GOLDEN.split("\n", 1)[1], "line 1 .* put a URL or comment first"),
    "columns": (GOLDEN.replace(" -3\n", "\n"), "line 3 .* 18 columns instead of 19"),
    "words": (GOLDEN.replace("33366", "frame1"), "line 3 .* not a number"),
    "not finite": (GOLDEN.replace(" -3\n", " nan\n"), "line 3 .* not finite"),
    "infinite": (GOLDEN.replace(" -3\n", " 1e999\n"), "line 3 .* not finite"),
    "scaled": (GOLDEN.replace("0 0 1 -3", "0 0 1.001 -3"), "line 3 .* not rigid"),
    "mirrored": (GOLDEN.replace("0 0 1 -3", "0 0 -1 -3"), "line 3 .* not rigid"),
    "huge": (GOLDEN.replace("0 0 1 -3", "0 0 1e200 -3"), "line 3 .* not rigid"),
    "centre x": (GOLDEN.replace(SECOND, SECOND.replace("0.8 0.5 0.5", "0.8 0.511 0.5")), r"line 3 .*\(0.511, 0.5\)"),
    "centre y": (GOLDEN.replace(SECOND, SECOND.replace("0.8 0.5 0.5", "0.8 0.5 0.489")), "line 3 .*principal point"),
    "zoom": (GOLDEN.replace(SECOND, SECOND.replace("0.45", "0.46")), "line 3 .* fx = 0.46 after 0.45 .*zooms"),
    "zoom in y": (GOLDEN.replace(SECOND, SECOND.replace("0.8", "0.82")), "line 3 .* fy = 0.82 after 0.8 .*zooms"),
    "no focal length": (GOLDEN.replace("0.45", "0"), "line 2 .* above 0"),
    "no fy": (GOLDEN.replace("0.8", "-0.8"), "line 2 .* above 0"),
    "pixels": (GOLDEN.replace("0.45", "576").replace("0.8", "1024"), "line 2 .* fx = 576.*image width"),
    "far": (GOLDEN.replace("0 0 1 -3", "0 0 1 -3000"), "leads 3e[+]03 depth units away: give the depth unit"),
    "square": (GOLDEN.replace("0.8", "0.45"), "line 2 .* 1.000 times as wide as high, but the clip's is 1.733"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, complaint = BAD_TEXT[case]
    with pytest.raises(InputError) as caught:
        read_trajectory(_text(tmp_path / "a.txt", text), aspect=832 / 480)
    assert re.search(complaint, str(caught.value))
    assert "\n" not in str(caught.value)


def test_limits_let_the_legitimate_pass(tmp_path: Path) -> None:
    """Rounded rotations, 0.9 % off the centre, 16:9 in 832 x 480, and any shape if none is asked for."""
    text = GOLDEN.replace("0 0 1 -3", "0 0 1.0004 -3").replace("0.5 0.5", "0.509 0.491")
    assert read_trajectory(_text(tmp_path / "a.txt", text), aspect=832 / 480).num_frames == 2
    assert read_trajectory(_text(tmp_path / "b.txt", GOLDEN.replace("0.8", "0.45"))).focal_per_width == 0.45


POSES = np.tile(np.eye(4), (3, 1, 1))
BAD_ARRAYS = {
    "no focal length": ({"world_from_camera": POSES}, "focal_per_width or fx"),
    "two focal lengths": ({"world_from_camera": POSES, "fx": 1, "focal_per_width": 1}, "focal_per_width or fx"),
    "no poses": ({"fx": 1.0}, "needs world_from_camera"),
    "shape": ({"world_from_camera": POSES[:, :3], "fx": 1.0}, r"shape \[3, 3, 4\]: it must be"),
    "flat": ({"world_from_camera": POSES[0], "fx": 1.0}, r"shape \[4, 4\]: it must be"),
    "focal shape": ({"world_from_camera": POSES, "fx": [1.0, 1.0]}, "one number or one per pose"),
    "text": ({"world_from_camera": POSES.astype(str), "fx": 1.0}, "real numbers"),
    "pickle": ({"world_from_camera": POSES.astype(object), "fx": 1.0}, "archive of plain arrays"),
    "not finite": ({"world_from_camera": POSES * np.nan, "fx": 1.0}, "not finite"),
    "focal": ({"world_from_camera": POSES, "fx": np.inf}, "fx in .* not finite"),
    "transposed": ({"world_from_camera": POSES + np.eye(4)[3][:, None] * [1, 0, 0, 0], "fx": 1.0}, "transposed"),
    "pixels": ({"world_from_camera": POSES, "fx": 998.4}, "pose 0 .*image width"),
    "zoom": ({"world_from_camera": POSES, "fx": [1, 1, 1.02]}, "pose 2 .*zooms"),
    "not rigid": ({"world_from_camera": [np.eye(4), np.diag((1, 1, 2, 1))], "fx": 1.0}, "pose 1 .* not rigid"),
    "one": ({"world_from_camera": POSES[:1], "fx": 1.0}, "1 pose: "),
    "none": ({"world_from_camera": POSES[:0], "fx": 1.0}, "0 poses: "),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    arrays, complaint = BAD_ARRAYS[case]
    with pytest.raises(InputError) as caught:
        read_trajectory(_npz(tmp_path / "a.npz", **arrays))
    assert re.search(complaint, str(caught.value))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_archives_are_refused(tmp_path: Path) -> None:
    lone = io.BytesIO()
    np.save(lone, POSES)
    whole = _npz(tmp_path / "whole.npz", world_from_camera=POSES, fx=1.0).read_bytes()
    flipped = whole[:150] + bytes(255 - byte for byte in whole[150:200]) + whole[200:]
    for content in (b"", b"PK\x03\x04", b"no archive", lone.getvalue(), whole[:300], flipped):
        file = tmp_path / "a.npz"
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"numpy.savez"):
            read_trajectory(file)


def test_wrong_names_and_arguments_are_refused(tmp_path: Path) -> None:
    file = _text(tmp_path / "a.txt")
    (tmp_path / "folder.txt").mkdir()
    for path in (tmp_path / "missing.txt", tmp_path / "missing.npz", tmp_path / "folder.txt"):
        with pytest.raises(InputError, match="is not a file"):
            read_trajectory(path)
    with pytest.raises(InputError, match=r"\.txt or \.npz file: rename or convert 'a\.json'"):
        read_trajectory(tmp_path / "a.json")
    with pytest.raises(InputError, match="has 2 poses and the clip 81 frames"):
        read_trajectory(file, num_frames=81)
    for depth_unit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="depth unit must be a positive"):
            read_trajectory(file, depth_unit=depth_unit)
    with pytest.raises(InputError, match="depth units away"):
        read_trajectory(file, depth_unit=1e-310)
    path = synthesize(["push_in"], 5)
    for name, complaint in (("b.csv", "rename"), ("none/b.npz", "does not exist"), ("folder.txt", "is a folder")):
        with pytest.raises(InputError, match=complaint):
            write_trajectory(tmp_path / name, path, aspect=1.5)
    for aspect in (None, 0.0, float("nan")):
        with pytest.raises(InputError, match="give the clip's aspect"):
            write_trajectory(tmp_path / "b.txt", path, aspect=aspect)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "folder.txt"]
