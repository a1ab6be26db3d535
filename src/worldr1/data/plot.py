"""One picture of a prompt set: how its cameras spread over the domains, and how long its scenes are. SVG."""

from collections import Counter
from collections.abc import Iterator, Sequence

from worldr1.data.records import CAMERA_CLASSES, SceneRecord

COLOURS = ("#c9c5bd", "#8a8178", "#3f7f93", "#d98e3f", "#5a4a78")
"""Of CAMERA_CLASSES."""
_LEFT, _TOP, _WIDTH, _ROW, _HEIGHT = 150, 40, 560, 26, 140


def stats_svg(records: Sequence[SceneRecord]) -> str:
    """A bar per domain, divided by camera class, and a histogram of the scenes' words. records: at least one."""
    domains = sorted({record.domain for record in records})
    counts = Counter((record.domain, record.camera_class) for record in records)
    totals = Counter(record.domain for record in records)
    bottom = _TOP + _ROW * len(domains)
    height = bottom + _HEIGHT + 90
    parts = [*_legend(), *_bars(domains, counts, max(totals.values())), *_histogram(records, bottom + 40)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#333"><rect width="100%" height="100%" fill="white"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _legend() -> Iterator[str]:
    for place, (name, colour) in enumerate(zip(CAMERA_CLASSES, COLOURS, strict=True)):
        x = _LEFT + 100 * place
        yield f'<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/><text x="{x + 17}" y="22">{name}</text>'


def _bars(domains: Sequence[str], counts: Counter[tuple[str, str]], largest: int) -> Iterator[str]:
    for row, domain in enumerate(domains):
        x, y = float(_LEFT), _TOP + _ROW * row
        yield f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{domain}</text>'
        for name, colour in zip(CAMERA_CLASSES, COLOURS, strict=True):
            width = _WIDTH * counts[domain, name] / largest
            yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 6}" fill="{colour}"/>'
            if width > 24:
                yield f'<text x="{x + 4:.1f}" y="{y + 15}" fill="white">{counts[domain, name]}</text>'
            x += width


def _histogram(records: Sequence[SceneRecord], top: int) -> Iterator[str]:
    lengths = Counter(len(record.scene.split()) for record in records)
    first, last = min(lengths), max(lengths)
    step = _WIDTH / (last - first + 1)
    yield f'<text x="{_LEFT - 8}" y="{top + _HEIGHT}" text-anchor="end">words of a scene</text>'
    for number in range(first, last + 1):
        height = _HEIGHT * lengths[number] / max(lengths.values())
        x, y = _LEFT + step * (number - first), top + _HEIGHT - height
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{height:.1f}" fill="{COLOURS[2]}"/>'
        yield f'<text x="{x + step / 2 - 1:.1f}" y="{top + _HEIGHT + 16}" text-anchor="middle">{number}</text>'
