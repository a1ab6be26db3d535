"""Tracks made by projecting random points along a known path: exact, and quick."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from worldr1.backends.sfm.tracks import MIN_LENGTH, Tracks

HEIGHT, WIDTH, FOCAL_PX = 128, 208, 1.2 * 208
NUM_FRAMES = 17


def path(kind: str, *, amount: float = 1.0, num_frames: int = NUM_FRAMES) -> Float[np.ndarray, "T 4 4"]:
    """push, orbit, move, pan or still; `amount` times the mini world's magnitude."""
    poses = np.tile(np.eye(4), (num_frames, 1, 1))
    for frame, share in enumerate(np.linspace(0, amount, num_frames)):
        turn = {"orbit": 24.0, "pan": 14.0}.get(kind, 0.0) * share
        rotation = cv2.Rodrigues(np.radians(np.array((0, turn, 0))))[0]
        pivot = np.array((0, 0, 1.0))
        way = {"push": (0, 0, 0.6 * share), "move": (0.22 * share, 0, 0), "orbit": pivot - rotation @ pivot}
        poses[frame, :3, :3], poses[frame, :3, 3] = rotation, way.get(kind, (0, 0, 0))
    return poses


def project(
    world_from_camera: Float[np.ndarray, "T 4 4"],
    *,
    num: int = 200,
    noise_px: float = 0.0,
    outliers: float = 0.0,
    focal_px: float = FOCAL_PX,
    seed: int = 0,
) -> Tracks:
    """Tracks of points at depths 0.7 to 3 that frame 0 or the last one sees; outliers: a share that walks at random."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform((0, 0), (WIDTH, HEIGHT), (num, 2))
    points = np.c_[(xy - (WIDTH / 2, HEIGHT / 2)) / focal_px, np.ones(num)] * rng.uniform(0.7, 3, (num, 1))
    late = world_from_camera[-1]
    points[num // 2 :] = points[num // 2 :] @ late[:3, :3].T + late[:3, 3]
    places = np.stack([_projected(points, pose, focal_px) for pose in world_from_camera])
    places += noise_px * rng.standard_normal(places.shape)
    wrong = rng.random(num) < outliers
    walks = rng.normal(0, 4, (*places.shape[:1], int(wrong.sum()), 2)).cumsum(0)
    places[:, wrong] = rng.uniform((0, 0), (WIDTH, HEIGHT), (1, int(wrong.sum()), 2)) + walks
    return joined(places)


def joined(places: Float[np.ndarray, "T N 2"], seen: Bool[np.ndarray, "T N"] | None = None) -> Tracks:
    """The places inside the picture as tracks."""
    inside = ((places > 0) & (places < (WIDTH, HEIGHT))).all(-1)
    inside = inside if seen is None else inside & seen
    inside &= inside.sum(0) >= MIN_LENGTH
    point, frame = np.nonzero(inside.T)
    return Tracks(
        num_frames=len(places),
        height=HEIGHT,
        width=WIDTH,
        track=np.unique(point, return_inverse=True)[1],
        frame=frame,
        xy=places[frame, point],
    )


def merged(first: Tracks, second: Tracks) -> Tracks:
    """Both sets of tracks in one clip, one of the first and one of the second by turns."""
    track = np.concatenate((2 * first.track, 2 * second.track + 1))
    frame, xy = np.concatenate((first.frame, second.frame)), np.concatenate((first.xy, second.xy))
    order = np.lexsort((frame, track))
    return Tracks(
        num_frames=first.num_frames,
        height=HEIGHT,
        width=WIDTH,
        track=np.unique(track[order], return_inverse=True)[1],
        frame=frame[order],
        xy=xy[order],
    )


def _projected(points: np.ndarray, world_from_camera: np.ndarray, focal_px: float) -> Float[np.ndarray, "N 2"]:
    camera = np.linalg.inv(world_from_camera)
    local = points @ camera[:3, :3].T + camera[:3, 3]
    ahead = local[:, 2:] > 0.05
    return np.where(ahead, focal_px * local[:, :2] / np.where(ahead, local[:, 2:], 1) + (WIDTH / 2, HEIGHT / 2), -1.0)
