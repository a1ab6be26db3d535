"""What is believed: moving, turning and standing cameras; and what is refused with a reason."""

import numpy as np
import pytest
from synthetic_tracks import merged as both
from synthetic_tracks import path, project

from worldr1.backends.sfm.estimate import (
    Estimate,
    EstimateConfig,
    Motion,
    estimate,
    from_tracks,
    path_gap,
    rotation_gap_deg,
)
from worldr1.backends.sfm.tracks import Tracks
from worldr1.errors import InputError


@pytest.mark.parametrize(
    ("kind", "motion"),
    [("push", Motion.MOVES), ("orbit", Motion.MOVES), ("pan", Motion.TURNS), ("still", Motion.STANDS)],
)
def test_motion_is_named_and_found_in_noise_and_outliers(kind: str, motion: Motion) -> None:
    truth = path(kind)
    found = judged(project(truth, num=140, noise_px=0.05, outliers=0.1))
    assert (found.reason, found.motion) == ("", motion)
    assert rotation_gap_deg(truth, found.world_from_camera) < 0.3
    assert found.rigid_share > 0.8
    if motion is Motion.MOVES:
        assert path_gap(truth, found.world_from_camera) < 0.03
        assert found.point_depths.min() > 0
    else:
        assert not found.world_from_camera[:, :3, 3].any() and not len(found.point_depths)


def test_a_camera_that_moves_little_is_not_called_standing() -> None:
    assert judged(project(path("move", amount=0.1), noise_px=0.1)).motion is not Motion.STANDS


def test_noise_and_plain_pictures_give_too_few_points() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 96), dtype=np.uint8)
    plain = np.full((6, 64, 96), 128, np.uint8)
    for frames in (noise, plain):
        found = estimate(list(frames), EstimateConfig())
        assert found.motion is None and "followed" in found.reason


def test_two_rigid_motions_are_not_one_scene() -> None:
    found = judged(both(project(path("move"), num=100), project(path("orbit", amount=-1.5), num=100, seed=1)))
    assert found.motion is None and found.reason


def test_shuffled_frames_of_exact_tracks_are_either_right_or_refused() -> None:
    order = np.random.default_rng(0).permutation(17)
    truth = path("orbit")[order]
    truth = np.linalg.inv(truth[0]) @ truth
    found = judged(project(truth))
    assert found.reason or rotation_gap_deg(truth, found.world_from_camera) < 0.5


def test_points_that_wander_are_refused() -> None:
    found = judged(project(path("still"), outliers=1.0))
    assert found.motion is None
    assert "as one rigid scene" in found.reason or "disagree" in found.reason


def test_a_cut_is_named_by_its_frame() -> None:
    tracks = project(path("push"), num=200)
    first, second = tracks.until(8), _later(tracks, 8)
    found = judged(both(first, second))
    assert "between frames 8 and 9 only 0 points" in found.reason


def test_halves_that_disagree_are_a_reason() -> None:
    config = EstimateConfig(max_rotation_gap_deg=1e-9, max_path_gap=1e-9)
    moving = from_tracks(project(path("orbit"), num=100, noise_px=0.2), config)
    turning = from_tracks(project(path("pan"), num=100, noise_px=0.2), config)
    assert "disagree on how the camera turns" in moving.reason
    assert "disagree on how the camera turns" in turning.reason
    only_path = EstimateConfig(max_path_gap=1e-9)
    assert (
        "disagree on how the camera moves"
        in from_tracks(project(path("push"), num=100, noise_px=0.2), only_path).reason
    )


def test_too_few_frames_are_an_input_error() -> None:
    with pytest.raises(InputError, match="at least 5"):
        estimate([np.zeros((64, 96), np.uint8)] * 4, EstimateConfig())


def test_gaps_between_paths() -> None:
    truth, pan = path("push"), path("pan")
    farther = truth.copy()
    farther[:, :3, 3] *= 7
    assert path_gap(truth, farther) == pytest.approx(0, abs=1e-12)
    assert path_gap(truth, path("move")) > 0.4
    assert rotation_gap_deg(pan, path("still")) == pytest.approx(np.mean(np.linspace(0, 14, 17)[1:]))


def judged(tracks: Tracks) -> Estimate:
    return from_tracks(tracks, EstimateConfig())


def _later(tracks: Tracks, frame: int) -> Tracks:
    keep = tracks.frame >= frame
    lengths = np.bincount(tracks.track[keep], minlength=tracks.num)
    keep &= lengths[tracks.track] >= 3
    return Tracks(
        num_frames=tracks.num_frames,
        height=tracks.height,
        width=tracks.width,
        track=np.unique(tracks.track[keep], return_inverse=True)[1],
        frame=tracks.frame[keep],
        xy=tracks.xy[keep],
    )


def test_the_focal_length_is_estimated_where_it_shows_and_assumed_where_not() -> None:
    free = EstimateConfig(focal_per_width=None)
    wide = project(path("pan", amount=2), num=100, noise_px=0.1, focal_px=0.9 * 208)
    found = from_tracks(wide, free)
    assert found.focal_px == pytest.approx(0.9 * 208) and "estimated: 0.9 image widths" in found.note
    assert rotation_gap_deg(path("pan", amount=2), found.world_from_camera) < 0.1
    hidden = from_tracks(project(path("push"), num=100, noise_px=0.1, focal_px=0.9 * 208), free)
    assert hidden.focal_px == pytest.approx(1.2 * 208) and "does not tell" in hidden.note
