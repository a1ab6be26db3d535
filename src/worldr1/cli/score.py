"""`worldr1 score`: measure the 3D consistency of video files, whoever made them."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import synthesize
from worldr1.cli.options import check_distinct, refuse_unread
from worldr1.cli.places import add_overwrite, check_absent, make_folder
from worldr1.cli.progress import tracked
from worldr1.cli.score_rewards import add_reward_arguments, run_rewards
from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.backends.sfm.lifting import SfmConfig
    from worldr1.evaluate.scoring.scorer import Scored, Scorer, ShotScore
    from worldr1.footage import Shot
    from worldr1.types import Trajectory

DEFAULT_FRAMES = 24
DEFAULT_MODEL = "sfm"
PAGE_FILE, DATA_FILE = "score.html", "scores.json"
PERCEPTUAL = "mini-trunk"
"""Name, in ids, of the perceptual network; it ships in the package."""
_COLUMNS = (
    "consistency",
    "psnr_holdout",
    "ssim_holdout",
    "perceptual_holdout",
    "epipolar_px",
    "residual_motion",
    "camera_travel",
    "camera_rotation_deg",
)
_COLUMNS_WITH_REQUEST = (
    "consistency",
    "psnr_holdout",
    "perceptual_holdout",
    "residual_motion",
    "camera_travel",
    "camera_rotation_deg",
    "translation_error",
    "rotation_error_deg",
)
"""Eight fit 80 characters; the page and the JSON have them all."""
_HEADS = {
    "consistency": "3D con-\nsistency",
    "psnr_holdout": "PSNR\ndB",
    "ssim_holdout": "SSIM",
    "perceptual_holdout": "percep-\ntual",
    "epipolar_px": "epipolar\npx",
    "residual_motion": "residual\nmotion",
    "camera_travel": "camera\ntravel",
    "camera_rotation_deg": "camera\nturn °",
    "translation_error": "path\nerror",
    "rotation_error_deg": "turn\nerror °",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, for example mp4")
    parser.add_argument("--prompt", metavar="TEXT", help="its camera words are the path that the videos should follow")
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="instead of --prompt, the path that they should follow: .txt (RealEstate10K) or .npz, a pose per frame",
    )
    parser.add_argument(
        "--reconstructor",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help=f"the 3D model: {', '.join(RECONSTRUCTORS)} (default: {DEFAULT_MODEL}, which needs no weights)",
    )
    parser.add_argument(
        "--focal",
        metavar="F",
        help="of sfm: the camera's focal length in image widths (default: estimated, where the video tells it)",
    )
    parser.add_argument("--weights", default="", metavar="DIR|HUB", help="of Depth Anything 3: a folder or a hub name")
    parser.add_argument(
        "--frames", type=int, default=DEFAULT_FRAMES, metavar="N", help="frames per shot, evenly (default: 24)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for score.html, scores.json and a .ply of every 3D scene"
    )
    add_overwrite(parser)
    add_reward_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score every shot of every video; 0, also if some are invalid. Raises InputError for bad words, names or files."""
    check_distinct(args.videos, what="the video")
    if args.rewards:
        _refuse_with_rewards(args)
        return run_rewards(args)
    if args.set:
        raise InputError("--set belongs to a recipe: give --rewards RECIPE")
    if args.prompt and args.poses:
        raise InputError("give either --prompt TEXT or --poses FILE (one of the two)")
    tokens = parse_plan(args.prompt).tokens if args.prompt else ()
    if args.reconstructor not in RECONSTRUCTORS:
        known = ", ".join(RECONSTRUCTORS)
        raise InputError(f"there is no reconstructor {args.reconstructor!r}; known are: {known}")
    if args.weights and not args.reconstructor.startswith("da3"):
        raise InputError(f"--weights belongs to Depth Anything 3: {args.reconstructor} has none of its own to choose")
    if args.focal is not None:
        _sfm_config(args.focal)
    if args.focal is not None and args.reconstructor != "sfm":
        raise InputError(f"--focal belongs to sfm: {args.reconstructor} knows its focal length or finds it")
    if args.out is not None:
        check_absent(args.out / PAGE_FILE, args.out / DATA_FILE, overwrite=args.overwrite)
        make_folder(args.out)
    # All files are read before the first is scored: a wrong name should not cost minutes.
    clips = [clip for path in args.videos for clip in _read(path, args)]
    if args.out is not None:
        check_absent(*_scene_files(args.out, clips), overwrite=args.overwrite)
    if args.poses is not None:
        _check_poses(args.poses, clips)
    model = RECONSTRUCTORS[args.reconstructor](args)
    print(f"3D model {args.reconstructor}, licence {model.licence}: {model.knows}.", file=sys.stderr)
    if args.prompt and not tokens:
        print("The prompt has no camera words, so there is no path to compare with.", file=sys.stderr)
    scored = [_score(model.scorer, clip, tokens, args.poses) for clip in tracked(clips, "scoring")]
    record = _record(scored, args)
    if args.out is not None:
        _write(args.out, clips, scored, record, num_frames=args.frames)
    if args.json:
        print(record)
    else:
        _print_table([s.score for s in scored], with_request=bool(tokens or args.poses))
    return 0


