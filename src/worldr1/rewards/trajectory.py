"""S_traj: does the camera of a video follow the requested path?

S_traj = exp(-(w_t e_t + w_r e_r)), DESIGN section 5 and research/math.md section 8; the paper only says "negative
exponential of the L2 translation and geodesic rotation deviations". Both paths are taken relative to frame 0 and
in units of their own median depth of frame 0. There is no alignment: an alignment of the recovered path to the
requested one (Umeyama) would forgive a wrong path, and scaling each path by its own length would pay for stillness.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import ConfigError, InputError
from worldr1.geometry.se3 import geodesic_rad, relative_to_first
from worldr1.rewards.depth_units import depth_units
from worldr1.types import Reconstruction, Trajectory

STILL_TRANSLATION = 1e-6
"""Depth units. A requested path that stays within this of its start does not translate (`fixed` and the pans)."""
STILL_REFERENCE = 0.22
"""Depth units by which drift is divided where no translation is requested: one `move` (docs/conventions.md 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryConfig:
    """How deviations become S_traj."""

    translation_weight: float = 3.0
    """w_t, per unit of relative translation error."""
    rotation_weight_per_rad: float = 8.0
    """w_r, per radian of rotation error."""
    speed: Literal["requested", "free"] = "requested"
    """"requested": the distance travelled counts. "free": any distance of at least half the request is right, for
    reconstructors whose depth scale is not to be trusted."""

    def __post_init__(self) -> None:
        if self.translation_weight < 0 or self.rotation_weight_per_rad < 0:
            raise ConfigError("The trajectory reward's weights must not be negative.")
        if self.speed not in ("requested", "free"):
            raise ConfigError(f'The trajectory reward\'s speed is "requested" or "free", not "{self.speed}".')


@dataclass(frozen=True, kw_only=True, slots=True)
class Travel:
    """How far a camera went, without asking whether it should have."""

    depth_units: float
    """Largest distance from frame 0's camera, in median depths of frame 0."""
    deg: float
    """Largest rotation from frame 0's camera."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryErrors:
    """One video against its requested path."""

    translation_error: float
    """e_t: mean over frames 1..T-1, relative to the request's length (or to 0.22 where it has none)."""
    rotation_error_rad: float
    """e_r: mean geodesic distance over frames 1..T-1."""
    score: float
    """S_traj in (0, 1]."""


def has_parallax(trajectory: Trajectory | None) -> bool:
    """Whether the requested path moves the camera's centre; a prompt without camera words (None) is assumed to."""
    return trajectory is None or requested_extent(trajectory) > STILL_TRANSLATION


def requested_extent(trajectory: Trajectory) -> float:
    """s*: the largest distance from frame 0's camera on the requested path, in depth units."""
    return float(_relative(trajectory.world_from_camera)[:, :3, 3].norm(dim=-1).max())


def travel_share(travel: Travel, trajectory: Trajectory) -> float | None:
    """How much of the requested way the camera went, at most 1; None if the request goes nowhere (`has_parallax`)."""
    if not has_parallax(trajectory):
        return None
    return min(1.0, travel.depth_units / requested_extent(trajectory))


def camera_travel(reconstruction: Reconstruction) -> Travel:
    """Extent of the recovered path; raises ValueError if the median depth is not positive."""
    return camera_travels(recovered_paths([reconstruction]))[0]


def camera_travels(recovered_BT44: Float[Tensor, "B T 4 4"]) -> list[Travel]:
    """Extent of each recovered path."""
    distances_B = recovered_BT44[..., :3, 3].norm(dim=-1).amax(1)
    angles_B = geodesic_rad(recovered_BT44[..., :3, :3], recovered_BT44[:, :1, :3, :3]).amax(1)
    return [
        Travel(depth_units=distance, deg=math.degrees(angle))
        for distance, angle in zip(distances_B.tolist(), angles_B.tolist(), strict=True)
    ]


def trajectory_errors(
    reconstruction: Reconstruction, trajectory: Trajectory, *, config: TrajectoryConfig | None = None
) -> TrajectoryErrors:
    """`path_errors` of one video; raises ValueError if the median depth is not positive."""
    return path_errors(recovered_paths([reconstruction]), [trajectory], config=config)[0]


def path_errors(
    recovered_BT44: Float[Tensor, "B T 4 4"],
    trajectories: Sequence[Trajectory],
    *,
    config: TrajectoryConfig | None = None,
) -> list[TrajectoryErrors]:
    """Errors and S_traj of recovered camera paths (`recovered_paths`).

    With tau the recovered and t* the requested translations (depth units) and s* = max|t*|:
    moving request: e_t = mean |tau - t*| / s* ("free": |tau / max(max|tau|, s*/2) - t*/s*|); still request (fixed,
    pans): e_t = mean |tau| / 0.22. Frame 0 is left out of the means: it is right by construction.
    Raises InputError if the numbers of frames differ or are below 2.
    """
    config = config or TrajectoryConfig()
    num_frames = recovered_BT44.shape[1]
    for trajectory in trajectories:
        if num_frames != trajectory.num_frames or num_frames < 2:
            raise InputError(
                f"The video has {num_frames} frames but its requested path has {trajectory.num_frames}: plan the path "
                "for the video's own length (at least 2 frames)."
            )
    requested_BT44 = _relative(torch.stack([t.world_from_camera for t in trajectories]))
    tau_BT3, target_BT3 = recovered_BT44[..., :3, 3], requested_BT44[..., :3, 3]
    extent_B11 = target_BT3.norm(dim=-1).amax(1)[:, None, None]
    still_B11 = extent_B11 <= STILL_TRANSLATION
    length_B11 = torch.where(still_B11, STILL_REFERENCE, extent_B11)
    reach_B11 = length_B11
    if config.speed == "free":
        longest_B11 = tau_BT3.norm(dim=-1).amax(1)[:, None, None]
        reach_B11 = torch.where(still_B11, STILL_REFERENCE, torch.maximum(longest_B11, extent_B11 / 2))
    residual_BT3 = tau_BT3 / reach_B11 - target_BT3.masked_fill(still_B11, 0.0) / length_B11
    translation_B = residual_BT3[:, 1:].norm(dim=-1).mean(1)
    rotation_B = geodesic_rad(recovered_BT44[:, 1:, :3, :3], requested_BT44[:, 1:, :3, :3]).mean(1)
    return [
        TrajectoryErrors(translation_error=t, rotation_error_rad=r, score=path_score(t, r, config))
        for t, r in zip(translation_B.tolist(), rotation_B.tolist(), strict=True)
    ]


def path_score(translation_error: float, rotation_error_rad: float, config: TrajectoryConfig) -> float:
    """S_traj of the two errors: exp(-(w_t e_t + w_r e_r))."""
    deviation = config.translation_weight * translation_error + config.rotation_weight_per_rad * rotation_error_rad
    return math.exp(-deviation)


def recovered_path(reconstruction: Reconstruction) -> Float[Tensor, "T 4 4"]:
    """`recovered_paths` of one video."""
    return recovered_paths([reconstruction])[0]


def recovered_paths(reconstructions: Sequence[Reconstruction]) -> Float[Tensor, "B T 4 4"]:
    """Recovered poses relative to frame 0, float64 on the CPU, translations in depth units; videos of one size.

    Raises ValueError if a median depth is not positive: such a path has no unit.
    """
    units_B11 = depth_units(reconstructions)[:, None, None]
    poses_BT44 = _relative(torch.stack([r.world_from_camera for r in reconstructions])).clone()
    poses_BT44[..., :3, 3] /= units_B11
    return poses_BT44


def _relative(world_from_camera: Float[Tensor, "*batch T 4 4"]) -> Float[Tensor, "*batch T 4 4"]:
    """Poses relative to frame 0 in float64 on the CPU."""
    return relative_to_first(world_from_camera.detach().to("cpu", torch.float64))
