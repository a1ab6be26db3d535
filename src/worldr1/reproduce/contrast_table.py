"""All variants against the recipe in one table: what goes when a part goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worldr1.reproduce.finding import LESS, Finding, Measured
from worldr1.reproduce.variants import VARIANTS, Variant
from worldr1.reproduce.wording import NONE, difference

CONTRASTS = "What goes when a part goes"
CONTRASTS_TOLD = (
    "Each variant less its control, which is the recipe of the same length where none is named: means over runs. Bold: "
    "the 95 % interval, which is in the claim's section, does not hold 0. No correction is made for their number: of "
    "differences that are none, one in twenty is bold. Errors, gradient and rejected clips are better when they fall."
)
HEADS = {
    "psnr": "hold-out PSNR, dB",
    "rotation": "rotation error, deg",
    "translation": "translation error",
    "travel": "travel",
    "words": "words",
    "dynamic_words": "dynamic words",
    "mover_motion": "movers' motion",
    "residual_motion": "residual motion",
    "gradient": "gradient, off the truth's",
    "rejected": "rejected",
    "s_meta": "S_meta",
    "s_recon": "S_recon",
    "s_traj": "S_traj",
    "r_gen": "R_gen",
}
"""Columns, by measure (`measures`)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A difference; `shown`: its 95 % interval does not hold 0."""

    text: str
    shown: bool


def contrast_rows(
    findings: Sequence[Finding], variants: Mapping[str, Variant] = VARIANTS
) -> list[tuple[str, list[Cell]]]:
    """What each variant is called, and its differences from its control in the order of `HEADS`."""

    def called(variant: Variant) -> str:
        control = variants.get(variant.control or "")
        return variant.text if control is None or control.is_recipe else f"{variant.text}, less {control.text}"

    found: dict[str, dict[str, Measured]] = {}
    for finding in findings:
        for row in finding.measured:
            name, _, measure = row.name.partition(".")
            if name in variants and measure.startswith(LESS):
                found.setdefault(name, {})[measure.removeprefix(LESS)] = row
    return [(called(variants[name]), [_cell(rows.get(column)) for column in HEADS]) for name, rows in found.items()]


def _cell(row: Measured | None) -> Cell:
    if row is None:
        return Cell(NONE, False)
    shown = row.low is not None and row.high is not None and not row.low <= 0 <= row.high
    return Cell(difference(row), shown)
