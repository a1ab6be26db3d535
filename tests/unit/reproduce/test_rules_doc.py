"""docs/reproduction.md says what the code decides by, what the published runs let expect, and what the rest costs."""

import json
from collections.abc import Iterable
from pathlib import Path

from worldr1.reproduce import publish
from worldr1.reproduce.claims import CLAIMS, price
from worldr1.reproduce.claims.claim import Claim
from worldr1.reproduce.evidence import Evidence
from worldr1.reproduce.findings_file import load_findings, save_findings
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.prices import missing_minutes
from worldr1.reproduce.published_runs import intervals_as_markdown
from worldr1.reproduce.rules import rules_as_markdown
from worldr1.reproduce.variants import VARIANTS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / publish.PAGE).read_text(encoding="utf-8")


def test_the_page_repeats_the_rules_word_for_word() -> None:
    assert rules_as_markdown() in PAGE


def test_the_page_repeats_the_published_intervals() -> None:
    assert intervals_as_markdown() in PAGE


def test_the_page_says_what_its_json_says() -> None:
    findings = load_findings(DOCS / publish.JSON)
    assert publish.with_tables(PAGE, findings) == PAGE, "python -m worldr1.reproduce.publish DIR docs"
    assert [finding.claim for finding in findings] == list(CLAIMS)


def test_publishing_puts_the_tables_of_a_folder_into_the_page(tmp_path: Path) -> None:
    layout, docs = Layout(tmp_path / "made"), tmp_path / "docs"
    for folder in (layout.root, docs):
        folder.mkdir()
    (docs / publish.PAGE).write_text(f"before\n{publish.BEGIN}\nstale\n{publish.END}\nafter\n")
    save_findings(layout.findings, load_findings(DOCS / publish.JSON)[:1])
    attempt = {"job": "judge half, seed 0", "kind": "judge", "start": "2026-11-30T13:28:54+00:00", "outcome": "failed"}
    error = {"error": "/home/me/made/films/base/videos/004.mp4 cannot be read", "log": "/home/me/made/judged/half.log"}
    layout.ledger.write_text(json.dumps(attempt | error) + "\n")
    publish.publish(layout, docs)
    text = (docs / publish.PAGE).read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
    assert text.count("| `main-gain`: ") == 1 and "no-gen" not in text
    assert load_findings(docs / publish.JSON) == load_findings(layout.findings)
    (line,) = (docs / publish.LEDGER).read_text().splitlines()
    assert json.loads(line)["outcome"] == "failed"
    assert "films/base/videos/004.mp4 cannot be read" in line and "/home/me" not in line


def beyond_the_published_runs(claims: Iterable[Claim], seeds: int = 3) -> int:
    """Minutes of an H200; the published runs are the variant `full`."""
    chosen = list(claims)
    has_full = any("full" in (*claim.variants, *claim.beside) for claim in chosen)
    published = missing_minutes(VARIANTS["full"], (), seeds) if has_full else 0.0
    return round(price(chosen, Evidence({}), seeds=seeds) - published)


def test_the_page_says_what_all_of_it_costs() -> None:
    names = list(CLAIMS)
    paper = [CLAIMS[name] for name in names[: names.index("rollouts")]]
    text = " ".join(PAGE.split())
    assert len(paper) == 12
    assert f"with three seeds: {beyond_the_published_runs(paper)} minutes beyond the published runs" in text
    assert f"({beyond_the_published_runs(paper, seeds=1)} with one seed)" in text
    assert f"everything: {beyond_the_published_runs(CLAIMS.values())}." in text
