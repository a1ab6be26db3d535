"""What the camera of a clip did, and whether that may be believed.

Two searches are made with separate halves of the tracks, and each half is then adjusted alone from the better end.
Where either pair disagrees, or where too little of the picture moves as one rigid scene, the answer is a reason and no
geometry: a wrong path with confidence is worse than none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float, UInt8

from worldr1.backends.sfm.bundle import CAPPED_PX, FIRST_WINDOW, Structure, refined, solve
from worldr1.backends.sfm.pan import solve_rotation
from worldr1.backends.sfm.tracks import Tracks, follow
from worldr1.errors import InputError

ASSUMED_FOCAL = 1.2
"""Image widths: what the mini world has, 45 degrees across; films are near it."""
FOCALS = (0.7, 0.9, ASSUMED_FOCAL, 1.6, 2.2)
"""What is tried. Letting the bundle adjuster find the focal length does not work: it hardly leaves where it starts."""
MAX_TRACKS = 1000
"""More make bundle adjustment slower and the cameras hardly better."""
FOCAL_COST_RATIO = 0.95
"""Another focal length than the assumed one is believed if it costs at most this share of the assumed one's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateConfig:
    """When an estimate is believed; measured on 216 clips (docs/scoring.md)."""

    focal_per_width: float | None = None
    """None: the best of FOCALS where the video tells it, else ASSUMED_FOCAL."""
    min_tracks: int = 80
    """Fewer points do not give two estimates."""
    min_shared: int = 12
    """Points that a frame must share with the one before."""
    still_share: float = 0.0015
    """Of the longer side: if half of the points stay within it of where they were first seen, the camera stands."""
    rotation_cost_ratio: float = 2.5
    """Turning alone is believed unless a moving camera costs this many times less."""
    min_turning_share: float = 0.85
    """Nor is it, if it explains less than this share of what a moving camera explains."""
    ambiguous_cost_ratio: float = 1.25
    """Where the two estimates disagree, the better one is still looked at if the other costs this many times more."""
    min_rigid_share: float = 0.7
    """Of the observations that must lie within CAPPED_PX / 2 of what one rigid scene says."""
    max_rotation_gap_deg: float = 2.0
    """Mean difference of the two estimates, from frame 0."""
    max_path_gap: float = 0.25
    """Mean difference of the two paths, each scaled to the other as well as can be, relative to the path's length."""


