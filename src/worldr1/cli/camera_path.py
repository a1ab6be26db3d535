"""The camera path that `camera` and `noise` work on: a prompt's words, or a file with the user's own poses."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from worldr1.camera.files import read_trajectory
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.types import CameraPlan, Trajectory

MOST_FRAMES = 100_000
"""An hour of video: beyond it a number is a slip, and its path takes gigabytes."""
WAN_FRAMES, WAN_WIDTH, WAN_HEIGHT = 81, 832, 480


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestedCamera:
    """What the command line asks of the camera."""

    plan: CameraPlan
    """Without segments if the path is a file's."""
    trajectory: Trajectory | None
    """None: the prompt has no camera words."""
    num_frames: int
    """Of the clip; the trajectory's, if there is one."""


def add_path_arguments(parser: argparse.ArgumentParser, *, example: str) -> None:
    """--prompt, --poses, --depth-unit, --frames, --width, --height."""
    parser.add_argument("--prompt", metavar="TEXT", help=f"for example {example!r}")
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="instead of --prompt, your own path: .txt (RealEstate10K, CameraCtrl) or .npz (world_from_camera [T, 4, 4]"
        " and focal_per_width), OpenCV axes",
    )
    parser.add_argument(
        "--depth-unit",
        type=float,
        metavar="D",
        help="median depth of the first frame in the unit of the --poses file; no file states it, so you must know it "
        "(default: 1, which is right for files that worldr1 wrote)",
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help=f"frames of the clip (default: {WAN_FRAMES}, or those of --poses)"
    )
    parser.add_argument(
        "--width", type=int, default=WAN_WIDTH, metavar="PX", help=f"of the video (default: {WAN_WIDTH})"
    )
    parser.add_argument(
        "--height", type=int, default=WAN_HEIGHT, metavar="PX", help=f"of the video (default: {WAN_HEIGHT})"
    )


def requested_camera(args: argparse.Namespace) -> RequestedCamera:
    """The path that the arguments name. Raises InputError for bad words or files, and unless there is one source."""
    if (args.prompt is None) == (args.poses is None):
        raise InputError("give either --prompt TEXT or --poses FILE (one of the two)")
    for name in ("frames", "width", "height"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise InputError(f"--{name} must be at least 1, got {number}")
    if args.frames is not None and args.frames > MOST_FRAMES:
        raise InputError(f"--frames must be at most {MOST_FRAMES:,}, got {args.frames}")
    if args.prompt is None:
        trajectory = read_trajectory(
            args.poses,
            num_frames=args.frames,
            depth_unit=1.0 if args.depth_unit is None else args.depth_unit,
            aspect=args.width / args.height,
        )
        return RequestedCamera(plan=CameraPlan(segments=()), trajectory=trajectory, num_frames=trajectory.num_frames)
    if args.depth_unit is not None:
        raise InputError("--depth-unit belongs to --poses: the moves of a prompt are in depth units already")
    plan = parse_plan(args.prompt)
    num_frames = WAN_FRAMES if args.frames is None else args.frames
    return RequestedCamera(plan=plan, trajectory=requested_path(plan.tokens, num_frames), num_frames=num_frames)
