"""Whether participants agree with each other, and whether they prefer a side."""

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import stats


def krippendorff_alpha(values_RC: Float[ndarray, "R C"], *, metric: str = "interval") -> float:
    """Krippendorff's alpha of R raters over C units; NaN: not rated. 1 is full agreement, 0 chance.

    1 - observed / expected disagreement, over all pairs of values of one unit and all pairs of values at all
    (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"). metric: "interval" (squared difference: A, tie
    and B are 0, 1/2 and 1, so a tie is nearer to both than they are to each other) or "nominal" (equal or not). NaN if
    no unit has two ratings; 1 if all values are equal, where the ratio is 0 / 0.
    """
    units = [column[~np.isnan(column)] for column in values_RC.T]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        return math.nan
    every = np.concatenate(units)
    observed = sum(_disagreement(unit, metric) / (len(unit) - 1) for unit in units) / len(every)
    expected = _disagreement(every, metric) / (len(every) * (len(every) - 1))
    return 1.0 if expected == 0 else 1.0 - observed / expected


def _disagreement(values_N: Float[ndarray, " N"], metric: str) -> float:
    """Sum over ordered pairs."""
    differences_NN = values_N[:, None] - values_N[None, :]
    if metric == "nominal":
        return float((differences_NN != 0).sum())
    if metric == "interval":
        return float((differences_NN**2).sum())
    raise ValueError(f"metric {metric!r}")


def same_answer_share(values_RC: Float[ndarray, "R C"]) -> float:
    """How often two raters of one unit answer the same, pairs of raters pooled over units; NaN without such pairs.

    Alpha is near 0 where nearly everybody prefers the same model throughout, because agreement is then what chance
    gives too: this number tells that case from disagreement.
    """
    same = total = 0
    for column in values_RC.T:
        counts = np.unique(column[~np.isnan(column)], return_counts=True)[1]
        same += int((counts * (counts - 1)).sum())
        total += int(counts.sum() * (counts.sum() - 1))
    return same / total if total else math.nan


def side_bias(left: int, right: int) -> tuple[float, float]:
    """Share of decided answers for the left video, and the exact two-sided binomial p value against one half."""
    decided = left + right
    if not decided:
        return math.nan, 1.0
    return left / decided, float(stats.binomtest(left, decided, 0.5).pvalue)
