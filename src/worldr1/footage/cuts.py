"""Where one shot ends and the next begins: frames that their predecessors cannot explain, even with every part moved.

A camera that pans fast, a flash or a fade changes as many pixels as a cut does. What sets a cut apart is that blocks
of the new picture are found nowhere in the old one, that this lasts, and that it is not so in the frames around it.
"""

from collections import deque

import cv2
import numpy as np
from jaxtyping import Float, UInt8

LONGEST_SIDE_PX = 48
BLOCK_PX = 8
REACH_PX = 10
"""How far a block may have moved: a fifth of the picture between two frames."""
NOISE = 8.0
"""Squared grey levels that count as little: grain, compression."""
LASTING_FRAMES = 3
"""The frames before a cut differ from all of so many after it, so a flash of one frame less is none."""
AROUND_FRAMES = 4
"""The local statistic is taken over so many frames on both sides."""
LIKE_SHARE = 0.1
"""A block is nearly the same if its error is this share of what counts as little."""
MIN_UNEXPLAINED = 0.58
MIN_RATIO = 1.6
"""Over the median of the frames around: frames of noise never explain each other, and are no cuts."""


class CutFinder:
    """Takes small frames one by one and says in the end where the cuts are; keeps six frames."""

    def __init__(self) -> None:
        self._recent: deque[np.ndarray] = deque(maxlen=2 * LASTING_FRAMES)
        self._change: list[float] = [0.0]
        self._lasting: dict[int, float] = {}

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """The next frame, of the size `small_size` gives."""
        small = picture.astype(np.float32)
        if self._recent:
            self._change.append(unexplained(self._recent[-1], small))
        self._recent.append(small)
        self._examine(len(self._change) - LASTING_FRAMES)

    def cuts(self) -> tuple[int, ...]:
        """Indices of the frames that begin the second, third, ... shot. To be called once, after the last frame."""
        num_frames = len(self._change)
        for late in range(max(1, num_frames - LASTING_FRAMES + 1), num_frames):
            self._examine(late)
        return tuple(index for index in sorted(self._lasting) if self._stands_out(index))

    def _examine(self, index: int) -> None:
        """How far all frames shortly before `index` are from all shortly after, if it can be a cut."""
        if index < 1 or self._change[index] < MIN_UNEXPLAINED:
            return
        recent = list(self._recent)
        split = len(recent) - (len(self._change) - index)
        before, after = recent[max(0, split - LASTING_FRAMES) : split], recent[split : split + LASTING_FRAMES]
        self._lasting[index] = min(unexplained(old, new) for old in before for new in after)

    def _stands_out(self, index: int) -> bool:
        lasting = self._lasting[index]
        first = max(1, index - AROUND_FRAMES)
        around = self._change[first:index] + self._change[index + 1 : index + 1 + AROUND_FRAMES]
        usual = float(np.median(around)) if around else 0.0
        return lasting > MIN_UNEXPLAINED and lasting > MIN_RATIO * usual


def small_size(width: float, height: float) -> tuple[int, int]:
    """Width and height in whole blocks; the aspect ratio need not be kept to compare frames of one video."""
    scale = LONGEST_SIDE_PX / max(width, height)
    return tuple(BLOCK_PX * max(1, round(side * scale / BLOCK_PX)) for side in (width, height))  # pyright: ignore


def unexplained(old: Float[np.ndarray, "h w 3"], new: Float[np.ndarray, "h w 3"]) -> float:
    """0: every block of the new frame is found near its place in the old one; 1: none is. Grey levels 0..255."""
    rows, columns = new.shape[0] // BLOCK_PX, new.shape[1] // BLOCK_PX
    blocks = new.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3)
    little = blocks.var(axis=(1, 3)).mean(axis=-1) / 2 + NOISE
    error = np.square(blocks - old.reshape(blocks.shape)).mean(axis=(1, 3, 4))
    # A block that is nearly the same in its own place need not be searched.
    for row, column in np.argwhere(error > LIKE_SHARE * little):
        y, x = row * BLOCK_PX, column * BLOCK_PX
        near = old[max(0, y - REACH_PX) : y + BLOCK_PX + REACH_PX, max(0, x - REACH_PX) : x + BLOCK_PX + REACH_PX]
        found = cv2.matchTemplate(near, new[y : y + BLOCK_PX, x : x + BLOCK_PX], cv2.TM_SQDIFF).min()
        error[row, column] = max(0.0, float(found)) / (3 * BLOCK_PX**2)
    return float((error / (error + little)).mean())
