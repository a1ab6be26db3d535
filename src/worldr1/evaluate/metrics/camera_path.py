"""RotErr, TransErr and CamMC: how far the camera of a video strays from the requested path, as CamI2V sums it.

CamI2V (arXiv 2410.15957, evaluation of GLOMAP poses; research/reward3d.md 3c), poses relative to frame 0:

    RotErr   = sum_i arccos((tr(R*_i^T R_i) - 1) / 2)           radians
    TransErr = sum_i | t_i / s - t*_i / s* |                     s = max_i |t_i|, s* = max_i |t*_i|
    CamMC    = sum_i | [R_i | t_i / s] - [R*_i | t*_i / s*] |_F

Each path is divided by its *own* length, so that one that goes a tenth of the way, in the right direction, has no
error: the camera's travel stands beside these in every table. Sums grow with the number of frames; means per frame, in
degrees and in depth units, are `rewards.trajectory.path_errors`.

**Requests that go nowhere** (pans, fixed) have s* = 0. Theirs are named `..._still` and never averaged with the others:
s = max(s, 0.22 depth units), one `move` of the vocabulary, for both paths. By the formula as it stands the smallest
jitter of a still camera would count as a whole path.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import geodesic_rad, relative_to_first
from worldr1.rewards.trajectory import (
    STILL_REFERENCE,
    STILL_TRANSLATION,
    camera_travels,
    has_parallax,
    path_errors,
    recovered_path,
    requested_extent,
)
from worldr1.types import Reconstruction, Trajectory

TINY = 1e-9
"""Depth units; a recovered path shorter than this is divided by it (it is then zero anyway)."""


def camera_path_metrics(found: Reconstruction, requested: Trajectory | None) -> dict[str, float]:
    """What `path_measures` says of the camera that was found; with a request also the sums of this module.

    Raises InputError if the numbers of frames differ, ValueError if the median depth is not positive.
    """
    path = recovered_path(found)
    measures = path_measures(path, requested)
    if requested is None:
        return measures
    return measures | camera_sums(path, relative_to_first(requested.world_from_camera.double().cpu()))


def path_measures(path: Float[Tensor, "T 4 4"], requested: Trajectory | None) -> dict[str, float]:
    """travel_depth_units and travel_deg; for a request rotation_error_deg and translation_error (`rewards.trajectory`)
    and, if it goes somewhere, travel_ratio: recovered / requested.

    path: relative to frame 0, in depth units. Raises InputError if the numbers of frames differ.
    """
    travel = camera_travels(path[None])[0]
    measures = {"travel_depth_units": travel.depth_units, "travel_deg": travel.deg}
    if requested is None:
        return measures
    errors = path_errors(path[None], [requested])[0]
    measures["rotation_error_deg"] = math.degrees(errors.rotation_error_rad)
    measures["translation_error"] = errors.translation_error
    if has_parallax(requested):
        measures["travel_ratio"] = travel.depth_units / requested_extent(requested)
    return measures


def camera_sums(recovered: Float[Tensor, "T 4 4"], requested: Float[Tensor, "T 4 4"]) -> dict[str, float]:
    """rot_err_sum_rad, and trans_err_sum and cam_mc_sum, or trans_err_sum_still and cam_mc_sum_still.

    Both paths relative to frame 0, in depth units, float64. Raises InputError if the numbers of frames differ.
    """
    if recovered.shape != requested.shape:
        raise InputError(
            f"The video has {len(recovered)} frames but its requested path has {len(requested)}: plan the path for the "
            "video's own length."
        )
    extent = float(requested[:, :3, 3].norm(dim=-1).max())
    still = extent <= STILL_TRANSLATION
    least = STILL_REFERENCE if still else TINY
    scaled = [_scaled(path, least) for path in (recovered, requested)]
    translation = (scaled[0][:, :3, 3] - scaled[1][:, :3, 3]).norm(dim=-1).sum()
    both = torch.linalg.matrix_norm(scaled[0][:, :3] - scaled[1][:, :3]).sum()
    suffix = "_still" if still else ""
    return {
        "rot_err_sum_rad": float(geodesic_rad(recovered[:, :3, :3], requested[:, :3, :3]).sum()),
        f"trans_err_sum{suffix}": float(translation),
        f"cam_mc_sum{suffix}": float(both),
    }


def _scaled(path: Float[Tensor, "T 4 4"], least: float) -> Float[Tensor, "T 4 4"]:
    """Translations divided by the largest one, or by `least` if that is larger."""
    scaled = path.clone()
    scaled[:, :3, 3] /= path[:, :3, 3].norm(dim=-1).max().clamp(min=least)
    return scaled
