"""Paths of any sequence and clip length, against docs/conventions.md section 2 computed once more, in NumPy."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worldr1.camera.files import read_trajectory, write_trajectory
from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.errors import InputError

MOVES = {  # x, z, yaw, orbit (degrees) of a whole clip: the table of the conventions, row by row
    "push_in": (0.0, 0.60, 0.0, 0.0),
    "pull_out": (0.0, -0.60, 0.0, 0.0),
    "move_left": (-0.22, 0.0, 0.0, 0.0),
    "move_right": (0.22, 0.0, 0.0, 0.0),
    "pan_left": (0.0, 0.0, -14.0, 0.0),
    "pan_right": (0.0, 0.0, 14.0, 0.0),
    "orbit_left": (0.0, 0.0, 0.0, 24.0),
    "orbit_right": (0.0, 0.0, 0.0, -24.0),
    "pull_left": (-0.16, -0.30, -8.0, 0.0),
    "pull_right": (0.16, -0.30, 8.0, 0.0),
    "fixed": (0.0, 0.0, 0.0, 0.0),
}
CLIPS = (17, 33, 49, 81, 121)
SEQUENCES = st.lists(st.sampled_from(sorted(MOVES)), min_size=1, max_size=4)
WAN_CLIPS = st.one_of(st.sampled_from(CLIPS), st.integers(1, 64).map(lambda k: 4 * k + 1))
ANY_CLIPS = st.one_of(st.sampled_from(CLIPS), st.integers(2, 257))
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
OPPOSITES = [("push_in", "pull_out"), ("move_left", "move_right"), ("pan_left", "pan_right")]
OPPOSITES += [("orbit_left", "orbit_right")]


def path(tokens: list[str] | tuple[str, ...], num_frames: int) -> np.ndarray:
    return synthesize(tokens, num_frames).world_from_camera.numpy()


def rigid(yaw_deg: float, translation: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    pose[:3, 3] = translation
    return pose


def part_of_move(token: str, fraction: float) -> np.ndarray:
    """An orbit here is: go to the pivot, turn, come back."""
    x, z, yaw, orbit = (fraction * number for number in MOVES[token])
    turn = rigid(0, (0, 0, 1)) @ rigid(orbit, (0, 0, 0)) @ rigid(0, (0, 0, -1))
    return rigid(yaw, (x, 0, z)) @ turn


def expected_pose(tokens: list[str], frame: int, num_frames: int) -> np.ndarray:
    """The product of the moves' shares up to this frame: each move has its own n-th of the time and of its way."""
    done, pose = Fraction(frame, num_frames - 1) * len(tokens), np.eye(4)
    for index, token in enumerate(tokens):
        share = min(max(done - index, Fraction(0)), Fraction(1))
        pose = pose @ part_of_move(token, float(share) / len(tokens))
    return pose


def is_moving(tokens: list[str], frame: int, num_frames: int) -> bool:
    """Whether anything but `fixed` happens between this frame and the next."""
    start, end = (Fraction(i, num_frames - 1) * len(tokens) for i in (frame, frame + 1))
    return any(token != "fixed" and start < index + 1 and end > index for index, token in enumerate(tokens))


@given(tokens=SEQUENCES, num_frames=ANY_CLIPS, data=st.data())
def test_every_pose_is_the_product_of_the_moves_shares(tokens: list[str], num_frames: int, data: st.DataObject) -> None:
    poses = path(tokens, num_frames)
    frame = data.draw(st.integers(0, num_frames - 1))
    for i in (0, frame, num_frames - 1):
        assert poses[i] == pytest.approx(expected_pose(tokens, i, num_frames), abs=1e-12)


@given(tokens=SEQUENCES, num_frames=ANY_CLIPS)
def test_poses_are_level_rigid_and_start_at_the_identity(tokens: list[str], num_frames: int) -> None:
    poses = path(tokens, num_frames)
    rotation = poses[:, :3, :3]
    assert poses.shape == (num_frames, 4, 4)
    assert np.array_equal(poses[0], np.eye(4))
    assert np.array_equal(poses[:, 3], np.tile((0.0, 0.0, 0.0, 1.0), (num_frames, 1)))
    assert np.abs(rotation.mT @ rotation - np.eye(3)).max() < 1e-14
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-14)
    assert np.array_equal(poses[:, :3, 1], np.tile((0.0, 1.0, 0.0), (num_frames, 1))), "no move tilts or rolls"
    assert not poses[:, 1, 3].any(), "no move climbs"


@given(tokens=SEQUENCES, num_frames=WAN_CLIPS)
def test_no_pose_is_given_twice_unless_the_camera_is_fixed(tokens: list[str], num_frames: int) -> None:
    poses = path(tokens, num_frames)
    moved = [bool(np.abs(b - a).max() > 1e-9) for a, b in pairwise(poses)]
    assert moved == [is_moving(tokens, frame, num_frames) for frame in range(num_frames - 1)]


def test_only_a_turning_point_halfway_between_frames_gives_equal_neighbours() -> None:
    # Wan's clips have 4 k + 1 frames, where this cannot happen. With four, the camera turns back at u = 1/2.
    z = path(["push_in", "pull_out"], 4)[:, 2, 3]
    assert z == pytest.approx([0.0, 0.2, 0.2, 0.0], abs=1e-12)


