"""The judge on clips whose geometry is known: the truth has no path errors, and nothing doubtful becomes a number."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE
from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import EvaluationConfig, Task, plan_tasks
from worldr1.evaluate.judging.judge import Judge, RenderedTruth, judge_source
from worldr1.evaluate.records import VideoRecord
from worldr1.mini.promptset import random_scenes
from worldr1.mini.render import render
from worldr1.mini.scenes import Scenes
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, Reconstruction, Status, intrinsics_px

FRAMES, HEIGHT, WIDTH = CLIP_SIZE
MOVES = ("push in", "pan left", "orbit right")
CONFIG = EvaluationConfig(sampler=SamplerConfig(), noise=NoiseConfig(), clip=CLIP_SIZE, guidance=1.0, seed=3, batch=2)


class TrueGeometry:
    """A perfect 3D model: it knows the clips. scale: of its own unit."""

    licence = "none"

    def __init__(self, known: Sequence[tuple[Tensor, Reconstruction]], scale: float = 1.0) -> None:
        self.known, self.scale = known, scale

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        return [self._find(video) for video in videos]

    def _find(self, video: Tensor) -> Reconstruction:
        found = next(geometry for clip, geometry in self.known if torch.equal(clip, video))
        poses = found.world_from_camera.clone()
        poses[:, :3, 3] *= self.scale
        return replace(found, world_from_camera=poses, depth=found.depth * self.scale)


class Always:
    """Gives one answer whatever it sees, or raises it."""

    licence = "none"

    def __init__(self, answer: Reconstruction | Exception) -> None:
        self.answer = answer

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in videos]


@pytest.fixture(scope="module")
def scenes() -> dict[tuple[int, bool], Scenes]:
    found, _ = random_scenes(len(MOVES), seed=5, stream="test-judging")
    return {(index, False): found[index : index + 1] for index in range(len(MOVES))}


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return plan_tasks([Prompt(id=i, text=f"Camera {move}. A red ball.") for i, move in enumerate(MOVES)], CONFIG)


@pytest.fixture(scope="module")
def truth(scenes: dict[tuple[int, bool], Scenes], tasks: list[Task]) -> Tensor:
    return RenderedTruth(scenes, CLIP_SIZE, lambda video: video)(tasks)


@pytest.fixture(scope="module")
def known(
    scenes: dict[tuple[int, bool], Scenes], tasks: list[Task], truth: Tensor
) -> list[tuple[Tensor, Reconstruction]]:
    """Rendered here once more, by the test's own path."""
    pairs = []
    for task, video in zip(tasks, truth, strict=True):
        path = requested_path(task.tokens, FRAMES)
        assert path is not None
        clips = render(scenes[task.prompt.id, False], path.world_from_camera.float()[None], height=HEIGHT, width=WIDTH)
        assert torch.equal(clips.video[0], video), "the truth is the prompt's scene along the prompt's path"
        geometry = Reconstruction(
            world_from_camera=clips.world_from_camera[0],
            depth=clips.depth[0],
            intrinsics_px=intrinsics_px(HEIGHT, WIDTH).expand(FRAMES, 3, 3),
            confidence=(~clips.sky[0]).float(),
        )
        pairs.append((video, geometry))
    return pairs


@pytest.fixture(scope="module")
def judged(known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task]) -> list[VideoRecord]:
    return Judge(TrueGeometry(known, scale=2.5), SplatRenderer())(truth, tasks)


def test_the_truth_has_no_path_errors_whatever_the_judges_scale(judged: list[VideoRecord]) -> None:
    for record in judged:
        assert (record.status, record.reward, record.parts) == (Status.OK, None, {})
        assert record.measures["rotation_error_deg"] == pytest.approx(0, abs=1e-4)
        assert record.measures["translation_error"] == pytest.approx(0, abs=1e-6)
        assert record.measures["psnr_holdout_db"] > 19
        assert record.measures["mvcs_scale_free"] > 0.95
        assert record.measures["residual_motion"] < 1e-3
    push, pan, orbit = judged
    assert push.measures["travel_ratio"] == pytest.approx(1, abs=1e-6)
    assert orbit.measures["travel_ratio"] == pytest.approx(1, abs=1e-6)
    assert "travel_ratio" not in pan.measures, "a pan asks for no travel"
    assert push.recovered_path is not None and push.recovered_path[-1][2] == pytest.approx(0.6, abs=1e-4)


