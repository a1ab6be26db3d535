"""How sure a win rate is: intervals for votes that come in clusters, and the votes that a study needs.

A vote belongs to a person and to a prompt, and votes that share either are alike: an interval that takes them for
independent (Wilson 1927, JASA 22, 209) is too narrow. Beside it stands one that resamples both.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

from worldr1.evaluate.statistics.intervals import CONFIDENCE, MIN_PAIRS
from worldr1.seeding import make_generator

NUM_RESAMPLES = 2000
POWER = 0.80


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A 95 % interval of a share."""

    low: float
    high: float

    @property
    def excludes_half(self) -> bool:
        """Whether a preference is shown: neither end reaches 50 %."""
        return self.low > 0.5 or self.high < 0.5


NO_INTERVAL = Interval(low=0.0, high=1.0)
"""What is known without enough participants or prompts."""


def wilson(share: float, num: float, *, quantile: float | None = None) -> Interval:
    """Wilson's score interval of a share of `num` independent votes; `NO_INTERVAL` without votes.

    quantile: of the standard normal distribution by default (1.96). A share with halves (ties) is allowed: its
    variance is smaller than the formula's, so the interval is wide rather than narrow.
    """
    if num <= 0:
        return NO_INTERVAL
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) if quantile is None else quantile
    centre = (share + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z / (1 + z**2 / num) * math.sqrt(share * (1 - share) / num + z**2 / (4 * num**2))
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half))


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Variance of one vote by its source, and what follows for the mean of all."""

    participants: float
    """Between persons (their taste); not below 0, as the others."""
    prompts: float
    """Between prompts."""
    votes: float
    """The rest."""
    mean: float
    """Of the mean of all votes (the two-way cluster bootstrap's)."""


def two_way_spread(values_RC: Float[ndarray, "R C"], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Spread:
    """Variance components by a cluster bootstrap over R participants and C prompts; NaN: no vote.

    Resampling persons alone gives the variance of persons and of single votes, resampling prompts that of prompts and
    of single votes, so their sum counts single votes twice; what resampling single votes gives is taken off (Cameron,
    Gelbach & Miller 2011, J. Bus. Econ. Stat. 29, 238; here with bootstrap variances times n / (n - 1)).
    """
    there_RC = ~np.isnan(values_RC)
    votes_RC = np.where(there_RC, values_RC, 0.0)
    num_people, num_prompts = (int(there_RC.any(axis=axis).sum()) for axis in (1, 0))
    num = int(there_RC.sum())
    centred_RC = np.where(there_RC, values_RC - votes_RC.sum() / max(num, 1), 0.0)
    by_people = _resampled_variance(centred_RC.sum(1), there_RC.sum(1), seed, "study participants", num_resamples)
    by_prompts = _resampled_variance(centred_RC.sum(0), there_RC.sum(0), seed, "study prompts", num_resamples)
    by_votes = float((centred_RC**2).sum()) / max(num * (num - 1), 1)  # exact: no need to draw single votes
    between_people, between_prompts = by_people - by_votes, by_prompts - by_votes
    mean = max(by_people + by_prompts - by_votes, by_votes, 0.0)
    return Spread(
        participants=max(0.0, between_people * num_people),
        prompts=max(0.0, between_prompts * num_prompts),
        votes=by_votes * num,
        mean=mean,
    )


def _resampled_variance(
    sums_N: Float[ndarray, " N"], counts_N: Float[ndarray, " N"], seed: int, stream: str, num_resamples: int
) -> float:
    """Variance, over resamples of N clusters, of the mean of their votes; sums: of votes less their mean."""
    here = counts_N > 0
    num = int(here.sum())
    if num < 2:
        return math.inf
    draws_RN = torch.randint(num, (num_resamples, num), generator=make_generator(seed, stream)).numpy()
    means_R = sums_N[here][draws_RN].sum(1) / counts_N[here][draws_RN].sum(1)
    return float((means_R**2).mean()) * num / (num - 1)


def clustered(values_RC: Float[ndarray, "R C"], *, seed: int = 0) -> Interval:
    """95 % interval of the mean of votes 0..1 for other persons and other prompts like these.

    Wilson's formula with the number of independent votes that have the bootstrap's variance (`two_way_spread`), and
    Student's t for the fewer of persons and prompts: it stays inside 0..1 and is not empty where all agree (effective
    sample size: Dean & Pagano 2015, J. Surv. Stat. Methodol. 3, 484). `NO_INTERVAL` with fewer than `MIN_PAIRS` of
    either.
    """
    there_RC = ~np.isnan(values_RC)
    fewer = min(int(there_RC.any(axis=axis).sum()) for axis in (0, 1))
    if fewer < MIN_PAIRS:
        return NO_INTERVAL
    share, num = float(np.nanmean(values_RC)), int(there_RC.sum())
    variance = float(np.nanvar(values_RC))
    if variance == 0:
        effective = float(fewer)  # nothing tells how alike votes are: count each person, or each prompt, once
    else:
        halves = share * (1 - share) / variance  # ties vary less than votes of 0 and 1
        effective = num * halves / design_effect(values_RC, two_way_spread(values_RC, seed=seed))
    return wilson(share, effective, quantile=float(stats.t.ppf((1 + CONFIDENCE) / 2, fewer - 1)))


def pigeonhole(values_RC: Float[ndarray, "R C"], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """Percentile interval of the mean, persons and prompts drawn together (Owen 2007, Ann. Appl. Stat. 1, 386).

    It counts the variance of single votes three times, so it is too wide rather than too narrow. `NO_INTERVAL` as
    `clustered`.
    """
    there_RC = ~np.isnan(values_RC)
    votes_RC = np.where(there_RC, values_RC, 0.0)[there_RC.any(1)][:, there_RC.any(0)]
    there_RC = there_RC[there_RC.any(1)][:, there_RC.any(0)].astype(float)
    if min(votes_RC.shape) < MIN_PAIRS:
        return NO_INTERVAL
    weights = [
        np.stack([np.bincount(draw, minlength=num) for draw in draws.numpy()]).astype(float)
        for num, draws in (
            (num, torch.randint(num, (num_resamples, num), generator=make_generator(seed, "pigeonhole", axis)))
            for axis, num in enumerate(votes_RC.shape)
        )
    ]
    counts = np.einsum("br,rc,bc->b", weights[0], there_RC, weights[1], optimize=True)
    sums = np.einsum("br,rc,bc->b", weights[0], votes_RC, weights[1], optimize=True)
    low, high = np.quantile((sums / np.maximum(counts, 1))[counts > 0], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=float(low), high=float(high))


def design_effect(values_RC: Float[ndarray, "R C"], spread: Spread) -> float:
    """How many clustered votes tell as much as one independent vote; at least 1, and 1 where all votes are equal."""
    independent = float(np.nanvar(values_RC)) / max(int((~np.isnan(values_RC)).sum()), 1)
    return max(1.0, spread.mean / independent) if independent > 0 and math.isfinite(spread.mean) else 1.0


# ----------------------------------------------------------------------------------------------------- size of a study


def votes_needed(share: float) -> float:
    """Independent votes that show a win rate against 50 %: two-sided 5 % test, 80 % power; infinite for 0.5.

    n = ((z_.975 / 2 + z_.8 sqrt(p (1 - p))) / (p - 1/2))^2 (Fleiss, Levin & Paik 2003, Statistical Methods for Rates
    and Proportions, chapter 2, without continuity correction).
    """
    if share == 0.5:
        return math.inf
    z_level, z_power = float(stats.norm.ppf((1 + CONFIDENCE) / 2)), float(stats.norm.ppf(POWER))
    return ((0.5 * z_level + z_power * math.sqrt(share * (1 - share))) / (share - 0.5)) ** 2


def participants_needed(share: float, spread: Spread, num_prompts: int) -> float:
    """Persons, each judging all prompts, that give the mean's variance of `votes_needed`; infinite if none do, and at
    least what an interval needs.

    Of the variance that may be, (p - 1/2)^2 / (z_.975 + z_.8)^2, prompts take their part, and no person lowers it.
    """
    left = _variance_allowed(share) - spread.prompts / num_prompts
    return math.inf if left <= 0 else max(MIN_PAIRS, (spread.participants + spread.votes / num_prompts) / left)


def prompts_needed(share: float, spread: Spread, num_participants: int) -> float:
    """The same for prompts, each judged by all persons."""
    left = _variance_allowed(share) - spread.participants / num_participants
    return math.inf if left <= 0 else max(MIN_PAIRS, (spread.prompts + spread.votes / num_participants) / left)


def _variance_allowed(share: float) -> float:
    z_level, z_power = float(stats.norm.ppf((1 + CONFIDENCE) / 2)), float(stats.norm.ppf(POWER))
    return ((share - 0.5) / (z_level + z_power)) ** 2
