"""Rewards that Ray actors build in tests, without what `worldr1.build` imports."""

from typing import Any

from reward_pool import NumberReward, SabotagedActor
from torch import Tensor

from worldr1.backends.mini import load_heads, load_reconstructor
from worldr1.cluster.messages import Answer, Packed
from worldr1.rewards.composite import CompositeReward
from worldr1.rewards.recipe import RewardConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.types import RewardResult

SMALL = 16
"""Width below which a video carries its score."""


def mini_reward() -> CompositeReward:
    """The packaged models, on the CPU."""
    critic, quality, distance = load_heads("cpu")
    return CompositeReward(load_reconstructor("cpu"), SplatRenderer(), critic, quality, distance, RewardConfig(batch=2))


class BothRewards:
    """Small videos carry their scores, others are the mini models' to judge: one Ray for all tests."""

    licence = "test"

    def __init__(self) -> None:
        self.mini, self.numbers = mini_reward(), NumberReward()
        self.part_weights = {**self.mini.part_weights, **self.numbers.part_weights}
        self.reconstructor = self.mini.reconstructor

    def __call__(self, videos: Tensor, *given: Any) -> list[RewardResult]:
        return (self.numbers if videos.shape[-1] < SMALL else self.mini)(videos, *given)


class Actor(SabotagedActor):
    """Sabotages the small ones."""

    def answer(self, packed: Packed) -> Answer:
        large = packed.videos.size > 1000
        return super(SabotagedActor, self).answer(packed) if large else super().answer(packed)
