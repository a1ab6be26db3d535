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
the variances of all variants of one length are pooled with the pair's own (`pooled`, without those that vary more than
the others by an F test at 1 %). A pair of which one side varies more than the others by an F test at 10 % keeps its own
two variances. Simulated with three runs a variant: 95 to 96 % of the intervals hold the truth, and 91 to 93 % where one
variant varies two to four times as much as all others (its own two variances alone: 93 %; a pool without the second
test: 58 to 86 %). With two runs a variant: 95 %, and 84 to 90 % where one varies so much more. A side of one run is
thought to vary like the rest: 96 % in a pool if it does, 88 to 92 % if only its control has more runs, and 50 to 80 %
if it varies two to four times as much as all others, which one run cannot show. Some of it is repeated by
`tests/unit/reproduce/test_intervals.py`.

A *prediction interval* is about one new run on the same prompts: mean +- t s sqrt(1 + 1/n), n - 1 degrees of freedom.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import NamedTuple

from scipy import stats

from worldr1.evaluate.statistics.intervals import CONFIDENCE, MIN_PAIRS

MIN_TESTED = 3
"""Variants with two runs or more, below which none is called too unlike the others to be pooled."""
OUTLIER_LEVEL, UNLIKE_LEVEL = 0.01, 0.1
"""Of the F tests: which variant spoils a pool (shared by all that are tried), and which pair does not use it."""


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
    """The variance between runs of one variant, from the runs' values of several; None if none has two runs.

    The F test leaves out variants that vary more than all the others.
    """
    known = sorted((_spread(runs) for runs in variants if len(runs) > 1), reverse=True)
    while len(known) > MIN_TESTED and _is_larger(known[0], _pool(known[1:]), OUTLIER_LEVEL / len(known)):
        known = known[1:]
    return _pool(known) if known else None


def _spread(runs: Sequence[float]) -> Spread:
    return Spread(variance(runs), len(runs) - 1)


def _is_larger(spread: Spread, others: Spread, level: float) -> bool:
    """The F test."""
    return spread.variance > float(stats.f.ppf(1 - level, spread.df, others.df)) * others.variance


def _pool(spreads: Sequence[Spread]) -> Spread:
    df = sum(spread.df for spread in spreads)
    return Spread(sum(spread.variance * spread.df for spread in spreads) / df, df)


def mean_estimate(
    value: float, seeds: Sequence[float], prompts: Spread, num: int, others: Spread | None = None
) -> Estimate:
    """Of one variant. value: of the runs' average; others: the variance between runs of other variants."""
    return _estimate(value, seeds, prompts, num, _between([seeds], others))


def difference_estimate(
    value: float,
    seeds: Sequence[float],
    control: Sequence[float],
    prompts: Spread,
    num: int,
    others: Spread | None = None,
) -> Estimate:
    """Of a variant less its control, whose runs have the values `control`. others: as in `mean_estimate`."""
    return _estimate(value, seeds, prompts, num, _between([seeds, control], others))


def _between(sides: Sequence[Sequence[float]], others: Spread | None) -> Spread | None:
    """The seeds' part of the variance of a mean, or of a difference of two; None if it is not known."""
    own = [_spread(runs) if len(runs) > 1 else None for runs in sides]
    known = [spread for spread in own if spread is not None]
    if others is None:
        if not known:
            return None
    elif not any(_is_larger(spread, others, UNLIKE_LEVEL) for spread in known):
        pool = _pool([others, *known])
        return Spread(pool.variance * sum(1 / len(runs) for runs in sides), pool.df)
    else:
        known.append(others)
    # a side of one run takes the largest variance that is known; of both sides, it is as well known as it is of one
    shares: dict[Spread, float] = defaultdict(float)
    for spread, runs in zip(own, sides, strict=True):
        shares[spread or max(known)] += 1 / len(runs)
    return satterthwaite([Spread(spread.variance * share, spread.df) for spread, share in shares.items()])


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
