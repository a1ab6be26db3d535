"""docs/reproduction.md says what the code decides by, and what the published runs let expect."""

from pathlib import Path

from worldr1.reproduce.claims import CLAIMS
from worldr1.reproduce.published_runs import intervals_as_markdown
from worldr1.reproduce.rules import rules_as_markdown

PAGE = (Path(__file__).parents[3] / "docs" / "reproduction.md").read_text(encoding="utf-8")


def test_the_page_repeats_the_rules_word_for_word() -> None:
    assert rules_as_markdown() in PAGE


def test_the_page_repeats_the_published_intervals() -> None:
    assert intervals_as_markdown() in PAGE


def test_every_claim_is_a_row_of_the_page() -> None:
    for claim in CLAIMS.values():
        assert f"| `{claim.name}`: {claim.title} | {claim.says} |" in PAGE
