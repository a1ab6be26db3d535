"""Tables of the evaluation and comparison pages: means and differences with their intervals drawn, model facts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from worldr1.evaluate.folder import Facts
from worldr1.evaluate.labels import LABELS, label_of
from worldr1.evaluate.metrics.catalogue import CATALOGUE
from worldr1.evaluate.metrics.mvcs import depth_model_note
from worldr1.evaluate.statistics.differences import Counting, Difference
from worldr1.evaluate.statistics.folders import FolderComparison, PairedComparison, Validity
from worldr1.evaluate.statistics.intervals import MIN_PAIRS
from worldr1.evaluate.statistics.subsets import ALL, Estimate, Subset

_PLOT_WIDTH, _PLOT_HEIGHT = 150, 18
_HEADINGS = {
    "motion": "By motion",
    "token": "By camera token (a sequence counts for each of its tokens)",
    "scene type": "By scene type",
    "further": "Further numbers",
}
_REWARDED_BY = {None: "not known", "": "none"}
_BY_MODEL = "°"
NOTHING_PUBLISHED = '<p class="note">No paper has numbers for prompts like this suite\'s, so none stand here.</p>'
_ARROWS = {1: ("↑", "higher is better"), -1: ("↓", "lower is better"), 0: ("", "")}


# -------------------------------------------------------------------------------------------------------- a comparison


def differences_table(comparison: FolderComparison, other: PairedComparison) -> str:
    """Every number over all prompts: both means, the difference with its interval, wins, and invalid counted worst."""
    first, title = comparison.first.facts.title, other.folder.facts.title
    further = _heading("further", 9)
    worst_too = any(other.of(name, ALL, Counting.WORST) for name in comparison.metrics)
    rows = []
    for name in comparison.metrics:
        d = other.of(name)
        if d is None:
            continue
        if name not in LABELS and further not in rows:
            rows.append(further)
        cells = [("name", "", f'<th scope="row">{_name(name)}</th>'), *_difference_cells(other, d, first, _reach([d]))]
        if worst_too:
            worst = other.of(name, ALL, Counting.WORST)
            cells.append(("worst", "invalid counted worst", _worst(other, d, worst)))
        rows.append(html_row(cells))
    heads = ["", first, title, "Difference", "", "95 % interval", "Won, tied, lost"]
    heads += ["Invalid counted worst"] if worst_too else []
    return html_table("numbers", heads, "".join(rows))


def subsets_table(comparison: FolderComparison, other: PairedComparison, name: str) -> str:
    """One number over every subset, all intervals in one scale; "" if nothing has it."""
    found = [d for subset in comparison.subsets if (d := other.of(name, subset)) is not None]
    if not found:
        return ""
    scale = _reach(found)
    first, title = comparison.first.facts.title, other.folder.facts.title
    worst_of = {d.subset: other.of(name, d.subset, Counting.WORST) for d in found}
    worst_too = any(worst_of.values())
    rows, kind = [], ""
    for d in found:
        if d.subset.kind != kind:
            kind = d.subset.kind
            rows.append(_heading(kind, 9))
        cells = [
            ("name", "", f'<th scope="row">{escape(_subset_name(d.subset))}</th>'),
            ("prompts", "prompts", str(d.num)),
            *_difference_cells(other, d, first, scale),
        ]
        if worst_too:
            cells.append(("worst", "invalid counted worst", _worst(other, d, worst_of[d.subset])))
        rows.append(html_row(cells))
    heads = ["", "Prompts", first, title, "Difference", "", "95 % interval", "Won, tied, lost"]
    heads += ["Invalid counted worst"] if worst_too else []
    return html_table("numbers", heads, "".join(rows))


def _difference_cells(other: PairedComparison, d: Difference, first: str, scale: float) -> list[tuple[str, str, str]]:
    """Both means and what stands behind them. first: the first model's title; scale: of the plotted interval."""
    verdict = other.verdict(d)
    return [
        ("value", first, _number(d.first, d.metric)),
        ("value", other.folder.facts.title, _number(d.other, d.metric)),
        ("change", "difference", _change(d, verdict)),
        ("plot", "", interval_plot(d, verdict, scale)),
        ("interval", "95 % interval", _interval(d.low, d.high, d.num, d.metric)),
        ("record", "won, tied, lost", _record(d, verdict)),
    ]


