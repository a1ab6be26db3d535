"""Eleven checks that independent N(0, 1) numbers pass, each in units of its own scatter.

A check gives a value and a z: how far the value lies from what independent N(0, 1) numbers give, in standard errors.
Where the distribution under independence is known and not normal, z is the normal quantile of the same probability,
so that |z| > 3 happens in 0.27 % of checks everywhere. With n = C h w numbers in a frame:

mean             z = sqrt(n) mean. Exact.
std              (n - 1) s^2 is chi-square with n - 1 degrees. Exact, by Wilson and Hilferty's cube root (1931).
excess kurtosis  Anscombe and Glynn (1983) for normal samples, as in scipy.stats.kurtosistest.
lag-1 x, y       mean of the N products of neighbours. They have mean 0 and variance 1 and are uncorrelated, those that
                 share a number too: z = sqrt(N) mean; standard error exact, shape by the central limit.
bands            mean power |F|^2 / (h w) of the discrete Fourier transform over radii in cycles a pixel, without the
                 frequency 0. A frequency and its mirror image share one exponential, one that is its own image is a
                 chi-square of one degree, and different ones are independent: the sum over K frequencies is
                 chi-square with K degrees (Priestley, Spectral Analysis and Time Series, 1981, chapter 6). Exact.
K-S              largest distance of the empirical distribution from N(0, 1), by its exact law for n numbers
                 (scipy.stats.kstwo). z has no sign and only large distances count.
Moran's I        over the pixels of all channels with rook neighbours inside a channel; expectation and variance of
                 Cliff and Ord (Spatial Processes, 1981, chapter 2) for normal numbers (exact).

The checks of one frame are not independent of each other (Moran's I is close to the mean of the two lags), nor are the
frames of one path: of a still camera all are equal, and one unlucky frame counts many times.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

BAND_EDGES = (0.0, 0.125, 0.25, 0.375, 1.0)
"""Radii in cycles a pixel; the last band has the corners, up to 0.707."""
NAMES = (
    *("mean", "std", "ex. kurtosis", "lag-1 x", "lag-1 y"),
    *("band 1", "band 2", "band 3", "band 4", "K-S", "Moran's I"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What `check_frames` finds, check k being NAMES[k]."""

    value: Float[Tensor, "L K"]
    z: Float[Tensor, "L K"]
    """Standard errors from independent N(0, 1) numbers; 0 to infinity for K-S."""


def check_frames(noise: Float[Tensor, "C L h w"]) -> Checks:
    """All checks of every frame, float64. One side must have more than 8 pixels, or band 1 would be empty."""
    frames = noise.double().transpose(0, 1)
    pairs = [*_moments(frames), *_lags(frames), *_bands(frames), _kolmogorov_smirnov(frames), _moran(frames)]
    values, scores = zip(*pairs, strict=True)
    return Checks(value=torch.stack(values, dim=1), z=torch.stack(scores, dim=1))


_Pair = tuple[Float[Tensor, " L"], Float[Tensor, " L"]]
"""A check's value and z of every frame."""


def _moments(frames: Float[Tensor, "L C h w"]) -> list[_Pair]:
    numbers = frames.flatten(1)
    count = numbers.shape[1]
    mean, variance = numbers.mean(dim=1), numbers.var(dim=1)
    fourth = (numbers - mean[:, None]).square().square().mean(dim=1)
    kurtosis = fourth / (variance * (count - 1) / count).square() - 3.0
    kurtosis_z = torch.from_numpy(scipy.stats.kurtosistest(numbers.numpy(), axis=1).statistic)
    return [
        (mean, mean * math.sqrt(count)),
        (variance.sqrt(), _chi_square_z((count - 1) * variance, count - 1)),
        (kurtosis, kurtosis_z),
    ]


def _lags(frames: Float[Tensor, "L C h w"]) -> list[_Pair]:
    pairs = []
    for products in (frames[..., 1:] * frames[..., :-1], frames[..., 1:, :] * frames[..., :-1, :]):
        mean = products.flatten(1).mean(dim=1)
        pairs.append((mean, mean * math.sqrt(products[0].numel())))
    return pairs


def _bands(frames: Float[Tensor, "L C h w"]) -> list[_Pair]:
    channels, height, width = frames.shape[1:]
    power = torch.fft.fft2(frames).abs().square().sum(dim=1) / (height * width)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    pairs = []
    for low, high in pairwise(BAND_EDGES):
        inside = (radius >= low) & (radius < high) & (radius > 0)
        total, degrees = power[:, inside].sum(dim=1), channels * int(inside.sum())
        pairs.append((total / degrees, _chi_square_z(total, degrees)))
    return pairs


def _kolmogorov_smirnov(frames: Float[Tensor, "L C h w"]) -> _Pair:
    ordered = torch.special.ndtr(frames.flatten(1).sort(dim=1).values)
    count = ordered.shape[1]
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = torch.maximum(steps[1:] - ordered, ordered - steps[:-1]).amax(dim=1)
    probability = scipy.stats.kstwo.sf(distance.numpy(), count)
    return distance, torch.as_tensor(scipy.stats.norm.isf(probability / 2))


def _moran(frames: Float[Tensor, "L C h w"]) -> _Pair:
    channels, height, width = frames.shape[1:]
    count = frames[0].numel()
    deviations = frames - frames.mean(dim=(1, 2, 3), keepdim=True)
    x, y = deviations[..., 1:] * deviations[..., :-1], deviations[..., 1:, :] * deviations[..., :-1, :]
    neighbours = torch.full((height, width), 4.0)
    for border in (neighbours[0], neighbours[-1], neighbours[:, 0], neighbours[:, -1]):
        border -= 1
    # Sums over the weights w_ij = 1 of neighbours: of w_ij, of (w_ij + w_ji)^2 / 2, and over i of (row + column)^2.
    s0 = channels * float(neighbours.sum())
    s1, s2 = 2 * s0, channels * float((2 * neighbours).square().sum())
    crossed = 2 * (x.sum(dim=(1, 2, 3)) + y.sum(dim=(1, 2, 3)))
    moran = count / s0 * crossed / deviations.square().sum(dim=(1, 2, 3))
    expected = -1 / (count - 1)
    variance = (count**2 * s1 - count * s2 + 3 * s0**2) / ((count**2 - 1) * s0**2) - expected**2
    return moran, (moran - expected) / math.sqrt(variance)


def _chi_square_z(total: Float[Tensor, " L"], degrees: int) -> Float[Tensor, " L"]:
    """Normal quantile of a chi-square number (Wilson and Hilferty 1931); finite however far it is off."""
    width = 2 / (9 * degrees)
    return ((total / degrees) ** (1 / 3) - (1 - width)) / math.sqrt(width)
