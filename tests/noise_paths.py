"""Small latents and camera paths that the tests of both noise transports share."""

import torch
from torch import Tensor

from worldr1.camera.motion import TOKENS
from worldr1.geometry.se3 import make_pose
from worldr1.types import FOCAL_PER_WIDTH

H, W = 8, 12
PATHS = [(token,) for token in TOKENS] + [("push_in", "orbit_left"), ("pull_right", "pan_right", "push_in")]


def moved_right(*latent_px: float) -> Tensor:
    """Poses of a camera that stands this many latent pixels (of the plane) to the right and as many halves down."""
    x = torch.tensor(latent_px, dtype=torch.float64) / (FOCAL_PER_WIDTH * W)
    centres = torch.stack((x, x / 2, torch.zeros_like(x)), dim=1)
    return make_pose(torch.eye(3, dtype=torch.float64).expand(len(x), 3, 3), centres)
