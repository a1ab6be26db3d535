"""`worldr1 score`: measure the 3D consistency of video files, whoever made them."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from worldr1.camera.motion import parse_plan
from worldr1.errors import InputError
from worldr1.evaluate.scoring import Prepared, Scored, Scorer, ScoringConfig, VideoScore, prepare
from worldr1.video_io import read_mp4, write_mp4

RECONSTRUCTORS = {"mini": "it has seen clips of the mini world only; on other videos its figures mean little"}
"""Name -> what the 3D model knows."""

_COLUMNS = {
    "psnr_holdout": ("PSNR\ndB", ".1f"),
    "ssim_holdout": ("SSIM", ".3f"),
    "perceptual_holdout": ("percep-\ntual", ".3f"),
    "mvcs_scale_free": ("MVCS", ".3f"),
    "residual_motion": ("residual\nmotion", ".4f"),
    "camera_travel": ("camera\ntravel", ".3f"),
    "camera_rotation_deg": ("camera\nturn °", ".1f"),
}
_PATH_COLUMNS = {"translation_error": ("path\nerror", ".1%"), "rotation_error_deg": ("turn\nerror °", ".2f")}
"""Field of VideoScore -> title and format of its column; the path's only with --prompt."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, for example mp4")
    parser.add_argument("--prompt", metavar="TEXT", help="its camera words are the path that the videos should follow")
    parser.add_argument("--reconstructor", default="mini", metavar="NAME", help="the 3D model: mini (default)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for scores.json and for mp4s: frames beside their re-rendering"
    )


def run(args: argparse.Namespace) -> int:
    """Score every video; 0, also if some are invalid. Raises InputError for bad words, names or files."""
    tokens = parse_plan(args.prompt).tokens if args.prompt else ()
    if args.reconstructor not in RECONSTRUCTORS:
        known = ", ".join(RECONSTRUCTORS)
        raise InputError(f"there is no reconstructor {args.reconstructor!r}; known are: {known}")
    if args.out is not None:
        _make_folder(args.out)
    scorer, licence = _load_mini()
    # All files are read before the first is scored: a wrong name should not cost minutes.
    clips = [_read(path, scorer.config) for path in args.videos]
    print(f"3D model {args.reconstructor}, licence {licence}: {RECONSTRUCTORS[args.reconstructor]}.", file=sys.stderr)
    if args.prompt and not tokens:
        print("The prompt has no camera words, so there is no path to compare with.", file=sys.stderr)
    console = Console(stderr=True)
    work = track(clips, "scoring", console=console, transient=True, disable=not console.is_terminal)
    scored = [scorer(clip, path=path, tokens=tokens) for path, clip in zip(args.videos, work, strict=True)]
    record = json.dumps({"videos": [asdict(s.score) for s in scored]}, allow_nan=False)
    if args.out is not None:
        (args.out / "scores.json").write_text(record + "\n", encoding="utf-8")
        _write_redrawn(args.out, scored)
    if args.json:
        print(record)
    else:
        _print_table([s.score for s in scored], _COLUMNS | (_PATH_COLUMNS if tokens else {}))
    return 0


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"--out {path} cannot be used as a folder ({error.strerror}): choose another") from error


def _load_mini() -> tuple[Scorer, str]:
    """The scorer on the mini models and its licence; on the CPU, so that every machine gives the same figures."""
    from worldr1.backends.mini import CLIP_SIZE, load_heads, load_reconstructor
    from worldr1.scene.splat import SplatRenderer

    reconstructor, (_, _, perceptual) = load_reconstructor(), load_heads()
    frames, height, width = CLIP_SIZE
    config = ScoringConfig(num_frames=frames, height=height, width=width)
    return Scorer("mini", reconstructor, SplatRenderer(), perceptual, config), reconstructor.licence


def _read(path: str, config: ScoringConfig) -> Prepared:
    video = read_mp4(path)
    try:
        return prepare(video, config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _write_redrawn(folder: Path, scored: Sequence[Scored]) -> None:
    """One mp4 per video: left the odd frames, right what the even ones say they look like."""
    for index, (score, redrawn) in enumerate(scored):
        if redrawn is not None:
            beside = torch.cat((redrawn.target, redrawn.drawn), dim=-1)
            write_mp4(folder / f"{index:03d}-{Path(score.path).stem}-redrawn.mp4", beside, fps=4, upscale=4)


def _print_table(scores: Sequence[VideoScore], columns: dict[str, tuple[str, str]]) -> None:
    table = Table("", box=None, pad_edge=False)
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for number, score in enumerate(scores, start=1):
        values = [(getattr(score, name), form) for name, (_, form) in columns.items()]
        table.add_row(str(number), *("-" if value is None else format(value, form) for value, form in values))
    Console().print(table)
    for number, score in enumerate(scores, start=1):
        remarks = [f"not valid: {score.reason}"] if score.reason else []
        print("; ".join([f"{number}  {score.path}", *remarks, *score.notes]))
