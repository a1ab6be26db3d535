"""A room that is ray cast exactly: textured floor, wall and box under a sky; shares nothing with the package."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldr1.geometry.pinhole import pixel_centres
from worldr1.types import Reconstruction, intrinsics_px

HEIGHT, WIDTH, SKY_DEPTH = 64, 96, 20.0
FLOOR_Y, WALL_Z, WALL_TOP_Y = 0.3, 2.0, -0.35
BOX_LOW, BOX_HIGH = (-0.15, 0.0, 0.95), (0.15, 0.3, 1.25)


class Room:
    """Clips of the room with exact depth and poses; depth can be blurred as a network would."""

    def clip(self, world_from_camera: Tensor) -> tuple[Tensor, Reconstruction]:
        """Video [T, 3, H, W] (2 x 2 supersampled) and the true reconstruction; sky has confidence 0."""
        num, intrinsics = len(world_from_camera), intrinsics_px(HEIGHT, WIDTH)
        video, depth, confidence = [], [], []
        for pose in world_from_camera:
            fine, _ = _cast(pose, 2)
            video.append(fine.reshape(HEIGHT, 2, WIDTH, 2, 3).mean((1, 3)).permute(2, 0, 1))
            _, z = _cast(pose, 1)
            depth.append(z)
            confidence.append((z < SKY_DEPTH).float())
        return torch.stack(video).float(), Reconstruction(
            world_from_camera=world_from_camera,
            depth=torch.stack(depth).float(),
            intrinsics_px=intrinsics.repeat(num, 1, 1),
            confidence=torch.stack(confidence),
        )

    def blurred(self, reconstruction: Reconstruction) -> Reconstruction:
        """The same with 3 x 3 averaged depth: flying pixels along every outline."""
        padded = torch.nn.functional.pad(reconstruction.depth[:, None], (1, 1, 1, 1), mode="replicate")
        return replace(reconstruction, depth=torch.nn.functional.avg_pool2d(padded, 3, 1)[:, 0])

    def path(self, *, x: float = 0.0, z: float = 0.0, orbit_deg: float = 0.0, num_frames: int = 9) -> Tensor:
        """Poses that move by (x, z), or on a circle about the point one unit ahead, at constant speed."""
        poses = torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1)
        for i, u in enumerate(torch.linspace(0, 1, num_frames).tolist()):
            angle = math.radians(orbit_deg) * u
            cos, sin = math.cos(angle), math.sin(angle)
            poses[i, 0, 0], poses[i, 0, 2], poses[i, 2, 0], poses[i, 2, 2] = cos, sin, -sin, cos
            poses[i, 0, 3], poses[i, 2, 3] = x * u - sin, z * u + 1 - cos
        return poses


def _texture(points: Tensor, seed: int) -> Tensor:
    """Colours of a sum of plane waves: not periodic in any direction that matters."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.full((*points.shape[:-1], 3), 0.5, dtype=torch.float64)
    for octave in range(4):
        waves = torch.randn(3, 3, generator=generator, dtype=torch.float64) * 4.0 * 1.7**octave
        phases = torch.rand(3, generator=generator, dtype=torch.float64) * 2 * math.pi
        colors += 0.2 / 1.6**octave * torch.sin(points @ waves.T + phases)
    return colors.clamp(0, 1)


def _cast(pose: Tensor, supersampling: int) -> tuple[Tensor, Tensor]:
    """Colours [H s, W s, 3] and z-depths [H s, W s] of one view. Rays have camera z = 1, so that t is z-depth."""
    height, width = HEIGHT * supersampling, WIDTH * supersampling
    intrinsics = intrinsics_px(height, width)
    pixels = torch.cat([pixel_centres(height, width), torch.ones(height, width, 1, dtype=torch.float64)], -1)
    rays = pixels @ torch.linalg.inv(intrinsics).T @ pose[:3, :3].T
    eye = pose[:3, 3]
    z = torch.full((height, width), SKY_DEPTH, dtype=torch.float64)
    colors = 0.6 + 0.15 * torch.sin(rays @ torch.tensor([[5.0, 0, 0], [0, 7.0, 0], [3.0, 3.0, 0]]).double().T)
    for seed, (t, inside) in enumerate((_floor(eye, rays), _wall(eye, rays), _box(eye, rays))):
        hit = inside & (t > 0) & (t < z)
        z = torch.where(hit, t, z)
        colors = torch.where(hit[..., None], _texture(eye + rays * t[..., None], seed), colors)
    return colors, z


def _floor(eye: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    t = (FLOOR_Y - eye[1]) / rays[..., 1]
    return t, (eye + rays * t[..., None])[..., 2] < WALL_Z


def _wall(eye: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    t = (WALL_Z - eye[2]) / rays[..., 2]
    y = (eye + rays * t[..., None])[..., 1]
    return t, (y < FLOOR_Y) & (y > WALL_TOP_Y)


def _box(eye: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    t0 = (torch.tensor(BOX_LOW).double() - eye) / rays
    t1 = (torch.tensor(BOX_HIGH).double() - eye) / rays
    enter, leave = torch.minimum(t0, t1).amax(-1), torch.maximum(t0, t1).amin(-1)
    return enter, enter < leave


@pytest.fixture(scope="session")
def room() -> Room:
    """The room."""
    return Room()
