"""Points keep their identity, come back, and do not drift."""

import cv2
import numpy as np

from worldr1.backends.sfm.tracks import Tracks, follow


def test_a_checkerboard_moved_by_less_than_half_a_square_keeps_its_corners() -> None:
    tracks = follow([_moved(_checkers(), frame * 3.0, 0.0) for frame in range(9)])
    assert tracks.num > 50
    assert np.abs(_away(tracks) - (3.0, 0.0)).max() < 0.2


def test_no_drift_over_17_frames() -> None:
    picture = _texture()
    tracks = follow([_moved(picture, 1.3 * frame, 0.7 * frame) for frame in range(17)])
    _, first, count = np.unique(tracks.track, return_index=True, return_counts=True)
    whole = np.flatnonzero((count == 17) & (tracks.frame[first] == 0))
    assert len(whole) > 50
    moved = tracks.xy[first[whole] + 16] - tracks.xy[first[whole]]
    drift = np.linalg.norm(moved - (16 * 1.3, 16 * 0.7), axis=1)
    assert np.median(drift) < 0.08 and np.quantile(drift, 0.95) < 0.2


def test_pixel_centres_are_at_half() -> None:
    picture = np.full((64, 96), 40, np.uint8)
    picture[20:40, 30:60] = 200
    corners = follow([picture] * 3).xy
    nearest = np.linalg.norm(corners[None] - np.array([(30, 20), (60, 20), (30, 40), (60, 40)])[:, None], axis=2).min(1)
    assert nearest.max() < 2.5
    assert np.abs(corners.mean(0) - (45, 30)).max() < 0.1  # edges lie between pixels: at whole numbers


def test_what_does_not_come_back_is_dropped() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 96), dtype=np.uint8) for _ in range(6)]
    assert follow(noise).num < 20
    covered = [_moved(_texture(), 0, 0) for _ in range(6)]
    for frame in covered[3:]:
        frame[:, 104:] = 128
    tracks = follow(covered)
    right = tracks.xy[:, 0] > 120
    assert right.any() and tracks.frame[right].max() == 2


def test_plain_pictures_have_no_tracks() -> None:
    tracks = follow([np.full((64, 96), 128, np.uint8)] * 5)
    assert tracks.num == 0 and tracks.half(0).num == 0


def test_new_points_fill_what_comes_into_view_and_tracks_are_sorted() -> None:
    picture = _texture()
    tracks = follow([_moved(picture, -4.0 * frame, 0.0) for frame in range(9)])
    _, first = np.unique(tracks.track, return_index=True)
    assert (tracks.frame[first] > 2).any()
    order = np.lexsort((tracks.frame, tracks.track))
    assert np.array_equal(order, np.arange(len(order)))
    assert np.bincount(tracks.track).min() >= 3


def test_halves_share_no_track_and_make_the_whole() -> None:
    tracks = follow([_moved(_texture(), 2.0 * frame, 0.0) for frame in range(5)])
    first, second = tracks.half(0), tracks.half(1)
    assert first.num + second.num == tracks.num
    assert len(first.xy) + len(second.xy) == len(tracks.xy)
    assert np.array_equal(first.xy[0], tracks.xy[0]) and abs(first.num - second.num) <= 1


def test_until_and_places() -> None:
    tracks = Tracks(
        num_frames=4,
        height=64,
        width=96,
        track=np.array([0, 0, 0, 1, 1, 1]),
        frame=np.array([0, 1, 2, 1, 2, 3]),
        xy=np.arange(12.0).reshape(6, 2),
    )
    assert tracks.until(3).num == 1 and len(tracks.until(3).xy) == 3
    assert tracks.places(3)[1].tolist() == [10, 11] and np.isnan(tracks.places(3)[0]).all()


def test_the_same_tracks_bit_for_bit() -> None:
    frames = [_moved(_texture(), 1.5 * frame, 0.0) for frame in range(5)]
    assert len({follow(frames).xy.tobytes() for _ in range(2)}) == 1


def _away(tracks: Tracks) -> np.ndarray:
    """Steps of every point from one frame to the next."""
    same = tracks.track[1:] == tracks.track[:-1]
    return (tracks.xy[1:] - tracks.xy[:-1])[same]


def _texture() -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (208, 288)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(smooth, np.zeros_like(smooth), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _checkers() -> np.ndarray:
    y, x = np.mgrid[:208, :288] // 20
    return cv2.GaussianBlur(((x + y) % 2 * 200 + 20).astype(np.uint8), (0, 0), 0.7)


def _moved(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """What lies at p lies at p + (x, y) afterwards."""
    shift = np.array([[1, 0, x], [0, 1, y]], float)
    moved = cv2.warpAffine(picture, shift, picture.shape[::-1], flags=cv2.INTER_CUBIC)
    return np.ascontiguousarray(moved[40:-40, 40:-40])  # what comes into view is picture, not border