def validity_table(facts: Sequence[Facts], validity: Sequence[Validity]) -> str:
    """A row per model: what of its clips counts, who rewarded it, what it cost."""
    rows = []
    for fact, v in zip(facts, validity, strict=True):
        rows.append(
            html_row(
                [
                    ("name", "", f'<th scope="row">{escape(fact.title)}</th>'),
                    ("value", "valid", f"{v.share:.1%} ({v.valid} of {v.asked})"),
                    ("value", "rejected", str(v.rejected)),
                    ("value", "faults", str(v.faults)),
                    ("value", "missing", str(v.missing)),
                    ("interval", "rewarded by", escape(_REWARDED_BY.get(fact.reward_model, str(fact.reward_model)))),
                    ("interval", "cost", escape(cost(fact))),
                ]
            )
        )
    heads = ["", "Valid clips", "Rejected", "Faults", "Missing", "Rewarded by", "Cost"]
    return html_table("numbers models", heads, "".join(rows))


def cost(facts: Facts) -> str:
    """Seconds by stage and the machine."""
    stages = ", ".join(
        f"{name} {seconds:,.0f} {'GPU-seconds' if facts.devices.get(name) == 'cuda' else 's'}"
        for name, seconds in facts.seconds.items()
    )
    return " on ".join(text for text in (stages, facts.machine) if text) or "not recorded"


# ------------------------------------------------------------------------------------------------------ one evaluation


def estimates_table(estimates: Sequence[Estimate], subsets: Sequence[Subset]) -> str:
    """Every number, over each of some subsets side by side: mean and 95 % interval."""
    table = {(e.metric, e.subset): e for e in estimates}
    rows = []
    for name in dict.fromkeys(e.metric for e in estimates):
        cells = [("name", "", f'<th scope="row">{_name(name)}</th>')]
        for subset in subsets:
            found = table.get((name, subset))
            cells.append(("mean", _subset_name(subset), _mean(found) if found else ""))
        rows.append(html_row(cells))
    return html_table("numbers means", ["", *(_subset_name(subset).capitalize() for subset in subsets)], "".join(rows))


