"""findings.json goes out and comes back the same, and what is not its form is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from reproduced_folders import Folder

from worldr1.errors import InputError
from worldr1.reproduce.claims import CLAIMS, findings
from worldr1.reproduce.finding import Finding
from worldr1.reproduce.findings_file import load_findings, save_findings


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, list[Finding]]:
    folder = Folder(tmp_path)
    folder.write("full", seeds=1)
    found = findings(folder.layout)
    save_findings(folder.layout.findings, found)
    return folder.layout.findings, found


def test_what_is_written_is_read_again(saved: tuple[Path, list[Finding]]) -> None:
    path, found = saved
    assert load_findings(path) == found and [finding.claim for finding in found] == list(CLAIMS)
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text and '"new_low": null' in text
    assert json.loads(text)["claims"][0]["verdict"] == "holds"


def _spoil(table: dict[str, Any], how: str) -> None:
    claim = table["claims"][0]
    changes = {
        "an unknown field": lambda: claim.update(colour="red"),
        "a missing field": lambda: claim.pop("rule"),
        "an unknown verdict": lambda: claim.update(verdict="perhaps"),
        "no value": lambda: claim["measured"][0].update(value=None),
        "an infinite end": lambda: claim["measured"][0].update(high=float("inf")),
        "a field of a number that is missing": lambda: claim["measured"][0].pop("seeds"),
        "no object": lambda: table.update(claims=["main-gain"]),
        "no claims": lambda: table.pop("claims"),
    }
    changes[how]()


@pytest.mark.parametrize(
    "how",
    [
        "an unknown field", "a missing field", "an unknown verdict", "no value", "an infinite end",
        "a field of a number that is missing", "no object", "no claims",
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_said(saved: tuple[Path, list[Finding]], how: str) -> None:
    path, _ = saved
    table = json.loads(path.read_text())
    _spoil(table, how)
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"findings\.json is damaged or of another version .*; run worldr1 reproduce"):
        load_findings(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no"):
        load_findings(tmp_path / "findings.json")
