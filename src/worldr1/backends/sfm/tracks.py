"""Points followed through a clip by optical flow.

Not matched by descriptors: on a checkered floor, descriptors find a wrong square that every other match agrees with,
and the camera comes out wrong with confidence (research/reward3d.md 5: by 3 to 40 degrees). From one frame to the next
a point moves less than the pattern repeats, so following it stays with its own square.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

MAX_POINTS = 1500
"""Points followed at one time."""
SPACING_PX = 4
"""Distance that a new point keeps from the others."""
QUALITY = 0.003
"""Of a corner, relative to the frame's best (cv2.goodFeaturesToTrack)."""
WINDOW_PX = 11
LEVELS = 3
"""Of the image pyramid: a point is found within about WINDOW_PX * 2 ** LEVELS / 2."""
RETURN_PX = 0.3
"""A point followed to the next frame and back must come home within this."""
REFERENCE_RETURN_PX = 0.5
"""The same between a point's first frame and the current one."""
REFERENCE_SHIFT_PX = 2.0
"""How far looking in the first frame again may move a point: more is another point."""
MIN_LENGTH = 3
"""Shorter tracks are dropped: two frames agree with any depth."""
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracks:
    """N points in T frames; O observations, sorted by track, then frame."""

    num_frames: int
    height: int
    width: int
    track: Int[np.ndarray, " O"]
    """0..N-1."""
    frame: Int[np.ndarray, " O"]
    xy: Float[np.ndarray, "O 2"]
    """Pixels; the centre of the top-left one is (0.5, 0.5)."""

    @property
    def num(self) -> int:
        """N."""
        return int(self.track[-1]) + 1 if len(self.track) else 0

    def places(self, frame: int) -> Float[np.ndarray, "N 2"]:
        """Where every track is in one frame; NaN where it is not."""
        xy = np.full((self.num, 2), np.nan)
        rows = self.frame == frame
        xy[self.track[rows]] = self.xy[rows]
        return xy

    def half(self, which: int) -> "Tracks":
        """Every second track: 0 or 1."""
        keep = self.track % 2 == which
        return self._picked(keep)

    def thinned(self, most: int) -> "Tracks":
        """At most so many tracks, evenly out of all."""
        step = max(1.0, self.num / most)
        kept = np.unique((np.arange(min(self.num, most)) * step).astype(int))
        return self._picked(np.isin(self.track, kept))

    def until(self, num_frames: int) -> "Tracks":
        """What the first frames show: only tracks long enough within them."""
        early = self.frame < num_frames
        lengths = np.bincount(self.track[early], minlength=self.num)
        return self._picked(early & (lengths[self.track] >= MIN_LENGTH))

    def without(self, tracks: np.ndarray) -> "Tracks":
        """All but some. tracks: [N] bool."""
        return self._picked(~tracks[self.track])

    def _picked(self, keep: np.ndarray) -> "Tracks":
        _, renumbered = np.unique(self.track[keep], return_inverse=True)
        return Tracks(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            track=renumbered,
            frame=self.frame[keep],
            xy=self.xy[keep],
        )


def follow(frames: Sequence[UInt8[np.ndarray, "H W"]]) -> Tracks:
    """Corners of every frame, followed forward until they are lost; new ones fill the gaps.

    A point is looked up in the frame where it was first seen as well, so that it does not drift.
    """
    height, width = frames[0].shape
    points = _Points()
    names, times, places = [], [], []
    for time, image in enumerate(frames):
        if time > 0:
            points.step(frames, time)
        points.add(_corners(image, points.xy), time)
        names.append(points.name.copy())
        times.append(np.full(len(points.name), time))
        places.append(points.xy.copy())
    name, frame, xy = np.concatenate(names), np.concatenate(times), np.concatenate(places)
    order = np.lexsort((frame, name))
    every = Tracks(
        num_frames=len(frames),
        height=height,
        width=width,
        track=name[order],
        frame=frame[order],
        xy=xy[order].astype(np.float64) + 0.5,
    )
    return every.until(len(frames))


class _Points:
    """The points that are being followed."""

    def __init__(self) -> None:
        self.name = np.zeros(0, np.int64)
        self.xy = np.zeros((0, 2), np.float32)
        """OpenCV's pixels: the centre of the top-left one is (0, 0)."""
        self._first = np.zeros(0, np.int64)
        self._first_xy = np.zeros((0, 2), np.float32)
        self._next_name = 0

    def add(self, xy: np.ndarray, time: int) -> None:
        names = np.arange(self._next_name, self._next_name + len(xy))
        self._next_name += len(xy)
        self.name, self.xy = np.concatenate((self.name, names)), np.concatenate((self.xy, xy))
        self._first = np.concatenate((self._first, np.full(len(xy), time)))
        self._first_xy = np.concatenate((self._first_xy, xy))

    def step(self, frames: Sequence[np.ndarray], time: int) -> None:
        """Follow all points from the frame before `time`; drop the lost ones."""
        if len(self.xy) == 0:
            return
        found, kept = _there_and_back(frames[time - 1], frames[time], self.xy, None, RETURN_PX)
        self.name, self.xy, self._first, self._first_xy = (
            values[kept] for values in (self.name, found, self._first, self._first_xy)
        )
        for first in np.unique(self._first[self._first < time - 1]):
            (rows,) = np.nonzero(self._first == first)
            again, same = _there_and_back(
                frames[first], frames[time], self._first_xy[rows], self.xy[rows], REFERENCE_RETURN_PX
            )
            same &= np.linalg.norm(again - self.xy[rows], axis=1) < REFERENCE_SHIFT_PX
            self.xy[rows[same]] = again[same]
            lost = rows[~same]  # seen from too far away by now: this frame becomes the one to look back to
            self._first[lost], self._first_xy[lost] = time, self.xy[lost]


def _there_and_back(
    source: np.ndarray, target: np.ndarray, xy: np.ndarray, guess: np.ndarray | None, tolerance_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where points of one frame lie in another, and which of them come back; guess: near where, if that is known."""
    begin = xy if guess is None else guess
    levels = LEVELS if guess is None else 0
    there, seen = _flow(source, target, xy, begin, levels)
    back, home = _flow(target, source, there, there if guess is None else xy, levels)
    height, width = target.shape
    inside = ((there > 1) & (there < (width - 2, height - 2))).all(axis=1)
    return there, seen & home & inside & (np.linalg.norm(back - xy, axis=1) < tolerance_px)


def _flow(
    source: np.ndarray, target: np.ndarray, xy: np.ndarray, begin: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """[M, 2] where points are in the target, looked for from `begin` on; [M] bool whether they were found."""
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        xy[:, None],
        begin[:, None].copy(),  # written to
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=levels,
        criteria=_STOP,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return found[:, 0], status[:, 0] > 0


def _corners(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[M, 2] new points that keep their distance from known ones."""
    free = np.full(image.shape, 255, np.uint8)
    for x, y in known:
        cv2.circle(free, (int(x), int(y)), SPACING_PX, 0, -1)
    wanted = MAX_POINTS - len(known)
    found = cv2.goodFeaturesToTrack(image, wanted, QUALITY, SPACING_PX, mask=free, blockSize=5) if wanted > 0 else None
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0]
