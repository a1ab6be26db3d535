"""What the reward models need: their weights by placement, arithmetic per video and memory while they score.

Estimates, made before a reward model of full size had been run; the paper's took a fifth longer on an H200
(docs/models.md). Operations are two per parameter and token, plus what grows faster;
bytes are those of the tensors named below.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worldr1.planning.cards import Card
from worldr1.rewards.profiles import RewardModel
from worldr1.rewards.recipe import RewardConfig

PROCESSED_PX, PATCH_PX = 504, 14
"""Longer side and patch of what Depth Anything 3 sees (`backends.depth_anything3`)."""
BACKBONES: Mapping[str, tuple[int, int]] = {"DA3-GIANT-1.1": (1536, 13), "DA3-BASE": (768, 4)}
"""Width, and how many blocks attend across all frames."""
GAUSSIAN_HEAD = ("DA3-GIANT-1.1",)
"""Models that say 38 float32 numbers per pixel for their Gaussians, of which three copies live at once."""
HEADS = 2.0
"""A dense prediction head costs about as much as its backbone's linear layers."""
CRITIC_TEXT_TOKENS = 300
QUALITY_TOKENS: Mapping[str, int] = {"HPSv3": 400, "HPSv2.1": 334}
"""Tokens of a frame and its prompt."""
ALEXNET_FLOPS_PER_PX = 28.5e3
"""1.43 GFLOP at 224 x 224."""
REWARD_SHARE = 0.35
"""Share of the bfloat16 peak that these models reach: assumed."""
RENDER_S_PER_GAUSSIAN_VIEW = 0.046 / 1e6 / 81
"""gsplat on an H200, 81 views of a million Gaussians in 46 ms (research/h200.md)."""
HOST_BYTES_PER_S = 20e9
"""From page-locked host memory to a GPU on PCIe 4.0, for swapping: assumed; an H200 on PCIe 5.0 has 52 to 55e9."""
LANGUAGE_MODEL_BYTES = 1.5e9
"""Activations and logits of a critic or quality model on a few images: assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """The videos that are judged."""

    frames: int
    height: int
    width: int

    @property
    def processed(self) -> tuple[int, int]:
        """Height and width that the 3D model sees."""
        longer = max(self.height, self.width)
        sides = (PATCH_PX * max(1, round(PROCESSED_PX * s / longer / PATCH_PX)) for s in (self.height, self.width))
        height, width = sides
        return height, width

    @property
    def gaussians(self) -> int:
        """One per processed pixel of all frames."""
        height, width = self.processed
        return self.frames * height * width


def reward_flops(model: RewardModel, clip: Clip, *, quality_frames: int) -> float:
    """Operations of one model on one video."""
    height, width = clip.processed
    if model.role == "reconstructor":
        dim, across = BACKBONES[model.name]
        tokens = clip.frames * (1 + height * width // PATCH_PX**2)
        return HEADS * 2.0 * model.parameters * tokens + across * 4.0 * tokens**2 * dim
    if model.role == "critic":
        return 2.0 * model.parameters * (clip.height * clip.width / 32**2 + CRITIC_TEXT_TOKENS)
    if model.role == "quality":
        return 2.0 * model.parameters * quality_frames * QUALITY_TOKENS[model.name]
    return 2 * ALEXNET_FLOPS_PER_PX * height * width * clip.frames / 2  # odd frames, twice


def reward_seconds(config: RewardConfig, clip: Clip, card: Card) -> float:
    """Of one video: all models, and drawing the odd frames and the off-path view from the even frames' Gaussians."""
    models = config.published_models
    if not models:
        return 0.0
    flops = sum(reward_flops(model, clip, quality_frames=config.quality.num_frames) for model in models)
    drawn = clip.gaussians / 2 * (clip.frames / 2 + 1) * RENDER_S_PER_GAUSSIAN_VIEW
    return flops / (REWARD_SHARE * card.bf16_tflops * 1e12) + drawn


def swap_seconds(config: RewardConfig, *, videos: int) -> float:
    """Moving every model to the GPU once for each call, of `reward.batch` videos; 0 unless they are swapped."""
    if config.placement != "swap":
        return 0.0
    calls = -(-videos // config.batch)
    return calls * sum(model.num_bytes for model in config.published_models) / HOST_BYTES_PER_S


def resident_bytes(config: RewardConfig) -> float:
    """Weights that stay on the policy's GPU."""
    return float(sum(m.num_bytes for m in config.published_models)) if config.placement == "resident" else 0.0


def scoring_bytes(config: RewardConfig, clip: Clip, *, videos: int) -> float:
    """Most that scoring takes on the policy's GPU besides `resident_bytes` and the videos; videos: in one call."""
    if config.placement == "remote":
        return 0.0
    swapped = config.placement == "swap"
    return max(
        (_working_bytes(m, clip, videos=videos) + swapped * m.num_bytes for m in config.published_models), default=0.0
    )


def _working_bytes(model: RewardModel, clip: Clip, *, videos: int) -> float:
    """The 3D model works on one video at a time and keeps the Gaussians (14 numbers each) of all in the call."""
    if model.role != "reconstructor":
        return LANGUAGE_MODEL_BYTES
    dim, _ = BACKBONES[model.name]
    tokens = clip.gaussians / PATCH_PX**2
    backbone = 12 * 2.0 * tokens * dim
    head = 3 * 4.0 * 128 * min(8, clip.frames) * clip.gaussians / clip.frames
    own = 3 * 4.0 * 38 * clip.gaussians if model.name in GAUSSIAN_HEAD else 0.0
    return backbone + head + own + videos * 4.0 * 14 * clip.gaussians
