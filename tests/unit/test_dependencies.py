"""docs/dependencies.md against what is installed, and the audit's verdicts."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FAMILIES = {"Apache": r"apache", "BSD": r"bsd", "MIT": r"\bmit\b", "MPL": r"mpl|mozilla", "GPL": r"gpl|general public"}
KNOWN_GPL: frozenset[str] = frozenset()
"""Packages whose own metadata say GPL and that are here for a reason that docs/dependencies.md gives."""


def families(text: str) -> set[str]:
    return {name for name, pattern in FAMILIES.items() if re.search(pattern, text, re.IGNORECASE)}


def said_by(package: str) -> str:
    """Of an installed package: the licence in its metadata, of a whole licence's text the beginning."""
    found: Any = metadata.metadata(package)
    classifiers = [text for text in found.get_all("Classifier") or [] if text.startswith("License")]
    return " ".join([found.get("License-Expression") or "", (found.get("License") or "")[:50], *classifiers])


def documented() -> dict[str, str]:
    """Package -> licence column of the tables."""
    rows: dict[str, str] = {}
    package = licence = 0
    for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "licence" in cells:
            package, licence = cells.index("package"), cells.index("licence")
        elif line.startswith("|") and not line.startswith("|-"):
            names, licences = re.split(r",\s*", cells[package]), cells[licence]
            each = re.split(r",\s*", licences) if len(names) > 1 else [licences]
            each = each if len(each) == len(names) else [licences] * len(names)
            rows |= {canonicalize_name(name): text for name, text in zip(names, each, strict=True)}
    return rows


def required() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


def test_every_dependency_has_a_row_with_the_licence_of_its_metadata() -> None:
    rows, checked = documented(), 0
    for requirement in required():
        name = canonicalize_name(requirement.name)
        assert name in rows, f"{name} has no row in docs/dependencies.md"
        written = families(rows[name])
        assert written, f"docs/dependencies.md names no licence of {name} that this test knows"
        try:
            installed = families(said_by(name))
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
        checked += 1
        assert written <= installed, f"{name}: {rows[name]} is not what its metadata say: {said_by(name)}"
        assert installed <= written or "others" in rows[name], f"{name}: {said_by(name)} has more than {rows[name]}"
    assert checked >= len(PROJECT["dependencies"])


def _closure(names: list[str]) -> Iterator[str]:
    """All packages that these need, themselves included, as installed."""
    seen: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        yield name
        names += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def test_nothing_that_is_installed_with_us_says_gpl() -> None:
    found = list(_closure([requirement.name for requirement in required()]))
    assert len(found) > 40
    assert {name for name in found if "GPL" in families(said_by(name))} == KNOWN_GPL


# -------------------------------------------------------------------------------------------------------------- audit


def _audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAFE = {"name": "rich", "version": "15.0.0", "vulns": []}
UNSAFE = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "here", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([SAFE, UNKNOWN], 0, "audit: 1 of 2 packages looked up, 0 known vulnerabilities"),
        ([SAFE, UNSAFE], 1, "old 1.0: CVE-2026-1, mended in 1.1"),
        ([UNKNOWN, UNKNOWN], 0, "NOT MADE: none of 2 packages could be looked up"),  # pip-audit itself calls this clean
    ],
)
def test_the_audits_verdict(packages: list[dict[str, Any]], code: int, words: str) -> None:
    found, text = _audit().verdict({"dependencies": packages})
    assert found == code and words in text


def test_an_audit_that_cannot_be_made_says_so_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = _audit()
    monkeypatch.setattr(audit.sys, "executable", "/bin/false")
    assert audit.main("nowhere") == 0
    assert capsys.readouterr().out.startswith("audit: NOT MADE: ")
