"""Plain SVG, drawn here so that the report needs nothing else: lines over updates, and a camera path from one side.

Colours are CSS classes of page.css: the page decides about light and dark.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

_WIDTH, _HEIGHT = 300, 165
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 24
"""Margins of the plotted area, where the axes' numbers are."""
_MAX_DOTS = 80
"""Longer curves get no dot (and no tooltip) per update."""
_PATH_SIZE = 150
_PATH_MARGIN = 28
_SIGHT_LENGTH = 24
_MIN_EXTENT = 0.3
"""Depth units. The least that a path plot shows, or the jitter of a still camera would look like a journey."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One curve."""

    name: str
    values: Sequence[float | None]
    """One per update; the curve has a gap at None."""
    spread: Sequence[float | None] = ()
    """Half the height of the band around the curve, if it has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraPath:
    """One camera path to draw."""

    name: str
    """A CSS class: "requested" or "recovered"."""
    positions: Sequence[Sequence[float]]
    """[x, y, z] per frame, depth units."""
    yaw_deg: Sequence[float]
    sight: Sequence[float] = ()
    """Share of the line of sight's length that lies in the drawn plane, per frame; all of it if empty."""


def line_chart(title: str, updates: Sequence[int], dynamic: Sequence[bool], series: Sequence[Series]) -> str:
    """A figure of curves over updates, updates of the dynamic phase shaded; "" if no curve has a number.

    Curves break where the phase changes: the phases use different prompts and rewards, so a line would mislead.
    """
    numbers = [number for curve in series for number in _reach(curve)]
    if not numbers:
        return ""
    axes = _Axes(updates, numbers)
    body = [axes.shade(first, last) for first, last in _runs(updates, dynamic)] + [axes.grid()]
    for index, curve in enumerate(series):
        for piece in _pieces(curve, dynamic):
            body.append(axes.curve(curve, piece, f"c{index}"))
    legend = "".join(f'<span class="key c{i}">{escape(curve.name)}</span>' for i, curve in enumerate(series))
    return (
        f'<figure class="chart"><figcaption>{escape(title)}{legend if len(series) > 1 else ""}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg></figure>'
    )


