"""Camera paths of any speed and mixture, from which a 3D model must learn to measure instead of to recognise.

A network trained on the 83 exact paths of the prompts' plans snaps to them: of cameras that went 80 % of a move's way
it reported 93 %, and on mixtures it lost itself (docs/log.md, benchmarks/off_path.py). What policies film is not exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import MAGNITUDES, ORBIT_RADIUS
from worldr1.geometry.se3 import make_pose, rotation_y

MAX_SEGMENTS = 3
REACH = 1.3
"""Largest part of a move, relative to its magnitude in the vocabulary."""
KEPT = 0.45
"""Chance of each component (sideways, ahead, pan, orbit) to be in a segment; at least one is."""
EASED, SHAKEN = 0.4, 0.35
"""Shares of paths whose speed changes within a segment, and whose camera also drifts, pitches and rolls a little."""
MAX_DRIFT, MAX_TILT_RAD = 0.04, 0.035
"""Depth units down or up; 2 degrees."""
_LARGEST = (
    MAGNITUDES["move_right"].x,
    MAGNITUDES["push_in"].z,
    torch.pi / 180 * MAGNITUDES["pan_right"].yaw_deg,
    torch.pi / 180 * MAGNITUDES["orbit_left"].orbit_deg,
)


def free_paths(num: int, num_frames: int, generator: torch.Generator) -> Float[Tensor, "N T 4 4"]:
    """Random paths, world_from_camera relative to frame 0, float32 on the CPU; `generator` lives there.

    One to three segments of any length, each a mixture of moves of up to 1.3 times their magnitude (in sum over the
    clip), some at a changing speed, some shaken.
    """
    segments = torch.randint(1, MAX_SEGMENTS + 1, (num, 1), generator=generator)
    joints = torch.rand(num, MAX_SEGMENTS, generator=generator, dtype=torch.float64).sort(dim=1).values
    numbers = torch.arange(MAX_SEGMENTS)
    ends = torch.where(numbers >= segments - 1, 1.0, joints)
    starts = torch.cat((torch.zeros(num, 1, dtype=torch.float64), ends[:, :-1]), dim=1)
    u = torch.linspace(0, 1, num_frames, dtype=torch.float64)
    progress = ((u - starts[..., None]) / (ends - starts).clamp(min=1e-9)[..., None]).clamp(0, 1)
    eased = torch.rand(num, 1, 1, generator=generator) < EASED
    power = torch.exp((torch.rand(num, MAX_SEGMENTS, 1, generator=generator, dtype=torch.float64) - 0.5) * 0.9)
    progress = torch.where(eased, progress**power, progress)

    amounts = _amounts(num, generator) * ((ends - starts) * (numbers < segments))[..., None]
    path = torch.eye(4, dtype=torch.float64).expand(num, num_frames, 4, 4)
    for segment in range(MAX_SEGMENTS):
        path = path @ _move(amounts[:, segment, None] * progress[:, segment, :, None])
    return (path @ _shake(num, u, generator)).float()


def _amounts(num: int, generator: torch.Generator) -> Float[Tensor, "N S 4"]:
    """Of each component over the whole clip: depth units, depth units, radians, radians."""
    shape = (num, MAX_SEGMENTS, len(_LARGEST))
    kept = torch.rand(shape, generator=generator) < KEPT
    kept.scatter_(2, torch.randint(len(_LARGEST), (*shape[:2], 1), generator=generator), True)
    drawn = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    drawn = drawn.sign() * drawn.abs().sqrt() * REACH  # more long ways than short ones: they hold more to measure
    return drawn * kept * torch.tensor(_LARGEST, dtype=torch.float64)


def _move(amount: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The same move as `camera.trajectory` makes of a token, for any mixture."""
    sideways, ahead, pan, orbit = amount.unbind(-1)
    x = sideways - ORBIT_RADIUS * torch.sin(orbit)
    z = ahead + ORBIT_RADIUS * 2 * torch.sin(orbit / 2) ** 2
    return make_pose(rotation_y(pan + orbit), torch.stack((x, torch.zeros_like(x), z), dim=-1))


def _shake(num: int, u: Float[Tensor, " T"], generator: torch.Generator) -> Float[Tensor, "N T 4 4"]:
    """A little pitch, roll and vertical drift, each a slow wave that begins at 0; the identity for most paths."""
    shaken = (torch.rand(num, 1, 1, generator=generator) < SHAKEN).double()
    draw = torch.rand(3, num, 1, 3, generator=generator, dtype=torch.float64)
    phase, speed, height = 2 * torch.pi * draw[0], 1 + 5 * draw[1], 2 * draw[2] - 1
    wave = height * (torch.sin(speed * u[:, None] + phase) - torch.sin(phase)) / 2 * shaken
    pitch, roll, down = wave.unbind(-1)
    zero = torch.zeros_like(pitch)
    turn = torch.stack((zero, -roll, zero, roll, zero, -pitch, zero, pitch, zero), dim=-1).unflatten(-1, (3, 3))
    drift = torch.stack((zero, down * MAX_DRIFT, zero), dim=-1)
    return make_pose(torch.linalg.matrix_exp(turn * MAX_TILT_RAD), drift)
