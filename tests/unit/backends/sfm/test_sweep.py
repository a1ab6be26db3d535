"""Plane sweep on two textured planes whose depth is known exactly."""

import math
from typing import NamedTuple

import numpy as np
import pytest

from worldr1.backends.sfm.sweep import SKY_DEPTH, SweepConfig, dense_depth
from worldr1.errors import InputError

HEIGHT, WIDTH, FOCAL_PX, NUM_FRAMES = 60, 80, 96.0, 9
NEAR, FAR = 0.9, 3.0
CARD_DEPTH = 1.0
CARD_HALF = (0.16, 0.12)
"""Half width and height of the near card, which faces frame 0; behind it a wall, z = 2 + x / 2, or nothing but sky."""


class Clip(NamedTuple):
    frames: np.ndarray
    poses: np.ndarray
    depth: np.ndarray
    card: np.ndarray


def pattern(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """A texture without repetition, in grey levels: waves of random directions."""
    rng = np.random.default_rng(seed)
    total = np.zeros_like(a)
    for _ in range(12):
        angle, frequency, phase = rng.uniform(0, 2 * math.pi), rng.uniform(10, 45), rng.uniform(0, 2 * math.pi)
        total += np.sin(frequency * (a * math.cos(angle) + b * math.sin(angle)) + phase)
    return 128 + 30 * total


def camera_path(*, roll_deg: float = 0.0, step: float = 0.04, back: float = 0.0) -> np.ndarray:
    """To the right, rolling about the optical axis, and back."""
    poses = np.tile(np.eye(4), (NUM_FRAMES, 1, 1))
    for i, angle in enumerate(np.radians(np.linspace(0, roll_deg, NUM_FRAMES))):
        poses[i, :2, :2] = ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
        poses[i, :2, 3] = (step * i, 0.1 * step * i)
        poses[i, 2, 3] = -back * i
    return poses


def film(poses: np.ndarray, *, sky: bool = False, scale: int = 1) -> Clip:
    """The two planes ray-cast at `scale` times the size; pixel centres are at half-integers."""
    ys, xs = np.mgrid[: HEIGHT * scale, : WIDTH * scale] / scale + 0.5 / scale
    rays = np.stack([(xs - WIDTH / 2) / FOCAL_PX, (ys - HEIGHT / 2) / FOCAL_PX, np.ones_like(xs)], -1)
    frames, depths, cards = [], [], []
    for pose in poses:
        world = rays @ pose[:3, :3].T
        x0, y0, z0 = pose[:3, 3]
        # rays have z = 1 in the camera and these cameras do not tilt, so the length along a ray is the z-depth
        on_card = np.stack([x0 + (CARD_DEPTH - z0) * world[..., 0], y0 + (CARD_DEPTH - z0) * world[..., 1]])
        card = (abs(on_card[0]) < CARD_HALF[0]) & (abs(on_card[1]) < CARD_HALF[1])
        wall = (2 + x0 / 2 - z0) / (1 - world[..., 0] / 2)
        behind = (
            pattern(2 * world[..., 0], 2 * world[..., 1], 1)
            if sky
            else pattern(x0 + wall * world[..., 0], y0 + wall * world[..., 1], 1)
        )
        frames.append(np.where(card, pattern(on_card[0], on_card[1], 2), behind))
        depths.append(np.where(card, CARD_DEPTH - z0, np.inf if sky else wall))
        cards.append(card)
    return Clip(np.stack(frames).clip(0, 255).astype(np.uint8), poses, np.stack(depths), np.stack(cards))


def relative_errors(found: np.ndarray, clip: Clip) -> np.ndarray:
    return abs(found - clip.depth) / clip.depth


@pytest.mark.parametrize(("roll_deg", "back"), [(0.0, 0.0), (20.0, 0.0), (0.0, 0.06)])
def test_depth_of_two_planes(roll_deg: float, back: float) -> None:
    """A roll turns pixels about the principal point: half a pixel of error there shifts it by 0.2 pixels."""
    clip = film(camera_path(roll_deg=roll_deg, back=back))
    found = dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR)
    errors, trusted = relative_errors(found.depth, clip), found.confidence == 1
    assert found.depth.dtype == found.confidence.dtype == np.float32
    assert trusted.mean() > 0.85
    assert np.median(errors[trusted]) < 0.01
    assert np.quantile(errors[trusted], 0.9) < 0.04
    assert np.median(errors[clip.card]) < 0.01
    assert np.median(found.depth[4][clip.card[4]]) == pytest.approx(CARD_DEPTH + 4 * back, rel=0.005)


def test_where_no_frame_agrees_is_worse_and_is_dropped() -> None:
    clip = film(camera_path())
    found = dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR)
    errors, doubted = relative_errors(found.depth, clip), found.confidence == np.float32(SweepConfig().untrusted)
    assert np.mean(errors[doubted]) > 3 * np.mean(errors[~doubted])


