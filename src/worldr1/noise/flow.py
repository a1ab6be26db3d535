"""Noise carried from frame to frame by the flow of a plane: the paper's chain, exactly white and without rounding.

World-R1 (arXiv 2604.24764, Eq. 5 to 7) moves each number of a white frame along the flow that a fronto-parallel plane
induces, and divides what meets in a pixel by the square root of its density. Numbers that move by whole pixels lose
the remainder of every step, and content with it (research/noise.md 2.3). Here they are *particles* with a place of any
precision: each is the white noise of a small cell of the frame in which it was born, with that cell's area as its
variance. The flow moves its place and scales its area; a pixel is the sum of the particles inside, divided by the root
of their areas. What leaves the picture is forgotten, and what comes in is born there, fresh. Flows of a plane compose
to a homography, so a place is kept on the plane and its remainders never add up.

Where the flow expands, too few particles would be left, so they are split. A Brownian bridge splits a number into
independent parts that add up to it (Deng et al., arXiv 2411.01212); drawing the parts first and adding them up is the
same distribution. A path's plan knows at birth how far a cell will be stretched, so it draws the parts at once.

Exact: N(0, I) in every frame (weights rounded to float32), for any path and any number of particles, because each
belongs to one pixel at most.
Approximate: the covariances between frames, as the overlaps of footprints are measured in particles.
Unlike the plane canvas, the chain has no memory of what left: a path that returns finds other noise at its borders.
The plane stands at depth 1 of the *first* camera, as in the canvas; the release puts a new one before every camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldr1.errors import InputError
from worldr1.noise.canvas import visible_homographies
from worldr1.seeding import make_generator

_TOLERATED_STRETCH = 0.1
"""Of a particle's side: a cell that grows by less is not cut, which spares slow turns four times the particles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowPlan:
    """Which particles each latent pixel sums. Seed-free: make it once per path and size."""

    latent_size: tuple[int, int, int]
    """(L, h, w)."""
    num_particles: int
    """Of all frames together."""
    particles: Int[Tensor, " nnz"]
    """Particles of all pixels in raster order (L, h, w), one pixel after the other."""
    weights: Float[Tensor, " nnz"]
    """Root of a particle's share of its pixel's particle area: the squares of one pixel add up to 1."""
    starts: Int[Tensor, " Lhw"]
    """Where each pixel's particles start in `particles`."""
    empty: Int[Tensor, " num_empty"]
    """Pixels without any particle: they get fresh noise, so their marginal is exact too."""

    @property
    def megabytes(self) -> float:
        """Memory of its tensors."""
        return sum(x.nbytes for x in (self.particles, self.weights, self.starts, self.empty)) / 1e6


