"""From camera moves to poses, exactly as docs/conventions.md section 2 freezes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.types import Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class Magnitude:
    """How far one move goes over a whole clip, in the frame of the camera at the move's start."""

    x: float = 0.0
    """Depth units to the right."""
    z: float = 0.0
    """Depth units forward."""
    yaw_deg: float = 0.0
    """Positive looks right."""
    orbit_deg: float = 0.0
    """Angle on the circle about the point one depth unit ahead; positive: the camera goes left and yaws right."""


MAGNITUDES: Mapping[str, Magnitude] = MappingProxyType(
    {
        "push_in": Magnitude(z=0.60),
        "pull_out": Magnitude(z=-0.60),
        "move_left": Magnitude(x=-0.22),
        "move_right": Magnitude(x=0.22),
        "pan_left": Magnitude(yaw_deg=-14.0),
        "pan_right": Magnitude(yaw_deg=14.0),
        "orbit_left": Magnitude(orbit_deg=24.0),
        "orbit_right": Magnitude(orbit_deg=-24.0),
        "pull_left": Magnitude(x=-0.16, z=-0.30, yaw_deg=-8.0),
        "pull_right": Magnitude(x=0.16, z=-0.30, yaw_deg=8.0),
        "fixed": Magnitude(),
    }
)
"""Frozen: docs/conventions.md section 2. The keys are the camera's whole vocabulary."""

ORBIT_RADIUS = 1.0
"""Depth units; also of an orbit that is one of several moves, whose angle alone shrinks."""


def synthesize(tokens: Sequence[str], num_frames: int) -> Trajectory:
    """The path of a sequence of moves over `num_frames` frames, float64, frame 0 the identity.

    Frame i is at u = i / (T - 1); n moves share u in n equal parts, each with 1/n of its magnitude, and each starts
    from the pose where the one before ended. A clip of one frame is the identity.
    Raises InputError for no tokens, an unknown token or num_frames < 1.
    """
    if not tokens:
        raise InputError("a trajectory needs at least one camera move; a prompt without camera words has none")
    unknown = [token for token in tokens if token not in MAGNITUDES]
    if unknown:
        raise InputError(f"unknown camera move {unknown[0]!r}; use one of {', '.join(MAGNITUDES)}")
    if num_frames < 1:
        raise InputError(f"a clip has at least one frame, got num_frames={num_frames}")

    num_moves, last = len(tokens), max(num_frames - 1, 1)
    # In integers, so that a frame on a joint falls on one side of it whatever the rounding of i / (T - 1).
    parts = torch.arange(num_frames) * num_moves
    moves = (parts // last).clamp(max=num_moves - 1)
    done = (parts - moves * last).double() / last

    poses = torch.empty(num_frames, 4, 4, dtype=torch.float64)
    start = torch.eye(4, dtype=torch.float64)
    for index, token in enumerate(tokens):
        mine = moves == index
        poses[mine] = start @ _partial_move(MAGNITUDES[token], done[mine] / num_moves)
        start = start @ _partial_move(MAGNITUDES[token], torch.tensor(1.0 / num_moves, dtype=torch.float64))
    return Trajectory(world_from_camera=poses)


def requested_path(tokens: Sequence[str], num_frames: int) -> Trajectory | None:
    """What a prompt's moves ask of the camera: their path, or None (a free camera) if there are none."""
    return synthesize(tokens, num_frames) if tokens else None


def latent_poses(trajectory: Trajectory, stride: int = 4) -> Float[Tensor, "L 4 4"]:
    """Poses of the frames that the latent frames stand for: 0, stride, 2 stride, ...

    Raises InputError unless the number of frames is k * stride + 1.
    """
    if (trajectory.num_frames - 1) % stride:
        raise InputError(f"the number of frames must be {stride} k + 1, got {trajectory.num_frames}")
    return trajectory.world_from_camera[::stride]


def _partial_move(magnitude: Magnitude, fraction: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4 4"]:
    """start_from_camera after `fraction` (of the whole clip's magnitude) of a move."""
    yaw = fraction * math.radians(magnitude.yaw_deg)
    orbit = fraction * math.radians(magnitude.orbit_deg)
    x = fraction * magnitude.x - ORBIT_RADIUS * torch.sin(orbit)
    # 1 - cos(a) = 2 sin(a / 2)^2, without the cancellation that would move the pivot.
    z = fraction * magnitude.z + ORBIT_RADIUS * 2 * torch.sin(orbit / 2) ** 2
    return make_pose(rotation_y(yaw + orbit), torch.stack((x, torch.zeros_like(x), z), dim=-1))
