"""How page and Markdown write the numbers of a finding, so that both say the same."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from worldr1.evaluate.labels import LABELS
from worldr1.reproduce.finding import Finding, Measured, Published, Verdict

NONE = "-"
SYMBOLS = {
    Verdict.HOLDS: "✓",
    Verdict.PARTLY: "◐",
    Verdict.FAILS: "✗",
    Verdict.UNTESTABLE: "∅",
    Verdict.OPEN: "○",
}
"""Beside the verdict's words: a colour alone says nothing to many people."""


def number(value: float | None, measured: Measured) -> str:
    """A value of a measure as tables write it."""
    if value is None or not math.isfinite(value):
        return NONE
    if measured.percent:
        unit = "points" if measured.points else "%"
        return f"{100 * value:.{max(1, measured.decimals - 2)}f}\N{NO-BREAK SPACE}{unit}"
    return f"{value:.{measured.decimals}f}"


def difference(measured: Measured) -> str:
    """A value that can be of both signs, with its sign; shares in points."""
    if measured.percent:
        return f"{100 * measured.value:+.{max(1, measured.decimals - 2)}f} points"
    return f"{measured.value:+.{measured.decimals}f}"


def span(low: float | None, high: float | None, measured: Measured) -> str:
    """An interval; `NONE` if there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    return f"{number(low, measured)} to {number(high, measured)}"


def interval(measured: Measured) -> str:
    """The 95 % interval of the mean."""
    return span(measured.low, measured.high, measured)


def new_run(measured: Measured) -> str:
    """The 95 % prediction interval of a new run."""
    return span(measured.new_low, measured.new_high, measured)


def each_seed(measured: Measured) -> str:
    """Each run's own value."""
    return ", ".join(number(value, measured) for value in measured.seeds) or NONE


def in_words(measured: Measured) -> str:
    """A measure in one line: value, interval, new run, seeds."""
    known = interval(measured)
    parts = [f"95 % interval {known}" if known != NONE else "no interval"]
    if (new := new_run(measured)) != NONE:
        parts.append(f"a new run: {new}")
    parts.append(f"{len(measured.seeds)} run{'s' if len(measured.seeds) != 1 else ''}")
    return f"{number(measured.value, measured)} ({'; '.join(parts)})"


def measure_of(row: Measured) -> str:
    """The measure's name: a row of one variant among several is called VARIANT.MEASURE."""
    return row.name.partition(".")[2] or row.name


def title_of(rows: Sequence[Measured]) -> str:
    """What rows of one measure measure: its label, what they all say after whose it is, or what the first row says."""
    known, first = LABELS.get(measure_of(rows[0])), rows[0].text
    if len(rows) == 1:
        return first
    said = {row.text.partition(": ")[2] for row in rows}
    return known.text if known else said.pop() if len(said) == 1 and "" not in said else first


def by_measure(measured: Iterable[Measured]) -> list[list[Measured]]:
    """Rows of one measure together: a variant and its control beside each other."""
    found: dict[tuple[str, bool], list[Measured]] = {}
    for row in measured:
        found.setdefault((measure_of(row), row.percent), []).append(row)
    return list(found.values())


def published_words(row: Published) -> str:
    """A number of the paper in words, with it once."""
    return row.text if f"{row.value:g}" in row.text else f"{row.text}: {row.value:g}"


def counts(findings: Iterable[Finding]) -> str:
    """How many claims have each verdict, in words."""
    found = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{verdict}: {found[verdict]}" for verdict in Verdict if found[verdict])


def tallies(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Whose claims, with their `counts`: the paper's and our own choices apart."""
    sides = {
        "The paper's claims": [finding for finding in findings if finding.of_paper],
        "our own choices, beyond it": [finding for finding in findings if not finding.of_paper],
    }
    return [(f"{what} ({len(some)})", counts(some)) for what, some in sides.items() if some]


def ours(finding: Finding) -> str:
    """What was found, in a line: the numbers that decided, or what is missing and its price."""
    if finding.verdict is Verdict.OPEN and finding.missing_minutes > 0:
        return f"{finding.reason}; {price(finding.missing_minutes)} of an H200"
    return finding.reason


def price(minutes: float) -> str:
    """Of missing runs."""
    return f"{minutes:.0f} GPU-minutes" if minutes >= 1 else "under a GPU-minute"


def as_json(value: Any) -> Any:
    """Strict JSON of records: what is not finite becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
