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
    name: str, text: str, estimate: Estimate, *, decimals: int, percent: bool = False, predicts: bool = True
) -> Measured:
    """An estimate as a row. predicts: whether a new run's value means something."""
    low, high = estimate.interval()
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


def contrasts(evidence: Evidence, variant: str, control: str | None = None) -> tuple[Measured, ...]:
    """All of `BESIDE`, a variant less its control; before them PSNR's two levels, and the difference of gains where the
    variant's base model is another one."""
    about = VARIANTS[variant]
    other = control or about.control or ""
    rows = [
        measured(
            f"{name}.{PSNR.name}",
            f"{VARIANTS[name].text}: {PSNR.text} (dB)",
            level_of(evidence.table(name, PSNR), evidence.spread(PSNR, besides=(name,))),
            decimals=PSNR.decimals,
        )
        for name in (other, variant)
    ]
    found = {measure: evidence.difference(variant, measure, control=control) for measure in BESIDE}
    gains = evidence.difference(variant, PSNR, gains=True, control=control)
    if not math.isclose(gains.value, found[PSNR].value, abs_tol=1e-6):
        text = f"gain over its own base, {_with_unit(PSNR)}"
        rows.append(_difference(variant, f"gain.{PSNR.name}", text, gains, PSNR))
    for measure, estimate in found.items():
        if estimate.num:
            rows.append(_difference(variant, measure.name, _with_unit(measure), estimate, measure))
    return tuple(rows)


def _with_unit(measure: Measure) -> str:
    return f"{measure.text} ({measure.unit})" if measure.unit else measure.text


def _difference(variant: str, name: str, text: str, estimate: Estimate, measure: Measure) -> Measured:
    return measured(
        f"{variant}.{LESS}{name}",
        f"{VARIANTS[variant].text}, less the recipe: {text}",
        estimate,
        decimals=measure.decimals,
        percent=measure.percent,
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
