"""A video file frame by frame through PyAV: upright, with presentation times, whatever is wrong with the file."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from jaxtyping import UInt8

from worldr1.errors import InputError
from worldr1.video_io import open_file

MIN_SIDE_PX = 16
FALLBACK_RATE = 24.0
"""Frames per second where the file says nothing believable."""
ASPECT_LIMITS = (0.25, 4.0)
"""A pixel is believed to be that many times as wide as high; outside, the header is taken to be wrong."""
DECODER_THREADS = 4
"""Every thread of a decoder holds frames: with one per core, 8K video fills the memory of a large machine."""
_DECODER_ERRORS = (FFmpegError, ValueError, OverflowError, MemoryError)
"""What PyAV raises for damaged packets and headers."""


class TimedFrame(NamedTuple):
    """One decoded frame."""

    number: int
    """From 0."""
    time_s: float
    """Presentation time after the first frame; strictly increasing."""
    frame: av.VideoFrame


class Upright(NamedTuple):
    """How stored pixels become the picture that is meant to be seen."""

    width: int
    height: int
    """As stored."""
    pixel_aspect: float
    """Width of a pixel over its height."""
    quarter_turns: int
    """Counterclockwise, after mirroring."""
    mirrored: bool
    """Left and right exchanged."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height as seen; the longer direction of a pixel is shrunk, nothing is enlarged."""
        width = self.width * min(1.0, self.pixel_aspect)
        height = self.height / max(1.0, self.pixel_aspect)
        return (height, width) if self.quarter_turns % 2 else (width, height)


class VideoFile:
    """An open video file; iterating decodes it once from its start.

    Raises InputError if it is missing, no video, too large or too small, or changes its size on the way. What cannot
    be decoded is left out and counted.
    """

    def __init__(self, path: str | Path, *, max_pixels: int) -> None:
        self.path = path
        self._max_pixels = max_pixels
        self.damaged = 0
        """Packets that could not be decoded so far."""
        self.incomplete = False
        """The file broke off or became unreadable before its end."""
        self._container = _open(path)
        try:
            self._stream = self._choose_stream()
            # A header may leave the size open (0), which the first frame then tells.
            self._check_size(self._stream.width, self._stream.height, least_px=0)
            context = self._stream.codec_context
            context.thread_type, context.thread_count = "AUTO", DECODER_THREADS
            # The decoder counts padding too; what it lets through is measured frame by frame.
            context.options = {"max_pixels": str(2 * max_pixels)}
        except BaseException:
            self._container.close()
            raise
        self.upright = Upright(0, 0, 1.0, 0, False)
        """Known from the first frame on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[TimedFrame]:
        step = 1.0 / self._rate()
        start, previous = 0.0, -step
        for index, frame in enumerate(self._frames()):
            stored = None if frame.time is None else float(frame.time)
            if index == 0:
                self._check_size(frame.width, frame.height, least_px=MIN_SIDE_PX)
                self.upright = _upright(frame, float(self._stream.sample_aspect_ratio or 1))
                start = stored or 0.0
            elif (frame.width, frame.height) != (self.upright.width, self.upright.height):
                raise InputError(
                    f"{self.path} changes its picture size from {self.upright.width} x {self.upright.height} to "
                    f"{frame.width} x {frame.height} at frame {index}; convert it to one size first."
                )
            time_s = previous + step if stored is None else stored - start
            previous = time_s if time_s > previous else previous + step
            yield TimedFrame(index, previous, frame)

    @property
    def announced_frames(self) -> int:
        """As many as the header says; 0 if it does not."""
        return self._stream.frames

    def picture(self, frame: av.VideoFrame, *, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
        """A frame of this file upright in RGB, averaged down to a size as seen.

        Raises InputError for pixels in a format that cannot be converted.
        """
        turned = self.upright.quarter_turns % 2 == 1
        stored_width, stored_height = (height, width) if turned else (width, height)
        try:
            small = frame.reformat(stored_width, stored_height, format="rgb24", interpolation="AREA").to_ndarray()
        except _DECODER_ERRORS as error:
            raise InputError(
                f"{self.path} has frames of pixel format {frame.format.name}, which cannot be shown as RGB; convert it "
                "to an mp4 first."
            ) from error
        if self.upright.mirrored:
            small = small[:, ::-1]
        return np.ascontiguousarray(np.rot90(small, self.upright.quarter_turns))

    def _choose_stream(self) -> av.VideoStream:
        """The first video stream that is not a cover picture."""
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise InputError(f"{self.path} has no video stream; give a video file such as an mp4.")
        if streams[0].codec_context is None:
            raise InputError(f"{self.path} is compressed in a way that cannot be decoded here; convert it to H.264.")
        return streams[0]

    def _check_size(self, width: int, height: int, *, least_px: int) -> None:
        if width * height > self._max_pixels:
            raise InputError(
                f"{self.path} has frames of {width} x {height}, more than {self._max_pixels:,} pixels; make them "
                "smaller first."
            )
        if min(width, height) < least_px:
            raise InputError(
                f"{self.path} has frames of {width} x {height}; give a video of at least {least_px} pixels a side."
            )

    def _rate(self) -> float:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate is not None and 0.1 <= rate <= 1000 else FALLBACK_RATE

    def _frames(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except _DECODER_ERRORS:
                self.incomplete = True
                with suppress(*_DECODER_ERRORS):  # what the decoder still holds
                    yield from self._stream.codec_context.decode(None)
                return
            try:
                frames = packet.decode()
            except _DECODER_ERRORS:
                self.damaged += 1
                continue
            for frame in frames:
                self.damaged += frame.is_corrupt
                yield frame


def _open(path: str | Path) -> InputContainer:
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{path} is a folder; give a video file such as an mp4.")
    if not file.is_file():
        raise InputError(f"There is no video file {path}; check the path.")
    if file.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a video file such as an mp4.")
    try:
        return open_file(file)
    except FFmpegError as error:
        raise InputError(
            f"{path} cannot be read as a video ({error.strerror or 'unknown format'}): it is damaged, incomplete or no "
            "video; give a whole file such as an mp4."
        ) from error


def _upright(frame: av.VideoFrame, pixel_aspect: float) -> Upright:
    aspect = pixel_aspect if ASPECT_LIMITS[0] <= pixel_aspect <= ASPECT_LIMITS[1] else 1.0
    turns, mirrored = _orientation(frame)
    return Upright(frame.width, frame.height, aspect, turns, mirrored)


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise and whether the picture is mirrored first, from the frame's display matrix.

    The matrix (ISO 14496-12, 6.2.2) maps stored (x, y, 1), y down, to the screen: x' = a x + c y, y' = b x + d y.
    Angles that are no quarter turn are rounded.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5] / 65536
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    turns = round(math.degrees(math.atan2(-b, a)) / 90) % 4
    return turns, mirrored
