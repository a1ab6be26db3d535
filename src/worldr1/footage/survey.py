"""Pass 1 over a file: when its frames are shown and where its shots begin. Keeps two numbers per frame."""

from pathlib import Path
from typing import NamedTuple

from worldr1.errors import InputError
from worldr1.footage.cuts import CutFinder, small_size
from worldr1.footage.decoding import VideoFile


class Survey(NamedTuple):
    """What a video file holds."""

    times_s: tuple[float, ...]
    """Presentation time of every frame after the first one; strictly increasing."""
    cuts: tuple[int, ...]
    """Frames that begin the second, third, ... shot."""
    size: tuple[int, int]
    """Width and height of the frames as seen."""
    notes: tuple[str, ...]
    """What holds for the whole file: damage, length, orientation."""

    @property
    def spans(self) -> tuple[range, ...]:
        """The frames of every shot."""
        starts = (0, *self.cuts)
        return tuple(range(start, end) for start, end in zip(starts, (*self.cuts, len(self.times_s)), strict=True))


def survey(path: str | Path, *, max_frames: int, max_pixels: int) -> Survey:
    """Decodes a file once, at most `max_frames` frames of it. Raises InputError if there is nothing to see."""
    times_s: list[float] = []
    finder = CutFinder()
    cut_short, announced = False, 0
    with VideoFile(path, max_pixels=max_pixels) as file:
        announced = file.announced_frames
        for timed in file:
            if timed.number == max_frames:
                cut_short = True
                break
            width, height = small_size(*file.upright.size)
            finder.add(file.picture(timed.frame, width=width, height=height))
            times_s.append(timed.time_s)
    if not times_s:
        raise InputError(f"{path} holds no frames that can be decoded; give a whole video file such as an mp4.")
    notes = _notes(file)
    if cut_short:
        notes.append(f"only the first {max_frames} frames ({times_s[-1]:.0f} s) of the file were read")
    elif announced > len(times_s):
        notes.append(f"{len(times_s)} of the {announced} frames that the file announces could be decoded")
    width, height = file.upright.size
    return Survey(tuple(times_s), finder.cuts(), (round(width), round(height)), tuple(notes))


def _notes(file: VideoFile) -> list[str]:
    notes = []
    upright = file.upright
    if upright.quarter_turns or upright.mirrored:
        mirrored = "mirrored and " if upright.mirrored else ""
        notes.append(f"{mirrored}turned by {90 * upright.quarter_turns} degrees, as the file says it is to be shown")
    if upright.pixel_aspect != 1.0:
        notes.append(f"its pixels, {upright.pixel_aspect:.3g} times as wide as high, were made square")
    if file.incomplete:
        notes.append("the file breaks off or is unreadable before its end; what comes before it was used")
    if file.damaged:
        notes.append(f"the file is damaged: {file.damaged} of its packets could not be decoded whole")
    return notes
