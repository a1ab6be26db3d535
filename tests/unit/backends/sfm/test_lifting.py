"""From cameras to depth: the sweep's bounds, the unit, and what is refused."""

import numpy as np
import pytest

from worldr1.backends.sfm import lifting
from worldr1.backends.sfm.estimate import Estimate, Motion
from worldr1.backends.sfm.lifting import Lifted, SfmConfig, lift
from worldr1.backends.sfm.sweep import DenseDepth

FRAMES, HEIGHT, WIDTH = 5, 8, 12
GREY = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)


def lifted(
    monkeypatch: pytest.MonkeyPatch, point_depths: np.ndarray, *, confidence: float = 1.0, depth: float = 1.0
) -> tuple[Lifted, list[float]]:
    """`lift` with known cameras, points and swept depth; and the bounds that the sweep was given."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3] = np.linspace(0, 6, FRAMES)
    found = Estimate(world_from_camera=poses, focal_px=14.4, motion=Motion.MOVES, point_depths=point_depths)
    bounds: list[float] = []

    def sweep(frames: np.ndarray, *arguments: object, config: object) -> DenseDepth:
        _, _, near, far = arguments
        assert isinstance(near, float)
        assert isinstance(far, float)
        bounds.extend((near, far))
        full = np.ones(frames.shape, np.float32)
        return DenseDepth(depth=depth * full, confidence=confidence * full)

    monkeypatch.setattr(lifting, "estimate", lambda *_: found)
    monkeypatch.setattr(lifting, "dense_depth", sweep)
    return lift(GREY, SfmConfig()), bounds


def test_the_path_is_in_median_depths(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, (near, far) = lifted(monkeypatch, np.linspace(2.0, 4.0, 1001))
    assert answer.world_from_camera[-1, 0, 3] == pytest.approx(2.0)
    assert near == pytest.approx(2.01 / 3 / 1.3, rel=1e-3)
    assert far == pytest.approx(3.96 / 3 * 1.3, rel=1e-3)
    assert answer.reason == ""


def test_a_few_points_in_the_lens_or_in_the_clouds_do_not_spread_the_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    depths = np.concatenate((np.full(15, 1e-4), np.linspace(0.8, 1.2, 1000), np.full(40, 1e5)))
    _, (near, far) = lifted(monkeypatch, depths)
    assert 0.2 < near < 0.8
    assert far == 10


def test_depth_that_no_other_frame_agrees_with_is_no_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, _ = lifted(monkeypatch, np.linspace(2.0, 4.0, 1001), confidence=0.05)
    assert "0% of the picture" in answer.reason


def test_what_is_too_far_for_parallax_is_drawn_as_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, _ = lifted(monkeypatch, np.linspace(2.0, 4.0, 1001), depth=11.0)
    assert not answer.confidence.any()
