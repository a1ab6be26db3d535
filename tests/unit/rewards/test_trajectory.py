"""S_traj: the table of research/math.md section 8 under the final formula, from closed forms."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from worldr1.camera.trajectory import MAGNITUDES, synthesize
from worldr1.errors import ConfigError, InputError
from worldr1.geometry.se3 import rotation_y
from worldr1.rewards.trajectory import (
    TrajectoryConfig,
    camera_travel,
    camera_travels,
    has_parallax,
    path_errors,
    recovered_paths,
    trajectory_errors,
)
from worldr1.types import Reconstruction, Trajectory

FRAMES = 17
MEAN_U = sum(i / (FRAMES - 1) for i in range(1, FRAMES)) / (FRAMES - 1)
"""Mean of u over frames 1..T-1: 0.53125."""
FREE = TrajectoryConfig(speed="free")


def recovered(poses: torch.Tensor, *, unit: float = 1.0) -> Reconstruction:
    """A reconstruction with these poses (depth units) whose own scale is `unit` times larger."""
    scaled = poses.clone()
    scaled[:, :3, 3] *= unit
    shape = (len(poses), 4, 6)
    return Reconstruction(
        world_from_camera=scaled.float(),
        depth=torch.full(shape, unit),
        intrinsics_px=torch.eye(3).expand(len(poses), 3, 3),
        confidence=torch.ones(shape),
    )


def scaled_request(token: str, factor: float) -> torch.Tensor:
    poses = synthesize([token], FRAMES).world_from_camera.clone()
    poses[:, :3, 3] *= factor
    return poses


def score(poses: torch.Tensor, token: str, config: TrajectoryConfig | None = None) -> float:
    return trajectory_errors(recovered(poses), synthesize([token], FRAMES), config=config).score


def still() -> torch.Tensor:
    return torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1)


@pytest.mark.parametrize("config", [TrajectoryConfig(), FREE], ids=["requested", "free"])
@pytest.mark.parametrize("token", MAGNITUDES)
def test_the_requested_path_scores_one_in_any_scale(token: str, config: TrajectoryConfig) -> None:
    trajectory = synthesize([token], FRAMES)
    for unit in (0.01, 1.0, 300.0):
        result = trajectory_errors(recovered(trajectory.world_from_camera, unit=unit), trajectory, config=config)
        assert result.score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("video", "request_token", "expected"),
    [
        ("fixed", "push_in", math.exp(-3 * MEAN_U)),
        ("fixed", "move_left", math.exp(-3 * MEAN_U)),
        ("pull_out", "push_in", math.exp(-6 * MEAN_U)),
        ("move_right", "move_left", math.exp(-6 * MEAN_U)),
        ("pan_right", "pan_left", math.exp(-8 * math.radians(28) * MEAN_U)),
        ("fixed", "pan_left", math.exp(-8 * math.radians(14) * MEAN_U)),
        ("pan_left", "fixed", math.exp(-8 * math.radians(14) * MEAN_U)),
        ("move_left", "fixed", math.exp(-3 * MEAN_U)),
    ],
)
def test_wrong_paths_score_what_the_formula_says(video: str, request_token: str, expected: float) -> None:
    poses = synthesize([video], FRAMES).world_from_camera
    assert score(poses, request_token) == pytest.approx(expected, abs=1e-5)
    assert score(poses, request_token, FREE) == pytest.approx(expected, abs=1e-5)


def test_the_table_of_the_research_note() -> None:
    assert score(still(), "push_in") == pytest.approx(0.20, abs=0.01)
    assert score(synthesize(["pull_out"], FRAMES).world_from_camera, "push_in") == pytest.approx(0.04, abs=0.01)
    assert score(synthesize(["pan_right"], FRAMES).world_from_camera, "pan_left") == pytest.approx(0.13, abs=0.01)
    assert score(synthesize(["orbit_right"], FRAMES).world_from_camera, "orbit_left") < 0.005
    off_axis = synthesize(["push_in"], FRAMES).world_from_camera.clone()
    off_axis[:, :3, 3] = off_axis[:, :3, 3] @ rotation_y(torch.tensor(math.radians(10.0)).double()).T
    assert score(off_axis, "push_in") == pytest.approx(0.76, abs=0.01)


@pytest.mark.parametrize("token", ["push_in", "pull_out", "move_left", "orbit_right", "pull_left"])
def test_less_travel_always_scores_less(token: str) -> None:
    scores = [score(scaled_request(token, f), token) for f in (1.0, 0.5, 0.2, 0.05)]
    assert all(a > b + 0.02 for a, b in itertools.pairwise(scores))
    if token in ("push_in", "pull_out", "move_left"):
        assert scores[1] == pytest.approx(math.exp(-3 * 0.5 * MEAN_U), abs=1e-5)
    assert score(scaled_request(token, 1.5), token) < scores[0]


def test_free_speed_forgives_half_but_not_a_tenth() -> None:
    assert score(scaled_request("push_in", 0.5), "push_in", FREE) == pytest.approx(1.0, abs=1e-5)
    assert score(scaled_request("push_in", 3.0), "push_in", FREE) == pytest.approx(1.0, abs=1e-5)
    assert score(scaled_request("push_in", 0.1), "push_in", FREE) == pytest.approx(
        math.exp(-3 * 0.8 * MEAN_U), abs=1e-5
    )


def test_a_noisy_pan_beats_a_still_video() -> None:
    generator = torch.Generator().manual_seed(0)
    pan = synthesize(["pan_left"], FRAMES).world_from_camera.clone()
    pan[1:, :3, 3] += 0.01 * torch.randn(FRAMES - 1, 3, generator=generator, dtype=torch.float64)
    assert score(pan, "pan_left") > 0.6 > score(still(), "pan_left")


def test_errors_are_in_the_reconstruction_s_own_median_depth_of_frame_0() -> None:
    poses = synthesize(["push_in"], FRAMES).world_from_camera
    video = recovered(poses)
    nearer = replace(video, depth=torch.cat([video.depth[:1] / 2, video.depth[1:]]))
    assert camera_travel(nearer).depth_units == pytest.approx(1.2, abs=1e-6)
    sky = video.confidence.clone()
    sky[0, :2] = 0.0
    with_sky = replace(video, confidence=sky, depth=torch.where(sky == 0, 1e3, video.depth))
    assert camera_travel(with_sky).depth_units == pytest.approx(0.6, abs=1e-6)


def test_the_origin_of_the_reconstruction_s_world_does_not_matter() -> None:
    trajectory = synthesize(["pull_left"], FRAMES)
    moved = synthesize(["orbit_left"], FRAMES).world_from_camera[-1] @ trajectory.world_from_camera
    assert trajectory_errors(recovered(moved), trajectory).score == pytest.approx(1.0, abs=1e-5)


def test_travel_is_measured_without_a_request() -> None:
    orbit = camera_travel(recovered(synthesize(["orbit_left"], FRAMES).world_from_camera))
    assert orbit.deg == pytest.approx(24.0, abs=1e-3)
    assert orbit.depth_units == pytest.approx(2 * math.sin(math.radians(12)), abs=1e-6)


def test_parallax_is_decided_by_the_request() -> None:
    without = {"fixed", "pan_left", "pan_right"}
    assert {t for t in MAGNITUDES if not has_parallax(synthesize([t], FRAMES))} == without
    assert has_parallax(None)
    assert has_parallax(synthesize(["pan_left", "push_in"], FRAMES))


def test_bad_input() -> None:
    trajectory = synthesize(["push_in"], FRAMES)
    with pytest.raises(InputError, match="9 frames"):
        trajectory_errors(recovered(synthesize(["push_in"], 9).world_from_camera), trajectory)
    with pytest.raises(ValueError, match="median depth"):
        trajectory_errors(replace(recovered(still()), depth=-torch.ones(FRAMES, 4, 6)), trajectory)
    with pytest.raises(InputError):
        trajectory_errors(recovered(still()[:1]), Trajectory(world_from_camera=still()[:1]))
    with pytest.raises(ConfigError):
        TrajectoryConfig(rotation_weight_per_rad=-1.0)
    with pytest.raises(ConfigError):
        TrajectoryConfig(speed="fast")  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [TrajectoryConfig(), FREE], ids=["requested", "free"])
def test_videos_together_have_the_errors_and_travel_of_each_alone(config: TrajectoryConfig) -> None:
    requests = [synthesize([token], FRAMES) for token in ("push_in", "fixed", "pan_left", "orbit_left")]
    seen = [synthesize([token], FRAMES) for token in ("move_left", "pull_out", "pan_left", "push_in")]
    videos = [recovered(path.world_from_camera, unit=1.0 + i) for i, path in enumerate(seen)]
    paths = recovered_paths(videos)
    together = path_errors(paths, requests, config=config)
    alone = [trajectory_errors(video, request, config=config) for video, request in zip(videos, requests, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert one.translation_error == pytest.approx(other.translation_error, abs=1e-12)
        assert one.rotation_error_rad == pytest.approx(other.rotation_error_rad, abs=1e-12)
    assert together[1].translation_error > 1 > together[2].translation_error + 0.99  # each by its own request
    assert [travel.depth_units for travel in camera_travels(paths)] == [camera_travel(v).depth_units for v in videos]
