"""Videos that somebody else made for a suite: a folder with a `manifest.jsonl`, and what becomes of its files.

One line per video:
    {"file": "videos/000-0.mp4", "prompt_id": 0, "sample": 0, "poses": "own/000.txt", "depth_unit": 1.0}
file: any video, inside the folder. sample (0): which of the videos of one prompt. poses: the path that this video was
asked for, if not the prompt's (`camera.files`; one pose per frame); depth_unit (1): how many of its units are the
median depth of the first frame.
"""

import filecmp
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from av.error import FFmpegError

from worldr1.camera.files import read_trajectory
from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.evaluate.suites.suite import Suite
from worldr1.evaluate.suites.videos import MIN_FRAMES, SuiteVideo
from worldr1.footage.decoding import VideoFile
from worldr1.video_io import open_file, read_comment, write_mp4

MANIFEST = "manifest.jsonl"
MOST_FRAME_PIXELS = 8192 * 4320
SHOWN_EVERYWHERE = ("h264", "yuv420p")
"""What a browser certainly plays is kept as it is; anything else is written again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line."""

    file: str
    """Relative to the folder."""
    prompt_id: int
    sample: int = 0
    poses: str | None = None
    """Relative to the folder."""
    depth_unit: float = 1.0


_KINDS: dict[str, tuple[type, ...]] = {
    "file": (str,),
    "prompt_id": (int,),
    "sample": (int,),
    "poses": (str, type(None)),
    "depth_unit": (int, float),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeVideo:
    """A video of the manifest, checked but for its content."""

    line: int
    """In the manifest, from 1."""
    file: Path
    video: SuiteVideo


def read_manifest(folder: Path, suite: Suite) -> list[MadeVideo]:
    """Every video of the folder's manifest, in the suite's order.

    Raises InputError, which names the line, for lines that are none, files that are missing or outside of the folder,
    prompts that the suite does not have, two videos of one prompt and sample, and pose files that cannot be used.
    """
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f'There is no {path}: write a line {{"file": "a.mp4", "prompt_id": 0}} for every video '
            f"(`worldr1 evaluate --export-suite DIR --suite {suite.name}` makes a folder with prompts and a template)."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    entries = [(number, _entry(line, f"{path} line {number}")) for number, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise InputError(f"{path} has no lines: write one for every video.")
    _check_files(folder, entries)
    prompts, seen, found = suite.by_id(), {}, []
    for number, entry in entries:
        where, key = f"{path} line {number}", (entry.prompt_id, entry.sample)
        if entry.prompt_id not in prompts:
            last = len(prompts) - 1
            raise InputError(
                f"{where}: the suite {suite.name} has no prompt {entry.prompt_id}; its ids are 0 to {last}."
            )
        if key in seen:
            raise InputError(
                f"{where}: prompt {entry.prompt_id}, sample {entry.sample} is on line {seen[key]} already; give the "
                'videos of one prompt "sample": 0, 1, ... or drop one.'
            )
        seen[key] = number
        poses = None if entry.poses is None else read_trajectory(folder / entry.poses, depth_unit=entry.depth_unit)
        video = SuiteVideo(prompts[entry.prompt_id], entry.sample, 0, poses)
        found.append(MadeVideo(line=number, file=folder / entry.file, video=video))
    return sorted(found, key=lambda made: (made.video.prompt.id, made.video.sample))


def take(made: MadeVideo, target: Path) -> int:
    """Puts a video of the manifest into an evaluation, as `target`, and returns its number of frames.

    What every browser plays is copied, anything else written again as H.264. Raises InputError, which names the line,
    for what is no video of at least `MIN_FRAMES` frames, and if `target` is another video: it was judged already.
    """
    where = f"{MANIFEST} line {made.line}"
    if target.exists():
        if not _is_taken(made.file, target):
            raise InputError(
                f"{where}: {made.file} is another video than the one that was taken before; give another --out."
            )
        num_frames = _count(target, where)
    else:
        num_frames = _count(made.file, where)
        if _is_shown_everywhere(made.file):
            temporary = target.with_name(f".writing-{target.name}")
            shutil.copyfile(made.file, temporary)
            temporary.replace(target)
        else:
            _rewrite(made.file, target)
    poses = made.video.poses
    if poses is not None and poses.num_frames != num_frames:
        raise InputError(
            f"{where}: its poses are {poses.num_frames} for a video of {num_frames} frames; give one per frame."
        )
    return num_frames


def _entry(line: str, where: str) -> Entry:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}); mend or drop it.") from error
    known = [field.name for field in fields(Entry)]
    if not isinstance(values, dict) or not {"file", "prompt_id"} <= set(values) <= set(known):
        raise InputError(f"{where} needs file and prompt_id, and may have {', '.join(known[2:])}; nothing else.")
    for name, value in values.items():
        if not isinstance(value, _KINDS[name]) or isinstance(value, bool):
            raise InputError(f"{where}: {name} is {value!r}; file and poses are texts, the others numbers.")
    for name in ("file", "poses"):
        inside = PurePosixPath(values.get(name) or "x")
        if inside.is_absolute() or ".." in inside.parts:
            raise InputError(f"{where}: {values[name]!r} lies outside of the manifest's folder; put it inside.")
    if values.get("sample", 0) < 0:
        raise InputError(f"{where}: samples are numbered from 0, not {values['sample']}.")
    return Entry(**values)


def _check_files(folder: Path, entries: Sequence[tuple[int, Entry]]) -> None:
    absent = [(number, entry.file) for number, entry in entries if not (folder / entry.file).is_file()]
    if absent:
        number, file = absent[0]
        more = f" (and {len(absent) - 1} more lines have none)" if len(absent) > 1 else ""
        raise InputError(
            f"{folder / MANIFEST} line {number}: there is no file {folder / file}{more}; make the videos or drop the "
            "lines."
        )


def _is_shown_everywhere(file: Path) -> bool:
    try:
        with open_file(file) as container:
            (stream, *others) = container.streams.video
            codec = stream.codec_context
            in_mp4 = "mp4" in container.format.name.split(",")
            return in_mp4 and not others and (codec.name, codec.pix_fmt) == SHOWN_EVERYWHERE
    except (FFmpegError, ValueError, AttributeError):
        return False


def _is_taken(file: Path, target: Path) -> bool:
    if filecmp.cmp(file, target, shallow=False):
        return True
    return read_comment(target) == _origin(file)


def _origin(file: Path) -> str:
    """The comment of a video that was written again: from what."""
    return json.dumps({"written_again_from_sha256": file_sha256(file)})


def _count(file: Path, where: str) -> int:
    """Frames; raises InputError for what is no video."""
    try:
        with VideoFile(file, max_pixels=MOST_FRAME_PIXELS) as opened:
            num_frames = sum(1 for _ in opened)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if num_frames < MIN_FRAMES:
        raise InputError(f"{where}: {file} has {num_frames} frames; a video needs at least {MIN_FRAMES}.")
    return num_frames


def _rewrite(file: Path, target: Path) -> None:
    """As H.264, upright, of the same frames and rate."""
    frames, times_s = [], []
    with VideoFile(file, max_pixels=MOST_FRAME_PIXELS) as opened:
        for timed in opened:
            width, height = (2 * (round(side) // 2) for side in opened.upright.size)
            frames.append(opened.picture(timed.frame, width=width, height=height))
            times_s.append(timed.time_s)
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    fps = max(1, round((len(times_s) - 1) / times_s[-1]))
    write_mp4(target, video, fps=fps, comment=_origin(file))
