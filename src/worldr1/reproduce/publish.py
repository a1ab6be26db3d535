"""Puts what was found into the repository: python -m worldr1.reproduce.publish DIR docs

DIR's findings.json becomes docs/reproduction.json, and the tables of docs/reproduction.md are made anew of it; its
ledger, every attempt in it, becomes docs/reproduction-ledger.jsonl.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from worldr1.reproduce.finding import Finding
from worldr1.reproduce.findings_file import load_findings, save_findings
from worldr1.reproduce.inventory import read_ledger
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.markdown import claims_table, contrasts_table

JSON, PAGE, LEDGER = "reproduction.json", "reproduction.md", "reproduction-ledger.jsonl"
_PLACE = re.compile(r"/\S*/(?=(runs|judged|films|measured)/)")
"""Where a folder lay on the machine that made it: nobody else's concern."""
BEGIN, END = "<!-- made by worldr1.reproduce.publish -->", "<!-- end of what is made -->"


def with_tables(page: str, findings: Sequence[Finding]) -> str:
    """The page with its tables made anew of the findings. Raises ValueError if it does not say where they stand."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    tables = [table for table in (claims_table(findings), contrasts_table(findings)) if table]
    return "\n\n".join([before + BEGIN, *tables, END + after])


def publish(layout: Layout, docs: Path) -> None:
    """Writes the three files. Raises InputError if nothing was found there yet."""
    findings = load_findings(layout.findings)
    attempts, _ = read_ledger(layout)
    page = docs / PAGE
    text = with_tables(page.read_text(encoding="utf-8"), findings)
    save_findings(docs / JSON, findings)
    page.write_text(text, encoding="utf-8")
    lines = (_PLACE.sub("", json.dumps(attempt)) for attempt in attempts)
    (docs / LEDGER).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    root, docs = map(Path, sys.argv[1:])
    publish(Layout(root), docs)