def _refuse_with_rewards(args: argparse.Namespace) -> None:
    usual = {"poses": None, "focal": None, "weights": "", "reconstructor": DEFAULT_MODEL, "frames": DEFAULT_FRAMES}
    why = "with --rewards the recipe says what its reward is made of"
    refuse_unread(args, argparse.Namespace(**usual), usual, why=why)


class Model(NamedTuple):
    """A scorer and what has to be said about its 3D model."""

    scorer: "Scorer"
    licence: str
    knows: str


class Clip(NamedTuple):
    """A shot and its file."""

    path: str
    shot: "Shot"


def _load_sfm(args: argparse.Namespace) -> Model:
    from worldr1.backends.mini import load_distance
    from worldr1.backends.sfm.reconstructor import SfmReconstructor
    from worldr1.evaluate.scoring.scorer import Scorer
    from worldr1.scene.splat import SplatRenderer

    reconstructor = SfmReconstructor(_sfm_config(args.focal))
    scorer = Scorer("sfm", reconstructor, SplatRenderer(), load_distance())
    return Model(scorer, reconstructor.licence, "structure from motion, which measures and has nothing learnt")


def _sfm_config(focal: str | None) -> "SfmConfig":
    """focal: as --focal has it."""
    from worldr1.backends.sfm.estimate import EstimateConfig
    from worldr1.backends.sfm.lifting import SfmConfig

    if focal is None:
        return SfmConfig()
    try:
        number = float(focal)
    except ValueError:
        number = 0.0
    if not 0.2 <= number <= 10:
        raise InputError(f"--focal is a number of image widths from 0.2 to 10, got {focal!r}")
    return SfmConfig(estimate=EstimateConfig(focal_per_width=number))


def _load_mini(args: argparse.Namespace) -> Model:
    """On the CPU, so that every machine gives the same figures."""
    from worldr1.backends.mini import CLIP_SIZE, load_distance, load_reconstructor
    from worldr1.evaluate.fitting import ClipSize
    from worldr1.evaluate.scoring.scorer import Scorer
    from worldr1.scene.splat import SplatRenderer

    reconstructor = load_reconstructor()
    frames, height, width = CLIP_SIZE
    size = ClipSize(num_frames=frames, height=height, width=width)
    scorer = Scorer("mini", reconstructor, SplatRenderer(), load_distance(), size=size)
    knows = "it has seen clips of the mini world only; on other videos its figures mean little"
    return Model(scorer, reconstructor.licence, knows)


def _load_depth_anything_3(name: str, args: argparse.Namespace) -> Model:
    import torch

    from worldr1.backends.depth_anything3 import DepthAnything3Config, load_depth_anything3
    from worldr1.backends.depth_anything3_network import INSTALL
    from worldr1.backends.gsplat import GsplatRenderer
    from worldr1.backends.mini import load_distance
    from worldr1.evaluate.scoring.scorer import Scorer
    from worldr1.scene.splat import SplatRenderer

    if find_spec("depth_anything_3") is None:  # said before gigabytes are downloaded
        raise InputError(f"the package depth-anything-3 is missing: {INSTALL}")
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    reconstructor = load_depth_anything3(DepthAnything3Config(model=name, weights=args.weights), device)
    renderer = GsplatRenderer() if on_gpu else SplatRenderer()
    scorer = Scorer(name, reconstructor, renderer, load_distance(device))
    return Model(scorer, reconstructor.licence, "a learnt model, which may see geometry where there is none")


def _da3(name: str) -> Callable[[argparse.Namespace], Model]:
    return lambda args: _load_depth_anything_3(name, args)


RECONSTRUCTORS: dict[str, Callable[[argparse.Namespace], Model]] = {
    "sfm": _load_sfm,
    "mini": _load_mini,
    "da3-giant-1.1": _da3("da3-giant-1.1"),
    "da3-large-1.1": _da3("da3-large-1.1"),
    "da3-base": _da3("da3-base"),
    "da3-small": _da3("da3-small"),
}
"""Name -> what loads it."""


