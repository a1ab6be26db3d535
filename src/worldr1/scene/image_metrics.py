"""How much two images differ, per image, for any leading batch dimensions; values are in 0..1."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from worldr1.errors import InputError

PSNR_CAP_DB = 60.0
"""PSNR of images closer than this, equal ones included: an infinite value would ruin every mean."""
SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5


def mse(
    a: Float[Tensor, "*batch C H W"], b: Float[Tensor, "*batch C H W"], mask: Bool[Tensor, "*batch H W"] | None = None
) -> Float[Tensor, "*batch"]:
    """Mean squared error of each image, over the pixels where `mask` is True (all by default).

    NaN where a mask excludes a whole image: there is nothing to compare, and 0 would read as perfect.
    Average these, then call `psnr_db`; a mean of PSNRs is ruled by its best images.
    """
    _check_pair(a, b)
    error = (a - b).square().mean(dim=-3)
    if mask is None:
        return error.mean(dim=(-2, -1))
    if mask.shape != error.shape:
        raise InputError(f"A mask of shape {tuple(mask.shape)} does not match images of shape {tuple(a.shape)}.")
    return (error * mask).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))


def psnr_db(mean_squared_error: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB for a peak of 1, at most `PSNR_CAP_DB`; NaN stays NaN."""
    return -10.0 * torch.log10(mean_squared_error.clamp(min=10.0 ** (-PSNR_CAP_DB / 10.0)))


def ssim(a: Float[Tensor, "*batch C H W"], b: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch"]:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels and sigma 1.5, whole windows only.

    Channels are compared one by one and averaged; K1 = 0.01, K2 = 0.03, population (not sample) variances.
    Raises InputError for images smaller than the window.
    """
    _check_pair(a, b)
    if min(a.shape[-2:]) < SSIM_WINDOW_PX:
        raise InputError(f"SSIM needs images of at least {SSIM_WINDOW_PX} pixels a side, not {tuple(a.shape[-2:])}.")
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a = _window_mean(a * a) - mean_a * mean_a
    var_b = _window_mean(b * b) - mean_b * mean_b
    cov = _window_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(dim=(-3, -2, -1))


def image_gradient(video: Float[Tensor, "*batch T C H W"]) -> Float[Tensor, "*batch"]:
    """Mean |difference| of horizontal plus of vertical neighbours, one number a clip: falls when pictures blur."""
    across = (video[..., :, 1:] - video[..., :, :-1]).abs().mean(dim=(-4, -3, -2, -1))
    down = (video[..., 1:, :] - video[..., :-1, :]).abs().mean(dim=(-4, -3, -2, -1))
    return across + down


def local_range(
    images: Float[Tensor, "*batch C H W"],
) -> tuple[Float[Tensor, "*batch C H W"], Float[Tensor, "*batch C H W"]]:
    """Darkest and brightest value of the 3 x 3 pixels around each pixel, channel by channel."""
    flat = functional.pad(images.flatten(0, -4), (1, 1, 1, 1), mode="replicate")
    brightest, darkest = functional.max_pool2d(flat, 3, 1), -functional.max_pool2d(-flat, 3, 1)
    return darkest.reshape(images.shape), brightest.reshape(images.shape)


def _check_pair(a: Tensor, b: Tensor) -> None:
    """Raises InputError unless both are images of one shape: broadcasting would compare the wrong ones in silence."""
    if a.shape != b.shape or a.ndim < 3:
        raise InputError(f"Both images must be [..., C, H, W] of one shape, not {tuple(a.shape)} and {tuple(b.shape)}.")


def _window_mean(images: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C h w"]:
    """Gaussian-weighted local means where the whole window fits."""
    offset = torch.arange(SSIM_WINDOW_PX, dtype=images.dtype, device=images.device) - SSIM_WINDOW_PX // 2
    weights = torch.exp(-0.5 * (offset / SSIM_SIGMA_PX) ** 2)
    weights = weights / weights.sum()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    flat = functional.conv2d(functional.conv2d(flat, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    return flat.reshape(*images.shape[:-2], *flat.shape[-2:])
