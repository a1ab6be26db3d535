"""How tables and charts name the numbers of an evaluation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """How the report writes a number."""

    text: str
    better: int = 0
    """+1: higher is better, -1: lower is better, 0: neither by itself."""
    decimals: int = 3


LABELS: Mapping[str, Label] = {
    "reward": Label(text="Reward", better=1),
    "s_meta": Label(text="S_meta, view from off the path", better=1),
    "s_recon": Label(text="S_recon, re-rendering", better=1),
    "s_traj": Label(text="S_traj, camera path", better=1),
    "r_gen": Label(text="R_gen, image quality", better=1),
    "s_motion": Label(text="S_motion, of dynamic prompts", better=1),
    "quality": Label(text="Quality model's score (its own units)", better=1),
    "psnr_holdout_db": Label(text="PSNR of held-out frames (dB)", better=1, decimals=2),
    "psnr_db": Label(text="PSNR of re-rendered frames (dB)", better=1, decimals=2),
    "ssim_holdout": Label(text="SSIM of held-out frames", better=1),
    "rotation_error_deg": Label(text="Rotation error (degrees)", better=-1, decimals=2),
    "translation_error": Label(text="Translation error (relative to the request)", better=-1),
    "travel_depth_units": Label(text="Travel (depth units)"),
    "travel_ratio": Label(text="Travel: recovered / requested"),
    "travel_share": Label(text="Travel: share of the requested, 1 at most"),
    "travel_deg": Label(text="Turn (degrees)", decimals=2),
    "mvcs_scale_free": Label(text="Depths of neighbouring frames agree (MVCS, scale-free)", better=1),
    "residual_motion": Label(text="Motion that the camera does not explain", decimals=4),
    "image_gradient": Label(text="Image gradient (falls with blur)", decimals=4),
    "words": Label(text="Words of the prompt that are seen", better=1),
    "motion": Label(text="Words of motion that are seen", better=1),
    "mover_motion": Label(text="Motion inside the named movers", decimals=4),
    "coverage": Label(text="Pixels explained by the geometry", better=1),
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
