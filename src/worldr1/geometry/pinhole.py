"""The pinhole camera without skew. Pixel centres are at half-integers; depth is z, not ray length."""

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_centres(
    height: int, width: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Float[Tensor, "H W 2"]:
    """(x, y) of every pixel's centre; the top-left one is (0.5, 0.5)."""
    y = torch.arange(height, dtype=dtype, device=device) + 0.5
    x = torch.arange(width, dtype=dtype, device=device) + 0.5
    return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)), dim=-1)


def unproject(
    depth: Float[Tensor, "*batch H W"], intrinsics_px: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch H W 3"]:
    """The camera-frame point of every pixel's centre, in the units of `depth`."""
    pixels = pixel_centres(*depth.shape[-2:], dtype=depth.dtype, device=depth.device)
    focal, centre = _focal_and_centre(intrinsics_px.to(depth.dtype), depth.ndim)
    xy = (pixels - centre) / focal * depth.unsqueeze(-1)
    return torch.cat((xy, depth.unsqueeze(-1)), dim=-1)


def project(
    points_camera: Float[Tensor, "*points 3"], intrinsics_px: Float[Tensor, "*batch 3 3"]
) -> tuple[Float[Tensor, "*points 2"], Float[Tensor, "*points"]]:
    """Pixels (x, y) and z-depth of camera-frame points; `batch` is a leading part of `points`.

    Points with z <= 0 are behind the camera: their pixels mean nothing and the caller drops them by z.
    """
    z = points_camera[..., 2]
    focal, centre = _focal_and_centre(intrinsics_px.to(points_camera.dtype), z.ndim)
    return points_camera[..., :2] / z.unsqueeze(-1) * focal + centre, z


def _focal_and_centre(intrinsics_px: Tensor, num_dims: int) -> tuple[Tensor, Tensor]:
    """(fx, fy) and (cx, cy), shaped to broadcast over a tensor of `num_dims` dimensions plus xy."""
    batch = intrinsics_px.shape[:-2]
    shape = (*batch, *(1,) * (num_dims - len(batch)), 2)
    focal = torch.diagonal(intrinsics_px, dim1=-2, dim2=-1)[..., :2]
    return focal.reshape(shape), intrinsics_px[..., :2, 2].reshape(shape)
