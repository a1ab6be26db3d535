"""The unit of every camera path, for many reconstructions at once: on a GPU one by one is mostly waiting."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.types import Reconstruction

LEAST_CONFIDENCE = 0.2
"""Pixels up to this confidence do not count, as in `Reconstruction.median_depth`."""


def depth_units(reconstructions: Sequence[Reconstruction]) -> Float[Tensor, " B"]:
    """`median_depth` of each reconstruction, float64 on the CPU. All have one size.

    Raises ValueError if one is not positive: its path has no unit.
    """
    depth_BN = torch.stack([r.depth[0] for r in reconstructions]).flatten(1)
    confident_BN = torch.stack([r.confidence[0] for r in reconstructions]).flatten(1) > LEAST_CONFIDENCE
    units_B = medians_where(depth_BN[..., None], confident_BN)[:, 0].to("cpu", torch.float64)
    if not bool((units_B > 0).all()):
        worst = float(units_B[~(units_B > 0)][0])
        raise ValueError(f"The reconstruction's median depth of frame 0 is {worst}, not a positive number.")
    return units_B


def medians_where(values: Float[Tensor, "B N C"], keep: Bool[Tensor, "B N"]) -> Float[Tensor, "B C"]:
    """Median over the kept rows of each matrix, column by column (the lower one of two); over all if none is kept.

    Values must be finite: a NaN would be left out.
    """
    keep = keep | ~keep.any(1, keepdim=True)
    columns = values.mT.contiguous()  # rows that lie together are selected from twice as fast
    return columns.masked_fill(~keep[:, None], torch.nan).nanmedian(-1).values
