"""What was found of a claim: the paper's numbers, ours with their intervals, a verdict by a rule written before."""

from dataclasses import dataclass
from enum import StrEnum

LESS = "less."
"""In the names of differences."""


class Verdict(StrEnum):
    """What a rule says."""

    HOLDS = "holds"
    PARTLY = "partly"
    FAILS = "does not hold"
    UNTESTABLE = "cannot be tested here"
    OPEN = "not measured"
    """Runs are missing: the price of measuring is in `Finding.missing_minutes`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One number of ours. Shares are shares, not per cent; what does not exist is None."""

    name: str
    """Of the measure (`evaluate.labels`) or of a row of `evaluate.targets`; VARIANT.MEASURE where a claim has several
    variants, VARIANT.less.MEASURE for a variant's difference from its control."""
    text: str
    """For tables, with its unit."""
    value: float
    low: float | None
    """Ends of the 95 % interval of the mean over seeds and prompts."""
    high: float | None
    new_low: float | None
    """Ends of the 95 % prediction interval of one new run's value (another seed, the same prompts)."""
    new_high: float | None
    seeds: tuple[float, ...]
    """Each run's own value."""
    num: int
    """Prompts."""
    decimals: int = 3
    percent: bool = False
    points: bool = False
    """Of a share: a difference of two shares, in points of a per cent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One number of the paper, and where it stands."""

    text: str
    value: float
    source: str
    """For example "table I"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All of one claim."""

    claim: str
    """Its name on the command line."""
    title: str
    says: str
    """What the paper says, in a sentence of ours."""
    rule: str
    """When it holds, partly or not."""
    verdict: Verdict
    reason: str
    """The numbers that decided, in a sentence."""
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    variants: tuple[str, ...] = ()
    """Whose runs it rests on."""
    rule_written: str = "before any of its runs"
    """When, for a reader who doubts."""
    num_runs: int = 0
    missing_minutes: float = 0.0
    """Minutes of an H200 that its missing runs would take."""
    notes: tuple[str, ...] = ()
    """What a reader must know beside the verdict."""
    of_paper: bool = True
    """Claimed by the paper; otherwise a choice of ours, beyond it."""
