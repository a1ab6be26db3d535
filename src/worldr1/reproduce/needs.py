"""What claims need together of a folder: runs of variants, and measurements beside them. `claims` says it of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from worldr1.reproduce.claims import find_claim
from worldr1.reproduce.variants import VARIANTS, Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """What several claims need together, in the order of the claims."""

    seeds: dict[str, int]
    """Variant -> runs of it: seeds 0, 1, ..."""
    measurements: tuple[str, ...]
    """Of `evidence.FILES`."""

    @property
    def variants(self) -> list[Variant]:
        """A control comes before what is compared with it."""
        return [VARIANTS[name] for name in self.seeds]


def needed(claims: Iterable[str], seeds: int) -> Needed:
    """What these claims need. seeds: runs per variant. Raises InputError for a claim that is not known."""
    runs: dict[str, int] = {}
    measurements: dict[str, None] = {}
    for claim in map(find_claim, claims):
        for name in (*claim.variants, *claim.beside):
            control = VARIANTS[name].control
            for one in (name,) if control is None else (control, name):
                runs[one] = VARIANTS[one].num_runs(seeds)
        measurements |= dict.fromkeys(claim.files)
    return Needed(seeds=runs, measurements=tuple(measurements))
