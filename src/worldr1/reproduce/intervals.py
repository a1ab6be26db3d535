"""What a few runs on some prompts say: means, differences and a new run, with 95 % intervals.

The model is y(run, prompt) = mean + run + prompt + rest. Two things vary when somebody repeats an experiment: the runs
(training seeds; another machine acts like another seed, because GPUs do not add in one order) and the prompts. An
interval of a mean or of a difference holds both:

    error^2 = seed variance + prompt variance
    seed variance    of a mean: v / n; of a difference of two variants: v (1/n_1 + 1/n_2), v the variance between runs
    prompt variance  of the statistic of the runs' average, by resampling prompts (`statistics.bootstrap_interval`)

with the degrees of freedom of Satterthwaite (1946, "An approximate distribution of estimates of variance components").
A run's value is itself a mean over the same prompts, so the share of "rest" in v is counted in both terms: the interval
is a little too wide, never too narrow. With three runs v has two degrees of freedom, and Student's t would be 4.3; so
the variances of all variants of one length are pooled where at least three have two runs or more (`pooled`), without
those that vary more than the others by the F test, and a difference takes the pooled variance or its own pair's,
whichever is larger. `tests/unit/reproduce/test_intervals.py` measures how often these intervals hold what they should.

A *prediction interval* is about one new run on the same prompts: mean +- t s sqrt(1 + 1/n), n - 1 degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import NamedTuple

from scipy import stats

from worldr1.evaluate.statistics import CONFIDENCE, MIN_PAIRS

MIN_POOLED = 3
"""Variants with two runs or more, below which nothing is pooled."""
OUTLIER_LEVEL = 0.01
"""Of the F test by which a variant is too unlike the others to be pooled; shared by all that are tried."""


class Interval(NamedTuple):
    """Two ends; infinite if nothing is known."""

    low: float
    high: float


class Spread(NamedTuple):
    """A variance and how well it is known."""

    variance: float
    df: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its error."""

    value: float
    error: float
    """Standard error; infinite with too few prompts."""
    df: float
    """Of the error, for Student's t."""
    seeds: tuple[float, ...]
    """Each run's own value; of a difference the first variant's."""
    num: int
    """Prompts."""
    knows_seeds: bool
    """Whether the error holds the variation between runs; False: prompts alone."""

    def interval(self, among: int = 1, level: float = CONFIDENCE) -> Interval:
        """The interval of the mean. among: how many such numbers are searched for one that stands out (Bonferroni)."""
        if not math.isfinite(self.error):
            return Interval(-math.inf, math.inf)
        half = float(stats.t.ppf(1 - (1 - level) / (2 * among), self.df)) * self.error
        return Interval(self.value - half, self.value + half)

    @property
    def new_run(self) -> Interval:
        """Where 95 % of new runs on these prompts lie; infinite with fewer than two runs."""
        return prediction_interval(self.seeds)


def prompt_spread(low: float, high: float, num: int) -> Spread:
    """The variance over prompts behind a `statistics.bootstrap_interval` of `num` prompts."""
    if num < MIN_PAIRS:
        return Spread(math.inf, max(num - 1, 1))
    return Spread(((high - low) / (2 * float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1)))) ** 2, num - 1)


def pooled(variants: Sequence[Sequence[float]]) -> Spread | None:
    """The variance between runs of one variant, from the runs' values of many.

    None if fewer than `MIN_POOLED` have two runs. The F test leaves out variants that vary more than all the others.
    """
    known = sorted((Spread(variance(runs), len(runs) - 1) for runs in variants if len(runs) > 1), reverse=True)
    while len(known) >= MIN_POOLED:
        rest = _pool(known[1:])
        limit = float(stats.f.ppf(1 - OUTLIER_LEVEL / len(known), known[0].df, rest.df))
        if known[0].variance <= limit * rest.variance or len(known) == MIN_POOLED:
            return _pool(known)
        known = known[1:]
    return None


def _pool(spreads: Sequence[Spread]) -> Spread:
    df = sum(spread.df for spread in spreads)
    return Spread(sum(spread.variance * spread.df for spread in spreads) / df, df)


def mean_estimate(value: float, seeds: Sequence[float], prompts: Spread, num: int, pool: Spread | None) -> Estimate:
    """Of one variant. value: of the runs' average; pool: of its measure, from other variants too."""
    return _estimate(value, seeds, prompts, num, _mean_spread(seeds, pool))


def difference_estimate(
    value: float, seeds: Sequence[float], control: Sequence[float], prompts: Spread, num: int, pool: Spread | None
) -> Estimate:
    """Of a variant less its control, whose runs have the values `control`."""
    own = [_mean_spread(runs, None) for runs in (seeds, control)]
    candidates = []
    if pool is not None:
        factor = 1 / len(seeds) + 1 / len(control)
        candidates.append(Spread(pool.variance * factor, pool.df))
    known = [spread for spread in own if spread is not None]
    if len(known) == len(own):
        candidates.append(satterthwaite(known))
    return _estimate(value, seeds, prompts, num, max(candidates, default=None))


def _mean_spread(seeds: Sequence[float], pool: Spread | None) -> Spread | None:
    """Variance of the mean of some runs: their own or the pooled one, whichever is larger."""
    candidates = [] if pool is None else [Spread(pool.variance / len(seeds), pool.df)]
    if len(seeds) > 1:
        candidates.append(Spread(variance(seeds) / len(seeds), len(seeds) - 1))
    return max(candidates, default=None)


def _estimate(value: float, seeds: Sequence[float], prompts: Spread, num: int, runs: Spread | None) -> Estimate:
    total = satterthwaite([prompts] if runs is None else [prompts, runs])
    return Estimate(
        value=value,
        error=math.sqrt(total.variance),
        df=total.df,
        seeds=tuple(seeds),
        num=num,
        knows_seeds=runs is not None,
    )


def satterthwaite(parts: Sequence[Spread]) -> Spread:
    """The sum of independent variances, and its degrees of freedom."""
    total = sum(part.variance for part in parts)
    if not (0 < total < math.inf):
        return Spread(total, max(part.df for part in parts))
    return Spread(total, total**2 / sum(part.variance**2 / part.df for part in parts))


def prediction_interval(runs: Sequence[float]) -> Interval:
    """Where 95 % of new runs' values lie, if runs are normal; infinite for fewer than two."""
    num = len(runs)
    if num < 2:
        return Interval(-math.inf, math.inf)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1)) * math.sqrt(variance(runs) * (1 + 1 / num))
    return Interval(fmean(runs) - half, fmean(runs) + half)
