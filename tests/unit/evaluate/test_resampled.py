"""Longer and larger clips for a judge of one size: what is kept, what is asked of the source, what is refused."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import EvaluationConfig, Task, plan_tasks
from worldr1.evaluate.fitting import ClipSize
from worldr1.evaluate.judging.judge import RenderedTruth
from worldr1.evaluate.resampled import Resampled, check_resampling, resample
from worldr1.mini.promptset import random_scenes
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.types import Prompt

FRAMES, HEIGHT, WIDTH = CLIP_SIZE
SIZE = ClipSize(num_frames=FRAMES, height=HEIGHT, width=WIDTH)


def tasks(frames: int) -> list[Task]:
    config = EvaluationConfig(
        sampler=SamplerConfig(), noise=NoiseConfig(), clip=(frames, 64, 96), guidance=1.0, seed=0, batch=2
    )
    return plan_tasks([Prompt(id=0, text="Camera orbit left. A ball."), Prompt(id=1, text="A ball.")], config)


def test_the_source_is_asked_for_whole_paths_and_the_judge_for_the_frames_that_are_kept() -> None:
    asked: list[Task] = []

    def source(whole: Sequence[Task]) -> Tensor:
        asked.extend(whole)
        # every frame says its number
        return torch.arange(33.0).view(1, 33, 1, 1, 1).expand(len(whole), 33, 3, HEIGHT, WIDTH) / 33

    resampled = Resampled(source=source, clip=(33, HEIGHT, WIDTH), size=SIZE)
    judged = resampled.judged(tasks(33))
    videos = resampled(judged)
    whole, there = asked[0].requested, tasks(33)[0].requested
    assert whole is not None and there is not None and torch.equal(whole, there)
    assert asked[1].path is None and [task.seed for task in asked] == [task.seed for task in tasks(33)]
    assert (videos[0, :, 0, 0, 0] * 33).round().tolist() == list(range(0, 33, 2))
    assert judged[1].path is None
    # twice the frames of the same motion: every second pose is that of a clip of the judge's length
    torch.testing.assert_close(judged[0].requested, tasks(FRAMES)[0].requested)


def test_the_path_follows_the_frames_also_where_they_do_not_divide() -> None:
    (task, _) = Resampled(source=lambda _: torch.zeros(0), clip=(21, HEIGHT, WIDTH), size=SIZE).judged(tasks(21))
    whole = tasks(21)[0].requested
    assert whole is not None and task.requested is not None and len(task.requested) == FRAMES
    kept = [round(20 * i / 16) for i in range(FRAMES)]
    assert torch.equal(task.requested, whole[kept])


def test_the_truth_at_twice_the_length_is_the_truth_and_at_twice_the_size_nearly() -> None:
    scenes, _ = random_scenes(1, seed=5, stream="test-resampled")
    known = {(0, False): scenes}
    plain = RenderedTruth(known, CLIP_SIZE, lambda video: video)(tasks(FRAMES)[:1])

    def through(clip: tuple[int, int, int]) -> Tensor:
        resampled = Resampled(source=RenderedTruth(known, clip, lambda video: video), clip=clip, size=SIZE)
        return resampled(resampled.judged(tasks(clip[0])[:1]))

    assert torch.allclose(through((33, HEIGHT, WIDTH)), plain, atol=1e-4)
    larger = through((FRAMES, 2 * HEIGHT, 2 * WIDTH))
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    errors = {shift: float((larger - plain.roll(shift, (-2, -1))).abs().mean()) for shift in shifts}
    assert min(errors, key=errors.__getitem__) == (0, 0)  # the rays are the same, not those of a pixel beside


def test_a_clip_of_the_judges_own_size_is_left_alone() -> None:
    video = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH)
    assert resample(video, SIZE) is video


@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        ((13, 64, 96), "at least as many frames"),
        ((17, 32, 48), "at least as many frames"),
        ((17, 128, 128), "one field of view only: give 128 x 192"),
    ],
)
def test_what_the_judge_cannot_look_at_is_refused(clip: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_resampling(clip, SIZE)
    check_resampling((33, 128, 192), SIZE)
