"""The page of `worldr1 reproduce`: what was run, every claim with its verdict, numbers and pictures, in one file.

It is a page of the evaluate family: its styles, scripts, cards and tables are theirs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from worldr1.evaluate.pages.clip_cards import legend as film_legend
from worldr1.evaluate.pages.evaluation_parts import page
from worldr1.evaluate.pages.evaluation_tables import html_row, html_table
from worldr1.reproduce.contrast_table import CONTRASTS, CONTRASTS_TOLD, HEADS, contrast_rows
from worldr1.reproduce.film_cards import Films
from worldr1.reproduce.films import BASE, TRUTH, filmed
from worldr1.reproduce.finding import Finding, Measured, Verdict
from worldr1.reproduce.inventory import Run, all_runs, judged_in_words, read_ledger, shortened, what_was_run
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.seed_charts import legend as chart_legend
from worldr1.reproduce.seed_charts import seed_chart
from worldr1.reproduce.variants import UPDATES, VARIANTS, Variant
from worldr1.reproduce.wording import (
    SYMBOLS,
    as_json,
    by_measure,
    each_seed,
    interval,
    new_run,
    number,
    ours,
    price,
    published_words,
    tallies,
)
from worldr1.train.checkpoint import write_whole

TITLE = "The paper's claims in the mini world"
MAX_CHARTS = 6
"""Of a claim; the table below them has every measure."""
BADGES = {
    Verdict.HOLDS: "holds",
    Verdict.PARTLY: "partly",
    Verdict.FAILS: "fails",
    Verdict.UNTESTABLE: "untestable",
    Verdict.OPEN: "open",
}
"""CSS classes."""


def write(
    layout: Layout,
    findings: Sequence[Finding],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    variants: Mapping[str, Variant] = VARIANTS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes `layout.page` and returns it; it needs no network and no other file.

    Runs, films and ledger are read from the folder; any of them may be missing. A finding's rows of one measure
    (`wording.measure_of`) are drawn on one scale, a variant beside its control. facts: what else to say of all runs, as
    name and value. warnings: what a reader must know of all numbers. on_progress: called with (films done, films
    in all). Raises InputError for a film or a run that is damaged.
    """
    runs = all_runs(layout, variants)
    films = Films(filmed(layout, [BASE, TRUTH, *variants]), variants, on_progress=on_progress)
    ledger, damaged = read_ledger(layout)
    warnings = [*shortened(runs, variants), *warnings]
    told = {**what_was_run(runs, ledger), **(facts or {})}
    sections = {
        "": _opening(findings, told, warnings),
        CONTRASTS: _contrasts(findings),
        "Claim by claim": _how_to_read() + "".join(_claim(finding, films) for finding in findings) if findings else "",
        "Not measured": _not_measured(findings),
        "The runs": _runs_table(layout, runs, variants),
        "Every attempt": _ledger(ledger, damaged),
    }
    record = {
        "facts": told,
        "warnings": warnings,
        "findings": [as_json(finding) for finding in findings],
        "runs": {name: [_run_as_json(run) for run in of] for name, of in runs.items()},
        "ledger": as_json(ledger),
    }
    css = (files("worldr1.reproduce") / "reproduction.css").read_text(encoding="utf-8")
    html = page(TITLE, sections, record, "reproduction.json", films.data(), css=css)
    write_whole(layout.page, html.encode())  # a reader may load it while runs go on
    return layout.page


# ------------------------------------------------------------------------------------------------------------ its parts


def _opening(
    findings: Sequence[Finding],
    facts: Mapping[str, str],
    warnings: Sequence[str],
) -> str:
    table = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items())
    told = "".join(f'<p class="missing">{escape(text)}</p>' for text in warnings)
    found = "; ".join(f"{whose}: <b>{verdicts}</b>" for whose, verdicts in tallies(findings))
    return (
        f"<h1>{TITLE}</h1>"
        '<p class="small">World-R1 (arXiv 2604.24764) trains large video models on 48 to 96 GPUs. Here the same method '
        "trains a small one, in a world whose geometry is known. Its numbers are not the paper's: whether a claim "
        "holds here is told by rules; each says when it was written.</p>"
        f'<p class="headline">{found}.</p>'
        f'<dl class="facts-line run-facts">{table}</dl>{told}{_claims_table(findings)}'
    )


