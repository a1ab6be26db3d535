"""findings.json: the list of findings as strict JSON, there and back (an interface: names stay as they are).

    {"claims": [{"claim": "main-gain", "verdict": "holds", ..., "published": [...], "measured": [...]}, ...]}

with the fields of `finding.Finding`, `Measured` and `Published`. What does not exist is null; numbers are finite.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields
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
    known = _fields(Finding, entry)
    return Finding(
        **{
            **known,
            "verdict": Verdict(known["verdict"]),
            "published": tuple(Published(**_fields(Published, row)) for row in known.get("published", ())),
            "measured": tuple(_measured(row) for row in known.get("measured", ())),
            "variants": tuple(known.get("variants", ())),
            "notes": tuple(known.get("notes", ())),
        }
    )


def _measured(entry: Mapping[str, Any]) -> Measured:
    known = _fields(Measured, entry)
    numbers = [known[name] for name in ("value", "low", "high", "new_low", "new_high")] + [*known["seeds"]]
    if known["value"] is None or not all(number is None or math.isfinite(number) for number in numbers):
        raise ValueError(f"{known['name']} has a number that is not finite")
    return Measured(**{**known, "seeds": tuple(known["seeds"])})


def _fields(cls: type[Finding] | type[Measured] | type[Published], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ValueError for an unknown field, or one that is missing and has no default."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"{cls.__name__} is no JSON object")
    known = {f.name: f for f in fields(cls)}
    if unknown := sorted(set(entry) - set(known)):
        raise ValueError(f"{cls.__name__} does not know {unknown[0]!r}")
    optional = {name for name, f in known.items() if f.default is not MISSING or f.default_factory is not MISSING}
    if missing := sorted(set(known) - optional - set(entry)):
        raise ValueError(f"{cls.__name__} lacks {missing[0]!r}")
    return dict(entry)
