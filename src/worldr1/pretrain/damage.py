"""Image damage of known grade, shared by the trainings of the 3D model and of the trunk."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def blur(images: Float[Tensor, "B *T 3 H W"], sigma_px: Float[Tensor, " B"]) -> Float[Tensor, "B *T 3 H W"]:
    """Gaussian blur, one width per item (sigma 0: unchanged up to rounding)."""
    radius = 6
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_px.to(images).clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    batch, (height, width) = images.shape[0], images.shape[-2:]
    flat = images.reshape(batch, -1, height, width).transpose(0, 1)
    flat = F.pad(flat, (radius, radius, radius, radius), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch)
    return flat.transpose(0, 1).reshape(images.shape)


def add_noise(
    images: Float[Tensor, "*shape"], level: Float[Tensor, " B"], generator: torch.Generator
) -> Float[Tensor, "*shape"]:
    """White pixel noise of a standard deviation per item."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * level.reshape(-1, *(1,) * (images.ndim - 1))).clamp(0, 1)
