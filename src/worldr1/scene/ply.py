"""Gaussian scenes as .ply files that SuperSplat, gsplat's viewers and Blender's add-ons open.

The layout is that of the 3D Gaussian Splatting release (Kerbl et al. 2023): what it optimised is stored, so opacities
are logits, scales are logarithms, and a colour is the constant term of its spherical harmonics.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.scene.gaussians import all_finite
from worldr1.types import Gaussians

SH_CONSTANT = 0.28209479
"""Value of the constant spherical harmonic, 1 / (2 sqrt(pi)): colour = 0.5 + SH_CONSTANT * f_dc."""
OPACITY_MARGIN = 1e-6
"""Opacities are kept this far from 0 and 1, whose logits are infinite."""
MIN_SCALE = 1e-9
"""The smallest standard deviation that is written: the logarithm of 0 is infinite."""
PROPERTIES = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
"""Of a vertex, all float32; rot is w, x, y, z."""
AXES = "axes: OpenCV and COLMAP, x right, y down, z forward from the first camera"


def write_ply(path: str | Path, gaussians: Gaussians) -> Path:
    """Writes a scene, binary little endian, in its own axes and units, and returns the path.

    Viewers take the axes to be COLMAP's, which ours are, so nothing is turned; one that stands pictures on their head
    has a switch for it. Raises InputError for a scene without Gaussians, with shapes that do not match, with a value
    that is not finite or with a quaternion of zeros.
    """
    _check(path, gaussians)
    opacities = gaussians.opacities.double().clamp(OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    quats = gaussians.quats.double()
    columns_N14 = torch.cat(
        (
            gaussians.means.double(),
            (gaussians.colors.double() - 0.5) / SH_CONSTANT,
            opacities.logit()[:, None],
            gaussians.scales.double().clamp(min=MIN_SCALE).log(),
            quats / quats.norm(dim=-1, keepdim=True),
        ),
        dim=-1,
    )
    path = Path(path)
    path.write_bytes(_header(len(columns_N14)) + _little_endian(columns_N14))
    return path


def _header(num: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"comment {AXES}", f"element vertex {num}"]
    lines += [f"property float {name}" for name in PROPERTIES]
    return "\n".join([*lines, "end_header", ""]).encode("ascii")


def _little_endian(columns_N14: Float[Tensor, "N 14"]) -> bytes:
    """One vertex after the other, float32."""
    return np.ascontiguousarray(columns_N14.detach().cpu().numpy(), dtype="<f4").tobytes()


def _check(path: str | Path, gaussians: Gaussians) -> None:
    """Raises InputError for what `write_ply` cannot write."""
    num = len(gaussians.means)
    parts = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
    shapes = tuple(tuple(part.shape) for part in parts)
    if num == 0 or shapes != ((num, 3), (num, 4), (num, 3), (num,), (num, 3)):
        raise InputError(
            f"{path}: give at least one Gaussian, with means, quats, scales, opacities and colors of shapes "
            f"[N, 3], [N, 4], [N, 3], [N], [N, 3], not {shapes}."
        )
    if not all_finite(*parts) or not bool((gaussians.quats != 0).any(-1).all()):
        raise InputError(f"{path}: Gaussians must be finite and their quaternions not zero; leave the others out.")
