"""One measure as a picture: every seed a dot, the mean and its interval, where a new run would lie; rows on one scale.

SVG as in `evaluate.charts`; words stand in HTML, so that long ones wrap. Colours are the page's classes c0, c1, ...
"""

import math
from collections.abc import Sequence
from html import escape

from worldr1.evaluate.pages.charts import ticks
from worldr1.reproduce.finding import Measured
from worldr1.reproduce.wording import NONE, in_words, interval, number, title_of

_WIDTH, _MARGIN = 300, 16
_LANE, _DOTS, _HEIGHT = 9, 22, 29
"""Heights at which interval and dots lie, and of a row."""
_AXIS_HEIGHT = 16
_MAX_COLOURS = 3
"""Of page.css."""


def seed_chart(rows: Sequence[Measured]) -> str:
    """A figure of rows of one measure; "" if none of them has a number."""
    numbers = [value for row in rows for value in _numbers(row)]
    if not numbers:
        return ""
    scale = _Scale(numbers)
    title = title_of(rows)
    body = []
    for place, row in enumerate(rows):
        name = f"{escape(row.text.removesuffix(f': {title}'))} " if len(rows) > 1 or row.text != title else ""
        value = f"<b>{number(row.value, row)}</b> {_known_ends(row)}"
        body.append(
            f'<div class="seed-row c{place % _MAX_COLOURS}"><p>{name}{value}</p>'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(row.text)}: {in_words(row)}">'
            f"{scale.grid(_HEIGHT)}{_row(row, scale)}</svg></div>"
        )
    return (
        f'<figure class="chart seeds"><figcaption>{escape(title)}</figcaption>{"".join(body)}'
        f'<svg viewBox="0 0 {_WIDTH} {_AXIS_HEIGHT}" aria-hidden="true">{scale.labels(rows[0])}</svg></figure>'
    )


def legend() -> str:
    """What the marks of every chart mean."""
    sample = (
        f'<svg class="sample c0" viewBox="0 0 120 {_HEIGHT}" aria-hidden="true">'
        f"{_new_run(8, 112)}{_interval(36, 84)}{_mean(60)}{_dot(44, '')}{_dot(58, '')}{_dot(79, '')}</svg>"
    )
    return (
        f'<p class="note legend-of-seeds">{sample}<span>Diamond: the mean. Thick line: its 95 % interval over seeds '
        "and prompts. Thin line with ends: where a new run, of another seed, would lie (95 %). Rings: the runs, one "
        "per seed. Dashes: 0.</span></p>"
    )


def _known_ends(row: Measured) -> str:
    known = interval(row)
    return "no interval" if known == NONE else f"[{known}]"


def _row(row: Measured, scale: "_Scale") -> str:
    marks = []
    if _known(row.new_low, row.new_high):
        marks.append(_new_run(scale.x(row.new_low), scale.x(row.new_high)))
    if _known(row.low, row.high):
        marks.append(_interval(scale.x(row.low), scale.x(row.high)))
    if math.isfinite(row.value):
        marks.append(_mean(scale.x(row.value)))
    for value in row.seeds:
        if math.isfinite(value):
            marks.append(_dot(scale.x(value), number(value, row)))
    return "".join(marks)


def _known(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and math.isfinite(low) and math.isfinite(high)


def _numbers(row: Measured) -> list[float]:
    found = (row.value, row.low, row.high, row.new_low, row.new_high, *row.seeds)
    return [value for value in found if value is not None and math.isfinite(value)]


def _new_run(left: float, right: float) -> str:
    ends = "".join(f"M{x:.1f} {_LANE - 4}V{_LANE + 4}" for x in (left, right))
    return f'<path class="new-run" d="M{left:.1f} {_LANE}H{right:.1f}{ends}"/>'


def _interval(left: float, right: float) -> str:
    return f'<path class="interval" d="M{left:.1f} {_LANE}H{right:.1f}"/>'


def _mean(x: float) -> str:
    return f'<path class="mean" d="M{x - 5:.1f} {_LANE}L{x:.1f} {_LANE - 5}L{x + 5:.1f} {_LANE}L{x:.1f} {_LANE + 5}Z"/>'


def _dot(x: float, text: str) -> str:
    title = f"<title>{text}</title>" if text else ""
    return f'<circle class="seed" cx="{x:.1f}" cy="{_DOTS}" r="3.6">{title}</circle>'


class _Scale:
    """Maps values to pixels."""

    def __init__(self, numbers: Sequence[float]) -> None:
        low, high = min(numbers), max(numbers)
        if 0 < low < 0.5 * high:  # 0 is shown where it is near
            low = 0.0
        elif 0.5 * low < high < 0:
            high = 0.0
        margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        self._low, self._high = low - margin, high + margin
        self._ticks = ticks(self._low, self._high, 4)

    def x(self, value: float | None) -> float:
        assert value is not None
        return _MARGIN + (value - self._low) / (self._high - self._low) * (_WIDTH - 2 * _MARGIN)

    def grid(self, height: float) -> str:
        return "".join(
            f'<line class="{"zero" if abs(tick) < 1e-12 else "grid"}" '
            f'x1="{self.x(tick):.1f}" y1="0" x2="{self.x(tick):.1f}" y2="{height}"/>'
            for tick in self._ticks
        )

    def labels(self, unit: Measured) -> str:
        """Numbers under the grid. unit: a row whose way of writing them is taken."""
        made = []
        for tick in self._ticks:
            text = f"{tick * (100 if unit.percent else 1) + 0.0:.4g}" + " %" * (unit.percent and not unit.points)
            made.append(f'<text x="{self.x(tick):.1f}" y="12" text-anchor="middle">{text}</text>')
        return "".join(made)