def plan_flow(
    latent_poses: Float[Tensor, "L 4 4"], *, focal_per_width: float, height: int, width: int, min_cells: int = 16
) -> FlowPlan:
    """The plan of one camera path, given the world_from_camera poses of the *latent* frames (in depth units).

    height, width: in latent pixels. min_cells: particles born in a pixel (rounded up to a square), and about as many
    are left wherever the flow stretches it.
    Raises InputError for rotations past 50 degrees and for frames that do not see the plane.
    """
    if min(height, width, min_cells) < 1:
        raise InputError(f"height, width and min_cells must be at least 1, got {height}, {width}, {min_cells}")
    frame_from_plane = visible_homographies(latent_poses, focal_per_width, height, width)
    per_side, size = math.isqrt(min_cells - 1) + 1, (height, width)
    generator = make_generator(0, "flow-jitter")

    # Of the particles in the picture: places and areas (the latter before a frame's determinant and depth), numbers.
    places, areas = torch.empty(3, 0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    numbers = torch.empty(0, dtype=torch.long)
    num_particles = 0
    particles, weights, counts = [], [], []
    for t, homography in enumerate(frame_from_plane):
        new_places, new_areas = _newborn(frame_from_plane, t, size, per_side, generator)
        new_numbers = num_particles + torch.arange(len(new_areas))
        num_particles += len(new_areas)
        places, areas = torch.cat((places, new_places), dim=1), torch.cat((areas, new_areas))
        numbers = torch.cat((numbers, new_numbers))
        pixel, growth, inside = _seen(homography, places, size)
        places, areas, numbers = places[:, inside], areas[inside], numbers[inside]
        # Stable: equal sets of particles keep their order and give equal sums, bit for bit.
        pixel, order = torch.sort(pixel[inside], stable=True)
        area = (areas * growth[inside])[order]
        total = torch.bincount(pixel, weights=area, minlength=height * width)
        particles.append(numbers[order].int())
        weights.append((area / total[pixel]).sqrt().float())
        counts.append(torch.bincount(pixel, minlength=height * width))
    count = torch.cat(counts)
    return FlowPlan(
        latent_size=(len(frame_from_plane), height, width),
        num_particles=num_particles,
        particles=torch.cat(particles),
        weights=torch.cat(weights),
        starts=(count.cumsum(0) - count).int(),
        empty=(count == 0).nonzero().squeeze(1),
    )


def sample_flow(plan: FlowPlan, *, num_channels: int, seeds: Sequence[int]) -> Float[Tensor, "B C L h w"]:
    """One sample per seed, float32 on the CPU; N(0, I) within each frame.

    Every sample has a generator of its own, so its bits depend on neither the batch nor the number of threads.
    """
    if not seeds:
        raise InputError("give at least one seed")
    samples = []
    for seed in seeds:
        generator = make_generator(seed, "flow-noise")
        values = torch.randn(plan.num_particles, num_channels, generator=generator)
        noise = torch.nn.functional.embedding_bag(
            plan.particles, values, plan.starts, mode="sum", per_sample_weights=plan.weights
        )
        noise[plan.empty] = torch.randn(len(plan.empty), num_channels, generator=generator)
        samples.append(noise.T.reshape(num_channels, *plan.latent_size))
    return torch.stack(samples)


def warp_noise(
    noise: Float[Tensor, "..."],
    flow_px: Float[Tensor, "..."],
    generator: torch.Generator,
    *,
    per_side: int = 8,
) -> Float[Tensor, "B C h w"]:
    """The next frame of white noise along any flow: one Brownian-bridge step (arXiv 2411.01212), on the CPU.

    noise: [B, C, h, w]. flow_px: [h, w, 2], (x, y) in pixels of this grid from each pixel's centre to where its
    content goes; between the centres it is interpolated. per_side: each pixel is cut into per_side^2 parts, which move
    on their own; expansions of more than about per_side leave pixels with fresh noise, as pixels have that nothing
    moves to.
    Exact: if `noise` is N(0, I), so is the result, whatever the flow; zero flow returns `noise` and whole pixels move
    it, bit for bit. Approximate: areas of overlap (counted in parts), and edges of occlusion, which are stretched.
    Each step blends neighbours: for a camera path, `plan_flow` loses nothing over many frames.
    Raises InputError for a flow of another size, numbers that are not finite, or per_side < 1.
    """
    if noise.ndim != 4:
        raise InputError(f"noise must be [B, C, h, w], got the shape {list(noise.shape)}")
    batch, channels, height, width = noise.shape
    if flow_px.shape != (height, width, 2):
        raise InputError(f"the flow must be [{height}, {width}, 2], like the noise, got {list(flow_px.shape)}")
    if not (bool(noise.isfinite().all()) and bool(flow_px.isfinite().all())):
        raise InputError("noise and flow must be finite: fill the flow's holes before")
    if per_side < 1:
        raise InputError(f"per_side must be at least 1, got {per_side}")

    values = noise.reshape(batch * channels, height * width).T
    source, target, share = _edges(flow_px.double(), per_side)
    # The bridge: independent increments of variance `share` that add up to the source's value.
    fresh = torch.randn(len(source), batch * channels, generator=generator, dtype=noise.dtype)
    root, part = share.sqrt().to(noise.dtype), share.to(noise.dtype)
    drift = _sum_by(source, fresh, root, height * width)
    increments = part[:, None] * values[source] + (root[:, None] * fresh - part[:, None] * drift[source])

    order = torch.argsort(target, stable=True)  # the outside, number h w, comes last and is dropped
    sums = _sum_by(target[order], increments[order], torch.ones_like(part), height * width + 1)[:-1]
    area = torch.zeros(height * width + 1, dtype=torch.float64).index_add_(0, target, share)[:-1]
    empty = area == 0
    warped = sums / area.sqrt().to(noise.dtype).masked_fill(empty, 1.0)[:, None]
    warped[empty] = torch.randn(int(empty.sum()), batch * channels, generator=generator, dtype=noise.dtype)
    return warped.T.reshape(noise.shape)


def _newborn(
    frame_from_plane: Float[Tensor, "L 3 3"], t: int, size: tuple[int, int], per_side: int, generator: torch.Generator
) -> tuple[Float[Tensor, "3 N"], Float[Tensor, " N"]]:
    """Places on the plane and areas of the particles born in frame t, scaled so that frame t sees them at depth 1.

    Each of the frame's per_side^2 cells a pixel tries one random point: it is new if that point was not in the
    previous frame. In the mean over points that is the revealed area, however slow the flow; cell centres would miss
    a reveal of less than half a cell a frame for ever. A new cell is cut into n x n parts, with n^2 about the largest
    growth of its area until it leaves, and each part is one particle at a random place inside.
    """
    height, width = size
    plane_from_frame = torch.linalg.inv(frame_from_plane[t])
    cells = torch.cartesian_prod(torch.arange(width * per_side), torch.arange(height * per_side)).T.double()

    def on_plane(xy: Float[Tensor, "2 M"]) -> Float[Tensor, "3 M"]:
        return plane_from_frame @ torch.cat((xy / per_side, torch.ones_like(xy[:1])))

    points = on_plane(cells + torch.rand(cells.shape, generator=generator, dtype=torch.float64))
    if t > 0:
        _, _, known = _seen(frame_from_plane[t - 1], points, size)
        cells, points = cells[:, ~known], points[:, ~known]
    parts = torch.ceil(_stretch(frame_from_plane[t:], points, size) - _TOLERATED_STRETCH).long()
    # part number j of n^2 of its cell is at column j % n, row j // n
    squares = parts**2
    cell = torch.arange(len(parts)).repeat_interleave(squares)
    index = torch.arange(len(cell)) - (squares.cumsum(0) - squares)[cell]
    corner = torch.stack((index % parts[cell], index // parts[cell]))
    jitter = torch.rand(corner.shape, generator=generator, dtype=torch.float64)
    areas = torch.linalg.det(plane_from_frame) / (per_side * parts[cell]).double() ** 2
    return on_plane(cells[:, cell] + (corner + jitter) / parts[cell]), areas


def _stretch(
    frame_from_plane: Float[Tensor, "F 3 3"], points: Float[Tensor, "3 N"], size: tuple[int, int]
) -> Float[Tensor, " N"]:
    """Root of the largest growth of area around each point, from the first of these frames until it leaves; >= 1."""
    born = torch.linalg.det(frame_from_plane[0])
    largest = torch.ones_like(points[0])
    alive = torch.ones_like(largest, dtype=torch.bool)
    for homography in frame_from_plane[1:]:
        _, growth, inside = _seen(homography, points, size)
        alive &= inside
        largest = torch.where(alive, torch.maximum(largest, growth / born), largest)
    return largest.sqrt()


def _seen(
    homography: Float[Tensor, "3 3"], places: Float[Tensor, "3 N"], size: tuple[int, int]
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """The pixel of each place on the plane, the growth of area around it (a homography's Jacobian), and whether it is
    in the picture; elsewhere the other two mean nothing."""
    height, width = size
    x, y, z = homography @ places
    column, row = torch.floor(x / z), torch.floor(y / z)
    inside = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = torch.where(inside, row * width + column, 0.0).long()
    return pixel, torch.linalg.det(homography) / z**3, inside


def _edges(
    flow_px: Float[Tensor, "h w 2"], per_side: int
) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Float[Tensor, " E"]]:
    """Source pixels, target pixels (h w: outside) and the shares of the sources that go there, sorted by source."""
    height, width, _ = flow_px.shape
    # at the centres of the parts; the outermost half pixel takes its pixel's flow
    flow_x, flow_y = torch.nn.functional.interpolate(
        flow_px.permute(2, 0, 1)[None], scale_factor=per_side, mode="bilinear", align_corners=False
    )[0]
    # Jittered, so that a slow flow does not arrive in steps of a part.
    jitter = torch.rand(2, *flow_x.shape, dtype=torch.float64, generator=make_generator(0, "warp-jitter"))
    rows, columns = torch.arange(flow_x.shape[0])[:, None], torch.arange(flow_x.shape[1])
    column = torch.floor((columns + jitter[0]) / per_side + flow_x)
    row = torch.floor((rows + jitter[1]) / per_side + flow_y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    outside = height * width
    target = torch.where(inside, row * width + column, float(outside)).long()
    source = rows // per_side * width + columns // per_side
    edge, count = torch.unique(source * (outside + 1) + target, return_counts=True)
    return edge // (outside + 1), edge % (outside + 1), count.double() / per_side**2


def _sum_by(
    group: Int[Tensor, " E"], rows: Float[Tensor, "E D"], weights: Float[Tensor, " E"], num_groups: int
) -> Float[Tensor, "num_groups D"]:
    """Weighted sums of the rows of each group (sorted), in the rows' order, whatever the number of threads."""
    count = torch.bincount(group, minlength=num_groups)
    starts = count.cumsum(0) - count
    rows_in_order = torch.arange(len(rows))
    return torch.nn.functional.embedding_bag(rows_in_order, rows, starts, mode="sum", per_sample_weights=weights)
