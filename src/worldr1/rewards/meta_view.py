"""S_meta: does the scene hold up from a place where the camera never was?

The paper shows the critic a render from a meta-view "significantly offset from the generation trajectory" and takes
its digit 0-9 times 0.1; S_meta here is 0.1 times the *expected* digit. The pose is not published. Here it leaves the
middle frame's camera sideways and upwards by fractions of the median depth and looks at the scene's centre: the
requested paths are level, so the raise alone takes it off every one of them, and billboards, stretched texture and
floaters that look right from the path show. (The release takes the input camera farthest from the origin, a view that
the video itself contains.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import ConfigError
from worldr1.geometry.pinhole import unproject
from worldr1.geometry.se3 import look_at, relative_to_first
from worldr1.rewards.depth_units import LEAST_CONFIDENCE, depth_units, medians_where
from worldr1.rewards.reconstruction import at_size
from worldr1.rewards.rendering import RenderJob
from worldr1.scene.gaussians import LiftConfig, lift_videos
from worldr1.types import Reconstruction, Trajectory

UNSEEN_GREY = 0.5
"""Grey level of places that no frame ever saw."""

Side = Literal[-1, 1]
"""-1: the off-path camera stands left of the middle frame's, 1: right of it."""
SIDES: tuple[Side, Side] = (-1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetaViewConfig:
    """Where the off-path camera stands, in median depths of frame 0 from the middle frame's camera."""

    lateral_fraction: float = 0.3
    """Sideways."""
    raise_fraction: float = 0.2
    """Upwards: the distance from every level path is at least this."""

    def __post_init__(self) -> None:
        if self.lateral_fraction < 0 or not self.raise_fraction > 0:
            raise ConfigError("The off-path view needs lateral_fraction >= 0 and raise_fraction > 0.")


def meta_view_side(trajectory: Trajectory | None, config: MetaViewConfig | None = None) -> Side:
    """The side on which the off-path camera is farther from the *requested* path; right if equal or without a path.

    It depends on the request alone, so all members of a group are seen from the same side.
    """
    if trajectory is None:
        return 1
    path_T44 = relative_to_first(trajectory.world_from_camera.double())
    left, right = (_off_path(path_T44, side, config or MetaViewConfig()) for side in SIDES)
    return -1 if left > right + 1e-6 else 1


def meta_view_pose(
    reconstruction: Reconstruction, config: MetaViewConfig | None = None, *, side: Side = 1
) -> Float[Tensor, "4 4"]:
    """world_from_camera of the off-path camera (float64, in the reconstruction's own scale).

    Raises ValueError if the median depth is not positive.
    """
    return meta_view_poses([reconstruction], [side], config or MetaViewConfig())[0]


def meta_view_poses(
    reconstructions: Sequence[Reconstruction], sides: Sequence[Side], config: MetaViewConfig
) -> Float[Tensor, "B 4 4"]:
    """`meta_view_pose` of each video; all have one size."""
    middle = len(reconstructions[0].depth) // 2
    poses_B44 = _poses_at(reconstructions, middle)
    offset_B2 = depth_units(reconstructions)[:, None] * torch.tensor(
        [_offset(side, config) for side in sides], dtype=torch.float64
    )
    return look_at(_eye(poses_B44, offset_B2), scene_centres(reconstructions), -poses_B44[:, :3, 1])


def scene_centre(reconstruction: Reconstruction) -> Float[Tensor, "3"]:
    """`scene_centres` of one video."""
    return scene_centres([reconstruction])[0]


def scene_centres(reconstructions: Sequence[Reconstruction]) -> Float[Tensor, "B 3"]:
    """Median world point (per axis of the middle camera) of the middle frame's confident pixels; float64, CPU."""
    middle = len(reconstructions[0].depth) // 2
    depth_BHW = torch.stack([r.depth[middle] for r in reconstructions]).double()
    intrinsics_B33 = torch.stack([r.intrinsics_px[middle] for r in reconstructions]).to(depth_BHW.device)
    confident_BHW = torch.stack([r.confidence[middle] for r in reconstructions]) > LEAST_CONFIDENCE
    points_BN3 = unproject(depth_BHW, intrinsics_B33).flatten(1, 2)
    centre_B3 = medians_where(points_BN3, confident_BHW.flatten(1)).cpu()
    poses_B44 = _poses_at(reconstructions, middle)
    return (poses_B44[:, :3, :3] @ centre_B3[..., None])[..., 0] + poses_B44[:, :3, 3]


def meta_view_jobs(
    videos: Sequence[Float[Tensor, "T 3 H W"]],
    reconstructions: Sequence[Reconstruction],
    sides: Sequence[Side],
    *,
    config: MetaViewConfig,
    lift: LiftConfig,
) -> list[RenderJob]:
    """What to render for S_meta: the Gaussians of all frames of each video from one off-path camera."""
    sized = [at_size(video, r) for video, r in zip(videos, reconstructions, strict=True)]
    scenes = lift_videos(sized, reconstructions, range(len(sized[0])), config=lift)
    poses = meta_view_poses(reconstructions, sides, config).to(reconstructions[0].world_from_camera)
    return [
        RenderJob(
            gaussians=scene,
            world_from_camera=pose[None],
            intrinsics_px=r.intrinsics_px[len(r.intrinsics_px) // 2][None],
        )
        for scene, r, pose in zip(scenes, reconstructions, poses, strict=True)
    ]


def expected_digit_score(probabilities: Float[Tensor, "B 10"]) -> Float[Tensor, " B"]:
    """S_meta in [0, 0.9]: 0.1 times the expected digit. Raises ValueError unless each row is a distribution."""
    rows = probabilities.detach().double().cpu()
    if not bool(((rows >= 0).all(dim=-1) & ((rows.sum(dim=-1) - 1).abs() < 1e-2)).all()):
        raise ValueError("the critic's digit probabilities are not a distribution")
    return 0.1 * rows @ torch.arange(10.0, dtype=torch.float64)


def _poses_at(reconstructions: Sequence[Reconstruction], frame: int) -> Float[Tensor, "B 4 4"]:
    """world_from_camera of one frame of each video, float64 on the CPU."""
    return torch.stack([r.world_from_camera[frame] for r in reconstructions]).to("cpu", torch.float64)


def _offset(side: Side, config: MetaViewConfig) -> tuple[float, float]:
    """Depth units to the right and upwards."""
    return side * config.lateral_fraction, config.raise_fraction


def _eye(middle_44: Float[Tensor, "*batch 4 4"], offset: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Centre of the camera that stands `offset` (right, up; path units) beside the middle frame's."""
    right, down = middle_44[..., :3, 0], middle_44[..., :3, 1]
    return middle_44[..., :3, 3] + offset[..., :1] * right - offset[..., 1:] * down


def _off_path(path_T44: Float[Tensor, "T 4 4"], side: Side, config: MetaViewConfig) -> float:
    """Distance of the off-path camera on that side from the nearest camera of a path in depth units."""
    eye = _eye(path_T44[len(path_T44) // 2], path_T44.new_tensor(_offset(side, config)))
    return float((path_T44[:, :3, 3] - eye).norm(dim=-1).min())
