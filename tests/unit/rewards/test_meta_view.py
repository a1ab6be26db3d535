"""The off-path camera: where it stands, where it looks, and what it must not depend on."""

from collections.abc import Callable

import pytest
import torch

from worldr1.camera.trajectory import MAGNITUDES
from worldr1.errors import ConfigError
from worldr1.geometry.pinhole import project
from worldr1.geometry.se3 import inverse
from worldr1.rewards.meta_view import (
    MetaViewConfig,
    expected_digit_score,
    meta_view_pose,
    meta_view_poses,
    meta_view_side,
    scene_centre,
)

MOVING = [token for token in MAGNITUDES if token not in ("fixed", "pan_left", "pan_right")]


@pytest.mark.parametrize("scale", [0.1, 50.0])
@pytest.mark.parametrize("token", MOVING)
def test_it_is_off_every_path_and_looks_at_the_centre(path: Callable, clip: Callable, token: str, scale: float) -> None:
    request = path(token)
    truth = clip(request, scale=scale).truth
    config = MetaViewConfig()
    pose = meta_view_pose(truth, config, side=meta_view_side(request, config))
    centres = truth.world_from_camera[:, :3, 3].double()
    assert float((centres - pose[:3, 3]).norm(dim=-1).min()) >= config.raise_fraction * truth.median_depth - 1e-6
    assert float((pose[:3, 3] - centres)[:, 1].max()) < 0, "raised: y points down"
    rotation = pose[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-9)
    pixel, depth = project(inverse(pose)[:3, :3] @ scene_centre(truth) + inverse(pose)[:3, 3], truth.intrinsics_px[0])
    assert pixel.tolist() == pytest.approx([18.0, 12.0], abs=1e-3)
    assert depth > 0
    assert rotation[1, 1] > 0.9, "upright"


def test_the_offsets_are_the_stated_fractions_of_the_middle_camera(path: Callable, clip: Callable) -> None:
    truth = clip(path("push_in")).truth
    pose = meta_view_pose(truth, MetaViewConfig(lateral_fraction=0.4, raise_fraction=0.1))
    unit = truth.median_depth
    expected = truth.world_from_camera[4, :3, 3].double() + unit * torch.tensor([0.4, -0.1, 0.0]).double()
    assert torch.allclose(pose[:3, 3], expected, atol=1e-6)
    left = meta_view_pose(truth, MetaViewConfig(lateral_fraction=0.4, raise_fraction=0.1), side=-1)
    assert float(left[0, 3]) == pytest.approx(-0.4 * unit, abs=1e-6)


def test_the_centre_is_the_median_of_confident_points(path: Callable, clip: Callable, with_truth: Callable) -> None:
    video = clip(path("fixed"))
    assert scene_centre(video.truth).tolist() == pytest.approx([0.0, 0.0, 1.0], abs=0.03)
    confidence = video.truth.confidence.clone()
    confidence[:, :, 18:] = 0.1
    assert float(scene_centre(with_truth(video, confidence=confidence).truth)[0]) < -0.1


def test_the_side_is_the_request_s_alone_and_away_from_it(path: Callable) -> None:
    assert meta_view_side(None) == 1
    assert meta_view_side(path("push_in")) == 1
    assert meta_view_side(path("move_left", "push_in")) == -1
    assert meta_view_side(path("move_right", "push_in")) == 1
    assert meta_view_side(path("move_left", "move_right")) == -1


def test_the_expected_digit() -> None:
    probabilities = torch.zeros(3, 10)
    probabilities[0, 9] = 1.0
    probabilities[1, [2, 5]] = 0.5
    probabilities[2] = 0.1
    assert expected_digit_score(probabilities).tolist() == pytest.approx([0.9, 0.35, 0.45], abs=1e-7)
    for bad in (torch.zeros(1, 10), torch.full((1, 10), float("nan")), torch.tensor([[-1.0, 2.0] + [0.0] * 8])):
        with pytest.raises(ValueError, match="distribution"):
            expected_digit_score(bad)


def test_bad_config() -> None:
    with pytest.raises(ConfigError):
        MetaViewConfig(raise_fraction=0.0)


def test_views_together_are_those_of_each_alone(path: Callable, clip: Callable, with_truth: Callable) -> None:
    videos = [clip(path("push_in")), clip(path("move_left"), scale=3.0)]
    confidence = torch.ones_like(videos[0].truth.confidence)
    confidence[..., : confidence.shape[-1] // 2] = 0.1
    truths = [videos[0].truth, videos[1].truth, with_truth(videos[0], confidence=confidence).truth]
    config = MetaViewConfig()
    together = meta_view_poses(truths, [1, -1, 1], config)
    alone = [meta_view_pose(truth, config, side=side) for truth, side in zip(truths, (1, -1, 1), strict=True)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-12)
    assert (together[0] - together[2]).abs().max() > 0.01
