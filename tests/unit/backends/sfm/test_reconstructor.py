"""The `sfm` reconstructor: what the rest of worldr1 gets of it, good or bad."""

import pytest
import torch
from torch import Tensor

from worldr1.backends.sfm.reconstructor import SfmReconstructor
from worldr1.backends.sfm.worker import WorkerError
from worldr1.camera.trajectory import synthesize
from worldr1.mini.promptset import random_scenes
from worldr1.mini.render import Clips, render
from worldr1.rewards.trajectory import camera_travel, trajectory_errors
from worldr1.types import Status

FRAMES, HEIGHT, WIDTH = 13, 112, 176


def film(token: str) -> Clips:
    """A rendered clip."""
    scenes, _ = random_scenes(4, seed=11, stream="test-score", dynamic=False)
    path = synthesize((token,), FRAMES).world_from_camera[None].float()
    return render(scenes[:1], path, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def sfm() -> SfmReconstructor:
    return SfmReconstructor()


def test_a_rendered_orbit_is_measured_in_depth_units(sfm: SfmReconstructor) -> None:
    clips = film("orbit_left")
    (found,) = sfm(clips.video)
    assert found.status is Status.OK
    errors = trajectory_errors(found, synthesize(("orbit_left",), FRAMES))
    assert errors.rotation_error_rad < 0.03
    assert errors.translation_error < 0.1
    assert 0.5 < found.median_depth < 2  # the reconstruction's own unit is near the scene's
    trusted = (found.confidence > 0.2) & ~clips.sky[0]
    ratio = found.depth[trusted] / found.median_depth / clips.depth[0][trusted]
    assert float((ratio.log().abs() < 0.1).float().mean()) > 0.7
    assert float(trusted.float().mean()) > 0.5
    assert bool((found.depth > 0).all())


def test_a_pan_has_rotation_and_no_parallax(sfm: SfmReconstructor) -> None:
    (found,) = sfm(film("pan_left").video)
    assert found.status is Status.OK
    assert camera_travel(found).depth_units == 0
    assert camera_travel(found).deg == pytest.approx(14, abs=0.5)
    assert bool((found.depth == 1).all())


def test_what_cannot_be_believed_is_rejected_with_a_reason(sfm: SfmReconstructor) -> None:
    noise = torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    few = noise[:4]
    for video in (noise, few):
        (found,) = sfm(video[None])
        assert found.status is Status.REJECTED
        assert found.reason
        assert found.depth.shape == (len(video), HEIGHT, WIDTH)
        assert not bool(found.confidence.any())


def test_the_same_video_twice_gives_the_same_bits(sfm: SfmReconstructor) -> None:
    video = film("move_right").video
    first, second = sfm(video.repeat(2, 1, 1, 1, 1))
    assert torch.equal(first.world_from_camera, second.world_from_camera)
    assert torch.equal(first.depth, second.depth)


def test_a_dead_worker_is_a_fault_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Tensor) -> None:
        raise WorkerError("its process died")

    broken = SfmReconstructor()
    monkeypatch.setattr(broken, "_worker", die)
    (found,) = broken(torch.rand(1, FRAMES, 3, HEIGHT, WIDTH))
    assert found.status is Status.FAULT
    assert "its process died" in found.reason
