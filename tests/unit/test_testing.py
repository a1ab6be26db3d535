"""The contract tests: our models pass them, and for every law there is a model that breaks it alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import own_models
import pytest
import torch
from colour_reward import ColourReward
from torch import Tensor

from worldr1.backends.mini import load_heads, load_reconstructor
from worldr1.build import ClipConfig, build_reward, load_experiment
from worldr1.testing import (
    check_critic,
    check_perceptual,
    check_quality,
    check_reconstructor,
    check_reward,
    example_clips,
)
from worldr1.types import Gaussians, Reconstruction, RewardResult, Status

SMALL = example_clips(3, frames=5, height=32, width=48)
PICTURES, TEXTS = SMALL.videos[:, 2], [prompt.text for prompt in SMALL.prompts]
DIMMED = PICTURES * torch.tensor([1.0, 0.5, 0.1])[:, None, None, None]


# ------------------------------------------------------------------------------------------------------------ ours pass


def test_the_mini_models_keep_their_contracts() -> None:
    critic, quality, distance = load_heads()
    check_critic(critic)
    check_quality(quality)
    check_perceptual(distance)
    check_reconstructor(load_reconstructor())


def test_the_composite_and_the_example_keep_the_rewards() -> None:
    roles = {"reconstructor": "SidewaysReconstructor", "critic": "BrightCritic", "quality": "ContrastQuality"}
    own = [f"reward.models.{role}=own_models:{name}" for role, name in roles.items()]
    config = load_experiment("mini", (*own, "reward.models.perceptual=own_models:MeanDifference")).reward
    check_reward(build_reward(config, "cpu", ClipConfig(frames=5, height=32, width=48)), SMALL)
    check_reward(ColourReward("cpu"), SMALL)


@pytest.mark.slow
def test_the_mini_reward_keeps_the_rewards_contract() -> None:
    config = load_experiment("mini")
    check_reward(build_reward(config.reward, "cpu", config.clip))


def test_the_models_of_these_tests_are_sound() -> None:
    check_reconstructor(own_models.SidewaysReconstructor("cpu"), SMALL.videos)
    check_critic(own_models.BrightCritic("cpu"), PICTURES, TEXTS)
    check_quality(own_models.ContrastQuality("cpu"), PICTURES, TEXTS)
    check_perceptual(own_models.MeanDifference("cpu"), PICTURES)


# ------------------------------------------------------------------------------------------- every law can be broken


def make_altered(model: Any, alter: Callable[..., Any]) -> Any:
    """`Altered`, for the type checker of any kind."""
    return Altered(model, alter)


class Altered:
    """A sound model whose answer is changed: alter(answer, its arguments) -> answer."""

    licence = "test"

    def __init__(self, model: Any, alter: Callable[..., Any]) -> None:
        self.model, self.alter, self.calls = model, alter, 0
        self.part_weights = getattr(model, "part_weights", None)

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.alter(self.model(*args), *args)


def spoil_input(answer: Any, first: Tensor, *_: Any) -> Any:
    with torch.no_grad():
        first += 0.1
    return answer


counter = iter(range(10**6))
SHARED: dict[str, Callable[..., Any]] = {
    "in the order of the inputs": lambda a, *_: a.flip(0),
    "another answer the second time": lambda a, *_: a + 1e-2 * next(counter),
    "depends on what else is in the call": lambda a, *_: a + 0.01 * (len(a) - 1),
    "carries a gradient": lambda a, x, *_: a + 0 * x.sum(),
    "changes the inputs": spoil_input,
}
"""Law -> alteration of a tensor of rows that breaks it."""


@pytest.mark.parametrize("law", list(SHARED))
def test_the_shared_laws_of_scores(law: str) -> None:
    quality = make_altered(own_models.ContrastQuality("cpu"), SHARED[law])
    with pytest.raises(AssertionError, match=law):
        check_quality(quality, PICTURES, TEXTS)
    distance = make_altered(own_models.MeanDifference("cpu"), SHARED[law])
    with pytest.raises(AssertionError, match=law):
        check_perceptual(distance, PICTURES)


@pytest.mark.parametrize(
    ("alter", "law"),
    [
        (lambda a, *_: a[:-1], "a tensor .* for 3 images"),
        (lambda a, *_: a[:, None], "a tensor .* for 3 images"),
        (lambda a, *_: a.tolist(), "a list of 3 for 3 images"),
        (lambda a, *_: a * math.nan, "not finite"),
    ],
)
def test_answers_of_another_form(alter: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_quality(make_altered(own_models.ContrastQuality("cpu"), alter), PICTURES, TEXTS)
    with pytest.raises(AssertionError, match=law):
        check_perceptual(make_altered(own_models.MeanDifference("cpu"), alter), PICTURES)


@pytest.mark.parametrize(
    ("alter", "law"),
    [
        (lambda d, *_: d[:, :9], r"a tensor \[3, 9\] for 3 images"),
        (lambda d, *_: d - 0.2 + 0.2 * d.roll(1, 1) * 10, "negative probability"),
        (lambda d, *_: 2 * d, r"sum to 2\.000"),
        (lambda d, *_: d.flip(0), "in the order"),
        (lambda d, *_: d.roll(len(d), 1), "depends on what else"),
        (lambda d, images, words: d.roll(len(words[0]) + next(counter), 1), "second time"),
    ],
)
def test_the_laws_of_critics(alter: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_critic(
            make_altered(own_models.BrightCritic("cpu"), alter),
            PICTURES * torch.tensor([[[[1.0]]], [[[0.5]]], [[[0.1]]]]),
            TEXTS,
        )


@pytest.mark.parametrize(
    ("alter", "law"),
    [
        (lambda d, *_: d - 0.5, "negative"),
        (lambda d, *_: d + 0.1, "equal images are 0.1 apart"),
        (lambda d, a, b: (a - b).clamp(min=0).mean((1, 2, 3)).detach(), "is not the one from b to a"),
        (lambda d, a, b: (d > 0).float() * 0.5, "no farther away"),
    ],
)
def test_the_laws_of_distances(alter: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_perceptual(make_altered(own_models.MeanDifference("cpu"), alter), PICTURES)


def each(**changes: Callable[[Reconstruction], Any]) -> Callable[..., Any]:
    """Changes some fields of every reconstruction that is OK."""

    def alter(found: Sequence[Reconstruction], *_: Any) -> Any:
        return [
            r if r.status is not Status.OK else replace(r, **{k: change(r) for k, change in changes.items()})
            for r in found
        ]

    return alter


def elsewhere(r: Reconstruction) -> Tensor:
    moved = r.world_from_camera.clone()
    moved[:, :3, 3] += 1
    return moved


def mirrored(r: Reconstruction) -> Tensor:
    """Left-handed from frame 1 on."""
    poses = r.world_from_camera.clone()
    poses[1:, :3, 0] *= -1
    return poses


def few_gaussians(r: Reconstruction) -> Gaussians:
    one = torch.ones(4, 3)
    return Gaussians(means=one, quats=torch.ones(4, 4), scales=one, opacities=torch.ones(4), colors=one)


def by_brightness(found: Sequence[Reconstruction], videos: Tensor) -> list[Reconstruction]:
    """Depths that differ from video to video, handed out in the wrong order."""
    means = videos.detach().mean((1, 2, 3, 4)).roll(1)
    return [replace(r, depth=r.depth + 5 * mean) for r, mean in zip(found, means, strict=True)]


RECONSTRUCTORS: list[tuple[Callable[..., Any], str]] = [
    (lambda a, *_: a[:-1], "a list of 2 for 3 videos"),
    (lambda a, *_: [r.depth for r in a], "not with a Reconstruction"),
    (each(depth=lambda r: r.depth[:-1]), "depth has the shape|confidence has the shape"),
    (each(world_from_camera=lambda r: r.world_from_camera[:, :3]), "world_from_camera has the shape"),
    (each(depth=lambda r: r.depth * math.nan), "not finite|second time"),
    (each(depth=lambda r: -r.depth), "a depth is not positive"),
    (each(world_from_camera=elsewhere), "frame 0's camera is not the identity"),
    (each(world_from_camera=lambda r: r.world_from_camera * torch.linspace(1, 2, 5)[:, None, None]), "no rotation"),
    (each(world_from_camera=lambda r: mirrored(r)), "no rotation"),
    (each(confidence=lambda r: 2 * r.confidence), "outside 0..1"),
    (each(intrinsics_px=lambda r: -r.intrinsics_px), "focal length is not positive"),
    (each(gaussians=few_gaussians), "it has 4 Gaussians"),
    (each(depth=lambda r: r.depth + 0.01 * next(counter)), "second time"),
    (lambda a, videos: [replace(r, depth=r.depth + len(a)) for r in a], "depends on what else"),
    (lambda a, videos: by_brightness(a, videos), "in the order of the inputs"),
    (lambda a, videos: [replace(r, depth=r.depth * (1 + 0 * videos.sum())) for r in a], "carries a gradient"),
    (lambda a, videos: [replace(r, status=Status.FAULT, reason="tired") for r in a], "can be reconstructed is fault"),
    (lambda a, videos: [replace(r, status=Status.OK) for r in a], "a blank video is ok"),
    (
        lambda a, videos: [r if r.status is Status.OK else replace(r, status=Status.FAULT) for r in a],
        "a blank video is fault",
    ),
    (lambda a, videos: [replace(r, reason="") for r in a], "has no reason"),
]


@pytest.mark.parametrize(("alter", "law"), RECONSTRUCTORS)
def test_the_laws_of_reconstructors(alter: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_reconstructor(make_altered(own_models.SidewaysReconstructor("cpu"), alter), SMALL.videos)


def change(**changes: Any) -> Callable[..., Any]:
    return lambda results, *_: [replace(r, **{k: f(r) for k, f in changes.items()}) for r in results]


def forgiving(results: list[RewardResult], videos: Tensor, *_: Any) -> list[RewardResult]:
    """Pays 0 for what is not finite."""
    return [
        r if math.isfinite(r.value) else RewardResult(value=0.0, parts={"vivid": 0.0, "steady": 0.0}) for r in results
    ]


REWARDS: list[tuple[Callable[..., Any], str]] = [
    (lambda a, *_: a[:-1], "3 videos get 2 results"),
    (lambda a, *_: iter(a), "3 videos get list_iterator results"),
    (change(value=lambda r: torch.tensor(r.value)), "no plain number"),
    (change(value=lambda r: r.value + 0.5), "return the weighted sum"),
    (change(parts=lambda r: {"other": r.value}), "the part other, which has no factor"),
    (lambda a, *_: a[::-1], "in the order"),
    (forgiving, "a video with NaN pixels gets the reward 0"),
    (change(status=lambda r: Status.FAULT), "a sound video is a fault"),
    (change(status=lambda r: Status.FAULT if r.status is Status.REJECTED else r.status), "a blank video is a fault"),
    (
        lambda a, videos, prompts, paths, dynamic: [replace(r, status=Status.FAULT) for r in a] if dynamic else a,
        "in the dynamic phase is a fault",
    ),
    (
        lambda a, videos, prompts, paths, dynamic: [
            replace(r, status=Status.FAULT) if path is None else r for r, path in zip(a, paths, strict=True)
        ],
        "without camera words is a fault",
    ),
    (spoil_input, "changes the videos"),
    (
        lambda a, *_: [
            RewardResult(value=r.parts["vivid"], parts={"vivid": r.parts["vivid"]})
            if r.status is Status.REJECTED
            else r
            for r in a
        ],
        "the same parts",
    ),
]


@pytest.mark.parametrize(("alter", "law"), REWARDS)
def test_the_laws_of_rewards(alter: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_reward(make_altered(ColourReward("cpu"), alter), SMALL)


@pytest.mark.parametrize("check", [check_critic, check_quality, check_perceptual, check_reconstructor])
def test_a_model_says_its_licence(check: Callable[..., None]) -> None:
    with pytest.raises(AssertionError, match="does not say its licence"):
        check(own_models.Silent("cpu"))
    with pytest.raises(AssertionError, match="cannot be called"):
        check(own_models.NotCallable("cpu"))


def test_one_input_is_too_few() -> None:
    with pytest.raises(AssertionError, match="at least two inputs"):
        check_quality(own_models.ContrastQuality("cpu"), PICTURES[:1], TEXTS[:1])
