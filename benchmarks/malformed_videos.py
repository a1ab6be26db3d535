"""What damaged files do to `footage.read_shots`: thousands of mutations, each read in a worker with a time limit.

Every file must be read, or refused with one sentence (InputError); a crash of the process, a hang or any other
exception is a defect. Run: PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/malformed_videos.py [--count 5200]
"""

import argparse
import multiprocessing
import random
import struct
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from worldr1.errors import InputError
from worldr1.footage import FootageConfig, read_shots

CONFIG = FootageConfig(num_frames=6, longest_side_px=64, max_frames=200)
FORMATS = {
    "mp4": ("libx264", "yuv420p", "mp4"),
    "webm": ("libvpx-vp9", "yuv420p", "webm"),
    "gif": ("gif", "rgb8", "gif"),
    "mov": ("mpeg4", "yuv420p", "mov"),
    "avi": ("mpeg4", "yuv420p", "avi"),
    "mkv": ("ffv1", "yuv420p", "matroska"),
    "ts": ("mpeg2video", "yuv420p", "mpegts"),
}
"""Suffix -> encoder, pixel format, container."""
ATOMS = (b"moov", b"mdat", b"stbl", b"stts", b"stsz", b"stco", b"tkhd", b"mdhd", b"edts", b"avcC", b"uuid", b"free")
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_BYTES = 1024


class Outcome(NamedTuple):
    """What became of one file."""

    kind: str
    """"read", "refused", "crash", "hang" or "other exception"."""
    message: str
    seconds: float


def make_videos(folder: Path, num_frames: int = 8) -> dict[str, bytes]:
    """Small valid files by suffix; "fast" is an mp4 whose index comes first, so that it can be read when cut off."""
    pictures = _pictures(num_frames)
    kinds: dict[str, tuple[str, str, str, dict[str, str]]] = {name: (*parts, {}) for name, parts in FORMATS.items()}
    kinds["fast.mp4"] = (*FORMATS["mp4"], {"movflags": "faststart"})
    videos = {}
    for suffix, (encoder, pixels, container, options) in kinds.items():
        path = folder / f"valid.{suffix}"
        with av.open(str(path), "w", format=container, options=options) as file:
            stream = file.add_stream(encoder, rate=8)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pixels
            for picture in pictures:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        videos[suffix] = path.read_bytes()
    return videos