def _read(path: str, args: argparse.Namespace) -> list[Clip]:
    from worldr1.footage import FootageConfig, read_shots

    if args.frames < MIN_FRAMES:
        raise InputError(f"--frames must be at least {MIN_FRAMES}, got {args.frames}")
    config = FootageConfig(num_frames=args.frames, min_frames=MIN_FRAMES)
    return [Clip(path, shot) for shot in read_shots(path, config)]


MIN_FRAMES = 5
"""Three frames to build the scene from, two to test it with."""


def _check_poses(path: Path, clips: Sequence[Clip]) -> None:
    """Before the models are loaded: a path is for one shot of a file."""
    from worldr1.camera.files import read_trajectory

    read_trajectory(path)
    for clip in clips:
        if clip.shot.num_shots > 1:
            raise InputError(f"{clip.path} has {clip.shot.num_shots} shots, but --poses is one path: cut it first")


def _score(scorer: "Scorer", clip: Clip, tokens: tuple[str, ...], poses: Path | None) -> "Scored":
    shot = scorer.framed(clip.shot)
    requested: Trajectory | None = None
    if poses is not None:
        requested = _thinned(poses, len(shot.video))
    elif tokens and shot.num_shots == 1:
        requested = synthesize(tokens, len(shot.video))
    return scorer(clip.shot, path=clip.path, requested=requested, speed_known=poses is None)


def _thinned(poses: Path, num_frames: int) -> "Trajectory":
    """The file's path at the scored frames, which lie evenly in the clip."""
    from dataclasses import replace

    from worldr1.camera.files import read_trajectory
    from worldr1.evaluate.fitting import evenly

    path = read_trajectory(poses)
    if path.num_frames < num_frames:
        raise InputError(f"{poses} has {path.num_frames} poses for {num_frames} scored frames; give one per frame")
    return replace(path, world_from_camera=path.world_from_camera[evenly(path.num_frames, num_frames)])


def _record(scored: Sequence["Scored"], args: argparse.Namespace) -> str:
    from worldr1.evaluate.scoring.figures import SCORE_METRICS, metric_id

    ids = {
        metric.field: metric_id(
            metric.field, reconstructor=args.reconstructor, perceptual=PERCEPTUAL, num_frames=args.frames
        )
        for metric in SCORE_METRICS
    }
    return json.dumps({"videos": [asdict(s.score) for s in scored], "metrics": ids}, allow_nan=False)


def _scene_files(out: Path, clips: Sequence[Clip]) -> list[Path]:
    """Where the 3D scenes of the clips go, if they get any."""
    return [out / f"{index:03d}-{Path(clip.path).stem}.ply" for index, clip in enumerate(clips)]


def _write(out: Path, clips: Sequence[Clip], scored: Sequence["Scored"], record: str, *, num_frames: int) -> None:
    from worldr1.evaluate.pages.score_page import write_score_page
    from worldr1.scene.ply import write_ply

    (out / DATA_FILE).write_text(record + "\n", encoding="utf-8")
    scenes: list[str | None] = []
    for one, file in zip(scored, _scene_files(out, clips), strict=True):
        has_scene = one.score.valid and one.gaussians is not None and len(one.gaussians.means) > 0
        if has_scene and one.gaussians is not None:
            write_ply(file, one.gaussians)
        scenes.append(file.name if has_scene else None)
    page = write_score_page(out / PAGE_FILE, scored, perceptual=PERCEPTUAL, num_frames=num_frames, plys=scenes)
    print(f"wrote {page}", file=sys.stderr)


def _print_table(scores: Sequence["ShotScore"], *, with_request: bool) -> None:
    from worldr1.evaluate.scoring.figures import SCORE_METRICS

    named = {metric.field: metric for metric in SCORE_METRICS}
    columns = _COLUMNS_WITH_REQUEST if with_request else _COLUMNS
    table = Table("", box=None, pad_edge=False)
    for field in columns:
        table.add_column(_HEADS[field], justify="right")
    for number, score in enumerate(scores, start=1):
        table.add_row(str(number), *(named[field].text(getattr(score, field)) for field in columns))
    Console().print(table)
    for number, score in enumerate(scores, start=1):
        place = f" shot {score.shot + 1} ({score.start_s:.1f} to {score.end_s:.1f} s)" if score.num_shots > 1 else ""
        spread = score.consistency_interval
        remarks = [f"not valid: {score.reason}"] if score.reason else []
        remarks += [f"3D consistency between {spread[0]:.0%} and {spread[1]:.0%}"] if spread else []
        print("; ".join([f"{number}  {score.path}{place}", *remarks, *score.notes]))
