"""What a claim is, and how numbers become a `Finding`'s rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worldr1.evaluate.statistics.values import finite
from worldr1.evaluate.suites.published import load_published
from worldr1.reproduce.evidence import Evidence
from worldr1.reproduce.finding import LESS, Measured, Published
from worldr1.reproduce.intervals import Estimate
from worldr1.reproduce.measures import BESIDE, PSNR, REJECTED, Measure, Source, level_of
from worldr1.reproduce.rules import COLLAPSED, Decision, Outcome
from worldr1.reproduce.variants import VARIANTS

BASE, SMALL = "Wan2.1-T2V-1.3B", "World-R1-Small"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a claim's evidence says."""

    decision: Decision
    measured: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim, and how it is decided. Its rule is `rules.RULES[name]`."""

    name: str
    title: str
    says: str
    find: Callable[[Evidence], Found]
    """Called once all that it needs is there."""
    variants: tuple[str, ...] = ()
    """Whose runs it needs, controls included."""
    beside: tuple[str, ...] = ()
    """Whose runs are shown where they are there; no rule needs them."""
    files: tuple[str, ...] = ()
    """Of `evidence.FILES`."""
    published: tuple[Published, ...] = ()
    measure: Callable[[Evidence], tuple[Measured, ...]] | None = None
    """Numbers for what is there while something is missing."""
    notes: tuple[str, ...] = field(default=())
    rule_written: str = "before any of its runs"
    of_paper: bool = True


# ------------------------------------------------------------------------------------------------------------ numbers


def paper(table: str, metric: str, method: str = SMALL, variant: str = "") -> Published:
    """A number of `evaluate.published`. Raises ValueError if the paper has none."""
    published = load_published()
    info = published.metrics[metric]
    for found in published.tables:
        for row in found.rows:
            if (found.id, row.method, row.variant, row.scene_type) == (table, method, variant, ""):
                value = row.values[metric]
                what = ", ".join(text for text in (method, variant, info.title) if text)
                return Published(text=f"{what}: {value:g}", value=value, source=f"table {table}")
    raise ValueError(f"the paper's table {table} has no row of {method}, {variant}")


def measured(
    name: str,
    text: str,
    estimate: Estimate,
    *,
    decimals: int,
    percent: bool = False,
    points: bool = False,
    predicts: bool = True,
) -> Measured:
    """An estimate as a row. predicts: whether a new run's value means something.

    Where nothing varied (no clip of any run was rejected, say) there is no interval: one of no width would claim to
    know what another run does.
    """
    low, high = estimate.interval() if estimate.error > 0 else (-math.inf, math.inf)
    new_low, new_high = estimate.new_run if predicts else (-math.inf, math.inf)
    return Measured(
        name=name,
        text=text,
        value=estimate.value,
        low=finite(low),
        high=finite(high),
        new_low=finite(new_low),
        new_high=finite(new_high),
        seeds=estimate.seeds,
        num=estimate.num,
        decimals=decimals,
        percent=percent,
        points=points,
    )


def said(text: str, estimate: Estimate, *, decimals: int, percent: bool = False, unit: str = "") -> str:
    """ "PSNR +0.72 dB [+0.50, +0.94]": a number that can be of both signs, in a sentence."""
    factor, unit = (100, "%") if percent else (1, unit)
    digits = max(decimals - 2, 1) if percent else decimals
    low, high = estimate.interval()
    ends = f" [{low * factor:+.{digits}f}, {high * factor:+.{digits}f}]" if math.isfinite(low) else " (no interval)"
    return f"{text} {estimate.value * factor:+.{digits}f}{' ' + unit if unit else ''}{ends}"


# ----------------------------------------------------------------------------------------------- against the control


def against(
    evidence: Evidence, variant: str, measure: Measure, *, gains: bool = False, control: str | None = None
) -> Outcome:
    """A variant's number less its control's, oriented so that less is worse."""
    estimate = evidence.difference(variant, measure, gains=gains, control=control)
    text = f"gain in {measure.text}" if gains else measure.text
    words = said(text, estimate, decimals=measure.decimals, unit=measure.unit, percent=False)
    if measure.percent:
        words = said(text, estimate, decimals=measure.decimals, percent=True).replace(" % [", " points [")
    return Outcome(oriented(estimate, measure.better), words)


def oriented(estimate: Estimate, better: int) -> Estimate:
    """More is better."""
    if better > 0:
        return estimate
    return Estimate(
        value=-estimate.value,
        error=estimate.error,
        df=estimate.df,
        seeds=tuple(-seed for seed in estimate.seeds),
        num=estimate.num,
        knows_seeds=estimate.knows_seeds,
    )


def collapsed(evidence: Evidence, variant: str) -> bool:
    """Whether so many of its clips are rejected that the rest is a selection."""
    more = evidence.difference(variant, REJECTED)
    return more.value >= COLLAPSED and more.interval().low > 0


def contrasts(evidence: Evidence, variant: str, first: Sequence[Measure] = ()) -> tuple[Measured, ...]:
    """All of `BESIDE` that both sides measure in one way, a variant less its control; and PSNR's two levels.

    first: what decides, which stands before them, after the difference of gains where the variant's base model is
    another one.
    """
    about = VARIANTS[variant]
    other = about.control or ""
    order = dict.fromkeys([*first, *BESIDE])
    found = {one: evidence.difference(variant, one) for one in order if one.name not in about.redefines}
    rows = {
        one: _difference(variant, one.name, _with_unit(one), estimate, one)
        for one, estimate in found.items()
        if estimate.num
    }
    levels = [
        measured(
            f"{name}.{PSNR.name}",
            f"{VARIANTS[name].text}: {PSNR.text} (dB)",
            level_of(evidence.table(name, PSNR), evidence.spread(PSNR, besides=(name,))),
            decimals=PSNR.decimals,
        )
        for name in (other, variant)
    ]
    gains = evidence.difference(variant, PSNR, gains=True)
    own_base = []
    if not math.isclose(gains.value, found[PSNR].value, abs_tol=1e-6):
        text = f"gain over its own base, {_with_unit(PSNR)}"
        own_base = [_difference(variant, f"gain.{PSNR.name}", text, gains, PSNR)]
    decided = [rows[one] for one in first if one in rows]
    return (*own_base, *decided, *levels, *(row for one, row in rows.items() if one not in first))


def _with_unit(measure: Measure) -> str:
    return f"{measure.text} ({measure.unit})" if measure.unit else measure.text


def _difference(variant: str, name: str, text: str, estimate: Estimate, measure: Measure) -> Measured:
    control = VARIANTS[VARIANTS[variant].control or ""]
    return measured(
        f"{variant}.{LESS}{name}",
        f"{VARIANTS[variant].text}, less {'the recipe' if control.is_recipe else control.text}: {text}",
        estimate,
        decimals=measure.decimals,
        percent=measure.percent,
        points=measure.percent,
        predicts=False,
    )


def lacks(evidence: Evidence, variants: Sequence[str], measures: Sequence[Measure]) -> str:
    """Why numbers are missing although the runs were judged; "" if none is."""
    for variant in variants:
        for measure in measures:
            if not evidence.table(variant, measure).keys:
                where = "its runs' own evaluations" if measure.source is Source.OWN else "what the judge saw"
                return f"{measure.text} of {variant} is not in {where}"
    return ""