def path_plot(paths: Sequence[CameraPath], extent: tuple[float, float, float], *, seen_from: str = "above") -> str:
    """Camera paths from above: x to the right, z (forward) upward, a dot at the start, a line of sight at both ends.

    extent: `path_extent` of all plots that shall have one scale. seen_from: for the label; a path that was turned
    beforehand is seen from another side.
    """
    centre_x, centre_z, size = extent
    scale = (_PATH_SIZE - 2 * _PATH_MARGIN) / size

    def pixel(x: float, z: float) -> tuple[float, float]:
        return _PATH_SIZE / 2 + (x - centre_x) * scale, _PATH_SIZE / 2 - (z - centre_z) * scale

    body = [_scale_bar(size, scale)]
    for path in paths:
        points = [pixel(position[0], position[2]) for position in path.positions]
        body.append(f'<polyline class="path {path.name}" points="{_points(points)}"/>')
        for end in (0, -1):
            (x, y), yaw = points[end], math.radians(path.yaw_deg[end])
            length = _SIGHT_LENGTH * (path.sight[end] if path.sight else 1.0)
            body.append(
                f'<line class="sight {path.name}" x1="{x:.1f}" y1="{y:.1f}" '
                f'x2="{x + length * math.sin(yaw):.1f}" y2="{y - length * math.cos(yaw):.1f}"/>'
            )
        x, y = points[0]
        body.append(f'<circle class="start {path.name}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    label = f"camera seen from {seen_from}: {' and '.join(path.name for path in paths)}"
    box = f"0 0 {_PATH_SIZE} {_PATH_SIZE}"
    return f'<svg class="plan" viewBox="{box}" role="img" aria-label="{label}">{"".join(body)}</svg>'


def path_extent(paths: Sequence[CameraPath]) -> tuple[float, float, float]:
    """Centre x, centre z and side of the square that holds the paths, in depth units."""
    xs = [position[0] for path in paths for position in path.positions]
    zs = [position[2] for path in paths for position in path.positions]
    size = max(max(xs) - min(xs), max(zs) - min(zs), _MIN_EXTENT)
    return (max(xs) + min(xs)) / 2, (max(zs) + min(zs)) / 2, size


class _Axes:
    """Maps updates and values to pixels."""

    def __init__(self, updates: Sequence[int], numbers: Sequence[float]) -> None:
        self._updates = updates
        self._first, self._last = min(updates) - 0.5, max(updates) + 0.5
        low, high = min(numbers), max(numbers)
        margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0  # a constant still gets an axis
        # 0 is shown where it is near, so that a curve's height can be read
        self._low = 0.0 if 0 <= low <= 0.5 * high else low - margin
        self._high = high + margin

    def x(self, update: float) -> float:
        return _LEFT + (update - self._first) / (self._last - self._first) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _TOP + (self._high - value) / (self._high - self._low) * (_HEIGHT - _TOP - _BOTTOM)

    def shade(self, first: int, last: int) -> str:
        left, right = self.x(first - 0.5), self.x(last + 0.5)
        height = _HEIGHT - _TOP - _BOTTOM
        return f'<rect class="dynamic" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{height}"/>'

    def grid(self) -> str:
        marks = []
        for value in ticks(self._low, self._high, 4):
            y = self.y(value)
            marks.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
            marks.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value + 0.0:.4g}</text>')
        for update in ticks(min(self._updates), max(self._updates), 6):
            if update == int(update):
                marks.append(
                    f'<text x="{self.x(update):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{int(update)}</text>'
                )
        return "".join(marks)

    def curve(self, curve: Series, piece: Sequence[int], style: str) -> str:
        """The curve over updates that follow each other; piece: their positions."""
        values = {i: value for i in piece if (value := curve.values[i]) is not None}
        points = [(self.x(self._updates[i]), self.y(value)) for i, value in values.items()]
        drawn = ""
        if curve.spread:
            spread = {i: curve.spread[i] or 0.0 for i in values}
            upper = [(self.x(self._updates[i]), self.y(value + spread[i])) for i, value in values.items()]
            lower = [(self.x(self._updates[i]), self.y(value - spread[i])) for i, value in values.items()]
            drawn += f'<polygon class="band {style}" points="{_points(upper + lower[::-1])}"/>'
        drawn += f'<polyline class="curve {style}" points="{_points(points)}"/>'
        if len(self._updates) <= _MAX_DOTS or len(points) == 1:
            for (x, y), (i, value) in zip(points, values.items(), strict=True):
                text = f"update {self._updates[i]}: {escape(curve.name)} {value:.4g}"
                drawn += f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"><title>{text}</title></circle>'
        return drawn


def _reach(curve: Series) -> Iterator[float]:
    """All heights that a curve and its band touch."""
    for index, value in enumerate(curve.values):
        if value is not None:
            half = (curve.spread[index] or 0.0) if curve.spread else 0.0
            yield from (value - half, value + half)


def _pieces(curve: Series, dynamic: Sequence[bool]) -> Iterator[list[int]]:
    """Positions of neighbouring updates of one phase that have a value."""
    for (there, _), run in groupby(range(len(dynamic)), key=lambda i: (curve.values[i] is not None, dynamic[i])):
        if there:
            yield list(run)


def _runs(updates: Sequence[int], dynamic: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last update of every dynamic phase."""
    for is_dynamic, run in groupby(zip(updates, dynamic, strict=True), key=lambda pair: pair[1]):
        phase = [update for update, _ in run]
        if is_dynamic:
            yield phase[0], phase[-1]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in [low, high], at most `about` + 1 of them."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _scale_bar(size: float, scale: float) -> str:
    length = ticks(0.0, size, 3)[1]
    x, y = 6, _PATH_SIZE - 5
    return (
        f'<line class="scale" x1="{x}" y1="{y}" x2="{x + length * scale:.1f}" y2="{y}"/>'
        f'<text x="{x}" y="{y - 4}">{length:g}</text>'
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
