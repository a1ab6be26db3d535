"""The Gaussian renderer for CPUs: one compiled loop, single-threaded, deterministic, releases the GIL.

Draws exactly what `splat_reference` defines. Gaussians are projected, sorted by depth, and scattered front to back
into the image. There are no tiles: the Gaussian of a lifted pixel covers about a dozen pixels, and its footprint, an
ellipse, is walked row by row. `benchmarks/splat.py` prints the cost.
"""

import math

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.geometry.se3 import inverse
from worldr1.scene.gaussians import check_render_inputs
from worldr1.types import Gaussians, RenderedViews

# These stand in the file of the compiled loop because numba's cache notices changes of that file alone.
NEAR = 0.01
"""Gaussians whose centre is nearer than this z-depth (world units) are not drawn."""
EPS2D_PX2 = 0.3
"""Added to both image variances (square pixels): a Gaussian is never smaller than the pixel grid can show."""
ALPHA_MIN = 1.0 / 255.0
ALPHA_MAX = 0.999
TRANSMITTANCE_STOP = 1e-4
JACOBIAN_MARGIN = 0.3
"""The Jacobian is taken at most this share of half the field of view outside the image: it diverges at the side."""


class SplatRenderer:
    """Renderer on the CPU (numba). The first call of a process loads or compiles the loop (seconds, then cached)."""

    def __call__(
        self,
        gaussians: Gaussians,
        world_from_camera: Float[Tensor, "V 4 4"],
        intrinsics_px: Float[Tensor, "V 3 3"],
        *,
        height: int,
        width: int,
        background: Float[Tensor, "3"],
    ) -> RenderedViews:
        """All views of one scene, float32 on the CPU; raises InputError for what `check_render_inputs` refuses."""
        check_render_inputs(gaussians, world_from_camera, intrinsics_px, height=height, width=width)
        means = _array(gaussians.means)
        axes = _array(ellipsoid_axes(gaussians.quats.double(), gaussians.scales.double()))
        # depth is drawn as a fourth channel
        paints = np.zeros((len(means), 4))
        paints[:, :3] = _array(gaussians.colors)
        log_opacities = np.log(np.maximum(_array(gaussians.opacities), 1e-30))
        camera_from_world = _array(inverse(world_from_camera.double()))
        intrinsics = _array(intrinsics_px)
        images = np.zeros((len(intrinsics), height, width, 4))
        transmittances = np.ones((len(intrinsics), height, width))
        for i, (pose, k) in enumerate(zip(camera_from_world, intrinsics, strict=True)):
            centres, conics, depths = _project(means, axes, pose, k, height, width)
            paints[:, 3] = depths
            order = np.argsort(depths, kind="stable")
            order = order[np.searchsorted(depths[order], NEAR) :]
            _composite(order, centres, conics, log_opacities, paints, images[i], transmittances[i])
        return _to_views(images, transmittances, background)


def ellipsoid_axes(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """The Gaussians' half axes as columns, in the world: R(quats) diag(scales)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rotation = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )
    return rotation * scales[:, None, :]


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as a C-contiguous float64 array."""
    return np.ascontiguousarray(tensor.detach().double().cpu().numpy())


def _to_views(images: np.ndarray, transmittances: np.ndarray, background: Tensor) -> RenderedViews:
    """Adds the background and divides the accumulated depth by alpha."""
    alphas = 1.0 - transmittances
    colors = images[..., :3] + transmittances[..., None] * _array(background)
    depths = images[..., 3] / np.maximum(alphas, 1e-10)
    return RenderedViews(
        colors=torch.from_numpy(colors).permute(0, 3, 1, 2).float().contiguous(),
        alphas=torch.from_numpy(alphas).float(),
        depths=torch.from_numpy(depths).float(),
    )


@numba.njit(nogil=True, cache=True)
def _project(
    means: np.ndarray, axes: np.ndarray, camera_from_world: np.ndarray, k: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image centres [N, 2], inverse image covariances [N, 3] (xx, xy, yy) and z-depths [N]."""
    num = means.shape[0]
    centres, conics, depths = np.empty((num, 2)), np.empty((num, 3)), np.empty(num)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = JACOBIAN_MARGIN * 0.5 * width / fx, JACOBIAN_MARGIN * 0.5 * height / fy
    low_x, high_x = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    low_y, high_y = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    r = camera_from_world
    for n in range(num):
        mx, my, mz = means[n, 0], means[n, 1], means[n, 2]
        z = r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz + r[2, 3]
        depths[n] = z
        if z < NEAR:
            continue
        x = (r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz + r[0, 3]) / z
        y = (r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz + r[1, 3]) / z
        centres[n, 0], centres[n, 1] = fx * x + cx, fy * y + cy
        tx, ty = min(max(x, low_x), high_x), min(max(y, low_y), high_y)
        xx, xy, yy = EPS2D_PX2, 0.0, EPS2D_PX2
        for j in range(3):
            ax, ay, az = axes[n, 0, j], axes[n, 1, j], axes[n, 2, j]
            camera_z = r[2, 0] * ax + r[2, 1] * ay + r[2, 2] * az
            px = fx / z * (r[0, 0] * ax + r[0, 1] * ay + r[0, 2] * az - tx * camera_z)
            py = fy / z * (r[1, 0] * ax + r[1, 1] * ay + r[1, 2] * az - ty * camera_z)
            xx += px * px
            xy += px * py
            yy += py * py
        determinant = xx * yy - xy * xy
        conics[n, 0], conics[n, 1], conics[n, 2] = yy / determinant, -xy / determinant, xx / determinant
    return centres, conics, depths


@numba.njit(nogil=True, cache=True)
def _composite(
    order: np.ndarray,
    centres: np.ndarray,
    conics: np.ndarray,
    log_opacities: np.ndarray,
    paints: np.ndarray,
    image: np.ndarray,
    transmittance: np.ndarray,
) -> None:
    """Draws Gaussians front to back into `image` [H, W, 4] and `transmittance` [H, W], in place."""
    height, width = transmittance.shape
    closed = np.zeros((height, width), dtype=np.bool_)
    log_alpha_min = math.log(ALPHA_MIN)
    for n in order:
        # alpha >= ALPHA_MIN inside the ellipse a dx^2 + 2 b dx dy + c dy^2 <= reach
        reach = 2.0 * (log_opacities[n] - log_alpha_min)
        if reach <= 0.0:
            continue
        a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
        u, v = centres[n, 0] - 0.5, centres[n, 1] - 0.5
        half_height = math.sqrt(reach * a / (a * c - b * b))
        for row in range(max(0, math.ceil(v - half_height)), min(height - 1, math.floor(v + half_height)) + 1):
            dy = row - v
            middle = u - b * dy / a
            half_width = math.sqrt(max(0.0, reach * a - (a * c - b * b) * dy * dy)) / a
            first, last = max(0, math.ceil(middle - half_width)), min(width - 1, math.floor(middle + half_width))
            for column in range(first, last + 1):
                if closed[row, column]:
                    continue
                dx = column - u
                sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                alpha = min(ALPHA_MAX, math.exp(log_opacities[n] - sigma))
                before = transmittance[row, column]
                after = before * (1.0 - alpha)
                if after <= TRANSMITTANCE_STOP:
                    closed[row, column] = True
                    continue
                weight = alpha * before
                for channel in range(4):
                    image[row, column, channel] += weight * paints[n, channel]
                transmittance[row, column] = after