def badge(verdict: Verdict) -> str:
    """The verdict, coloured and in words."""
    symbol = f'<span aria-hidden="true">{SYMBOLS[verdict]}</span>'
    return f'<span class="verdict {BADGES[verdict]}">{symbol} {verdict}</span>'


def _claims_table(findings: Sequence[Finding]) -> str:
    rows = []
    for finding in findings:
        name = f'<th scope="row">{_link(finding)}</th>'
        rows.append(
            html_row(
                [
                    ("name", "", name),
                    ("says", "the paper:", f"<div>{escape(finding.says)}</div>"),
                    ("ours", "ours:", f"<div>{escape(ours(finding))}</div>"),
                    ("judged", "", badge(finding.verdict)),
                ]
            )
        )
    return html_table("numbers claims", ["Claim", "The paper says", "Ours", "Verdict"], "".join(rows))


def _contrasts(findings: Sequence[Finding]) -> str:
    rows = []
    for name, cells in contrast_rows(findings):
        made = [("name", "", f'<th scope="row">{escape(name)}</th>')]
        for head, cell in zip(HEADS.values(), cells, strict=True):
            made.append(("value", head, f"<b>{escape(cell.text)}</b>" if cell.shown else escape(cell.text)))
        rows.append(html_row(made))
    if not rows:
        return ""
    return f"<p>{CONTRASTS_TOLD}</p>" + html_table("numbers contrasts", ["", *HEADS.values()], "".join(rows))


def _link(finding: Finding) -> str:
    return f'<a href="#claim-{escape(finding.claim)}">{escape(finding.title)}</a>'


def _how_to_read() -> str:
    pictures = film_legend(cameras=False)
    return (
        f"{chart_legend()}"
        '<p class="note">Pictures: the lowest seed of each, the same prompts and start noise for all; under each video '
        "the same frames drawn from the 3D scene that the independent judge found in the frames before and after them, "
        "and where the two differ. A clip whose content is gone is drawn again without an error: that is the hack. The "
        "numbers under a video are that one clip's.</p>"
        f"{pictures}"
    )


