"""`worldr1 camera`: what a prompt's camera words mean, or a file's path holds: plan, poses, picture, file."""

import argparse
import json
import math
from pathlib import Path

from torch import Tensor

from worldr1.camera.files import write_trajectory
from worldr1.camera.plot import plot_path
from worldr1.cli.camera_path import add_path_arguments, requested_camera
from worldr1.cli.places import add_overwrite, check_file
from worldr1.errors import InputError
from worldr1.geometry.se3 import geodesic_rad
from worldr1.types import CameraPlan, Trajectory

_NUM_ROWS = 9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--prompt or --poses with their sizes, --out, --plot, --overwrite, --json."""
    add_path_arguments(parser, example="Camera push in, then pan left.")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the path in depth units: .txt (RealEstate10K, CameraCtrl; fy from --width and --height) or .npz",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the path from above and as frustums")
    add_overwrite(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print the plan and the poses, write what was asked for; 0. Raises InputError for bad words, sizes or files."""
    camera = requested_camera(args)
    trajectory = camera.trajectory
    if args.plot is not None:
        check_file(args.plot, option="--plot", suffix=".png", overwrite=args.overwrite)
    if args.poses is not None and args.out is not None and args.out.exists() and args.out.samefile(args.poses):
        raise InputError(f"--out {args.out} is the --poses file itself: choose another --out")
    if args.out is not None:
        check_file(args.out, overwrite=args.overwrite)
    if args.out is not None or args.plot is not None:
        if trajectory is None:
            verb = "plot" if args.out is None else "write"
            raise InputError(f"there is no path to {verb}: the prompt has no camera words")
        if args.out is not None:
            write_trajectory(args.out, trajectory, aspect=args.width / args.height)
        if args.plot is not None:
            title = camera.plan.tokens if args.poses is None else [args.poses.stem]
            plot_path(trajectory, title).save(args.plot)
    if args.json:
        print(json.dumps(_record(args.prompt or "", camera.plan, trajectory)))
        return 0
    if args.poses is not None and trajectory is not None:
        _print_poses(args.poses, trajectory)
    else:
        _print_table(args.prompt, camera.plan, trajectory)
    written = [f"{kind}: {file}" for kind, file in (("path", args.out), ("picture", args.plot)) if file is not None]
    if written:
        print("", *written, sep="\n")
    return 0


def _record(prompt: str, plan: CameraPlan, trajectory: Trajectory | None) -> dict[str, object]:
    """The JSON object: field names are an interface."""
    return {
        "tokens": list(plan.tokens),
        "segments": [{"token": s.token, "span": list(s.span), "text": prompt[slice(*s.span)]} for s in plan.segments],
        "world_from_camera": [] if trajectory is None else trajectory.world_from_camera.tolist(),
    }


def _print_table(prompt: str, plan: CameraPlan, trajectory: Trajectory | None) -> None:
    if trajectory is None:
        print("The prompt has no camera words: no path is requested (which is not the same as a fixed camera).")
        return
    for index, segment in enumerate(plan.segments, start=1):
        start, end = segment.span
        print(f"move {index}: {segment.token:<12} {prompt[start:end]!r}, characters {start} to {end}")
    print("\nframe   x (right)   z (forward)   yaw (degrees, right)     translations in depth units")
    for index in _shown_frames(trajectory):
        pose = trajectory.world_from_camera[index]
        print(f"{index:5d}   {float(pose[0, 3]):9.4f}   {float(pose[2, 3]):11.4f}   {_yaw_deg(pose):6.2f}")


def _print_poses(file: Path, trajectory: Trajectory) -> None:
    """Unlike a prompt's moves, a file's path may also climb, look up and roll: `turn` is the whole angle to frame 0.

    The `z` of the formats prints -0.00 as 0.00: the rounding of inverted poses has either sign.
    """
    print(f"{trajectory.num_frames} poses of {file}, focal length {trajectory.focal_per_width:.4g} of the width")
    print("\nframe   x (right)   y (down)   z (forward)   yaw (degrees, right)   pitch (up)    turn")
    for index in _shown_frames(trajectory):
        pose = trajectory.world_from_camera[index]
        x, y, z = pose[:3, 3].tolist()
        pitch_deg = math.degrees(math.asin(min(max(-float(pose[1, 2]), -1.0), 1.0)))
        turn_deg = math.degrees(float(geodesic_rad(pose[:3, :3], trajectory.world_from_camera[0, :3, :3])))
        angles = f"{_yaw_deg(pose):z20.2f}   {pitch_deg:z10.2f}   {turn_deg:5.2f}"
        print(f"{index:5d}   {x:z9.4f}   {y:z8.4f}   {z:z11.4f}   {angles}")


def _shown_frames(trajectory: Trajectory) -> list[int]:
    """Up to nine, evenly spread, the first and the last among them."""
    rows = min(_NUM_ROWS, trajectory.num_frames)
    return [round(row * (trajectory.num_frames - 1) / max(rows - 1, 1)) for row in range(rows)]


def _yaw_deg(pose: Tensor) -> float:
    return math.degrees(math.atan2(float(pose[0, 2]), float(pose[2, 2])))
