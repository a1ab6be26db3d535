"""THE table: which variants' runs, and which measurements beside them, each claim rests on.

Names of claims are those of the command line and of the rules that judge them. A variant's control is needed with it
(`Variant.control`) and not named again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from worldr1.errors import InputError
from worldr1.reproduce.variants import VARIANTS, Variant


class Measurement(StrEnum):
    """What is measured beside the judging of every variant."""

    LONGER = "longer"
    """The full runs' adapters on clips of twice the length that they were trained on."""
    LARGER = "larger"
    """The same on clips of 1.5 times the height and width."""
    INFERENCE = "inference"
    """Seconds, modules and parameters of the base, with a LoRA beside it, and with the LoRA merged in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one claim needs."""

    title: str
    variants: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    most_seeds: int | None = None
    """More are not run for this claim, whatever --seeds says: it is indicative only. None: no limit."""


NEEDS: dict[str, Need] = {
    "main-gain": Need(title="training raises 3D consistency", variants=("full",)),
    "camera-control": Need(title="the camera obeys better", variants=("full",)),
    "no-meta": Need(title="S_meta is needed", variants=("no-meta",)),
    "no-recon": Need(title="S_recon is needed", variants=("no-recon",)),
    "no-traj": Need(title="S_traj is needed", variants=("no-traj",)),
    "no-transport": Need(title="noise that follows the camera is needed", variants=("no-transport",)),
    "no-phase": Need(title="the dynamic phase is needed", variants=("no-phase",)),
    "no-3d": Need(title="the 3D reward is needed", variants=("no-3d",)),
    "no-gen": Need(title="R_gen is needed", variants=("no-gen",)),
    "longer-larger": Need(
        title="the gain reaches longer and larger clips than trained",
        variants=("full",),
        measurements=(Measurement.LONGER, Measurement.LARGER),
    ),
    "inference-cost": Need(
        title="inference costs what the base costs, by the same graph", measurements=(Measurement.INFERENCE,)
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """What several claims need together, in the order of the claims."""

    seeds: dict[str, int]
    """Variant -> runs of it: seeds 0, 1, ..."""
    measurements: tuple[Measurement, ...]

    @property
    def variants(self) -> list[Variant]:
        """A control comes before what is compared with it."""
        return [VARIANTS[name] for name in self.seeds]


def needed(claims: Sequence[str], seeds: int) -> Needed:
    """What these claims need. seeds: runs per variant. Raises InputError for a claim that is not known."""
    runs: dict[str, int] = {}
    measurements: dict[Measurement, None] = {}
    for claim in claims:
        need = find_need(claim)
        most = seeds if need.most_seeds is None else min(seeds, need.most_seeds)
        for name in need.variants:
            control = VARIANTS[name].control
            for one in (name,) if control is None else (control, name):
                runs[one] = max(most, runs.get(one, 0))
        measurements |= dict.fromkeys(need.measurements)
    return Needed(seeds=runs, measurements=tuple(measurements))


def find_need(claim: str) -> Need:
    """A claim's row. Raises InputError, which names the nearest claim, if there is none."""
    if claim not in NEEDS:
        near = get_close_matches(claim, NEEDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the claims are {', '.join(NEEDS)}"
        raise InputError(f"There is no claim {claim!r}; {hint}")
    return NEEDS[claim]