def test_larger_frames_are_worked_on_small_and_enlarged() -> None:
    clip = film(camera_path(), scale=2)
    found = dense_depth(
        clip.frames, clip.poses, 2 * FOCAL_PX, NEAR, FAR, config=SweepConfig(longest_side_px=WIDTH + 11)
    )
    assert found.depth.shape == (NUM_FRAMES, 2 * HEIGHT, 2 * WIDTH)
    errors = relative_errors(found.depth, clip)[found.confidence == 1]
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.85) < 0.05


def test_the_unit_of_the_cameras_is_the_unit_of_depth() -> None:
    clip = film(camera_path())
    scaled = clip.poses.copy()
    scaled[:, :3, 3] *= 8
    once = dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR)
    eight = dense_depth(clip.frames, scaled, FOCAL_PX, 8 * NEAR, 8 * FAR)
    assert np.allclose(eight.depth, 8 * once.depth, rtol=1e-3)


def test_odd_frames_tell_even_frames_nothing() -> None:
    clip = film(camera_path())
    changed = clip.frames.copy()
    changed[1::2] = np.random.default_rng(0).integers(0, 256, changed[1::2].shape)
    # the parallax of one frame and of three: the even frames around it are the second choice
    config = SweepConfig(parallax_px=(4.3, 12.8))
    first = dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR, config=config)
    second = dense_depth(changed, clip.poses, FOCAL_PX, NEAR, FAR, config=config)
    assert np.array_equal(first.depth[::2], second.depth[::2])
    assert np.array_equal(first.confidence[::2], second.confidence[::2])
    assert not np.array_equal(first.depth[1::2], second.depth[1::2])


def test_the_same_again() -> None:
    clip = film(camera_path())
    frames, poses = clip.frames.copy(), clip.poses.copy()
    first, second = (dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR) for _ in range(2))
    assert np.array_equal(first.depth, second.depth)
    assert np.array_equal(first.confidence, second.confidence)
    assert np.array_equal(frames, clip.frames)
    assert np.array_equal(poses, clip.poses)


def test_sky_is_infinitely_far_and_says_so() -> None:
    clip = film(camera_path(roll_deg=10), sky=True)
    found = dense_depth(clip.frames, clip.poses, FOCAL_PX, NEAR, FAR)
    sky = found.confidence == 0
    assert sky[~clip.card].mean() > 0.8
    assert sky[clip.card].mean() < 0.02
    assert np.allclose(found.depth[sky], SKY_DEPTH * FAR)


def test_a_far_wall_is_no_sky_even_between_the_planes() -> None:
    clip = film(camera_path())
    found = dense_depth(clip.frames, clip.poses, FOCAL_PX, 0.05, FAR)  # the wall is 1 to 2 planes from infinity
    assert (found.confidence == 0).mean() < 0.05


def test_nothing_to_see_is_not_trusted() -> None:
    grey = np.full((NUM_FRAMES, HEIGHT, WIDTH), 90, np.uint8)
    found = dense_depth(grey, camera_path(), FOCAL_PX, NEAR, FAR)
    assert np.isfinite(found.depth).all()
    assert (found.depth > 0).all()
    assert (found.confidence == np.float32(0.05)).all()


@pytest.mark.parametrize("num_frames", [1, 2, NUM_FRAMES])
def test_without_parallax_nothing_is_trusted(num_frames: int) -> None:
    clip = film(camera_path(roll_deg=10, step=0.001 / NUM_FRAMES))
    found = dense_depth(clip.frames[:num_frames], clip.poses[:num_frames], FOCAL_PX, NEAR, FAR)
    assert np.isfinite(found.depth).all()
    assert ((found.depth > NEAR) & (found.depth < SKY_DEPTH * FAR)).all()
    assert (found.confidence == np.float32(0.05)).all()


def test_noise_is_hardly_ever_trusted() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH), dtype=np.uint8)
    found = dense_depth(noise, camera_path(), FOCAL_PX, NEAR, FAR)
    assert np.isfinite(found.depth).all()
    assert (found.confidence == 1).mean() < 0.35


def test_bad_input() -> None:
    clip = film(camera_path())
    infinite = clip.poses.copy()
    infinite[3, 0, 3] = np.inf
    with pytest.raises(InputError, match="bytes"):
        dense_depth(clip.frames.astype(np.float32), clip.poses, FOCAL_PX, NEAR, FAR)
    with pytest.raises(InputError, match="cameras"):
        dense_depth(clip.frames, clip.poses[:-1], FOCAL_PX, NEAR, FAR)
    with pytest.raises(InputError, match="finite cameras"):
        dense_depth(clip.frames, infinite, FOCAL_PX, NEAR, FAR)
    for near, far in ((0.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(InputError, match="near < far"):
            dense_depth(clip.frames, clip.poses, FOCAL_PX, near, far)
    with pytest.raises(InputError, match="num_planes"):
        SweepConfig(num_planes=2)
    with pytest.raises(InputError, match="untrusted"):
        SweepConfig(untrusted=0.0)