def _claim(finding: Finding, films: Films) -> str:
    """A claim's section."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in finding.notes)
    missing = (
        f'<p class="missing">Runs are missing; they would take {price(finding.missing_minutes)} of an H200.</p>'
        if finding.missing_minutes > 0
        else ""
    )
    charts = "".join(seed_chart(rows) for rows in by_measure(finding.measured)[:MAX_CHARTS])
    return (
        f'<section class="claim" id="claim-{escape(finding.claim)}">'
        f"<h3>{badge(finding.verdict)} {escape(finding.title)} <code>{escape(finding.claim)}</code></h3>"
        f'<p class="reason">{escape(finding.reason)}</p>'
        f"<p><b>The paper says:</b> {escape(finding.says)}</p>"
        f"<p><b>Rule, written {escape(finding.rule_written)}:</b> {escape(finding.rule)}</p>"
        f"{missing}{f'<ul>{notes}</ul>' if notes else ''}"
        f'{_published(finding)}<div class="charts">{charts}</div>{_measured_table(finding.measured)}'
        f"{_rests_on(finding)}{_pictures(finding, films)}</section>"
    )


def _rests_on(finding: Finding) -> str:
    if not finding.num_runs:
        return ""
    whose = f" of {', '.join(finding.variants)}" if finding.variants else ""
    return f'<p class="small">Rests on {finding.num_runs} run{"s" if finding.num_runs != 1 else ""}{escape(whose)}.</p>'


def _measured_table(measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    rows = [
        html_row(
            [
                ("name", "", f'<th scope="row">{escape(row.text)}</th>'),
                ("value", "ours", f"<b>{number(row.value, row)}</b>"),
                ("interval", "95 % interval", interval(row)),
                ("interval", "a new run", new_run(row)),
                ("interval", "each seed", each_seed(row)),
                ("interval", "prompts", str(row.num)),
            ]
        )
        for row in measured
    ]
    heads = ["Ours", "Mean", "95 % interval", "A new run (95 %)", "Each seed", "Prompts"]
    table = html_table("numbers", heads, "".join(rows))
    return f"<details><summary>The numbers of {len(rows)} measures</summary>{table}</details>"


def _published(finding: Finding) -> str:
    if not finding.published:
        return ""
    rows = "".join(
        f"<li>{escape(published_words(row))} <span class='small'>({escape(row.source)})</span></li>"
        for row in finding.published
    )
    return (
        "<p><b>The paper's numbers, not measured here</b> (of other models, prompts and judges: compare directions, "
        f'not sizes):</p><ul class="published">{rows}</ul>'
    )


def _pictures(finding: Finding, films: Films) -> str:
    if not finding.variants:
        return ""
    cards = films.cards(finding.variants)
    if cards or finding.verdict is Verdict.OPEN:
        return cards
    return '<p class="missing small">There are no films of these runs yet.</p>'


def _not_measured(findings: Sequence[Finding]) -> str:
    """Claims that runs are missing for, with their price; "" if there are none."""
    missing = [finding for finding in findings if finding.verdict is Verdict.OPEN]
    if not missing:
        return ""
    rows = [
        html_row(
            [
                ("name", "", f'<th scope="row">{_link(finding)}</th>'),
                ("says", "the paper:", f"<div>{escape(finding.says)}</div>"),
                ("value", "price", price(finding.missing_minutes)),
                ("command", "", f"<code>worldr1 reproduce {escape(finding.claim)}</code>"),
            ]
        )
        for finding in missing
    ]
    total = sum(finding.missing_minutes for finding in missing)
    heads = ["Claim", "The paper says", "Price on an H200", "Command"]
    return (
        f"<p>An empty cell with its price is better than a made-up one. All of these: {price(total)}, less where "
        f"claims share runs.</p>{html_table('numbers claims', heads, ''.join(rows))}"
    )


def _runs_table(layout: Layout, runs: Mapping[str, Sequence[Run]], variants: Mapping[str, Variant]) -> str:
    rows = []
    for name, of in runs.items():
        variant = variants[name]
        updates = ", ".join(str(run.updates) if run.updates else "not known" for run in of)
        rows.append(
            html_row(
                [
                    ("name", "", f'<th scope="row">{escape(variant.text)} <code>{escape(name)}</code></th>'),
                    ("interval", "changed", escape(", ".join(variant.settings)) or "nothing"),
                    ("value", "seeds", ", ".join(str(run.seed) for run in of)),
                    ("value", "updates", f"{updates} of {UPDATES[variant.length]}"),
                    ("value", "minutes", ", ".join(f"{run.minutes:.1f}" for run in of)),
                    ("value", "judged", judged_in_words(layout, variant)),
                ]
            )
        )
    heads = ["Variant", "Changed", "Seeds", "Updates", "Minutes", "Judged"]
    return html_table("numbers runs", heads, "".join(rows)) if rows else ""


def _ledger(entries: Sequence[Mapping[str, Any]], damaged: int) -> str:
    """Every attempt, folded away; columns are what the entries have."""
    cut = f'<p class="missing">{damaged} line(s) of the ledger cannot be read.</p>' if damaged else ""
    if not entries:
        return cut
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    head = "".join(f'<th scope="col">{escape(str(name).replace("_", " "))}</th>' for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(ledger_text(entry.get(name)))}</td>' for name in columns)}</tr>"
        for entry in entries
    )
    return (
        f"{cut}<details><summary>{len(entries)} attempts, finished, failed and killed</summary>"
        '<div class="wide every" tabindex="0" role="region" aria-label="every attempt"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def ledger_text(value: Any) -> str:
    """A value of the ledger in a table."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _run_as_json(run: Run) -> dict[str, Any]:
    return {"seed": run.seed, "updates": run.updates, "minutes": run.minutes}
