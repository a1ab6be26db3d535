"""Which models stand behind a reward, by profile, and how large they are: names and sizes, for `worldr1 plan` too.

`build` knows which code runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ProfileName = Literal["mini", "paper", "light"]
Placement = Literal["resident", "swap", "remote"]
Role = Literal["reconstructor", "critic", "quality", "perceptual"]
ROLES: tuple[Role, ...] = ("reconstructor", "critic", "quality", "perceptual")


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModel:
    """One model of a reward, as published."""

    role: Role
    name: str
    hub: str
    """Where its weights are."""
    parameters: int
    licence: str
    source: str
    """Of the number of parameters."""

    @property
    def num_bytes(self) -> int:
        """Of its weights in bfloat16."""
        return 2 * self.parameters


_LPIPS = RewardModel(
    role="perceptual",
    name="LPIPS (AlexNet)",
    hub="pypi: lpips",
    parameters=2_470_848,
    licence="BSD-2-Clause",
    source="AlexNet's five convolutions and the package's linear heads",
)

PROFILES: Mapping[ProfileName, tuple[RewardModel, ...]] = {
    "mini": (),
    "paper": (
        RewardModel(
            role="reconstructor",
            name="DA3-GIANT-1.1",
            hub="depth-anything/DA3-GIANT-1.1",
            parameters=1_150_000_000,
            licence="CC BY-NC 4.0",
            source="table of the model's repository",
        ),
        RewardModel(
            role="critic",
            name="Qwen3-VL-4B",
            hub="Qwen/Qwen3-VL-4B-Instruct",
            parameters=4_437_815_808,
            licence="Apache-2.0",
            source="counted on its published configuration",
        ),
        RewardModel(
            role="quality",
            name="HPSv3",
            hub="MizzenAI/HPSv3",
            parameters=7_748_610_610,
            licence="MIT (its base Qwen2-VL-7B: Apache-2.0)",
            source="counted on `backends.hpsv3`: the published file without its language head, which nothing uses",
        ),
        _LPIPS,
    ),
    "light": (
        RewardModel(
            role="reconstructor",
            name="DA3-BASE",
            hub="depth-anything/DA3-BASE",
            parameters=120_000_000,
            licence="Apache-2.0",
            source="table of the model's repository",
        ),
        RewardModel(
            role="critic",
            name="Qwen3-VL-2B",
            hub="Qwen/Qwen3-VL-2B-Instruct",
            parameters=2_127_532_032,
            licence="Apache-2.0",
            source="counted on its published configuration",
        ),
        RewardModel(
            role="quality",
            name="HPSv2.1",
            hub="xswu/HPSv2",
            parameters=986_109_441,
            licence="Apache-2.0",
            source="CLIP ViT-H/14 of open_clip",
        ),
        _LPIPS,
    ),
}
"""paper: what the publication names (26.7 GB in bfloat16). light: smaller ones with permissive licences (6.5 GB)."""
