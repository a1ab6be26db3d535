"""Clips longer and larger than any that was trained on: what `mini judge` says of them."""

import math
from collections.abc import Mapping
from typing import Any

from worldr1.errors import InputError
from worldr1.reproduce.claims.claim import Claim, Found, measured, paper, said
from worldr1.reproduce.evidence import FILES, JUDGE, Evidence
from worldr1.reproduce.finding import Measured
from worldr1.reproduce.intervals import Estimate, mean_estimate, prompt_spread
from worldr1.reproduce.rules import Outcome, longer_larger

KINDS = ("longer", "larger")
CLOSED, TRAVEL = "gap_closed", "travel"


def estimates(judging: Mapping[str, Any], kind: str) -> dict[str, tuple[Mapping[str, Any], Estimate | None]]:
    """The rows of a judging.json by name, with runs and prompts in the interval; None where there is no value.

    Raises InputError for a file of another form.
    """
    try:
        rows = {row["name"]: row for row in judging["judges"][JUDGE]}
        return {name: (row, _estimate(row)) for name, row in rows.items()}
    except (KeyError, TypeError) as error:
        raise InputError(f"{FILES[kind]} is no judging.json ({error!r}); remove it and measure again.") from error


def _estimate(row: Mapping[str, Any]) -> Estimate | None:
    if row["value"] is None:
        return None
    ends = [math.inf * sign if end is None else end for sign, end in ((-1, row["low"]), (1, row["high"]))]
    spread = prompt_spread(ends[0], ends[1], row["num"])
    return mean_estimate(row["value"], [t for t in row["trials"] if t is not None], spread, row["num"])


def find(evidence: Evidence) -> Found:
    """By kind of clip the share of the gap; where the base has none to close, how far its clips travel says why."""
    closed: dict[str, Outcome | str] = {}
    for kind in KINDS:
        rows = estimates(evidence.files[kind], kind)
        (row, estimate), (travel, _) = rows[CLOSED], rows[TRAVEL]
        text = f"PSNR {_number(row['base'])} to {_number(row['trained'])} dB (truth {_number(row['truth'])})"
        if estimate is None:
            travelled = f"{_number(travel['base'])} to {_number(travel['trained'])} of the path asked for"
            closed[kind] = f"{text}, no gap to close; travel {travelled}"
        else:
            closed[kind] = Outcome(estimate, f"{text}, {said('of the gap closed', estimate, decimals=2, percent=True)}")
    return Found(decision=longer_larger(closed), measured=measure(evidence))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def measure(evidence: Evidence) -> tuple[Measured, ...]:
    """All rows of the kinds that are there."""
    return tuple(
        measured(
            f"{kind}.{name}",
            f"{kind} clips: {row['text']}",
            estimate,
            decimals=row["decimals"],
            percent=row["percent"],
        )
        for kind in KINDS
        if kind in evidence.files
        for name, (row, estimate) in estimates(evidence.files[kind], kind).items()
        if estimate is not None
    )


CLAIM = Claim(
    name="longer-larger",
    title="It holds on longer clips than trained (and on larger ones)",
    says="On clips of 121 frames the large model has PSNR 26.32, its base 18.32.",
    find=find,
    variants=("full",),
    files=KINDS,
    published=(paper("F", "psnr_db", "Wan2.1-T2V-14B"), paper("F", "psnr_db", "World-R1-Large")),
    measure=measure,
    notes=("The paper speaks of length alone; size is ours. The 3D models were trained on the mini world's size too.",),
)
