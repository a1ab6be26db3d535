"""How tables and charts name the numbers of an evaluation: its rewards' parts here, measures as the catalogue does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worldr1.evaluate.metrics.catalogue import CATALOGUE, MetricInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """How the report writes a number."""

    text: str
    better: int = 0
    """+1: higher is better, -1: lower is better, 0: neither by itself."""
    decimals: int = 3


def _of_measure(info: MetricInfo) -> Label:
    return Label(text=info.text, better={"higher": 1, "lower": -1, "": 0}[info.better], decimals=info.decimals)


LABELS: Mapping[str, Label] = {
    "reward": Label(text="Reward", better=1),
    "s_meta": Label(text="S_meta, view from off the path", better=1),
    "s_recon": Label(text="S_recon, re-rendering", better=1),
    "s_traj": Label(text="S_traj, camera path", better=1),
    "r_gen": Label(text="R_gen, image quality", better=1),
    "s_motion": Label(text="S_motion, of dynamic prompts", better=1),
    "quality": Label(text="Quality model's score (its own units)", better=1),
    **{name: _of_measure(info) for name, info in CATALOGUE.items()},
    "psnr_db": Label(text="PSNR of re-rendered frames (dB)", better=1, decimals=2),
    "travel_share": Label(text="Travel: share of the requested, 1 at most"),
    "median_depth": Label(text="Median depth (the 3D model's own unit)"),
    "fault_fraction": Label(text="Faults (ours, left out)", better=-1),
    "rejected_fraction": Label(text="Rejected (nothing to reconstruct)", better=-1),
}
"""In the order of the tables; names that are not here follow as they are."""


def label_of(name: str) -> Label:
    """The label of a number; a part or measure of a user's own is called by its name."""
    return LABELS.get(name, Label(text=name))


def in_table_order(names: Iterable[str]) -> list[str]:
    """Without repeats, in the order of `LABELS`, unknown ones last."""
    order = list(LABELS)
    return sorted(dict.fromkeys(names), key=lambda name: order.index(name) if name in LABELS else len(order))
