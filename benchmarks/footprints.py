"""Exact areas of overlap of the pixels of two frames that look at one plane."""

import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor


def ideal_covariance(homography: Float[Tensor, "3 3"], height: int, width: int) -> scipy.sparse.csr_array:
    """|A_t(p) n A_0(q)| / sqrt(|A_t(p)| |A_0(q)|), the covariance of exact integral noise (research/noise.md 3.1).

    homography: pixels of frame 0 to pixels of frame t. Sparse [h w of frame t, h w of frame 0], float64.
    A footprint is the quadrangle that a pixel of frame t covers in frame 0, where a pixel's area is 1.
    """
    quadrangles = _footprints(homography, height, width)
    lowest, highest = quadrangles.amin(dim=1).floor().long(), quadrangles.amax(dim=1).ceil().long()
    columns, rows = ((highest - lowest).amax(dim=0) + 1).tolist()
    x = lowest[:, None, 0] + torch.arange(columns)
    y = lowest[:, None, 1] + torch.arange(rows)
    # Area left of x and above y at all corners of the cells; a cell's own is a difference of four.
    cumulative = _area_before(quadrangles, x[:, None, :], y[:, :, None])
    overlap = cumulative.diff(dim=1).diff(dim=2)

    x, y = x[:, None, :-1].expand_as(overlap), y[:, :-1, None].expand_as(overlap)
    known = (overlap > 1e-12) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixel = known.nonzero()[:, 0]
    values = overlap[known] / _area(quadrangles)[pixel].sqrt()
    indices = (pixel.numpy(), (y * width + x)[known].numpy())
    return scipy.sparse.csr_array((values.numpy(), indices), shape=(height * width, height * width))


def _footprints(homography: Float[Tensor, "3 3"], height: int, width: int) -> Float[Tensor, "P 4 2"]:
    """Corners of every pixel of frame t in pixels of frame 0, one after the other around it."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack((column, row), dim=2).reshape(-1, 1, 2)
    corners = (pixel + torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]])).double()
    x, y, z = (torch.linalg.inv(homography) @ torch.cat((corners, torch.ones_like(corners[..., :1])), 2).mT).unbind(1)
    return torch.stack((x / z, y / z), dim=2)


def _area(polygons: Float[Tensor, "P 4 2"]) -> Float[Tensor, " P"]:
    following = polygons.roll(-1, dims=1)
    crossed = polygons[..., 0] * following[..., 1] - following[..., 0] * polygons[..., 1]
    return crossed.sum(dim=1) / 2


def _area_before(
    polygons: Float[Tensor, "P 4 2"], x_end: Float[Tensor, "P 1 X"], y_end: Float[Tensor, "P Y 1"]
) -> Float[Tensor, "P Y X"]:
    """Area of each polygon's part with x < x_end and y < y_end.

    By Green's theorem it is the integral of min(x, x_end) dy along the part of the boundary with y < y_end, edge by
    edge: no vertices to sort, and edges on a bound are no special case.
    """
    total = torch.zeros(len(polygons), y_end.shape[1], x_end.shape[2], dtype=polygons.dtype)
    for start, end in zip(polygons.unbind(1), polygons.roll(-1, dims=1).unbind(1), strict=True):
        (x0, y0), (x1, y1) = ((p[:, 0, None, None], p[:, 1, None, None]) for p in (start, end))
        slope = torch.where(y1 == y0, 0.0, (x1 - x0) / (y1 - y0))  # a level edge has no length in y
        y_from, y_to = torch.minimum(y0, y_end), torch.minimum(y1, y_end)
        before, after = x0 + slope * (y_from - y0) - x_end, x0 + slope * (y_to - y0) - x_end
        total += (x_end + _mean_below_zero(before, after)) * (y_to - y_from)
    return total


def _mean_below_zero(a: Tensor, b: Tensor) -> Tensor:
    """Mean of min(v, 0) while v goes evenly from a to b."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    crossing = -low.square() / (2 * (high - low).clamp_min(1e-300))
    return torch.where(high <= 0, (a + b) / 2, torch.where(low >= 0, 0.0, crossing))
