"""Dense depth of a clip with known cameras: plane sweep, semi-global aggregation, agreement between frames.

Every frame is compared with a few others through planes of constant inverse depth (Collins, CVPR 1996). Of the frames
before and those after, the half that fits better is believed: what one half cannot see, the other usually can (Kang,
Szeliski and Chai, CVPR 2001). Costs are gathered along eight directions (Hirschmueller, PAMI 2008), and a depth is
trusted where another frame found the same surface.

**Hold-out.** Only even frames are ever looked up, by even and by odd frames: Gaussians made from even frames know
nothing of the odd ones that test them.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from worldr1.errors import InputError

SKY_DEPTH = 20.0
"""Depth of pixels without parallax, in units of `far`; nothing lies beyond."""
SEEN_BEYOND = 2.0
"""Nothing nearer than this, in units of `far`, is sky, however coarse the planes are."""
# These stand in the file of the compiled loops because numba's cache notices changes of that file alone.
_FINE = 4
"""Sources are looked up at the nearest quarter pixel."""
_BEHIND = 1e-3
"""Share of the depth here below which a point is behind, or all but beside, the other camera."""
_FAR_COST = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """Defaults chosen by hold-out PSNR and depth error on clips of known truth (benchmarks/score_cases.py)."""

    num_planes: int = 64
    """Evenly spaced in inverse depth, from infinity to the nearest."""
    longest_side_px: int = 256
    """Larger frames are worked on at this size, and the depth is enlarged."""
    parallax_px: tuple[float, ...] = (25.0, 50.0)
    """Wanted shifts of the nearest surface against infinity: the frames nearest to them, before and after, are used."""
    min_parallax_px: float = 1.0
    """A frame with less is no source."""
    blur_px: float = 0.6
    """Standard deviation, before anything is compared."""
    grey_weight: float = 0.5
    """Of a difference of grey levels, beside the differences of both derivatives."""
    truncation: float = 20.0
    """Difference from which on two pixels are just different: a complete mismatch."""
    window_radius_px: int = 2
    """Costs are averaged over a square window."""
    small_step: float = 0.02
    """Penalty for one plane between neighbours, as a share of a complete mismatch."""
    large_step: float = 1.0
    """The same for more than one plane; less where the grey level jumps as well."""
    large_step_grey: float = 10.0
    """Jump of grey level that halves `large_step`."""
    agreement_planes: float = 1.5
    """Frames agree within so many planes,"""
    agreement_share: float = 0.03
    """or within this share of the inverse depth."""
    min_contrast: float = 0.02
    """Gap between a pixel's best and worst plane, as a share of a complete mismatch, below which there is nothing to
    see."""
    sky_planes: float = 1.5
    """Nearer to infinity than this is infinitely far."""
    untrusted: float = 0.05
    """Confidence where no frame agrees: neither 0, which says sky, nor enough to become a Gaussian."""

    def __post_init__(self) -> None:
        if self.num_planes < 3 or self.longest_side_px < 1 or self.window_radius_px < 0:
            raise InputError("num_planes must be at least 3, longest_side_px 1 and window_radius_px 0.")
        if not 0 < self.untrusted < 1:
            raise InputError(f"untrusted must lie between 0, which says sky, and 1, not {self.untrusted}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseDepth:
    """z-depth of every pixel, and how far it is to be trusted."""

    depth: Float[np.ndarray, "T H W"]
    """float32, positive and finite everywhere; in the unit of the cameras."""
    confidence: Float[np.ndarray, "T H W"]
    """float32: 1 where another frame agrees, `untrusted` where none does, exactly 0 where all but infinitely far."""


def dense_depth(
    frames: UInt8[np.ndarray, "T H W"],
    world_from_camera: Float[np.ndarray, "T 4 4"],
    focal_px: float,
    near: float,
    far: float,
    *,
    config: SweepConfig | None = None,
) -> DenseDepth:
    """Depth of grey frames of a pinhole with square pixels and the principal point at the centre.

    near, far: depths of the nearest and of almost the farthest surface, in the unit of the cameras; nothing is found
    nearer than `near`. Without parallax, or with nothing to see, the depth is a guess, and untrusted.
    Raises InputError if the shapes do not match, a number is not finite, or not 0 < near < far.
    """
    config = config or SweepConfig()
    _check(frames, world_from_camera, focal_px, near, far)
    height, width = frames.shape[1:]
    scale = min(1.0, config.longest_side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    # rounding the size makes the pixels a little oblong
    lens = _Lens(width=size[0], height=size[1], fx=focal_px * size[0] / width, fy=focal_px * size[1] / height)
    planes = np.linspace(0, 1 / near, config.num_planes, dtype=np.float32)
    views = [_views(time, world_from_camera, lens, near, config) for time in range(len(frames))]
    inverse, seen = _swept(small, views, planes, config)
    reach = config.agreement_planes * float(planes[1])
    agreed = [_agreeing(inverse, time, *view, reach, config.agreement_share) for time, view in enumerate(views)]
    trusted = seen & np.stack(agreed)
    sky = trusted & (inverse < min(config.sky_planes * float(planes[1]), 1 / (SEEN_BEYOND * far)))
    confidence = np.where(trusted, np.float32(1), np.float32(config.untrusted))
    confidence[sky] = 0
    inverse = _enlarged(inverse, (width, height), cv2.INTER_LINEAR)
    confidence = _enlarged(confidence, (width, height), cv2.INTER_NEAREST)
    inverse[confidence == 0] = 0
    return DenseDepth(depth=1 / np.maximum(inverse, np.float32(1 / (SKY_DEPTH * far))), confidence=confidence)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lens:
    """A pinhole with its principal point at the centre; pixels."""

    width: int
    height: int
    fx: float
    fy: float

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        return np.array([[self.fx, 0, self.width / 2], [0, self.fy, self.height / 2], [0, 0, 1]])


class _Views(NamedTuple):
    """The sources of a frame. A pixel (u, v, 1) at inverse depth i is seen there at matrix (u, v, 1) + i offset,
    homogeneous; its third part is the ratio of the z-depths."""

    sources: Int[np.ndarray, " S"]
    matrices: Float[np.ndarray, "S 3 3"]
    offsets: Float[np.ndarray, "S 3"]


def _views(time: int, poses: np.ndarray, lens: _Lens, near: float, config: SweepConfig) -> _Views:
    """The even frames from which a frame is seen with about the parallax wanted."""
    sources: list[int] = []
    shifts_px = np.linalg.norm(poses[:, :3, 3] - poses[time, :3, 3], axis=1) * lens.fx / near
    for side in (range(time), range(time + 1, len(poses))):
        able = [other for other in side if other % 2 == 0 and shifts_px[other] >= config.min_parallax_px]
        # of equally good ones the nearer in time: it looks more like this frame
        able.sort(key=lambda other: abs(other - time))
        best = {min(able, key=lambda other: abs(math.log(shifts_px[other] / px))) for px in config.parallax_px if able}
        sources += sorted(best)
    names = np.array(sources, np.int64)
    there_from_here = np.linalg.inv(poses[names]) @ poses[time]
    matrices = lens.matrix() @ there_from_here[:, :3, :3] @ np.linalg.inv(lens.matrix())
    offsets = there_from_here[:, :3, 3] @ lens.matrix().T
    return _Views(names, matrices.astype(np.float32), offsets.astype(np.float32))


def _swept(
    frames: UInt8[np.ndarray, "T h w"], views: list[_Views], planes: Float[np.ndarray, " D"], config: SweepConfig
) -> tuple[Float[np.ndarray, "T h w"], Bool[np.ndarray, "T h w"]]:
    """Inverse depth, and where there was something to see; elsewhere it is the middle plane."""
    features = [_features(frame, config) for frame in frames]
    here, there = np.stack([f[0] for f in features]), np.stack([f[1] for f in features])
    inverse = np.full(frames.shape, planes[len(planes) // 2], np.float32)
    seen = np.zeros(frames.shape, np.bool_)
    unit = np.float32(1 / config.truncation)
    steps = (np.float32(config.small_step), np.float32(config.large_step), np.float32(1 / config.large_step_grey))
    for time, view in enumerate(views):
        if len(view.sources) == 0:
            continue
        sides = (view.sources > time).astype(np.int64)
        cost = _costs(here[time], there, sides, *view, planes, np.float32(config.grey_weight), unit)
        cost = _box_means(cost, config.window_radius_px)
        total = np.zeros_like(cost)
        for backwards in (False, True):
            _aggregate(cost, frames[time], *steps, backwards, total)
        best, contrast = _winners(total)
        seen[time] = contrast >= 8 * config.min_contrast
        inverse[time][seen[time]] = best[seen[time]] * planes[1]
    return inverse, seen


def _features(
    frame: UInt8[np.ndarray, "h w"], config: SweepConfig
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "H W 3"]]:
    """Grey level and its derivatives along x and y, also enlarged `_FINE` times."""
    grey = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), config.blur_px)
    along_x, along_y = (cv2.Sobel(grey, cv2.CV_32F, *axis, ksize=3, scale=0.25) + 128 for axis in ((1, 0), (0, 1)))
    stacked = np.stack([grey, along_x, along_y], -1).clip(0, 255)
    fine = cv2.resize(stacked, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR)
    return np.rint(stacked).astype(np.uint8), np.rint(fine).astype(np.uint8)


def _enlarged(maps: Float[np.ndarray, "T h w"], size: tuple[int, int], how: int) -> Float[np.ndarray, "T H W"]:
    return np.stack([cv2.resize(one, size, interpolation=how) for one in maps])


def _check(frames: np.ndarray, poses: np.ndarray, focal_px: float, near: float, far: float) -> None:
    if frames.ndim != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"Frames must be [T, H, W] bytes, not {frames.shape} of {frames.dtype}.")
    if poses.shape != (len(frames), 4, 4) or not np.isfinite(poses).all():
        raise InputError(f"{len(frames)} frames need finite cameras [{len(frames)}, 4, 4], not {poses.shape}.")
    if not (0 < focal_px < math.inf and 0 < near < far < math.inf):
        raise InputError(f"Needed are focal_px > 0 and 0 < near < far, not {focal_px}, {near} and {far}.")


@numba.njit(cache=True, nogil=True, fastmath=True)
def _costs(
    here: np.ndarray,
    there: np.ndarray,
    sides: np.ndarray,
    sources: np.ndarray,
    matrices: np.ndarray,
    offsets: np.ndarray,
    planes: np.ndarray,
    grey_weight: np.float32,
    unit: np.float32,
) -> np.ndarray:
    """[h, w, D] mismatch of every pixel with its sources at every plane, 0..1: the mean of the sources before or of
    those after, whichever is less. A plane that no source sees costs what the pixel's other planes cost on average."""
    height, width, _ = here.shape
    num = len(planes)
    flat = there.reshape(len(there), -1)
    index = np.empty(num, np.int32)
    sums, counts = np.empty((2, num), np.float32), np.empty((2, num), np.float32)
    costs = np.empty((height, width, num), np.float32)
    zero, one, nearest = np.float32(0), np.float32(1), np.float32(_BEHIND)
    for y in range(height):
        for x in range(width):
            u, v = np.float32(x + 0.5), np.float32(y + 0.5)
            grey, along_x, along_y = np.float32(here[y, x, 0]), np.float32(here[y, x, 1]), np.float32(here[y, x, 2])
            sums[:], counts[:] = zero, zero
            for n in range(len(sources)):
                m = matrices[n]
                p, q, r = (
                    m[0, 0] * u + m[0, 1] * v + m[0, 2],
                    m[1, 0] * u + m[1, 1] * v + m[1, 2],
                    m[2, 0] * u + m[2, 1] * v + m[2, 2],
                )
                dp, dq, dr = offsets[n, 0], offsets[n, 1], offsets[n, 2]
                for d in range(num):
                    z = r + planes[d] * dr
                    over = one / max(z, nearest)
                    at_x, at_y = (p + planes[d] * dp) * over, (q + planes[d] * dq) * over
                    inside = (z > nearest) & (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
                    column = np.int32(min(max(at_x, zero), np.float32(width)) * _FINE)
                    row = np.int32(min(max(at_y, zero), np.float32(height)) * _FINE)
                    index[d] = (row * (width * _FINE) + column) * 3 if inside else -1
                source, side = flat[sources[n]], sides[n]
                for d in range(num):
                    i = index[d]
                    if i >= 0:
                        apart = grey_weight * abs(grey - np.float32(source[i]))
                        apart += abs(along_x - np.float32(source[i + 1])) + abs(along_y - np.float32(source[i + 2]))
                        sums[side, d] += min(apart * unit, one)
                        counts[side, d] += one
            cost, known, total = costs[y, x], 0, zero
            for d in range(num):
                before = sums[0, d] / counts[0, d] if counts[0, d] > 0 else np.float32(2)
                after = sums[1, d] / counts[1, d] if counts[1, d] > 0 else np.float32(2)
                cost[d] = min(before, after)
                if cost[d] <= one:
                    known += 1
                    total += cost[d]
            mean = total / np.float32(max(known, 1))
            for d in range(num):
                if cost[d] > one:
                    cost[d] = mean
    return costs


@numba.njit(cache=True, nogil=True, fastmath=True)
def _box_means(cost: np.ndarray, radius: int) -> np.ndarray:
    """[h, w, D] means over square windows; the border is repeated."""
    height, width, num = cost.shape
    rows, means = np.empty_like(cost), np.zeros_like(cost)
    scale = np.float32(1 / (2 * radius + 1) ** 2)
    for y in range(height):
        for x in range(width):
            out = rows[y, x]
            out[:] = cost[y, x]
            for k in range(1, radius + 1):
                left, right = cost[y, max(x - k, 0)], cost[y, min(x + k, width - 1)]
                for d in range(num):
                    out[d] += left[d] + right[d]
    for y in range(height):
        for k in range(-radius, radius + 1):
            row = rows[min(max(y + k, 0), height - 1)]
            for x in range(width):
                for d in range(num):
                    means[y, x, d] += row[x, d] * scale
    return means


@numba.njit(cache=True, nogil=True, fastmath=True)
def _aggregate(
    cost: np.ndarray,
    grey: np.ndarray,
    small_step: np.float32,
    large_step: np.float32,
    over_grey: np.float32,
    backwards: bool,
    total: np.ndarray,
) -> None:
    """Adds four directions of semi-global matching to `total`: from the left and from the row above; backwards, from
    the right and from below."""
    height, width, num = cost.shape
    # two rows of paths, with a plane that nobody wants at either end
    paths = np.full((2, width, 4, num + 2), np.float32(_FAR_COST), np.float32)
    lows = np.zeros((2, width, 4), np.float32)
    for i in range(height):
        y = height - 1 - i if backwards else i
        for j in range(width):
            x = width - 1 - j if backwards else j
            here, added = cost[y, x], total[y, x]
            for k in range(4):
                from_i, from_j = (i, j - 1) if k == 0 else (i - 1, j + k - 2)
                path, low = paths[i & 1, j, k], np.float32(_FAR_COST)
                if from_i < 0 or from_j < 0 or from_j >= width:
                    for d in range(num):
                        path[d + 1] = here[d]
                        low = min(low, here[d])
                        added[d] += here[d]
                else:
                    from_y = height - 1 - from_i if backwards else from_i
                    from_x = width - 1 - from_j if backwards else from_j
                    jump = abs(np.float32(grey[y, x]) - np.float32(grey[from_y, from_x])) * over_grey
                    before, least = paths[from_i & 1, from_j, k], lows[from_i & 1, from_j, k]
                    leap = least + max(large_step / (np.float32(1) + jump), small_step)
                    for d in range(num):
                        step = min(before[d], before[d + 2]) + small_step
                        value = min(min(before[d + 1], leap), step) + here[d] - least
                        path[d + 1] = value
                        low = min(low, value)
                        added[d] += value
                lows[i & 1, j, k] = low


@numba.njit(cache=True, nogil=True)
def _winners(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[h, w] best plane, refined by a parabola through its neighbours, and how much worse the worst one is."""
    height, width, num = total.shape
    winners, contrasts = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            cost = total[y, x]
            best, worst = 0, cost[0]
            for d in range(1, num):
                worst = max(worst, cost[d])
                if cost[d] < cost[best]:
                    best = d
            shift = np.float32(0)
            if 0 < best < num - 1:
                left, right = cost[best - 1] - cost[best], cost[best + 1] - cost[best]
                if left + right > 0:
                    shift = np.float32(0.5) * (left - right) / (left + right)
            winners[y, x], contrasts[y, x] = best + shift, worst - cost[best]
    return winners, contrasts


@numba.njit(cache=True, nogil=True)
def _agreeing(
    inverse: np.ndarray,
    time: int,
    sources: np.ndarray,
    matrices: np.ndarray,
    offsets: np.ndarray,
    reach: float,
    share: float,
) -> np.ndarray:
    """[h, w] whether a source found a surface where this frame did."""
    _, height, width = inverse.shape
    agreed = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            u, v, i = x + 0.5, y + 0.5, inverse[time, y, x]
            for n in range(len(sources)):
                m, offset = matrices[n], offsets[n]
                z = m[2, 0] * u + m[2, 1] * v + m[2, 2] + i * offset[2]
                if z <= _BEHIND:
                    continue
                at_x = (m[0, 0] * u + m[0, 1] * v + m[0, 2] + i * offset[0]) / z
                at_y = (m[1, 0] * u + m[1, 1] * v + m[1, 2] + i * offset[1]) / z
                if 0 <= at_x < width and 0 <= at_y < height:
                    found = inverse[sources[n], int(at_y), int(at_x)] * z
                    agreed[y, x] |= abs(found - i) <= max(reach, share * i)
    return agreed
