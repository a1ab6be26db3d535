"""The rules that people read are the rules that decide."""

from pathlib import Path

from worldr1.reproduce.rules import rules_as_markdown

DOC = Path(__file__).parents[3] / "docs" / "reproduction.md"


def test_the_page_repeats_the_rules_word_for_word() -> None:
    assert rules_as_markdown() in DOC.read_text(encoding="utf-8")