def _pictures(num_frames: int) -> np.ndarray:
    """A texture that slides."""
    wide = np.random.default_rng(0).integers(0, 256, (6, 16, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return np.ascontiguousarray(np.stack([wide[:, 3 * t : 3 * t + 64] for t in range(num_frames)]))


def flip_bits(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Some bits anywhere."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 2, 4, 16, 64, 256))):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def truncate(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The beginning alone, or all but it."""
    at = draw.randrange(len(data))
    return data[:at] if draw.random() < 0.8 else data[at:]


def splice(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A piece of this or another file put in, over, or taken out."""
    source = draw.choice(others)
    start = draw.randrange(len(source))
    piece = source[start : start + draw.randrange(1, 2048)]
    at, gap = draw.randrange(len(data)), draw.choice((0, len(piece), draw.randrange(1, 2048)))
    return data[:at] + (b"" if draw.random() < 0.2 else piece) + data[at + gap :]


def damage_header(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Bytes of the first kilobyte or of the last, where the formats keep their tables."""
    out = bytearray(data)
    first = 0 if draw.random() < 0.5 else max(0, len(out) - HEADER_BYTES)
    for _ in range(draw.choice((1, 2, 4, 8))):
        out[first + draw.randrange(min(HEADER_BYTES, len(out)))] = draw.randrange(256)
    return bytes(out)


def damage_numbers(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """32-bit numbers replaced by extreme ones: sizes, counts, dimensions, times."""
    out = bytearray(data)
    first = 0 if draw.random() < 0.5 else max(0, len(out) - HEADER_BYTES)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = first + draw.randrange(max(1, min(HEADER_BYTES, len(out)) - 4))
        out[at : at + 4] = struct.pack(draw.choice((">I", "<I")), draw.choice(NUMBERS))
    return bytes(out)


def insert_atom(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A box of a known name with a random size and content."""
    size = draw.choice((0, 1, 7, 8, 64, 1 << 20, 0xFFFFFFFF))
    atom = struct.pack(">I", size) + draw.choice(ATOMS) + draw.randbytes(draw.randrange(64))
    named = [at for name in ATOMS if (at := data.find(name)) >= 4]
    at = draw.choice(named) - 4 if named and draw.random() < 0.7 else draw.randrange(len(data))
    return data[:at] + atom + data[at:]


MUTATIONS: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (
    flip_bits,
    truncate,
    splice,
    damage_header,
    damage_numbers,
    insert_atom,
)


def mutated(videos: dict[str, bytes], index: int, seed: int) -> tuple[str, str, bytes]:
    """Suffix, name of the mutation and bytes of the index-th damaged file of a seed."""
    draw = random.Random(f"{seed}/{index}")
    suffixes = sorted(videos)
    suffix = suffixes[index % len(suffixes)]
    mutation = MUTATIONS[index // len(suffixes) % len(MUTATIONS)]
    return suffix, mutation.__name__, mutation(videos[suffix], draw, list(videos.values()))


def read(path: Path) -> Outcome:
    """Reads a file in this process. An exception that is not ours is an outcome, not an error."""
    start = time.perf_counter()
    try:
        shots = read_shots(path, CONFIG)
        finite = all(bool(shot.video.isfinite().all()) for shot in shots)
        kind, message = ("read", f"{len(shots)} shots") if finite else ("other exception", "values that are not finite")
    except InputError as error:
        message = str(error)
        one_sentence = path.name in message and message.endswith(".") and "\n" not in message
        kind = "refused" if one_sentence else "other exception"
    except Exception as error:  # the benchmark is there to find them
        kind, message = "other exception", f"{type(error).__name__}: {error}"
    return Outcome(kind, message, time.perf_counter() - start)


def _work(pipe: Connection) -> None:
    while (path := pipe.recv()) is not None:
        pipe.send(read(path))


class Worker:
    """A process that reads files; replaced when it crashes or hangs."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def read(self, path: Path) -> Outcome:
        """`read` in the process, whatever that does to it."""
        self._pipe.send(path)
        kind, message = "hang", f"more than {self._limit_s:.0f} s"
        try:
            if self._pipe.poll(self._limit_s):
                return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            kind, message = "crash", f"exit code {self._process.exitcode}"
        self.stop()
        self._start()
        return Outcome(kind, message, self._limit_s)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def main() -> None:
    """Prints a table and every defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5208, help="damaged files (default: 5208, 651 of each kind)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=20.0, help="seconds after which a file counts as a hang")
    parser.add_argument("--keep", type=Path, help="folder for the files that show a defect")
    args = parser.parse_args()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    slowest: dict[str, float] = defaultdict(float)
    messages: Counter[str] = Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder))
        worker = Worker(args.limit_s)
        # The first file pays for the imports.
        print(
            {suffix: (len(data), worker.read(Path(folder) / f"valid.{suffix}").kind) for suffix, data in videos.items()}
        )
        for index in range(args.count):
            suffix, mutation, data = mutated(videos, index, args.seed)
            path = Path(folder) / f"damaged.{suffix}"
            path.write_bytes(data)
            outcome = worker.read(path)
            for row in (suffix, mutation, "all"):
                kinds[row][outcome.kind] += 1
                slowest[row] = max(slowest[row], outcome.seconds)
            if outcome.kind in ("read", "refused"):
                messages[outcome.message.replace(str(path), "FILE")] += 1
                continue
            print(f"{index} {suffix} {mutation}: {outcome.kind}: {outcome.message}", flush=True)
            if args.keep is not None:
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / f"{args.seed}-{index}.{suffix}").write_bytes(data)
        worker.stop()
    columns = ("refused", "read", "crash", "hang", "other exception")
    print(f"\n{'':16}" + "".join(f"{column:>17}" for column in columns) + f"{'slowest s':>12}")
    for row, counts in kinds.items():
        print(f"{row:16}" + "".join(f"{counts[column]:17}" for column in columns) + f"{slowest[row]:12.2f}")
    print(f"\n{args.count} files in {time.perf_counter() - start:.0f} s. The most frequent answers:")
    for message, count in messages.most_common(12):
        print(f"{count:6} {message}")


if __name__ == "__main__":
    main()