class Motion(StrEnum):
    """What the camera did."""

    MOVES = "moves"
    TURNS = "turns"
    STANDS = "stands"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Cameras of a clip, or a reason why there are none."""

    world_from_camera: Float[np.ndarray, "T 4 4"]
    """Frame 0 is the identity; in no particular scale."""
    focal_px: float
    motion: Motion | None
    """None: not known."""
    point_depths: Float[np.ndarray, " M"]
    """z-depths at which well-explained points are seen; empty without parallax."""
    reason: str = ""
    """Why the estimate is not to be believed; empty if it is."""
    rigid_share: float = 0.0
    """Of the observations that one rigid scene explains."""
    note: str = ""
    """What is known of the focal length, if it was asked for."""


def estimate(frames: Sequence[UInt8[np.ndarray, "H W"]], config: EstimateConfig) -> Estimate:
    """frames: grey, at least 5, or InputError."""
    if len(frames) < FIRST_WINDOW:
        raise InputError(f"{len(frames)} frames are too few to find a camera's path; give at least {FIRST_WINDOW}.")
    return from_tracks(follow(frames).thinned(MAX_TRACKS), config)


def from_tracks(tracks: Tracks, config: EstimateConfig) -> Estimate:
    """The same, from what was followed."""
    if config.focal_per_width is not None:
        return _at_focal(tracks, config.focal_per_width, config)
    if _too_few(tracks, config) or _stands(tracks, config):
        return _at_focal(tracks, ASSUMED_FOCAL, config)
    turning = _likeliest({focal: solve_rotation(tracks, focal * tracks.width).cost_px2 for focal in FOCALS})
    if turning != ASSUMED_FOCAL and (found := _at_focal(tracks, turning, config)).motion is Motion.TURNS:
        return _estimated(found, turning)
    assumed = _at_focal(tracks, ASSUMED_FOCAL, config)
    if assumed.motion is Motion.MOVES:
        path = assumed.world_from_camera
        moving = _likeliest({focal: refined(tracks, path, focal * tracks.width).cost_px2 for focal in FOCALS})
        if moving != ASSUMED_FOCAL:
            return _estimated(_at_focal(tracks, moving, config), moving)
    return replace(assumed, note=f"focal length assumed {ASSUMED_FOCAL} image widths: the video does not tell")


def _likeliest(costs_px2: Mapping[float, float]) -> float:
    """The assumed focal length, unless another explains clearly more: a camera that goes straight fits them all."""
    best = min(costs_px2, key=lambda focal: costs_px2[focal])
    return best if costs_px2[best] <= FOCAL_COST_RATIO * costs_px2[ASSUMED_FOCAL] else ASSUMED_FOCAL


def _estimated(found: Estimate, focal_per_width: float) -> Estimate:
    return replace(found, note=f"focal length estimated: {focal_per_width} image widths")


def _at_focal(tracks: Tracks, focal_per_width: float, config: EstimateConfig) -> Estimate:
    focal_px = focal_per_width * tracks.width
    unknown = Estimate(
        world_from_camera=np.tile(np.eye(4), (tracks.num_frames, 1, 1)),
        focal_px=focal_px,
        motion=None,
        point_depths=np.zeros(0),
    )
    if reason := _too_few(tracks, config):
        return _refused(unknown, reason)
    if _stands(tracks, config):
        return _believed(unknown, Motion.STANDS, None)
    turning = solve_rotation(tracks, focal_px)
    found = [refined(tracks, solve(tracks.half(which), focal_px).world_from_camera, focal_px) for which in (0, 1)]
    best, other = sorted(found, key=lambda structure: structure.cost_px2)
    if _turns(turning, best, config):
        return _turned(unknown, tracks, turning, config)
    reason = _doubt(best, best.world_from_camera, other.world_from_camera, config, moves=True)
    if reason and other.cost_px2 >= config.ambiguous_cost_ratio * best.cost_px2:
        reason = ""
    if not reason:
        halves = [refined(tracks.half(which), best.world_from_camera, focal_px).world_from_camera for which in (0, 1)]
        reason = _doubt(best, halves[0], halves[1], config, moves=True)
    return _refused(unknown, reason) if reason else _believed(unknown, Motion.MOVES, best, tracks)


def _turned(unknown: Estimate, tracks: Tracks, turning: Structure, config: EstimateConfig) -> Estimate:
    halves = [solve_rotation(tracks.half(which), turning.focal_px).world_from_camera for which in (0, 1)]
    reason = _doubt(turning, halves[0], halves[1], config, moves=False)
    return _refused(unknown, reason) if reason else _believed(unknown, Motion.TURNS, turning)


def _turns(turning: Structure, moving: Structure, config: EstimateConfig) -> bool:
    """Whether turning explains about as much as moving does."""
    cheap = turning.cost_px2 <= config.rotation_cost_ratio * moving.cost_px2 + 0.01
    return cheap and _rigid_share(turning) >= config.min_turning_share * _rigid_share(moving)


def _too_few(tracks: Tracks, config: EstimateConfig) -> str:
    if tracks.num < config.min_tracks:
        return f"only {tracks.num} points can be followed through the video: too little texture, or nothing lasts"
    followed = (tracks.track[1:] == tracks.track[:-1]) & (tracks.frame[1:] == tracks.frame[:-1] + 1)
    shared = np.bincount(tracks.frame[1:][followed], minlength=tracks.num_frames)[1:]
    if shared.min() < config.min_shared:
        frame = int(shared.argmin()) + 1
        return f"between frames {frame} and {frame + 1} only {shared.min()} points can be followed"
    return ""


def _stands(tracks: Tracks, config: EstimateConfig) -> bool:
    _, first = np.unique(tracks.track, return_index=True)
    away = np.linalg.norm(tracks.xy - tracks.xy[first][tracks.track], axis=1)
    farthest = np.zeros(tracks.num)
    np.maximum.at(farthest, tracks.track, away)
    long = np.bincount(tracks.track) >= tracks.num_frames / 2
    moved = farthest[long] if long.any() else farthest
    return float(np.median(moved)) < config.still_share * max(tracks.width, tracks.height)


def _doubt(found: Structure, first: np.ndarray, second: np.ndarray, config: EstimateConfig, *, moves: bool) -> str:
    """Why not to believe it; empty if there is no reason."""
    share = _rigid_share(found)
    if share < config.min_rigid_share:
        return f"only {share:.0%} of what can be followed moves as one rigid scene would"
    gap_deg = rotation_gap_deg(first, second)
    if gap_deg > config.max_rotation_gap_deg:
        return f"two estimates from separate points disagree on how the camera turns, by {gap_deg:.1f} degrees"
    if moves and (gap := path_gap(first, second)) > config.max_path_gap:
        return f"two estimates from separate points disagree on how the camera moves, by {gap:.0%} of its path"
    return ""


def rotation_gap_deg(first: Float[np.ndarray, "T 4 4"], second: Float[np.ndarray, "T 4 4"]) -> float:
    """Mean angle between two paths' rotations, frame 0 left out."""
    chords = np.linalg.norm(first[1:, :3, :3] - second[1:, :3, :3], axis=(1, 2)) / (2 * np.sqrt(2))
    return float(np.degrees(2 * np.arcsin(np.minimum(chords, 1))).mean())


def path_gap(first: Float[np.ndarray, "T 4 4"], second: Float[np.ndarray, "T 4 4"]) -> float:
    """Mean distance between two paths, the second scaled to the first as well as can be, in lengths of the first."""
    one, other = first[1:, :3, 3], second[1:, :3, 3]
    scale = (one * other).sum() / max((other * other).sum(), 1e-12)
    length = np.linalg.norm(one, axis=1).max()
    return float(np.linalg.norm(one - scale * other, axis=1).mean() / max(length, 1e-12))


def _rigid_share(found: Structure) -> float:
    return float((found.errors_px < CAPPED_PX / 2).mean())


def _refused(unknown: Estimate, reason: str) -> Estimate:
    return replace(unknown, reason=reason)


def _believed(unknown: Estimate, motion: Motion, found: Structure | None, tracks: Tracks | None = None) -> Estimate:
    if found is None:
        return replace(unknown, motion=motion, rigid_share=1.0)
    depths = np.zeros(0) if tracks is None else _depths(tracks, found)
    return replace(
        unknown,
        world_from_camera=found.world_from_camera,
        focal_px=found.focal_px,
        motion=motion,
        point_depths=depths,
        rigid_share=_rigid_share(found),
    )


def _depths(tracks: Tracks, found: Structure) -> Float[np.ndarray, " M"]:
    cameras = np.linalg.inv(found.world_from_camera)[tracks.frame]
    depths = np.einsum("ni,ni->n", cameras[:, 2, :3], found.points[tracks.track]) + cameras[:, 2, 3]
    return depths[(found.errors_px < CAPPED_PX / 2) & (depths > 0)]
