"""Where the pixels of one frame lie in another one, by depth and pose."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.geometry.pinhole import project, unproject
from worldr1.geometry.se3 import inverse
from worldr1.types import Reconstruction


@dataclass(frozen=True, slots=True)
class FrameLookup:
    """Where the pixels of N source frames lie in N target frames."""

    grid: Float[Tensor, "N H W 2"]
    """For `grid_sample`: -1..1 from border to border of the target."""
    depth: Float[Tensor, "N H W"]
    """z-depth that the point has in the target's camera."""
    seen: Bool[Tensor, "N H W"]
    """The pixel is no sky and its point lies in the target's image."""

    def sample(self, maps: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Bilinear values of target maps at the source's pixels."""
        return F.grid_sample(maps, self.grid.to(maps), padding_mode="border", align_corners=False)


def look_up(reconstruction: Reconstruction, source: list[int], target: list[int]) -> FrameLookup:
    """Pixels of the source frames in the target frames, pairwise, in float64. The sky (confidence 0) is never seen."""
    poses, intrinsics = (
        part.to(reconstruction.depth.device, torch.float64)
        for part in (reconstruction.world_from_camera, reconstruction.intrinsics_px)
    )
    target_from_source = inverse(poses[target]) @ poses[source]
    points = unproject(reconstruction.depth[source].double(), intrinsics[source])
    points = torch.einsum("nij,nhwj->nhwi", target_from_source[:, :3, :3], points)
    points = points + target_from_source[:, None, None, :3, 3]
    pixels, depth = project(points, intrinsics[target])
    height, width = reconstruction.depth.shape[-2:]
    grid = pixels / pixels.new_tensor((width, height)) * 2 - 1
    inside = (grid.abs() <= 1).all(dim=-1) & (depth > 0)
    return FrameLookup(grid, depth, inside & (reconstruction.confidence[source] > 0))
