"""`reproduction.md`: the tables of the page for the repository, in the same words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worldr1.reproduce.contrast_table import CONTRASTS, CONTRASTS_TOLD, HEADS, contrast_rows
from worldr1.reproduce.finding import Finding, Verdict
from worldr1.reproduce.inventory import Run, all_runs, judged_in_words, read_ledger, shortened, what_was_run
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.page import TITLE, ledger_text
from worldr1.reproduce.variants import UPDATES, VARIANTS, Variant
from worldr1.reproduce.wording import (
    SYMBOLS,
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


def write(
    layout: Layout,
    findings: Sequence[Finding],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    variants: Mapping[str, Variant] = VARIANTS,
) -> Path:
    """Writes `layout.markdown` and returns it. Arguments as `page.write_page` takes them.

    Raises InputError for a run whose metrics are damaged.
    """
    runs = all_runs(layout, variants)
    ledger, damaged = read_ledger(layout)
    said = "; ".join(f"{name}: {text}" for name, text in {**what_was_run(runs, ledger), **(facts or {})}.items())
    found = "; ".join(f"{whose}: **{verdicts}**" for whose, verdicts in tallies(findings))
    parts = [
        f"# {TITLE}",
        f"{found}. {text(said)}.",
        *(f"**{text(warning)}**" for warning in [*shortened(runs, variants), *warnings]),
        claims_table(findings),
        contrasts_table(findings),
        *(_claim(finding) for finding in findings),
        _not_measured(findings),
        _runs(layout, runs, variants),
        _ledger(ledger, damaged),
    ]
    write_whole(layout.markdown, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return layout.markdown


def text(words: str) -> str:
    """Plain text in Markdown: nothing in it is markup, and it stays on its line."""
    escaped = re.sub(r"([\\`*\[\]<>|#~])", r"\\\1", " ".join(words.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _verdict(finding: Finding) -> str:
    return f"{SYMBOLS[finding.verdict]} **{finding.verdict}**"


def claims_table(findings: Sequence[Finding]) -> str:
    """Every claim in a line."""
    rows = [[f"`{one.claim}`: {text(one.title)}", text(one.says), text(ours(one)), _verdict(one)] for one in findings]
    return _table(["Claim", "The paper says", "Ours", "Verdict"], rows)


def contrasts_table(findings: Sequence[Finding]) -> str:
    """What goes when a part goes; "" if no variant was measured."""
    rows = [
        [text(name), *(f"**{text(cell.text)}**" if cell.shown else text(cell.text) for cell in cells)]
        for name, cells in contrast_rows(findings)
    ]
    if not rows:
        return ""
    return f"## {CONTRASTS}\n\n{CONTRASTS_TOLD}\n\n{_table(['', *HEADS.values()], rows)}"


def _claim(finding: Finding) -> str:
    parts = [
        f"## {text(finding.title)} (`{finding.claim}`): {finding.verdict}",
        text(finding.reason),
        f"Rule, written {text(finding.rule_written)}: {text(finding.rule)}",
    ]
    if finding.measured:
        rows = [
            [text(row.text), number(row.value, row), interval(row), new_run(row), each_seed(row), str(row.num)]
            for row in finding.measured
        ]
        parts.append(_table(["Ours", "Mean", "95 % interval", "A new run (95 %)", "Each seed", "Prompts"], rows))
    if finding.published:
        rows = [f"{text(published_words(row))} ({text(row.source)})" for row in finding.published]
        parts.append(f"The paper's numbers, not measured here: {'; '.join(rows)}.")
    if finding.missing_minutes > 0:
        parts.append(f"Runs are missing; they would take {price(finding.missing_minutes)} of an H200.")
    parts += ["\n".join(f"- {text(note)}" for note in finding.notes)] if finding.notes else []
    return "\n\n".join(parts)


def _not_measured(findings: Sequence[Finding]) -> str:
    missing = [finding for finding in findings if finding.verdict is Verdict.OPEN]
    rows = [
        [text(claim.title), price(claim.missing_minutes), f"`worldr1 reproduce {claim.claim}`"] for claim in missing
    ]
    if not rows:
        return ""
    return f"## Not measured\n\n{_table(['Claim', 'Price on an H200', 'Command'], rows)}"


def _runs(layout: Layout, runs: Mapping[str, Sequence[Run]], variants: Mapping[str, Variant]) -> str:
    rows = []
    for name, of in runs.items():
        variant = variants[name]
        rows.append(
            [
                f"{text(variant.text)} (`{name}`)",
                ", ".join(str(run.seed) for run in of),
                f"{', '.join(str(run.updates) for run in of)} of {UPDATES[variant.length]}",
                ", ".join(f"{run.minutes:.1f}" for run in of),
                judged_in_words(layout, variant),
            ]
        )
    return f"## The runs\n\n{_table(['Variant', 'Seeds', 'Updates', 'Minutes', 'Judged'], rows)}" if rows else ""


def _ledger(entries: Sequence[Mapping[str, Any]], damaged: int) -> str:
    cut = f"{damaged} line(s) of the ledger cannot be read." if damaged else ""
    if not entries:
        return cut
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    rows = [[text(ledger_text(entry.get(name))) for name in columns] for entry in entries]
    table = _table([text(str(name).replace("_", " ")) for name in columns], rows)
    return "\n\n".join(part for part in ("## Every attempt", cut, table) if part)
