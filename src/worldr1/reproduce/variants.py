"""What is trained: recipe `mini-gpu` as it is, and with one thing changed.

A *variant* is one way to train; a *run* is a variant with a seed. Every changed run is compared with the runs of its
control, which differ in that one thing only and are as long.
"""

from dataclasses import dataclass
from enum import StrEnum

RECIPE = "mini-gpu"
NO_3D = ("reward.weights.meta=0", "reward.weights.recon=0", "reward.weights.traj=0")


class Length(StrEnum):
    """How long a run is: updates, not minutes, so that another machine can repeat it."""

    FULL = "full"
    HALF = "half"


UPDATES = {Length.FULL: 202, Length.HALF: 100}
"""FULL is what the published runs of "The mini world made good" came to in 4.6 minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to train."""

    name: str
    """Also its folder's."""
    text: str
    """What it is, for tables: "without S_meta"."""
    length: Length = Length.HALF
    settings: tuple[str, ...] = ()
    """`--set` of the recipe."""
    control: str | None = "half"
    """The variant it is compared with; None: only with the base model."""


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(name="full", text="the recipe", length=Length.FULL, control=None),
        Variant(name="half", text="the recipe, half as long", control=None),
        # the paper's ablations of reward terms (its table I)
        Variant(name="no-meta", text="without S_meta", settings=("reward.weights.meta=0",)),
        Variant(name="no-recon", text="without S_recon", settings=("reward.weights.recon=0",)),
        Variant(name="no-traj", text="without S_traj", settings=("reward.weights.traj=0",)),
        # of components (its table J)
        Variant(name="no-transport", text="without noise transport", settings=("noise.strength=0",)),
        Variant(name="no-phase", text="without the dynamic phase", settings=("phases.dynamic_updates=0",)),
        Variant(name="no-3d", text="without the 3D reward", settings=NO_3D),
        Variant(name="no-gen", text="without R_gen", settings=("reward.weights.gen=0",)),
    )
}