def estimates_by_subset(estimates: Sequence[Estimate], name: str) -> str:
    """One number over every subset, with its interval drawn; "" if no valid clip has it."""
    found = [e for e in estimates if e.metric == name]
    finite = [x for e in found for x in (e.low, e.mean, e.high) if math.isfinite(x)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    rows, kind = [], ""
    for e in found:
        if e.subset.kind != kind:
            kind = e.subset.kind
            rows.append(_heading(kind, 5))
        rows.append(
            html_row(
                [
                    ("name", "", f'<th scope="row">{escape(_subset_name(e.subset))}</th>'),
                    ("prompts", "prompts", str(e.num)),
                    ("value", "mean", _number(e.mean, name)),
                    ("plot", "", _plot(e.mean, e.low, e.high, low - margin, high + margin, "neutral", zero=False)),
                    ("interval", "95 % interval", _bounds(e.low, e.high, e.num, name, signed=False)),
                ]
            )
        )
    return html_table("numbers", ["", "Prompts", "Mean", "", "95 % interval"], "".join(rows))


# --------------------------------------------------------------------------------------------------------- both pages


def chooser(tables: Mapping[str, str], label: str) -> str:
    """Tables by title of which the page's script shows one; without scripts all are shown."""
    shown = {title: table for title, table in tables.items() if table}
    options = "".join(f"<option>{escape(title)}</option>" for title in shown)
    bodies = "".join(
        f'<div class="choice" data-choice="{escape(title)}"><h3>{escape(title)}</h3>{table}</div>'
        for title, table in shown.items()
    )
    return f'<div class="chooser"><label>{escape(label)} <select>{options}</select></label>{bodies}</div>'


def catalogue_table(names: Iterable[str], facts: Sequence[Facts]) -> str:
    """What each measure compares, whose formula it is and what it must be read beside; "" if none is in the catalogue.

    Under it which 3D model decides those that one decides, with a warning if it is a reward's.
    """
    infos = [CATALOGUE[name] for name in names if name in CATALOGUE]
    rows = []
    for info in infos:
        mark = f"&nbsp;{_BY_MODEL}" if info.depth_model else ""
        parts = {"frames": info.frames, "formula": info.source, "read beside": info.group_note}
        cells = [("source", label, escape(text)) for label, text in parts.items()]
        rows.append(html_row([("name", "", f'<th scope="row">{_name(info.name)}{mark}</th>'), *cells]))
    if not rows:
        return ""
    heads = ["", "Frames", "Formula", "Read it beside or apart"]
    told = dict.fromkeys(f"{fact.title}: {depth_model_note(fact.judge, fact.reward_model)}" for fact in facts)
    note = f'<p class="note">{_BY_MODEL} decided by a 3D model. {escape(" ".join(told))}</p>'
    note = note if any(info.depth_model for info in infos) else ""
    table = html_table("numbers about", heads, "".join(rows))
    return f"<details><summary>{len(rows)} measures</summary>{table}{note}</details>"


def published_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of papers by table, never measured here and in no comparison; a sentence without any.

    A row: "model", "table", "source", "note" (texts, each may be missing) and "values": numbers by their titles.
    """
    if not rows:
        return NOTHING_PUBLISHED
    made = [
        '<p class="missing">From papers: other prompts, other videos, often another judge. They stand here for '
        "orientation and are in no difference, win or loss.</p>"
    ]
    for title in dict.fromkeys(str(row.get("table", "")) for row in rows):
        members = [row for row in rows if str(row.get("table", "")) == title]
        columns = list(dict.fromkeys(key for row in members for key in row["values"]))
        body = []
        for row in members:
            cells = [("name", "", f'<th scope="row">{escape(str(row.get("model", "")))}</th>')]
            cells += [("value", key, _plain(row["values"].get(key))) for key in columns]
            body.append(html_row(cells))
        table = html_table("numbers", ["", *columns], "".join(body))
        sources = dict.fromkeys(str(row[key]) for row in members for key in ("source", "note") if row.get(key))
        made.append(f'<h3>{escape(title)}</h3>{table}<p class="note">{escape(" ".join(sources))}</p>')
    return f"<details><summary>{len(rows)} rows</summary>{''.join(made)}</details>"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def html_table(kind: str, heads: Sequence[str], body: str) -> str:
    """A table that scrolls by itself where it is too wide. kind: CSS classes; heads: plain text; body: `html_row`s."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def html_row(cells: Iterable[tuple[str, str, str]]) -> str:
    """Cells of (class, what a phone writes before it, HTML); a row's head comes as its own tag."""
    made = []
    for kind, label, inside in cells:
        if inside.startswith("<th "):
            made.append(inside)
        else:
            made.append(f'<td class="{kind}" data-label="{escape(label)}">{inside}</td>')
    return f"<tr>{''.join(made)}</tr>"


def _heading(kind: str, columns: int) -> str:
    title = _HEADINGS.get(kind, "")
    return f'<tr class="heading"><th colspan="{columns}" scope="colgroup">{title}</th></tr>' if title else ""


def _name(name: str) -> str:
    label = label_of(name)
    arrow, said = _ARROWS[label.better]
    mark = f' <abbr title="{said}">{arrow}</abbr>' if arrow else ""
    return f"{escape(label.text)}{mark}"


def _subset_name(subset: Subset) -> str:
    return subset.name.replace("_", " ") if subset.kind == "token" else subset.name


def _number(value: float, name: str) -> str:
    return f"{value:.{label_of(name).decimals}f}"


def _colour(verdict: str) -> str:
    """CSS class of what `PairedComparison.verdict` says: only what lost clips do not explain has a colour."""
    return verdict if verdict in ("better", "worse") else "neutral"


def _change(d: Difference, verdict: str) -> str:
    text = f"{d.mean:+.{label_of(d.metric).decimals}f}"
    if verdict:
        text = f'<span class="{_colour(verdict)}">{text} {verdict}</span>'
    star = ' <abbr class="holm" title="still shown if all intervals of this page shall hold together (Holm)">✱</abbr>'
    return f"{f'<b>{text}</b>' if d.is_shown else text}{star if d.survives else ''}"


def _interval(low: float, high: float, num: int, name: str) -> str:
    return _bounds(low, high, num, name, signed=True)


def _bounds(low: float, high: float, num: int, name: str, *, signed: bool) -> str:
    if num < MIN_PAIRS or not math.isfinite(low):
        return "too few prompts"
    sign, decimals = "+" if signed else "", label_of(name).decimals
    return f"{low:{sign}.{decimals}f} to {high:{sign}.{decimals}f}"


def _mean(e: Estimate) -> str:
    interval = _bounds(e.low, e.high, e.num, e.metric, signed=False)
    return f'<b>{_number(e.mean, e.metric)}</b> <span class="small">{interval}</span>'


def _record(d: Difference, verdict: str) -> str:
    """Wins, ties and losses as numbers and as a bar; "" for a number that is neither good nor bad.

    The bar has no colours where the verdict holds on valid clips alone: prompts were won there by losing others.
    """
    if not label_of(d.metric).better:
        return ""
    parts = (("better", d.wins), ("tie", d.ties), ("worse", d.losses))
    bar = "".join(f'<i class="{kind}" style="flex:{count}"></i>' for kind, count in parts if count)
    kind = "wtl" if verdict in ("", "better", "worse") else "wtl pale"
    return f'{d.wins} / {d.ties} / {d.losses}<span class="{kind}" aria-hidden="true">{bar}</span>'


def _worst(other: PairedComparison, valid: Difference, worst: Difference | None) -> str:
    if worst is None:
        return '<span class="small">the same</span>' if label_of(valid.metric).better else ""
    interval = _interval(worst.low, worst.high, worst.num, worst.metric)
    return f'{_change(worst, other.verdict(worst))} <span class="small">({interval})</span>'


def _reach(differences: Iterable[Difference]) -> float:
    """The largest number that the plots of some differences show."""
    differences = list(differences)
    told = [d for d in differences if math.isfinite(d.low)] or differences  # one prompt's jump would squeeze the others
    ends = [abs(x) for d in told for x in (d.mean, d.low, d.high) if math.isfinite(x)]
    return max(ends, default=0.0) * 1.06 or 1.0


def interval_plot(d: Difference, verdict: str, reach: float | None = None) -> str:
    """SVG. verdict: `PairedComparison.verdict`; reach: to either side of 0, as far as this difference needs if None."""
    reach = _reach([d]) if reach is None else reach
    return _plot(d.mean, d.low, d.high, -reach, reach, _colour(verdict), zero=True)


def _plot(mean: float, low: float, high: float, start: float, end: float, verdict: str, *, zero: bool) -> str:
    """An interval as a line with its mean as a dot, over [start, end]; a mark at 0."""

    def x(value: float) -> float:
        share = (min(max(value, start), end) - start) / (end - start)
        return 4 + share * (_PLOT_WIDTH - 8)

    middle = _PLOT_HEIGHT / 2
    marks = [f'<line class="zero" x1="{x(0):.1f}" y1="0" x2="{x(0):.1f}" y2="{_PLOT_HEIGHT}"/>'] if zero else []
    if math.isfinite(low):
        marks.append(f'<line class="span" x1="{x(low):.1f}" y1="{middle}" x2="{x(high):.1f}" y2="{middle}"/>')
    marks.append(f'<circle cx="{x(mean):.1f}" cy="{middle}" r="3.6"/>')
    box = f"0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}"
    return f'<svg class="ci {verdict}" viewBox="{box}" aria-hidden="true">{"".join(marks)}</svg>'
