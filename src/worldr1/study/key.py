"""The sealed half of a study, key.json: who made which video.

    {"sealed": base64 of the JSON of `Key`}

The sha256 of that text stands in study.json and on every participant's page before the first vote, so nobody can
choose the models' names after seeing the votes. The key holds 256 random bits, so the hash does not give it away to
somebody who tries all assignments. base64 is no secret: it keeps an organiser from reading the key by accident.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from worldr1.errors import InputError
from worldr1.study.design import Study

KEY_FILE = "key.json"
REAL, SAME, DESTROYED = "real", "same", "destroyed"
KINDS = (REAL, SAME, DESTROYED)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairKey:
    """What a pair of study.json is."""

    kind: str
    """ "real"; "same": one video twice; "destroyed": an intact video and one whose frames are shuffled under noise."""
    first_is: str
    """Of a real pair "A" or "B"; of a destroyed one "intact" or "destroyed"; else ""."""
    prompt: tuple[int, bool, int]
    """`VideoRecord.key`: prompt's id, whether of the dynamic prompts, sample."""
    scene_type: str
    """"" where the suite has none."""
    tokens: tuple[str, ...]
    valid: tuple[bool, bool]
    """Whether the evaluations found A's and B's video valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """The assignment."""

    a: str
    """Title of model A: the first folder of `study new`."""
    b: str
    pairs: tuple[PairKey, ...]
    """As `Study.pairs`."""
    seed: int
    """Of the choice of pairs and of who is first."""
    salt: str
    notes: tuple[str, ...] = ()
    """What participants may tell the models apart by: sizes, lengths, frame rates."""


def write_key(folder: Path, key: Key) -> str:
    """Writes key.json and returns the commitment."""
    sealed = base64.b64encode(json.dumps(asdict(key), allow_nan=False).encode()).decode()
    (folder / KEY_FILE).write_text(json.dumps({"sealed": sealed}) + "\n", encoding="utf-8")
    return commitment(sealed)


def commitment(sealed: str) -> str:
    """sha256 of the sealed text, in hexadecimal digits."""
    return hashlib.sha256(sealed.encode()).hexdigest()


def open_key(folder: Path, study: Study, shown: set[str]) -> Key:
    """Unseals the key. shown: commitments that participants' pages showed.

    Raises InputError if key.json is missing or damaged, or is not the one that study.json or a participant saw.
    """
    path = folder / KEY_FILE
    if not path.is_file():
        raise InputError(f"There is no {path}; without it nobody knows which model made which video.")
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))["sealed"]
        found = commitment(sealed)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); restore the file that `study new` wrote.") from error
    if wrong := sorted({study.key_sha256, *shown} - {found}):
        raise InputError(
            f"{path} is not the key that was sealed: its sha256 is {found}, participants were shown {wrong[0]}. "
            "Restore the file that `study new` wrote; a study with another key is worth nothing."
        )
    try:
        key = _key(json.loads(base64.b64decode(sealed)))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is of another version ({error}); use the worldr1 that made the study.") from error
    if len(key.pairs) != len(study.pairs):
        raise InputError(f"{path} and study.json belong to different studies; restore both from one copy.")
    return key


def _key(table: Any) -> Key:
    if set(table) != {f.name for f in fields(Key)}:
        raise ValueError("other fields")
    pairs = tuple(
        PairKey(**{**entry, **{name: tuple(entry[name]) for name in ("prompt", "tokens", "valid")}})
        for entry in table["pairs"]
    )
    if any(pair.kind not in KINDS for pair in pairs):
        raise ValueError("a kind of pair that is not known")
    return Key(**{**table, "pairs": pairs, "notes": tuple(table["notes"])})
