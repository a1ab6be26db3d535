"""`worldr1 camera`: what a prompt's camera words mean: plan, poses, picture."""

import argparse
import json
import math
from pathlib import Path

from worldr1.camera.motion import parse_plan
from worldr1.camera.plot import plot_path
from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.types import CameraPlan, Trajectory

_NUM_ROWS = 9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--prompt, --frames, --plot, --json."""
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="for example 'Camera push in, then pan left.'")
    parser.add_argument("--frames", type=int, default=81, metavar="N", help="frames of the clip (default: 81)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the path from above")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print the plan and the poses; 0. Raises InputError for bad words, sizes or paths."""
    plan = parse_plan(args.prompt)
    if args.frames < 1:
        raise InputError(f"--frames must be at least 1, got {args.frames}")
    trajectory = requested_path(plan.tokens, args.frames)
    if args.plot is not None:
        _save_plot(args.plot, plan, trajectory)
    if args.json:
        print(json.dumps(_record(args.prompt, plan, trajectory)))
    else:
        _print_table(args.prompt, plan, trajectory)
        if args.plot is not None:
            print(f"\npicture: {args.plot}")
    return 0


def _save_plot(path: Path, plan: CameraPlan, trajectory: Trajectory | None) -> None:
    if trajectory is None:
        raise InputError("there is no path to plot: the prompt has no camera words")
    if path.suffix.lower() != ".png":
        raise InputError(f"--plot writes a PNG: give a file name that ends in .png, not {path.name!r}")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it or choose another place for --plot")
    plot_path(trajectory, plan.tokens).save(path)


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
    num_frames = trajectory.num_frames
    rows = min(_NUM_ROWS, num_frames)
    for index in (round(row * (num_frames - 1) / max(rows - 1, 1)) for row in range(rows)):
        pose = trajectory.world_from_camera[index]
        yaw_deg = math.degrees(math.atan2(float(pose[0, 2]), float(pose[2, 2])))
        print(f"{index:5d}   {float(pose[0, 3]):9.4f}   {float(pose[2, 3]):11.4f}   {yaw_deg:6.2f}")
