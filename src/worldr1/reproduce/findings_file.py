"""findings.json: the list of findings as strict JSON, there and back (an interface: names stay as they are).

    {"claims": [{"claim": "main-gain", "verdict": "holds", ..., "published": [...], "measured": [...]}, ...]}

with the fields of `finding.Finding`, `Measured` and `Published`. What does not exist is null; numbers are finite.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worldr1.errors import InputError
from worldr1.evaluate.records import save_json
from worldr1.reproduce.finding import Finding, Measured, Published, Verdict

CLAIMS_FIELD = "claims"


def save_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Writes the file, whole or not at all. Raises ValueError for a number that is not finite."""
    save_json(path, {CLAIMS_FIELD: [asdict(finding) for finding in findings]})


def load_findings(path: Path) -> list[Finding]:
    """What `save_findings` wrote. Raises InputError if the file is missing, no JSON, or of other fields."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return [_finding(entry) for entry in table[CLAIMS_FIELD]]
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}; run worldr1 reproduce with this folder first.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged or of another version ({error}); run worldr1 reproduce again.") from error


def _finding(entry: Mapping[str, Any]) -> Finding:
    """Raises TypeError for a field that is unknown or missing, as the records' constructors do."""
    return Finding(
        **{
            **entry,
            "verdict": Verdict(entry["verdict"]),
            "published": tuple(Published(**row) for row in entry.get("published", ())),
            "measured": tuple(_measured(row) for row in entry.get("measured", ())),
            "variants": tuple(entry.get("variants", ())),
            "notes": tuple(entry.get("notes", ())),
        }
    )


def _measured(entry: Mapping[str, Any]) -> Measured:
    measured = Measured(**{**entry, "seeds": tuple(entry["seeds"])})
    ends = [end for end in (measured.low, measured.high, measured.new_low, measured.new_high) if end is not None]
    if not all(math.isfinite(number) for number in (measured.value, *ends, *measured.seeds)):
        raise ValueError(f"{measured.name} has a number that is not finite")
    return measured
