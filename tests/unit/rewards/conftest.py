"""A world whose geometry is known exactly, and models simple enough to compute by hand.

The scene is a wall at z = 1, the depth unit, with a panel floating before it at z = 0.8, both textured by waves of the
world's x and y. Its reconstruction is given, not estimated, so every test here says what the *reward* does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.rewards.composite import CompositeReward, RewardConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, Reconstruction, RewardResult, Trajectory, intrinsics_px

HEIGHT, WIDTH, FRAMES = 24, 36, 9


@dataclass(frozen=True)
class Clip:
    """A video and the truth about it."""

    video: Tensor
    truth: Reconstruction


def film(path: Trajectory, *, swim: float = 0.0, scale: float = 1.0) -> Clip:
    """The world seen along a path. swim: texture units that the texture slides over the clip; scale: of the truth."""
    k = intrinsics_px(HEIGHT, WIDTH)
    v, u = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], -1).double() @ torch.linalg.inv(k).T
    poses = path.world_from_camera
    world_rays = torch.einsum("tij,hwj->thwi", poses[:, :3, :3], rays)
    eye = poses[:, None, None, :3, 3]
    to_wall, to_panel = ((z - eye[..., 2]) / world_rays[..., 2] for z in (1.0, 0.8))
    on_panel = eye + world_rays * to_panel[..., None]
    panel = (on_panel[..., 0].abs() < 0.15) & (on_panel[..., 1].abs() < 0.1)
    depth = torch.where(panel, to_panel, to_wall)
    point = eye + world_rays * depth[..., None]
    slide = swim * torch.linspace(0, 1, len(poses)).double()[:, None, None]
    x, y = point[..., 0] + slide, point[..., 1] + panel
    waves = [torch.sin(11 * x + 4 * y), torch.sin(-5 * x + 13 * y + 1), torch.sin(8 * x + 9 * y + 2)]
    scaled = poses.clone()
    scaled[:, :3, 3] *= scale
    truth = Reconstruction(
        world_from_camera=scaled.float(),
        depth=(depth * scale).float(),
        intrinsics_px=k.float().expand(len(poses), 3, 3),
        confidence=torch.ones(depth.shape),
    )
    return Clip(video=(0.5 + 0.45 * torch.stack(waves, dim=1)).float(), truth=truth)


class Oracle:
    """Knows the reconstruction of every clip it was shown; asked for an unknown one it fails."""

    licence = "test"

    def __init__(self, *clips: Clip) -> None:
        self.clips = clips
        self.calls: list[int] = []

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        self.calls.append(len(videos))
        return [next(c.truth for c in self.clips if torch.equal(c.video, video)) for video in videos]


class CornerCritic:
    """Its digit says how bright the image is; p = 1 for the digit below, so that the expectation is exact."""

    licence = "test"

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.images.append(images)
        digits = (images.mean(dim=(1, 2, 3)) * 10).long().clamp(0, 9)
        return torch.nn.functional.one_hot(digits, 10).float()


class ContrastQuality:
    """Standard deviation of a frame; NaN for prompts that say so."""

    licence = "test"

    def __call__(self, frames: Tensor, prompts: Sequence[str]) -> Tensor:
        assert len(frames) == len(prompts)
        scores = frames.std(dim=(1, 2, 3))
        return torch.where(torch.tensor(["nan" in p for p in prompts]), torch.nan, scores)


class MeanDifference:
    """L1."""

    licence = "test"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Kit:
    """The fakes of one reward, to look into or replace."""

    oracle: Oracle
    critic: CornerCritic
    reward: CompositeReward

    def score(
        self, clip: Clip, path: Trajectory | None, *, text: str = "a wall", dynamic: bool = False
    ) -> RewardResult:
        """The result of one clip."""
        return self.reward(clip.video[None], [Prompt(id=0, text=text)], [path], dynamic)[0]


@pytest.fixture
def path() -> Callable[..., Trajectory]:
    """path("push_in", ...): the requested trajectory of these moves."""
    return lambda *tokens: synthesize(tokens, FRAMES)


@pytest.fixture
def clip() -> Callable[..., Clip]:
    """clip(path, swim=0.0, scale=1.0): a video with its truth."""
    return film


@pytest.fixture
def kit() -> Callable[..., Kit]:
    """kit(*clips, config=..., **replacements): a reward that knows these clips."""

    def make(*clips: Clip, config: RewardConfig | None = None, **models: Any) -> Kit:
        oracle, critic = Oracle(*clips), CornerCritic()
        parts: dict[str, Any] = {
            "reconstructor": oracle,
            "renderer": SplatRenderer(),
            "critic": critic,
            "quality": ContrastQuality(),
            "perceptual": MeanDifference(),
        } | models
        return Kit(oracle=oracle, critic=critic, reward=CompositeReward(**parts, config=config or RewardConfig()))

    return make


@pytest.fixture
def with_truth() -> Callable[..., Clip]:
    """with_truth(clip, status=...): the same video with a changed reconstruction."""
    return lambda clip, **changes: replace(clip, truth=replace(clip.truth, **changes))


@pytest.fixture
def with_video() -> Callable[..., Clip]:
    """with_video(clip, video): other pixels, same truth."""
    return lambda clip, video: replace(clip, video=video)
