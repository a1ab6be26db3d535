"""docs/reproduction.md says what the code decides by, what the published runs let expect, and what the rest costs."""

import re
from collections.abc import Iterable
from pathlib import Path

from worldr1.reproduce.claims import CLAIMS, price
from worldr1.reproduce.claims.claim import Claim
from worldr1.reproduce.evidence import Evidence
from worldr1.reproduce.prices import missing_minutes
from worldr1.reproduce.published_runs import intervals_as_markdown
from worldr1.reproduce.rules import rules_as_markdown
from worldr1.reproduce.variants import VARIANTS

PAGE = (Path(__file__).parents[3] / "docs" / "reproduction.md").read_text(encoding="utf-8")


def test_the_page_repeats_the_rules_word_for_word() -> None:
    assert rules_as_markdown() in PAGE


def test_the_page_repeats_the_published_intervals() -> None:
    assert intervals_as_markdown() in PAGE


def test_every_claim_is_a_row_of_the_page() -> None:
    for claim in CLAIMS.values():
        assert f"| `{claim.name}`: {claim.title} | {claim.says} |" in PAGE


def beyond_the_published_runs(claims: Iterable[Claim], seeds: int = 3) -> int:
    """Minutes of an H200; the published runs are the variant `full`."""
    chosen = list(claims)
    has_full = any("full" in (*claim.variants, *claim.beside) for claim in chosen)
    published = missing_minutes(VARIANTS["full"], (), seeds) if has_full else 0.0
    return round(price(chosen, Evidence({}), seeds=seeds) - published)


def test_what_is_not_measured_has_its_price() -> None:
    rows = re.findall(r"\| `([a-z0-9-]+)`: .* \| (\d+) minutes? \| \*\*not measured\*\* \|", PAGE)
    assert len(rows) == PAGE.count("**not measured** |")
    for name, minutes in rows:
        assert int(minutes) == beyond_the_published_runs([CLAIMS[name]]), name


def test_the_page_says_what_all_of_it_costs() -> None:
    names = list(CLAIMS)
    paper = [CLAIMS[name] for name in names[: names.index("rollouts")]]
    text = " ".join(PAGE.split())
    assert len(paper) == 12
    assert f"with three seeds: {beyond_the_published_runs(paper)} minutes beyond the published runs" in text
    assert f"({beyond_the_published_runs(paper, seeds=1)} with one seed)" in text
    assert f"everything: {beyond_the_published_runs(CLAIMS.values())}." in text
