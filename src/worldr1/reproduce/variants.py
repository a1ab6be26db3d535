"""What is trained: recipe `mini-gpu` as it is, and with one thing changed.

A *variant* is one way to train; a *run* is a variant with a seed. Every changed run is compared with the runs of its
control, which differ in that one thing only and are as long.
"""

from dataclasses import dataclass
from enum import StrEnum

RECIPE = "mini-gpu"
OFF = "1e-9"
"""The weight of a part that is left out. It moves an advantage by 2e-8 at most (`train.std_floor` is 0.05); unlike at
weight 0 the run's own evaluations still measure the part, and what counts as a rejected clip stays the same."""
NO_3D = tuple(f"reward.weights.{part}={OFF}" for part in ("meta", "recon", "traj"))


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
    redefines: tuple[str, ...] = ()
    """Its runs' own measures (`measures`) that mean something else than the control's: no difference of them is one."""
    max_seeds: int | None = None
    """More runs than these are not made whatever is asked for; None: no limit."""

    @property
    def is_recipe(self) -> bool:
        """Whether nothing is changed but the length."""
        return not self.settings

    def num_runs(self, seeds: int) -> int:
        """How many runs are made when so many are asked for."""
        return seeds if self.max_seeds is None else min(seeds, self.max_seeds)


def _beyond(name: str, text: str, *settings: str, redefines: tuple[str, ...] = ()) -> Variant:
    """Indicative: one run each."""
    return Variant(name=name, text=text, settings=settings, redefines=redefines, max_seeds=1)


def _data(num: int, *, largest: int = 1500) -> Variant:
    """The first so many of one list, so that each is a part of the next, at equal updates."""
    control = None if num == largest else f"data-{largest}"
    settings = (f"prompts.main_first={num}",)
    return Variant(name=f"data-{num}", text=f"{num:,} prompts", settings=settings, control=control)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(name="full", text="the recipe", length=Length.FULL, control=None),
        Variant(name="half", text="the recipe, half as long", control=None),
        # the paper's ablations of reward terms (its table I)
        Variant(name="no-meta", text="without S_meta", settings=(f"reward.weights.meta={OFF}",)),
        Variant(name="no-recon", text="without S_recon", settings=(f"reward.weights.recon={OFF}",)),
        Variant(name="no-traj", text="without S_traj", settings=(f"reward.weights.traj={OFF}",)),
        # of components (its table J)
        Variant(name="no-transport", text="without noise transport", settings=("noise.strength=0",)),
        Variant(name="no-phase", text="without the dynamic phase", settings=("phases.dynamic_updates=0",)),
        Variant(name="no-3d", text="without the 3D reward", settings=NO_3D),
        Variant(name="no-gen", text="without R_gen", settings=(f"reward.weights.gen={OFF}",)),
        # numbers of prompts (its table E: 1K, 2K, 3K); a half run draws 1,488 times
        _data(50),
        _data(500),
        _data(1000),
        _data(1500),
        # beyond the paper: choices of ours
        _beyond("no-prefix", "every video with its own start noise and prefix", "sampler.share_prefix=false"),
        _beyond(
            "no-holdout",
            "S_recon on the frames the scene is made of",
            "reward.reconstruction.holdout=false",
            redefines=("s_recon",),
        ),
        _beyond("sde-steps-2", "two SDE steps", "sampler.sde_steps=2"),
        _beyond("sde-steps-4", "four SDE steps", "sampler.sde_steps=4"),
        _beyond("kernel-wan", "kernel wan", "sampler.kernel=wan"),
        _beyond("kernel-ddim", "kernel ddim", "sampler.kernel=ddim"),
        _beyond("kernel-dance", "kernel dance", "sampler.kernel=dance"),
        _beyond("kernel-cps", "kernel cps", "sampler.kernel=cps"),
        _beyond("group-6", "32 groups of 6", "train.group_size=6", "train.groups_per_update=32"),
        _beyond("group-24", "8 groups of 24", "train.group_size=24", "train.groups_per_update=8"),
        _beyond("quality-1", "R_gen of the first frame", "reward.quality.num_frames=1", redefines=("r_gen",)),
        _beyond("quality-17", "R_gen of all 17 frames", "reward.quality.num_frames=17", redefines=("r_gen",)),
    )
}
