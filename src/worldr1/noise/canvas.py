"""Noise painted on a plane in the world: exact transport along a camera path.

The scene is taken for one plane, fronto-parallel to the first camera at depth 1. White noise lives on that plane and
every latent pixel of every frame integrates it over its own footprint A: n_t(p) = W(A_t(p)) / sqrt|A_t(p)|. Footprints
of one frame are disjoint, so a frame is white; footprints of two frames overlap where they see the same place, which
is the best temporal coupling that white frames can have. Nothing is warped frame by frame, so nothing drifts.

The plane is cut into cells with one N(0, 1) number each, and a cell belongs to the one pixel that its centre projects
into. That is a partition: unit variance and whiteness hold exactly at any number of cells, which decides only how
well the covariances between frames are met. Source and measurements: research/noise.md 3.1 (after the integral noise
of Chang et al., arXiv 2504.03072, and the camera-aware noise of World-R1, arXiv 2604.24764 section 3.2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import geodesic_rad, inverse
from worldr1.seeding import make_generator
from worldr1.types import intrinsics_px

MAX_ROTATION_DEG = 50.0
"""Past this the plane leaves the picture: far pixels would share cells of enormous footprints."""
MAX_CELLS = 1 << 22
"""Memory bound of one canvas (268 MB at 16 channels); 480p token paths need 0.1 to 0.7 million at 16 cells a pixel."""
_MIN_INVERSE_DEPTH = 1e-3
"""Of a frame's corner ray where it meets the plane: below, it sees (nearly) nothing of the plane."""
_ROUNDING = 1e-9
"""Pixels; a bound that misses a whole number by less is that number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanvasPlan:
    """Which canvas cells each latent pixel sums. Seed-free: make it once per path and size."""

    latent_size: tuple[int, int, int]
    """(L, h, w)."""
    num_cells: int
    """Cells of the whole canvas."""
    cells: Int[Tensor, " nnz"]
    """Cells of all pixels in raster order (L, h, w), one pixel after the other."""
    starts: Int[Tensor, " Lhw"]
    """Where each pixel's cells start in `cells`."""
    scale: Float[Tensor, " Lhw"]
    """1 / sqrt(number of cells), 0 for pixels without any."""
    empty: Int[Tensor, " num_empty"]
    """Pixels without any cell (extreme zooms only): they get fresh noise, so their marginal is exact too."""

    @property
    def megabytes(self) -> float:
        """Memory of its tensors."""
        return sum(x.nbytes for x in (self.cells, self.starts, self.scale, self.empty)) / 1e6

    def to(self, device: torch.device | str) -> "CanvasPlan":
        """The same plan on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("cells", "starts", "scale", "empty")}
        return replace(self, **moved)


def plan_canvas(
    world_from_camera: Float[Tensor, "L 4 4"], *, focal_per_width: float, height: int, width: int, min_cells: int = 16
) -> CanvasPlan:
    """The plan of one camera path, given the poses of the *latent* frames (translations in depth units).

    height, width: in latent pixels. min_cells: canvas cells in the smallest footprint, before their jitter (which
    leaves about two thirds of them in the worst pixel).
    Raises InputError for rotations past 50 degrees, frames that do not see the plane, or a canvas past MAX_CELLS.
    """
    if min(height, width, min_cells) < 1:
        raise InputError(f"height, width and min_cells must be at least 1, got {height}, {width}, {min_cells}")
    frame_from_canvas = visible_homographies(world_from_camera, focal_per_width, height, width)
    points = _cell_positions(_canvas_grid(frame_from_canvas, height, width, min_cells))

    cells, counts = [], []
    projected = torch.empty_like(points)
    for homography in frame_from_canvas:  # one frame at a time, in place: all at once is 21 times the memory at 480p
        x, y, z = torch.mm(homography, points, out=projected)
        column, row = x.div_(z).floor_(), y.div_(z).floor_()
        visible = (
            ((z > 0) & (column >= 0)).logical_and_(column < width).logical_and_(row >= 0).logical_and_(row < height)
        )
        index = visible.nonzero().squeeze(1)
        # The shortest integers that hold a pixel's number sort two times faster than long ones.
        pixel = row.mul_(width).add_(column)[index].to(torch.int16 if height * width < 1 << 15 else torch.int32)
        # Stable: equal pixels keep their cells in canvas order, so equal sets of cells give equal sums, bit for bit.
        pixel, order = torch.sort(pixel, stable=True)
        cells.append(index[order].int())
        counts.append(torch.bincount(pixel, minlength=height * width))
    count = torch.cat(counts)
    return CanvasPlan(
        latent_size=(len(frame_from_canvas), height, width),
        num_cells=points.shape[1],
        cells=torch.cat(cells),
        starts=(count.cumsum(0) - count).int(),
        scale=torch.where(count > 0, count.double().rsqrt(), 0.0).float(),
        empty=(count == 0).nonzero().squeeze(1),
    )


def sample_canvas(plan: CanvasPlan, *, num_channels: int, seeds: Sequence[int]) -> Float[Tensor, "B C L h w"]:
    """One sample per seed, float32 on the CPU; N(0, I) within each frame.

    Every sample has a generator of its own, so its bits depend on neither the batch nor the number of threads.
    """
    if not seeds:
        raise InputError("give at least one seed")
    generators = (torch.Generator("cpu").manual_seed(seed) for seed in seeds)
    return torch.cat([sample_canvas_batch(plan, num_channels, 1, g) for g in generators])


def sample_canvas_batch(
    plan: CanvasPlan, num_channels: int, num_samples: int, generator: torch.Generator
) -> Float[Tensor, "B C L h w"]:
    """Many independent samples from one stream, on the generator's device (the plan's device must be the same).

    For pre-training, which needs thousands a second; where a sample must not depend on the batch, use `sample_canvas`.
    """

    def white(num_rows: int) -> Tensor:
        size = (num_rows, num_samples * num_channels)
        return torch.randn(size, generator=generator, device=generator.device)

    sums = torch.nn.functional.embedding_bag(plan.cells, white(plan.num_cells), plan.starts, mode="sum")
    noise = sums * plan.scale.unsqueeze(1)
    noise[plan.empty] = white(len(plan.empty))
    return noise.reshape(*plan.latent_size, num_samples, num_channels).permute(3, 4, 0, 1, 2).contiguous()


def plane_homographies(
    world_from_camera: Float[Tensor, "L 4 4"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "L 3 3"]:
    """H_t = K (R_t + t_t n^T) K^-1 with [R_t | t_t] = camera_t_from_camera_0, n = (0, 0, 1): plane z = 1 of camera 0.

    Maps pixels of frame 0 to pixels of frame t; the third coordinate is positive in front of camera t.
    """
    camera_from_first = inverse(world_from_camera) @ world_from_camera[0]
    rotation, translation = camera_from_first[:, :3, :3], camera_from_first[:, :3, 3:]
    normal = rotation.new_tensor([[0.0, 0.0, 1.0]])
    return intrinsics @ (rotation + translation * normal) @ torch.linalg.inv(intrinsics)


def visible_homographies(
    world_from_camera: Float[Tensor, "L 4 4"], focal_per_width: float, height: int, width: int
) -> Float[Tensor, "L 3 3"]:
    """`plane_homographies` of poses whose whole frames see the plane; height, width in (latent) pixels.

    Raises InputError for rotations past 50 degrees and for cameras on, behind or turned away from the plane.
    """
    poses = world_from_camera.double().cpu()
    angle_deg = math.degrees(float(geodesic_rad(poses[:, :3, :3], poses[:1, :3, :3]).max()))
    if angle_deg > MAX_ROTATION_DEG:
        raise InputError(
            f"the camera turns by {angle_deg:.0f} degrees; transported noise takes at most {MAX_ROTATION_DEG:.0f}: "
            "use a smaller rotation or strength 0"
        )
    frame_from_plane = plane_homographies(poses, intrinsics_px(height, width, focal_per_width))
    plane_from_frame, singular = torch.linalg.inv_ex(frame_from_plane)  # singular: a camera on the plane itself
    # A homography keeps convexity: where all four corners see the plane, so does all between them.
    z = (plane_from_frame @ _corners(height, width))[:, 2]
    if bool(singular.any()) or not bool((z >= _MIN_INVERSE_DEPTH).all()):
        raise InputError(
            "the camera passes or turns away from the plane at depth 1 that carries the noise: "
            "use a shorter path or strength 0"
        )
    return frame_from_plane


def _corners(height: int, width: int) -> Float[Tensor, "3 4"]:
    """The picture's corners, homogeneous."""
    corners = [[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]]
    return torch.tensor(corners, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class _CanvasGrid:
    """The canvas in pixels of frame 0. Its corners are whole pixels: shifts by whole pixels are then exact."""

    left: int
    top: int
    right: int
    bottom: int
    per_side: int
    """Cells along one side of a pixel of frame 0."""


def _canvas_grid(frame_from_canvas: Float[Tensor, "L 3 3"], height: int, width: int, min_cells: int) -> _CanvasGrid:
    """The smallest canvas that covers every frame, with `min_cells` in the smallest footprint if MAX_CELLS allows."""
    canvas_from_frame = torch.linalg.inv(frame_from_canvas)
    x, y, z = (canvas_from_frame @ _corners(height, width)).unbind(1)
    x, y = x / z, y / z
    left, top = (math.floor(float(v.min()) + _ROUNDING) for v in (x, y))
    right, bottom = (math.ceil(float(v.max()) - _ROUNDING) for v in (x, y))
    area = (right - left) * (bottom - top)
    # det(H^-1) / z^3 is the footprint's area at a point, and z is linear in the frame: the extreme is at a corner.
    smallest_footprint = float((torch.linalg.det(canvas_from_frame) / z.amax(dim=1) ** 3).min())
    wanted = math.ceil(math.sqrt(min_cells / smallest_footprint) - _ROUNDING)
    per_side = min(wanted, math.isqrt(MAX_CELLS // area))
    if per_side < 1:
        raise InputError(f"the camera's path spreads over {area} latent pixels: use a shorter path or strength 0")
    return _CanvasGrid(left=left, top=top, right=right, bottom=bottom, per_side=per_side)


def _cell_positions(grid: _CanvasGrid) -> Float[Tensor, "3 N"]:
    """Homogeneous positions of all cells in pixels of frame 0, row by row: a fixed uniform point inside each cell.

    The point is jittered because the centres of a regular grid jump from pixel to pixel together: a slow shift of the
    camera would then arrive in steps (research/noise.md 3.1: 3 to 4 % too much coupling).
    """
    num_x, num_y = (grid.right - grid.left) * grid.per_side, (grid.bottom - grid.top) * grid.per_side
    jitter = torch.rand(2, num_y, num_x, dtype=torch.float64, generator=make_generator(0, "canvas-jitter"))
    x = grid.left + (torch.arange(num_x) + jitter[0]) / grid.per_side
    y = grid.top + (torch.arange(num_y).unsqueeze(1) + jitter[1]) / grid.per_side
    return torch.stack((x, y, torch.ones_like(x))).flatten(1)
