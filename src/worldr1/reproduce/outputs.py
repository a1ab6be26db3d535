"""What is written of the runs that are there: findings.json after every judging, page and Markdown at the end."""

from pathlib import Path

from worldr1.reproduce import markdown, page
from worldr1.reproduce.claims import findings
from worldr1.reproduce.findings_file import save_findings
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.plan import Plan


def write_findings(layout: Layout, seeds: int) -> None:
    """Every claim's numbers and verdict, of whatever runs are there. seeds: runs per variant that are wanted."""
    save_findings(layout.findings, findings(layout, seeds=seeds))


def write_all(layout: Layout, plan: Plan, seeds: int) -> list[Path]:
    """Findings, page and Markdown; returns the files. Nothing is filmed or judged."""
    found = findings(layout, seeds=seeds)
    save_findings(layout.findings, found)
    facts = {"recipe": plan.recipe, "device asked for": plan.device}
    warnings = () if plan.is_published else ("These runs are not planned as the published ones are: " + plan.in_words,)
    page.write(layout, found, facts=facts, warnings=warnings)
    markdown.write(layout, found, facts=facts, warnings=warnings)
    return [layout.findings, layout.page, layout.markdown]