def test_a_camera_that_goes_half_the_way_is_seen_to(
    known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task]
) -> None:
    lazy = []
    for video, geometry in known:
        poses = geometry.world_from_camera.clone()
        poses[:, :3, 3] *= 0.5
        lazy.append((video, replace(geometry, world_from_camera=poses)))
    push = Judge(TrueGeometry(lazy), SplatRenderer())(truth, tasks)[0]
    assert push.measures["travel_ratio"] == pytest.approx(0.5, abs=1e-5)
    # the mean over frames 1..16 of u / 2 for a path of constant speed
    assert push.measures["translation_error"] == pytest.approx(0.5 * 17 / 32, abs=1e-5)


def test_what_cannot_be_judged_has_no_geometric_measure(
    known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task]
) -> None:
    geometry = known[0][1]
    away = geometry.world_from_camera.clone()
    away[1::2, 2, 3] += 100  # the odd frames look from beyond everything: nothing covers them
    cases: list[tuple[Any, Status, str, set[str]]] = [
        (
            replace(geometry, status=Status.REJECTED, reason="no texture"),
            Status.REJECTED,
            "no texture",
            {"image_gradient"},
        ),
        (
            replace(geometry, world_from_camera=away),
            Status.REJECTED,
            "explains 0% of its pixels",
            {"image_gradient", "coverage"},
        ),
        (RuntimeError("out of memory"), Status.FAULT, "out of memory", {"image_gradient"}),
        (replace(geometry, status=Status.FAULT, reason="timeout"), Status.FAULT, "timeout", {"image_gradient"}),
        (replace(geometry, depth=geometry.depth * torch.nan), Status.FAULT, "not finite", {"image_gradient"}),
    ]
    for answer, status, reason, measures in cases:
        (record,) = Judge(Always(answer), SplatRenderer())(truth[:1], tasks[:1])
        assert (record.status, set(record.measures)) == (status, measures)
        assert reason in record.reason


def test_one_bad_video_costs_one_video(
    known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task], judged: list[VideoRecord]
) -> None:
    bad = [known[0], (known[1][0], replace(known[1][1], depth=-known[1][1].depth)), known[2]]
    records = Judge(TrueGeometry(bad, scale=2.5), SplatRenderer())(truth, tasks)
    assert [record.status for record in records] == [Status.OK, Status.FAULT, Status.OK]
    assert records[0] == judged[0]


def test_an_onlooker_sees_the_videos_and_the_usable_geometry(
    known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task]
) -> None:
    def look(
        videos: Tensor, prompts: Sequence[Prompt], reconstructions: Sequence[Reconstruction | None]
    ) -> Sequence[Mapping[str, float]]:
        assert torch.equal(videos, truth)
        return [
            {"words": float(prompt.id), "depth": found.median_depth if found else torch.nan}
            for prompt, found in zip(prompts, reconstructions, strict=True)
        ]

    rejected = replace(known[1][1], status=Status.REJECTED, reason="blank")
    lifted = [known[0], (known[1][0], rejected), known[2]]
    records = Judge(TrueGeometry(lifted), SplatRenderer(), onlooker=look)(truth, tasks)
    assert [record.measures["words"] for record in records] == [0.0, 1.0, 2.0]
    assert records[0].measures["depth"] == pytest.approx(1, rel=1e-2)
    assert "depth" not in records[1].measures, "what is not finite is no measure"


def test_a_source_is_judged_in_batches_by_all_judges(
    known: list[tuple[Tensor, Reconstruction]], truth: Tensor, tasks: list[Task], judged: list[VideoRecord]
) -> None:
    sizes, steps = [], []

    def source(batch: Sequence[Task]) -> Tensor:
        sizes.append(len(batch))
        return torch.stack([truth[task.prompt.id] for task in batch])

    judges = {
        "sharp": Judge(TrueGeometry(known, scale=2.5), SplatRenderer()),
        "blind": Judge(Always(RuntimeError("no")), SplatRenderer()),
    }
    found = judge_source(source, tasks, judges, config=CONFIG, on_progress=lambda *done: steps.append(done))
    assert (sizes, steps) == ([2, 1], [(2, 3), (3, 3)]), "filmed once for both judges"
    assert list(found["sharp"].records) == judged
    assert [record.status for record in found["blind"].records] == [Status.FAULT] * 3


def test_the_truth_needs_a_scene_and_camera_words(scenes: dict[tuple[int, bool], Scenes], tasks: list[Task]) -> None:
    free = plan_tasks([Prompt(id=0, text="A red ball.")], CONFIG)
    other = plan_tasks([Prompt(id=0, text="Camera push in. A red ball.", dynamic=True)], CONFIG)
    source = RenderedTruth(scenes, CLIP_SIZE, lambda video: video)
    for wrong in (free, other):
        with pytest.raises(InputError, match="needs a scene and camera words"):
            source(wrong)
    assert torch.equal(RenderedTruth(scenes, CLIP_SIZE, lambda video: 1 - video)(tasks[:1]), 1 - source(tasks[:1]))
