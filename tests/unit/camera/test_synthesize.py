"""Poses of the camera's words: the table of docs/conventions.md section 2, said again by hand."""

import math

import pytest
import torch

from worldr1.camera.motion import TOKENS
from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.errors import InputError
from worldr1.geometry.se3 import geodesic_rad, inverse

SIN, COS = math.sin(math.radians(24)), math.cos(math.radians(24))
END = {  # x, z, yaw in degrees of the last frame
    "push_in": (0.0, 0.6, 0.0),
    "pull_out": (0.0, -0.6, 0.0),
    "move_left": (-0.22, 0.0, 0.0),
    "move_right": (0.22, 0.0, 0.0),
    "pan_left": (0.0, 0.0, -14.0),
    "pan_right": (0.0, 0.0, 14.0),
    "orbit_left": (-SIN, 1 - COS, 24.0),
    "orbit_right": (SIN, 1 - COS, -24.0),
    "pull_left": (-0.16, -0.3, -8.0),
    "pull_right": (0.16, -0.3, 8.0),
    "fixed": (0.0, 0.0, 0.0),
}
MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
PAIRS = [*((a, b) for a in TOKENS for b in TOKENS if a != b)]


def path(*tokens: str, num_frames: int = 17) -> torch.Tensor:
    return synthesize(tokens, num_frames).world_from_camera


def yaw_deg(poses: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.atan2(poses[:, 0, 2], poses[:, 2, 2]))


def test_the_vocabulary_is_the_frozen_one() -> None:
    assert set(TOKENS) == set(END)


@pytest.mark.parametrize("token", TOKENS)
def test_a_move_ends_where_the_conventions_say(token: str) -> None:
    poses = path(token)
    x, z, yaw = END[token]
    assert torch.equal(poses[0], torch.eye(4, dtype=torch.float64))
    assert poses[-1, :3, 3].tolist() == pytest.approx([x, 0.0, z], abs=1e-12)
    assert float(yaw_deg(poses)[-1]) == pytest.approx(yaw, abs=1e-9)


@pytest.mark.parametrize("token", TOKENS)
def test_speed_is_constant(token: str) -> None:
    poses = path(token, num_frames=33)
    steps = inverse(poses[:-1]) @ poses[1:]
    travel = torch.linalg.vector_norm(steps[:, :3, 3], dim=1)
    turn = geodesic_rad(steps[:, :3, :3], torch.eye(3, dtype=torch.float64).expand(1, 3, 3))
    for speed in (travel, turn):
        assert float(speed.max() - speed.min()) < 1e-12


@pytest.mark.parametrize(("left", "right"), [(t, t.replace("left", "right")) for t in TOKENS if "left" in t])
def test_left_and_right_are_mirror_images(left: str, right: str) -> None:
    assert torch.equal(MIRROR @ path(left, "push_in") @ MIRROR, path(right, "push_in"))


@pytest.mark.parametrize("token", ["orbit_left", "orbit_right"])
@pytest.mark.parametrize("before", [(), ("pan_left",), ("push_in", "move_right")])
def test_an_orbit_keeps_looking_at_a_fixed_point_one_unit_ahead(token: str, before: tuple[str, ...]) -> None:
    num_moves = len(before) + 1
    poses = path(*before, token, num_frames=12 * num_moves + 1)
    orbit = poses[12 * len(before) :]
    ahead = orbit[:, :3, 3] + orbit[:, :3, 2]
    assert float((ahead - ahead[0]).abs().max()) < 1e-9
    swept = torch.rad2deg(geodesic_rad(orbit[0, :3, :3], orbit[-1, :3, :3]))
    assert float(swept) == pytest.approx(24 / num_moves), "the angle shrinks in a sequence, the radius does not"


def test_orbit_left_goes_left_and_looks_right() -> None:
    poses = path("orbit_left")
    assert bool((poses[1:, 0, 3] < 0).all())
    assert bool((poses[1:, 0, 2] > 0).all())


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_a_sequence_shares_the_clip_and_has_no_frame_twice(pair: tuple[str, str]) -> None:
    poses = path(*pair, num_frames=17)
    first, second = (path(token, num_frames=17) for token in pair)
    # In half of the clip a move goes half its way, so its poses are those of the first half of the whole move,
    # seen from where it starts.
    assert float((poses[:9] - first[:9]).abs().max()) < 1e-12
    assert float((poses[8:] - poses[8] @ second[:9]).abs().max()) < 1e-12
    moved = (poses[1:] - poses[:-1]).abs().amax(dim=(1, 2)) > 1e-6
    expected = torch.tensor([pair[0] != "fixed"] * 8 + [pair[1] != "fixed"] * 8)
    assert torch.equal(moved, expected)


def test_joints_between_frames_split_the_magnitudes_exactly() -> None:
    poses = path("push_in", "pull_out", "move_left", num_frames=81)
    assert poses[-1, :3, 3].tolist() == pytest.approx([-0.22 / 3, 0.0, 0.0], abs=1e-12)
    assert float(poses[:, 2, 3].max()) == pytest.approx(0.2, abs=0.2 * 3 / 80)
    # frame 27 is at u = 0.3375: 0.0125 of a part of 1/3 into the second move
    assert float(poses[27, 2, 3]) == pytest.approx(0.2 - 0.6 * (27 / 80 - 1 / 3), abs=1e-12)


def test_latent_frames_stand_for_every_fourth_frame() -> None:
    trajectory = synthesize(["orbit_left"], 17)
    assert torch.equal(latent_poses(trajectory), trajectory.world_from_camera[[0, 4, 8, 12, 16]])
    with pytest.raises(InputError, match="4 k \\+ 1, got 16"):
        latent_poses(synthesize(["orbit_left"], 16))


def test_impossible_paths_are_refused() -> None:
    with pytest.raises(InputError, match="at least one camera move"):
        synthesize([], 17)
    with pytest.raises(InputError, match="unknown camera move 'zoom_in'"):
        synthesize(["zoom_in"], 17)
    with pytest.raises(InputError, match="at least one frame"):
        synthesize(["fixed"], 0)
    assert torch.equal(path("push_in", num_frames=1), torch.eye(4, dtype=torch.float64)[None])
