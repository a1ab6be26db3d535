"""Videos on disk: H.264 mp4 in and out through PyAV, which brings its own ffmpeg (research/stack.md 5)."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError

FRAMES_PER_SECOND = 8
"""A mini clip (17 frames) then lasts two seconds."""
CONSTANT_RATE_FACTOR = 12
"""x264's quality: about one grey level of mean error; 0 is lossless, 23 the usual web setting."""
REPEATABLE: dict[str, object] = {"mbtree": "0", "threads": "4"}
"""So that equal frames make equal files: x264's macroblock tree reads memory that nobody wrote where pictures are small
(seen up to 128 x 192: other bytes in 16 of 200 encodings), and what it writes depends on the number of threads."""


KNOWN_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,flv,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,ogg,asf,nut,"
    "mxf,yuv4mpegpipe"
)
"""The containers that are opened. ffmpeg knows hundreds more, among them playlists that fetch further files, and a
terminal that plays any text file as a video."""
MOST_PIXELS = 2**29
"""Of all frames together that `read_mp4` keeps (81 frames of 832 x 480: 2**25): a file of some kilobytes can hold hours
of black at 8K."""
MOST_FRAME_PIXELS = 2 * 8192 * 4320
"""Of one frame, as the decoder counts them, with padding."""
BEFORE_19: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
"""PyAV refused a file for a tag that is not UTF-8 unless told; since 19.0 it reads it and knows no such argument."""


def open_file(path: str | Path) -> InputContainer:
    """A video file for reading, of a known format, which can name no other file and no address. FFmpegError if not."""
    options = {"format_whitelist": KNOWN_FORMATS, "protocol_whitelist": "file"}
    # An absolute path cannot be taken for an address such as concat:a.mp4.
    return av.open(str(Path(path).absolute()), container_options=options, **BEFORE_19)


def write_mp4(
    path: str | Path,
    video: Float[Tensor, "T 3 H W"],
    *,
    fps: int | Fraction = FRAMES_PER_SECOND,
    upscale: int = 1,
    comment: str = "",
    rate_factor: int = CONSTANT_RATE_FACTOR,
) -> None:
    """Writes a video (0..1, RGB) as H.264 yuv420p, which every browser plays; whole or not at all.

    upscale: every pixel becomes a square of that many, so that tiny clips can be watched. comment: the file's
    `comment` tag (`read_comment`, ffprobe). rate_factor: x264's quality, 0 (lossless) to 51.
    Raises InputError if the video has no frames or, after upscaling, an odd height or width (yuv420p needs even ones).
    """
    num_frames, _, height, width = video.shape
    height, width = height * upscale, width * upscale
    if num_frames == 0 or height % 2 or width % 2:
        raise InputError(f"{path}: cannot write {num_frames} frames of {height} x {width}; an mp4 needs even sizes.")
    pixels = (video.detach().float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu()
    pixels = pixels.repeat_interleave(upscale, dim=2).repeat_interleave(upscale, dim=3)
    path = Path(path)
    temporary = path.with_name(f".writing-{path.name}")
    try:
        _encode(temporary, pixels.permute(0, 2, 3, 1).contiguous().numpy(), fps, comment, rate_factor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, frames_THW3: np.ndarray, fps: int | Fraction, comment: str, rate_factor: int) -> None:
    _, height, width, _ = frames_THW3.shape
    with av.open(str(path), "w", format="mp4") as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": str(rate_factor), **REPEATABLE}
        for frame_HW3 in frames_THW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")))
        container.mux(stream.encode())


def read_comment(path: str | Path) -> str:
    """The `comment` tag of a video file, empty if it has none, without bytes that are not UTF-8.

    Raises InputError if the file is no video.
    """
    try:
        with open_file(path) as container:
            comment: str = container.metadata.get("comment", "")
    except (OSError, FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video ({error.strerror}); give an mp4 file.") from error
    return comment.encode(errors="ignore").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFacts:
    """What a video file says of its first video stream."""

    num_frames: int
    frames_per_second: Fraction
    height: int
    width: int


def video_facts(path: str | Path) -> VideoFacts:
    """Without decoding. Raises InputError if the file is missing, no video, or does not say its rate."""
    try:
        with open_file(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream; give a video file such as an mp4.")
            stream = container.streams.video[0]
            rate = stream.average_rate
            num = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    except (OSError, FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video ({error.strerror}); give an mp4 file.") from error
    if not rate:
        raise InputError(f"{path} does not say how many frames it has per second; convert it to an mp4 file.")
    rate = Fraction(rate.numerator, rate.denominator)  # PyAV 19 has a type of its own
    return VideoFacts(num_frames=num, frames_per_second=rate, height=stream.height, width=stream.width)


def read_mp4(path: str | Path) -> Float[Tensor, "T 3 H W"]:
    """All frames of a video file's first video stream, RGB, 0..1, float32.

    Raises InputError if the file is missing, is no video, has no frames, frames of several sizes or too many pixels.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no video file {path}; check the path.")
    try:
        with open_file(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream; give a video file such as an mp4.")
            container.streams.video[0].codec_context.options = {"max_pixels": str(MOST_FRAME_PIXELS)}
            frames: list[Tensor] = []
            for number, frame in enumerate(container.decode(video=0), start=1):
                if number * frame.width * frame.height > MOST_PIXELS:
                    raise InputError(f"{path} has more than {MOST_PIXELS:,} pixels; cut it or make it smaller first.")
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
    except FFmpegError as error:
        raise InputError(f"{path} cannot be read as a video ({error.strerror}); give an mp4 file.") from error
    if not frames:
        raise InputError(f"{path} holds no frames; give a video file such as an mp4.")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise InputError(f"{path} changes its picture size on the way; convert it to one size first.")
    return torch.stack(frames).permute(0, 3, 1, 2).float() / 255.0
