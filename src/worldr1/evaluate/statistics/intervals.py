"""How sure a mean over prompts is: intervals, and the p-values by which many are read together."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from worldr1.seeding import make_generator

CONFIDENCE = 0.95
MIN_PAIRS = 6
"""Below this no interval is given: a bootstrap of five normal numbers covers 91 % where it says 95 %."""


def bootstrap_interval(
    statistic: Callable[[Tensor], Tensor], values_KN: Float[Tensor, "K N"], seed: int, num_resamples: int = 2000
) -> tuple[float, float]:
    """95 % interval of a statistic of N prompts with K values each, by resampling prompts.

    statistic: of [K, ..., N], one number per leading dimension after K. It is the percentile interval, widened to
    Student's t for few prompts (the "expanded" one of Hesterberg 2015, "What teachers should know about the
    bootstrap"): the plain one covers 91 % with 12 prompts and 86 % with 6 (measured on normal numbers), this one 95 and
    94 %. Infinite with fewer than `MIN_PAIRS` prompts.
    """
    num = values_KN.shape[-1]
    if num < MIN_PAIRS:
        return -math.inf, math.inf
    draws_RN = torch.randint(num, (num_resamples, num), generator=make_generator(seed, "bootstrap"))
    resampled_R = statistic(values_KN[:, draws_RN])
    quantile_t = stats.t.ppf((1 - CONFIDENCE) / 2, num - 1) * math.sqrt(num / (num - 1))
    level = float(stats.norm.cdf(quantile_t))
    low, high = torch.quantile(resampled_R, torch.tensor([level, 1 - level], dtype=torch.float64)).tolist()
    return low, high


def jackknife_p(statistic: Callable[[Tensor], Tensor], values_2N: Float[Tensor, "2 N"]) -> float:
    """Two-sided p of "no difference": Student's t of the jackknife's pseudo-values (Tukey 1958).

    A bootstrap of some thousand draws cannot tell p below 0.001 apart, which Holm's steps over hundreds of intervals
    need.
    """
    num = values_2N.shape[-1]
    kept = torch.arange(num).expand(num, num)[~torch.eye(num, dtype=torch.bool)].reshape(num, num - 1)
    pseudo = num * statistic(values_2N) - (num - 1) * statistic(values_2N[:, kept])
    mean, spread = float(pseudo.mean()), float(pseudo.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (spread / math.sqrt(num)), num - 1))


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which hypotheses fall when all shall hold together at `level` (Holm 1979). NaN never does, and does not count."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    rejected = [False] * len(p_values)
    for rank, (p, index) in enumerate(tested):
        if p > level / (len(tested) - rank):
            break
        rejected[index] = True
    return rejected
