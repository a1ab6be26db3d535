"""Scores of videos whose geometry is known: by construction, or rendered from the mini world."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE, load_distance, load_reconstructor
from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.fitting import ClipSize
from worldr1.evaluate.metrics import multi_view_consistency
from worldr1.evaluate.scoring.scorer import STILL_NOTE, Scorer
from worldr1.footage import FootageConfig, Shot, shot_of
from worldr1.mini.promptset import random_scenes
from worldr1.mini.render import Clips, render
from worldr1.scene.residual_motion import residual_motion
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, Status, intrinsics_px

FRAMES, HEIGHT, WIDTH = CLIP_SIZE
SIZE = ClipSize(num_frames=FRAMES, height=HEIGHT, width=WIDTH)
MOVES = ("push_in", "orbit_left", "move_right", "pan_left")


def film(*tokens: str, dynamic: bool = False) -> Clips:
    """One scene per move."""
    scenes, _ = random_scenes(len(tokens), seed=5, stream="test-scoring", dynamic=dynamic)
    paths = torch.stack([synthesize([token], FRAMES).world_from_camera for token in tokens]).float()
    return render(scenes, paths, height=HEIGHT, width=WIDTH)


def truth(clips: Clips, index: int) -> Reconstruction:
    """What a perfect 3D model would answer."""
    return Reconstruction(
        world_from_camera=clips.world_from_camera[index],
        depth=clips.depth[index],
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).expand(FRAMES, 3, 3),
        confidence=(~clips.sky[index]).float(),
    )


def still(depth: Tensor) -> Reconstruction:
    """A camera that stands still before `depth`."""
    frames, height, width = depth.shape
    return Reconstruction(
        world_from_camera=torch.eye(4).expand(frames, 4, 4),
        depth=depth,
        intrinsics_px=intrinsics_px(height, width).expand(frames, 3, 3),
        confidence=torch.ones_like(depth),
    )


@pytest.fixture(scope="module")
def clips() -> Clips:
    return film(*MOVES)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("mini", load_reconstructor(), SplatRenderer(), load_distance(), size=SIZE)


# ------------------------------------------------------------------------------------------------------------ metrics


def test_mvcs_of_depths_that_agree_is_one() -> None:
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, 2, 3] = torch.arange(4) * 0.1  # towards a wall
    depth = (1 - poses[:, 2, 3])[:, None, None].expand(4, 12, 16)
    found = replace(still(depth), world_from_camera=poses)
    assert multi_view_consistency(found).score == pytest.approx(1.0, abs=1e-6)


def test_mvcs_is_the_exponential_of_the_mean_squared_depth_error() -> None:
    depth = torch.full((3, 12, 16), 2.0)
    depth[2] += 0.4  # one of the two pairs is wrong by 0.4
    found = multi_view_consistency(still(depth))
    assert found.score == pytest.approx(math.exp(-(0.4**2) / 2), rel=1e-5)
    assert found.scale_free == pytest.approx(math.exp(-(0.2**2) / 2), rel=1e-5)


def test_only_the_scale_free_mvcs_ignores_the_scale(clips: Clips) -> None:
    found = truth(clips, 1)
    poses = found.world_from_camera.clone()
    poses[:, :3, 3] *= 3
    scaled = multi_view_consistency(replace(found, depth=found.depth * 3, world_from_camera=poses))
    exact = multi_view_consistency(found)
    assert scaled.scale_free == pytest.approx(exact.scale_free, abs=1e-6)
    assert math.log(scaled.score) == pytest.approx(9 * math.log(exact.score), rel=1e-4)


@pytest.mark.parametrize("frames", [[0], [2], [0, 1, 2]])
def test_the_sky_takes_no_part_in_mvcs(frames: list[int]) -> None:
    depth, confidence = torch.ones(3, 12, 16), torch.ones(3, 12, 16)
    for frame in frames:
        depth[frame, :4] = 20.0 + frame
        confidence[frame, :4] = 0
    assert multi_view_consistency(replace(still(depth), confidence=confidence)).score == 1.0


@pytest.mark.parametrize("trust", [0.0, 0.1])
def test_flicker_of_the_sky_or_where_the_depth_is_not_trusted_is_no_motion(trust: float) -> None:
    video, confidence = torch.full((3, 3, 12, 16), 0.5), torch.ones(3, 12, 16)
    video[1, :, :4], confidence[:, :4] = 1.0, trust
    found = replace(still(torch.ones(3, 12, 16)), confidence=confidence)
    assert residual_motion(video, found) == 0.0
    assert residual_motion(video, still(torch.ones(3, 12, 16))) != 0.0


@pytest.mark.parametrize(
    ("square_depth", "expected"),
    [
        # All 16 pixels are new; of the place that is left, only the 2 x 2 inside has no background near it.
        (1.0, (16 + 4) * 0.6 / 24**2),
        # Before the background: its 12 rim pixels are depth edges, and the place that is left was hidden by it.
        (0.5, 4 * 0.6 / (24**2 - 12 - 16)),
    ],
)
def test_residual_motion_of_a_square_that_jumps(square_depth: float, expected: float) -> None:
    video, depth = torch.full((3, 3, 24, 24), 0.2), torch.ones(3, 24, 24)
    for frame in range(3):
        place = (slice(10, 14), slice(2 + 6 * frame, 6 + 6 * frame))
        video[(frame, slice(None), *place)] = 0.8
        depth[(frame, *place)] = square_depth
    assert residual_motion(video, still(depth)) == pytest.approx(expected, rel=1e-4)


def test_residual_motion_tells_a_moving_scene_from_a_moving_camera(clips: Clips) -> None:
    static = [residual_motion(clips.video[i], truth(clips, i)) for i in range(len(MOVES))]
    alive = film("fixed", dynamic=True)
    moving = residual_motion(alive.video[0], truth(alive, 0))
    assert moving is not None
    assert max(value for value in static if value is not None) < moving / 2


def test_residual_motion_needs_the_depths_size() -> None:
    with pytest.raises(InputError, match="size"):
        residual_motion(torch.zeros(3, 3, 8, 8), still(torch.ones(3, 24, 24)))


# -------------------------------------------------------------------------------------------------------------- score


def test_the_paths_of_rendered_clips_are_found(clips: Clips, scorer: Scorer) -> None:
    scores = [
        scorer(as_shot(video), path="clip", requested=synthesize((token,), FRAMES)).score
        for video, token in zip(clips.video, MOVES, strict=True)
    ]
    assert all(score.valid for score in scores)
    path_errors = [score.translation_error or 0.0 for score in scores[:3]]  # a pan has no path to take a share of
    turn_errors = [score.rotation_error_deg or 0.0 for score in scores]
    assert sum(path_errors) / 3 < 0.05, path_errors
    assert sum(turn_errors) / 4 < 0.5, turn_errors
    assert [round(score.camera_travel or 0.0, 1) for score in scores] == [0.6, 0.4, 0.2, 0.0]
    assert [STILL_NOTE in score.notes for score in scores] == [False, False, False, True]
    assert min(score.psnr_holdout or 0.0 for score in scores[:3]) > 18
    assert scores[3].psnr_holdout is scores[3].consistency is None


def test_a_path_in_an_unknown_unit_is_compared_by_its_shape(clips: Clips, scorer: Scorer) -> None:
    requested = synthesize(("push_in",), FRAMES)
    larger = requested.world_from_camera.clone()
    larger[:, :3, 3] *= 100
    other = replace(requested, world_from_camera=larger)
    known, unknown = (
        scorer(as_shot(clips.video[0]), path="clip", requested=other, speed_known=told).score for told in (True, False)
    )
    assert (known.translation_error or 0) > 0.5
    assert (unknown.translation_error or 1) < 0.05


def test_a_still_video_is_seen_as_still_and_has_no_figures(clips: Clips, scorer: Scorer) -> None:
    score = scorer(as_shot(clips.video[0, :1].expand(FRAMES, -1, -1, -1)), path="still").score
    assert score.valid
    assert score.camera_travel is not None
    assert score.camera_travel < 0.02
    assert score.camera_rotation_deg is not None
    assert score.camera_rotation_deg < 0.5
    assert score.notes == (STILL_NOTE,)
    assert score.consistency is score.psnr_holdout is score.mvcs is score.residual_motion is None
    assert score.translation_error is None


def test_the_path_of_a_short_clip_keeps_its_length(clips: Clips, scorer: Scorer) -> None:
    shot = as_shot(clips.video[0, ::2])
    score = scorer(shot, path="clip", requested=synthesize(MOVES[:1], 9)).score
    assert score.notes[0].startswith("its 9 frames were repeated")
    assert score.world_from_camera is not None
    assert len(score.world_from_camera) == len(score.times_s) == 9
    assert score.translation_error is not None
    assert score.translation_error < 0.05


def test_frames_in_the_wrong_order_score_worse(clips: Clips, scorer: Scorer) -> None:
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    good, bad = (scorer(as_shot(v), path="clip").score for v in (clips.video[0], clips.video[0][order]))
    assert (good.psnr_holdout or 0) > (bad.psnr_holdout or 0) + 2
    assert (good.residual_motion or 0) < (bad.residual_motion or 0)
    assert (good.consistency or 0) > (bad.consistency or 0)


def test_a_blank_video_is_not_valid_and_has_no_figures(scorer: Scorer) -> None:
    blank = replace(as_shot(torch.full((FRAMES, 3, HEIGHT, WIDTH), 0.5)), notes=("a note",))
    scored = scorer(blank, path="blank.mp4")
    score = scored.score
    assert scored.redrawn is None
    assert (score.valid, score.path, score.notes) == (False, "blank.mp4", ("a note",))
    assert "no texture" in score.reason
    assert score.psnr_holdout is score.camera_travel is score.world_from_camera is score.mvcs is None


def test_geometry_that_explains_too_little_is_not_valid(clips: Clips, scorer: Scorer) -> None:
    apart = truth(clips, 0)
    poses = apart.world_from_camera.clone()
    poses[1::2, 0, 3] += 50.0  # no odd frame sees what the even ones saw
    score = _with(replace(apart, world_from_camera=poses))(as_shot(clips.video[0]), path="clip").score
    assert not score.valid
    assert "explains" in score.reason
    assert score.psnr_holdout is score.camera_travel is None


def test_a_failed_reconstruction_is_said_to_be_our_fault(clips: Clips) -> None:
    found = truth(clips, 0)
    for broken in (replace(found, status=Status.FAULT, reason="boom"), replace(found, depth=found.depth * math.nan)):
        score = _with(broken)(as_shot(clips.video[0]), path="clip").score
        assert not score.valid
        assert score.reason.startswith("our fault")


def test_an_overlay_is_neither_drawn_nor_counted(clips: Clips) -> None:
    video = clips.video[0].clone()
    video[:, :, 8:24, 30:60] = torch.tensor((1.0, 0.0, 1.0))[:, None, None]
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[8:24, 30:60] = False
    shot = as_shot(video)
    blind, told = (_with(truth(clips, 0))(s, path="clip") for s in (shot, replace(shot, mask=mask)))
    clean = _with(truth(clips, 0))(as_shot(clips.video[0]), path="clip")
    assert (blind.score.psnr_holdout or 0) < (clean.score.psnr_holdout or 0) - 2
    assert (told.score.psnr_holdout or 0) > (clean.score.psnr_holdout or 0) - 1
    assert told.redrawn is not None
    assert not bool(told.redrawn.covered[:, ~mask].any())
    assert told.gaussians is not None
    magenta = (told.gaussians.colors - torch.tensor((1.0, 0.0, 1.0))).abs().amax(-1) < 0.01
    assert not bool(magenta.any())


class _Answers:
    """A reconstructor that knows one answer."""

    licence = "none"

    def __init__(self, answer: Reconstruction) -> None:
        self.answer = answer

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        return [self.answer] * len(videos)


def as_shot(video: Tensor) -> Shot:
    """The clip as it is: no bars, no overlay, nothing noted."""
    shot = shot_of(video, FootageConfig())
    return replace(shot, video=video, mask=torch.ones(video.shape[-2:], dtype=torch.bool), notes=())


def _with(answer: Reconstruction) -> Scorer:
    return Scorer("fake", _Answers(answer), SplatRenderer(), load_distance())
