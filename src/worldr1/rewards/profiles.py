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
    bytes_per_parameter: int = 2
    """As the weights are held."""

    @property
    def num_bytes(self) -> int:
        """Of its weights."""
        return self.bytes_per_parameter * self.parameters


_LPIPS = RewardModel(
    role="perceptual",
    name="LPIPS (AlexNet)",
    hub="pypi: lpips",
    parameters=2_470_848,
    licence="BSD-2-Clause",
    source="AlexNet's five convolutions and the package's linear heads",
    bytes_per_parameter=4,
)

PROFILES: Mapping[ProfileName, tuple[RewardModel, ...]] = {
    "mini": (),
    "paper": (
        RewardModel(
            role="reconstructor",
            name="DA3-GIANT-1.1",
            hub="depth-anything/DA3-GIANT-1.1",
            parameters=1_355_674_125,
            licence="CC BY-NC 4.0",
            source="counted on the network of depth-anything-3 0.1.1 (its table says 1.15 billion: the backbone)",
            bytes_per_parameter=4,  # computes in bfloat16, keeps its weights and its heads in float32
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
            parameters=135_366_599,
            licence="Apache-2.0",
            source="counted on the network of depth-anything-3 0.1.1 (its table says 0.12 billion)",
            bytes_per_parameter=4,
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
"""paper: what the publication names (29.8 GB). light: smaller ones with permissive licences (6.8 GB)."""