@given(tokens=SEQUENCES, num_frames=st.integers(2, 129))
def test_a_finer_clip_passes_through_the_same_poses(tokens: list[str], num_frames: int) -> None:
    assert path(tokens, 2 * num_frames - 1)[::2] == pytest.approx(path(tokens, num_frames), abs=1e-12)


@given(tokens=SEQUENCES, num_frames=ANY_CLIPS)
def test_left_for_right_is_the_mirrored_path(tokens: list[str], num_frames: int) -> None:
    other = {"left": "right", "right": "left"}
    swapped = ["_".join(other.get(word, word) for word in token.split("_")) for token in tokens]
    assert np.array_equal(path(swapped, num_frames), MIRROR @ path(tokens, num_frames) @ MIRROR)


@pytest.mark.parametrize("num_frames", [17, 49, 81, 121, 161])
def test_four_moves_have_a_quarter_of_the_clip_each(num_frames: int) -> None:
    poses, quarter = path(["push_in", "move_right", "pull_out", "pan_right"], num_frames), (num_frames - 1) // 4
    corners = [(0.0, 0.0), (0.0, 0.15), (0.055, 0.15), (0.055, 0.0), (0.055, 0.0)]
    assert poses[::quarter, [0], 3].ravel() == pytest.approx([x for x, _ in corners], abs=1e-12)
    assert poses[::quarter, [2], 3].ravel() == pytest.approx([z for _, z in corners], abs=1e-12)
    turned = np.rad2deg(np.arctan2(poses[:, 0, 2], poses[:, 2, 2]))
    assert not turned[: 3 * quarter + 1].any()
    assert turned[3 * quarter :] == pytest.approx(np.linspace(0.0, 3.5, quarter + 1), abs=1e-9)


@pytest.mark.parametrize("num_frames", CLIPS)
@pytest.mark.parametrize("pair", [*OPPOSITES, *((b, a) for a, b in OPPOSITES)], ids="+".join)
def test_a_move_and_its_opposite_lead_back(pair: tuple[str, str], num_frames: int) -> None:
    poses = path(pair, num_frames)
    assert poses[-1] == pytest.approx(np.eye(4), abs=1e-14)
    assert poses == pytest.approx(poses[::-1], abs=1e-14), "the way back is the way there"
    assert np.abs(poses[num_frames // 2] - np.eye(4)).max() > 0.1


def test_pull_left_and_pull_right_are_no_opposites() -> None:
    end = path(["pull_left", "pull_right"], 81)[-1]
    # -0.08, -0.15 from the start, then 0.08, -0.15 in the frame of a camera that looks 4 degrees to the left
    cos, sin = np.cos(np.deg2rad(4)), np.sin(np.deg2rad(4))
    expected = (-0.08 + 0.08 * cos + 0.15 * sin, -0.15 + 0.08 * sin - 0.15 * cos)
    assert (end[0, 3], end[2, 3]) == pytest.approx(expected, abs=1e-12)
    assert end[:3, :3] == pytest.approx(np.eye(3), abs=1e-14)


@given(before=st.lists(st.sampled_from(sorted(MOVES)), max_size=3), left=st.booleans(), k=st.integers(1, 20))
def test_an_orbit_keeps_its_pivot_in_the_middle_of_the_picture(before: list[str], left: bool, k: int) -> None:
    num_moves, frames_per_move = len(before) + 1, 4 * k
    poses = path([*before, "orbit_left" if left else "orbit_right"], frames_per_move * num_moves + 1)
    orbit = poses[frames_per_move * len(before) :]
    pivot = orbit[0] @ np.array([0.0, 0.0, 1.0, 1.0])
    seen = np.linalg.inv(orbit) @ pivot
    pixel = 1.2 * 832 * seen[:, :2] / seen[:, 2:3] + (832 / 2, 480 / 2)
    assert np.abs(pixel - (416.0, 240.0)).max() < 0.01
    assert seen[:, 2] == pytest.approx(1.0, abs=1e-12), "its distance stays too"


@settings(max_examples=12)
@given(tokens=SEQUENCES, num_frames=st.sampled_from(CLIPS))
def test_any_path_is_read_back_from_its_file(
    tokens: list[str], num_frames: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("path")
    trajectory = synthesize(tokens, num_frames)
    for name, tolerance in (("a.npz", 1e-14), ("a.txt", 2e-9)):
        write_trajectory(folder / name, trajectory, aspect=832 / 480)
        again = read_trajectory(folder / name, num_frames=num_frames, aspect=832 / 480)
        assert again.focal_per_width == pytest.approx(1.2, abs=1e-9)
        torch.testing.assert_close(again.world_from_camera, trajectory.world_from_camera, rtol=0, atol=tolerance)


@pytest.mark.parametrize("num_frames", [*CLIPS, 257])
def test_latent_poses_are_those_of_every_fourth_frame(num_frames: int) -> None:
    trajectory = synthesize(["orbit_left", "push_in", "pan_right"], num_frames)
    latent = latent_poses(trajectory)
    assert len(latent) == (num_frames + 3) // 4
    for index, pose in enumerate(latent):
        assert torch.equal(pose, trajectory.world_from_camera[4 * index])


@given(num_frames=st.integers(1, 257).filter(lambda n: n % 4 != 1))
def test_clips_of_other_lengths_have_no_latent_frames(num_frames: int) -> None:
    with pytest.raises(InputError, match=f"must be 4 k \\+ 1, got {num_frames}"):
        latent_poses(synthesize(["push_in"], num_frames))
