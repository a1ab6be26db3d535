"""Contract tests for a reward, or a model of one, of your own: call these from your test suite.

    from worldr1.testing import check_critic

    def test_my_critic():
        check_critic(MyCritic("cpu"))

Each asks the laws of its protocol (`worldr1.protocols`) that training relies on, on rendered clips of the mini world
or on inputs of yours, and raises AssertionError with one sentence for the first that does not hold. All share four:
one answer per input in the inputs' order, the same answer twice, an answer that does not depend on what else is in the
call, and neither gradients nor changed inputs. tolerance: relative, for what kernels round differently in another
batch; raise it for bfloat16 on a GPU.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.mini.promptset import PLANS, canonical_prompts
from worldr1.mini.render import render
from worldr1.mini.scenes import sample_scenes
from worldr1.protocols import Critic, PerceptualDistance, QualityModel, Reconstructor, VideoReward
from worldr1.rewards.answers import check_digits, check_distances, check_reconstructions, check_scores
from worldr1.rewards.composite import CompositeReward
from worldr1.rewards.own import OwnReward, check_model_object
from worldr1.types import Prompt, Reconstruction, RewardResult, Status, Trajectory

TOLERANCE = 1e-4
_MOVES = ("push_in", "orbit_left", "move_right")

Rows = list[tuple[Tensor, ...]]
"""What a model said about each of its inputs."""


class Example(NamedTuple):
    """Clips with what they show."""

    videos: Float[Tensor, "B T 3 H W"]
    prompts: list[Prompt]
    paths: list[Trajectory | None]


def example_clips(
    num: int = 2, *, frames: int = 17, height: int = 64, width: int = 96, seed: int = 0, device: str = "cpu"
) -> Example:
    """Rendered clips of static mini scenes, each with another camera move, the prompts and the paths to them.

    Two clips of 17 frames take 1.5 s on one core at 64 x 96, and minutes at 480 x 832, where a GPU is wanted.
    """
    scenes = sample_scenes(num, generator=torch.Generator().manual_seed(seed), dynamic_share=0.0)
    moves = [_MOVES[i % len(_MOVES)] for i in range(num)]
    paths: list[Trajectory | None] = [synthesize((move,), frames) for move in moves]
    poses = torch.stack([synthesize((move,), frames).world_from_camera for move in moves]).float()
    texts = canonical_prompts(scenes, [PLANS.index((move,)) for move in moves])
    on_device = scenes.to(device)
    videos = render(on_device, poses.to(device), height=height, width=width).video.float()
    return Example(videos, [Prompt(id=i, text=text) for i, text in enumerate(texts)], paths)


# -------------------------------------------------------------------------------------------------------------- models


def check_reconstructor(
    model: Reconstructor, videos: Float[Tensor, "B T 3 H W"] | None = None, *, tolerance: float = TOLERANCE
) -> None:
    """Shapes, finite values, frame 0 as the identity, rotations, positive depth, confidence in 0..1; blank: REJECTED.

    videos: at least 2 clips that can be reconstructed.
    """
    _is_model(model)
    videos = example_clips().videos if videos is None else videos

    answered: list[Reconstruction] = []

    def ask(clips: Tensor) -> Rows:
        answers = model(clips)
        _asks(lambda: check_reconstructions(answers, clips))
        answered.extend(answers)
        return [_reconstruction_row(answer) for answer in answers]

    _check_rows(ask, (videos,), tolerance)
    for found in answered[: len(videos)]:
        _law(found.status is Status.OK, f"a clip that can be reconstructed is {found.status}: {found.reason}")
        _check_reconstruction(found)
    blank = torch.full_like(videos[:1], 0.5)
    (found,) = model(blank)
    _law(
        found.status is Status.REJECTED,
        f"a blank video is {found.status}: it cannot be lifted, which is the video's doing (Status.REJECTED)",
    )
    _law(bool(found.reason), "a rejected video has no reason: say in Reconstruction.reason what is wrong with it")


def check_critic(
    model: Critic,
    images: Float[Tensor, "B 3 H W"] | None = None,
    prompts: Sequence[str] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> None:
    """A distribution over the ten digits for each image and its prompt."""
    _is_model(model)
    pictures, texts = _pictures(images, prompts)

    def ask(some: Tensor, words: list[str]) -> Rows:
        answer = model(some, words)
        _asks(lambda: check_digits(answer, len(some)))
        return [(row,) for row in answer]

    for (row,) in _check_rows(ask, (pictures, texts), tolerance):
        _law(bool((row >= 0).all()), "a digit has a negative probability")
        _law(abs(float(row.double().sum()) - 1) < 1e-2, f"the digits' probabilities sum to {float(row.sum()):.3f}")


def check_quality(
    model: QualityModel,
    frames: Float[Tensor, "B 3 H W"] | None = None,
    prompts: Sequence[str] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> None:
    """One finite score for each frame and its prompt."""
    _is_model(model)

    def ask(some: Tensor, words: list[str]) -> Rows:
        answer = model(some, words)
        _asks(lambda: check_scores(answer, len(some)))
        return [(row,) for row in answer]

    _check_rows(ask, _pictures(frames, prompts), tolerance)


def check_perceptual(
    model: PerceptualDistance, images: Float[Tensor, "B 3 H W"] | None = None, *, tolerance: float = TOLERANCE
) -> None:
    """Finite, 0 or more, 0 for equal images, symmetric, and larger for another image than for a touch of noise."""
    _is_model(model)
    images = _pictures(images, None)[0] if images is None else images
    others = images.roll(1, 0)

    def ask(a: Tensor, b: Tensor) -> Rows:
        answer = model(a, b)
        _asks(lambda: check_distances(answer, len(a)))
        return [(row,) for row in answer]

    apart = torch.stack([row for (row,) in _check_rows(ask, (images, others), tolerance)])
    _law(bool((apart >= 0).all()), f"a distance is negative ({float(apart.min()):.3g})")
    same = float(model(images, images).abs().max())
    _law(same <= tolerance, f"equal images are {same:.3g} apart, not 0")
    back = model(others, images)
    _law(_close(apart, back, tolerance), "the distance from a to b is not the one from b to a")
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    touched = model(images, (images + 0.01 * noise).clamp(0, 1))
    _law(bool((touched < apart).all()), "another image is no farther away than the same one with a touch of noise")


# ------------------------------------------------------------------------------------------------------------- rewards


def check_reward(reward: VideoReward, example: Example | None = None, *, tolerance: float = TOLERANCE) -> None:
    """The laws of `VideoReward`: parts with factors, value their sum, the same parts for all videos of a prompt, plain
    numbers; a blank video is no fault, and one that is not finite is nothing else.

    example: at least 2 clips with their prompts and paths.
    """
    example = example or example_clips()
    try:
        guarded = reward if isinstance(reward, (CompositeReward, OwnReward)) else _guarded(reward, len(example.videos))
        _check_answers(reward, example)
        _check_results(guarded, example, tolerance)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _guarded(reward: VideoReward, batch: int) -> OwnReward:
    return OwnReward(reward, name=type(reward).__name__, batch=batch)


def _check_answers(reward: VideoReward, example: Example) -> None:
    """What the reward itself returns, before anything is made of it."""
    videos = example.videos.clone().requires_grad_()
    with torch.enable_grad():
        answers = reward(videos, example.prompts, example.paths, False)
    _law(torch.equal(videos.detach(), example.videos), "the reward changes the videos that it is given")
    num = len(answers) if isinstance(answers, (list, tuple)) else type(answers).__name__
    _law(num == len(videos), f"{len(videos)} videos get {num} results: return a list of one RewardResult per video")
    for answer in answers:
        if isinstance(answer, RewardResult):
            plain = all(isinstance(x, (int, float)) for x in (answer.value, *answer.parts.values()))
            _law(plain, "a value or part is no plain number: call .item() or .tolist(), which also drops the gradient")


def _check_results(reward: VideoReward, example: Example, tolerance: float) -> None:
    videos, prompts, paths = example

    def ask(some: Tensor, of: list[Prompt], along: list[Trajectory | None]) -> Rows:
        results = reward(some, of, along, False)
        return [(torch.tensor([r.value, *(r.parts[n] for n in sorted(r.parts))]),) for r in results]

    for result in reward(videos, prompts, paths, False):
        _law(result.status is not Status.FAULT, f"a sound video is a fault: {result.reason}")
    _check_rows(ask, (videos, prompts, paths), tolerance)
    blank = torch.full_like(videos[:1], 0.5)
    group = reward(torch.cat([videos, blank]), [prompts[0]] * (len(videos) + 1), [paths[0]] * (len(videos) + 1), False)
    _law(
        group[-1].status is not Status.FAULT,
        f"a blank video is a fault ({group[-1].reason}): it is the video's doing, so give it its low value (REJECTED)",
    )
    parts = {frozenset(result.parts) for result in group}
    _law(len(parts) == 1, "the videos of one prompt have different parts")
    for dynamic, path in ((True, paths[0]), (False, None)):
        (result,) = reward(videos[:1], prompts[:1], [path], dynamic)
        when = "in the dynamic phase" if dynamic else "of a prompt without camera words"
        _law(result.status is not Status.FAULT, f"a sound video {when} is a fault: {result.reason}")
    broken = videos.clone()
    broken[0, 0] = math.nan
    first, *others = reward(broken, prompts, paths, False)
    _law(first.status is Status.FAULT, f"a video with NaN pixels gets the reward {first.value:.3g} ({first.status})")
    expected = reward(videos, prompts, paths, False)[1:]
    near = all(
        _close(torch.tensor(a.value), torch.tensor(b.value), tolerance) for a, b in zip(others, expected, strict=True)
    )
    _law(near, "a video with NaN pixels changes what the others of its call get")


# ---------------------------------------------------------------------------------------------------------------- laws


def _law(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _asks(check: Callable[[], None]) -> None:
    try:
        check()
    except ValueError as error:
        raise AssertionError(str(error)) from error


def _is_model(model: Any) -> None:
    _asks(lambda: check_model_object(model, type(model).__name__))


def _check_rows(ask: Callable[..., Rows], columns: Sequence[Any], tolerance: float) -> Rows:
    """The four laws that all models share; returns the answers. columns: tensors or lists of one length, at least 2."""
    num = len(columns[0])
    _law(num >= 2, "give at least two inputs: order and independence cannot be asked of one")
    kept: list[Any] = [column.clone() if isinstance(column, Tensor) else list(column) for column in columns]
    given: list[Any] = [c.clone().requires_grad_() if isinstance(c, Tensor) else list(c) for c in columns]
    with torch.enable_grad():
        answers = ask(*given)
    _law(not any(x.requires_grad for row in answers for x in row), "the answer carries a gradient: use torch.no_grad()")
    unchanged = all(
        torch.equal(a.detach(), b) if isinstance(a, Tensor) else a == b for a, b in zip(given, kept, strict=True)
    )
    _law(unchanged, "the model changes the inputs that it is given")

    def of(rows: list[int]) -> Rows:
        return ask(*(column[rows] if isinstance(column, Tensor) else [column[i] for i in rows] for column in kept))

    every = list(range(num))
    alone = [row for i in every for row in of([i])]
    if not _same_rows(alone, answers, tolerance):
        _law(_same_rows(of(every), answers, tolerance), "the same inputs get another answer the second time")
        found = [any(_same_rows([row], [other], tolerance) for other in alone) for row in answers]
        _law(not all(found), "the answers are not in the order of the inputs")
        _law(False, "an answer depends on what else is in the call")
    _law(_same_rows(of(every), answers, tolerance), "the same inputs get another answer the second time")
    return answers


def _same_rows(a: Rows, b: Rows, tolerance: float) -> bool:
    return len(a) == len(b) and all(
        len(x) == len(y) and all(_close(i, j, tolerance) for i, j in zip(x, y, strict=True))
        for x, y in zip(a, b, strict=True)
    )


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    scale = 1 + float(b.abs().max()) if b.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all() or torch.equal(a, b))


def _reconstruction_row(found: Reconstruction) -> tuple[Tensor, ...]:
    own = [] if found.gaussians is None else [getattr(found.gaussians, f.name) for f in fields(found.gaussians)]
    return (found.world_from_camera, found.depth, found.intrinsics_px, found.confidence, *own)


def _check_reconstruction(found: Reconstruction) -> None:
    pose = found.world_from_camera.double().cpu()
    _law(all(bool(x.isfinite().all()) for x in _reconstruction_row(found)), "a reconstruction is not finite")
    _law(_close(pose[0], torch.eye(4), 1e-4), "frame 0's camera is not the identity: express all poses in its frame")
    turned = pose[:, :3, :3]
    orthonormal = _close(turned @ turned.mT, torch.eye(3).expand_as(turned), 1e-3)
    _law(orthonormal and bool((torch.linalg.det(turned) > 0).all()), "a pose is no rotation and translation")
    _law(bool((found.depth > 0).all()), "a depth is not positive")
    focal = torch.diagonal(found.intrinsics_px, dim1=-2, dim2=-1)[:, :2]
    _law(bool((focal > 0).all()), "a focal length is not positive")
    _law(bool(((found.confidence >= 0) & (found.confidence <= 1)).all()), "a confidence is outside 0..1")
    if found.gaussians is not None:
        num, wanted = len(found.gaussians.means), math.prod(found.depth.shape)
        _law(num == wanted, f"it has {num} Gaussians, not one per pixel of every frame, T H W = {wanted}")


def _pictures(images: Tensor | None, prompts: Sequence[str] | None) -> tuple[Tensor, list[str]]:
    if images is None:
        example = example_clips()
        images, prompts = example.videos[:, 8], prompts or [prompt.text for prompt in example.prompts]
    return images, list(prompts) if prompts is not None else [f"A picture, number {i}." for i in range(len(images))]
