"""What the World-R1 paper reports, row by row: shown beside our numbers and never counted with them.

`published.json` holds every table of arXiv 2604.24764 with its number, its source and the metrics' units. The paper's
evaluation code, prompts and weights are not public, so no row was measured here, on our prompts or by our judges: a
`PublishedRow` has no records, and nothing that counts wins or draws intervals takes one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PUBLISHED = "published, not measured here"
"""What stands over every table of such rows."""
FILE = Path(__file__).parent / "published.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedMetric:
    """How a published number is called."""

    title: str
    unit: str
    """"" for a plain number; "not stated" where the paper gives none."""
    better: int
    """+1: higher, -1: lower, 0: neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """One row of a table."""

    method: str
    variant: str
    """What was changed ("w/o S_meta", "1K prompts"); "" for the method as it is."""
    scene_type: str
    """As `suite.SCENE_TYPES`, or "long horizon"; "" for all prompts."""
    values: Mapping[str, float]
    """By the metric's name; what the paper leaves out is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One table of the paper."""

    id: str
    """As the paper numbers it: "T1", "T2", "A" to "J"; "curves" for its plot of rewards."""
    title: str
    suites: tuple[str, ...]
    """Of ours that ask something like it."""
    source: str
    """Where the numbers were read."""
    note: str
    metrics: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """All of it."""

    paper: str
    metrics: Mapping[str, PublishedMetric]
    tables: tuple[PublishedTable, ...]

    def for_suite(self, suite: str) -> tuple[PublishedTable, ...]:
        """The tables to show on a suite's page, under `PUBLISHED`; none for the mini world."""
        return tuple(table for table in self.tables if suite in table.suites)


@cache
def load_published() -> Published:
    """The package's `published.json`. Raises ValueError if it is not as described (`read_published`)."""
    return read_published(json.loads(FILE.read_text(encoding="utf-8")))


def published_rows(suite: str) -> list[dict[str, Any]]:
    """The rows for a suite's page, as `pages.evaluation_tables.published_tables` takes them."""
    published = load_published()
    rows = []
    for table in published.for_suite(suite):
        for row in table.rows:
            values = {_heading(published.metrics[name]): value for name, value in row.values.items()}
            model = ", ".join(text for text in (row.method, row.variant, row.scene_type) if text)
            about = {"table": f"{table.id}: {table.title}", "source": table.source, "note": table.note}
            rows.append({"model": model, "values": values, **about})
    return rows


def _heading(metric: PublishedMetric) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def read_published(content: Mapping[str, Any]) -> Published:
    """Reads and checks: no unknown field or metric, no table or row twice, every number finite, every row with one.

    Raises ValueError.
    """
    if content["status"] != PUBLISHED:
        raise ValueError(f"its status is {content['status']!r}, not {PUBLISHED!r}")
    metrics = {name: PublishedMetric(**entry) for name, entry in content["metrics"].items()}
    tables = tuple(_table(entry, metrics) for entry in content["tables"])
    if len({table.id for table in tables}) < len(tables):
        raise ValueError("two tables have one number")
    return Published(paper=content["paper"], metrics=metrics, tables=tables)


def _table(entry: Mapping[str, Any], metrics: Mapping[str, PublishedMetric]) -> PublishedTable:
    rows = tuple(PublishedRow(**row) for row in entry["rows"])
    names, where = tuple(entry["metrics"]), f"table {entry['id']}"
    if unknown := set(names) - set(metrics):
        raise ValueError(f"{where} has the unknown metric {min(unknown)!r}")
    if len({(row.method, row.variant, row.scene_type) for row in rows}) < len(rows):
        raise ValueError(f"{where} has a row twice")
    for row in rows:
        if not row.values or set(row.values) - set(names):
            raise ValueError(f"{where} has a row of {row.method} with no value or one that the table does not name")
        if not all(isinstance(value, float | int) and math.isfinite(value) for value in row.values.values()):
            raise ValueError(f"{where} has a value of {row.method} that is no number")
    return PublishedTable(**{**entry, "suites": tuple(entry["suites"]), "metrics": names, "rows": rows})
