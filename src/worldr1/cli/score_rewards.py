"""`worldr1 score --rewards RECIPE VIDEO...`: every part of a training reward for finished videos, with its pictures."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F
from jaxtyping import Float
from rich.console import Console
from rich.table import Table as RichTable
from torch import Tensor

from worldr1.cli.places import check_absent, make_folder
from worldr1.cli.progress import bar
from worldr1.errors import InputError
from worldr1.types import Prompt
from worldr1.video_io import read_mp4

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help does not wait for them
    from worldr1.build import ClipConfig
    from worldr1.evaluate.pages.reward_page import Table
    from worldr1.evaluate.scoring.reward_parts import PromptedVideo, RewardGroup

PAGE_FILE, DATA_FILE = "rewards.html", "rewards.json"


def add_reward_arguments(parser: argparse.ArgumentParser) -> None:
    """What `worldr1 score` takes beside its own arguments."""
    group = parser.add_argument_group("a training reward, part by part")
    group.add_argument(
        "--rewards",
        metavar="RECIPE",
        help="score with this recipe's reward instead; prompts: --prompt, NAME.txt beside NAME.mp4, or records.json "
        "there; videos of one prompt are one group",
    )
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")


def run_rewards(args: argparse.Namespace) -> int:
    """Score args.videos by the reward of the recipe args.rewards; 0, also if some are rejected or faults.

    Reads args.prompt, args.json, args.out, args.overwrite and args.set. Raises InputError for a recipe, a video, a
    prompt or a folder that cannot be used.
    """
    from worldr1.build import build_local_reward, choose_device, load_experiment
    from worldr1.evaluate.pages.reward_page import reward_page
    from worldr1.evaluate.scoring.reward_findings import as_json
    from worldr1.evaluate.scoring.reward_parts import score_groups

    if args.out is not None:
        check_absent(args.out / PAGE_FILE, args.out / DATA_FILE, overwrite=args.overwrite)
    config = load_experiment(args.rewards, tuple(args.set))
    # all files are read before the first is scored: a wrong name should not cost minutes
    videos = _read_all(args.videos, args.prompt, args.rewards, config.clip)
    if args.out is not None:
        make_folder(args.out)
    device = choose_device(config.device)
    reward = build_local_reward(config.reward, device, config.clip)
    with bar("scoring", len(videos)) as update:
        groups = score_groups(
            reward,
            [video._replace(video=video.video.to(device)) for video in videos],
            std_floor=config.train.std_floor,
            with_pictures=args.out is not None,
            on_progress=lambda done: update(completed=done),
        )
    data = {"recipe": args.rewards, "set": list(args.set), "groups": [as_json(group) for group in groups]}
    record = json.dumps(data, allow_nan=False)
    if args.out is not None:
        (args.out / DATA_FILE).write_text(record + "\n", encoding="utf-8")
        page = reward_page(groups, recipe=args.rewards, model_frames=config.reward.quality.num_frames)
        (args.out / PAGE_FILE).write_text(page, encoding="utf-8")
        print(f"pictures: {args.out / PAGE_FILE}", file=sys.stderr)
    if args.json:
        print(record)
    else:
        for group in groups:
            _print_group(group)
    return 0


# -------------------------------------------------------------------------------------------------------------- input


def _read_all(paths: Sequence[str], prompt: str | None, recipe: str, clip: "ClipConfig") -> list["PromptedVideo"]:
    from worldr1.evaluate.scoring.reward_parts import PromptedVideo

    found = [Prompt(id=0, text=prompt) if prompt else _prompt_beside(Path(path)) for path in paths]
    return [
        PromptedVideo(path=path, video=_at_clip_size(path, read_mp4(path), recipe, clip), prompt=of)
        for path, of in zip(paths, found, strict=True)
    ]


def _prompt_beside(path: Path) -> Prompt:
    """The prompt of NAME.mp4: NAME.txt, or what an evaluation's records.json says. Raises InputError without one."""
    from worldr1.evaluate.records import RECORDS_FILE, Evaluation

    note = path.with_suffix(".txt")
    if note.is_file():
        try:
            text = " ".join(note.read_text(encoding="utf-8").split())
        except (UnicodeDecodeError, PermissionError) as error:
            raise InputError(f"{note} cannot be read as text ({error}); write the video's prompt into it.") from error
        if not text:
            raise InputError(f"{note} is empty; write the video's prompt into it.")
        return Prompt(id=0, text=text)
    if (path.parent / RECORDS_FILE).is_file():
        for record in Evaluation.load(path.parent).records:
            if record.video == path.name:
                return Prompt(id=record.prompt_id, text=record.prompt, dynamic=record.dynamic)
    if not path.is_file():
        raise InputError(f"There is no video file {path}; check the path.")
    raise InputError(f"{path} has no prompt, which its reward needs: give --prompt TEXT, or write it to {note}.")


def _at_clip_size(
    path: str, video: Float[Tensor, "T 3 H W"], recipe: str, clip: "ClipConfig"
) -> Float[Tensor, "T 3 h w"]:
    """The video at the recipe's own size. One that was enlarged by a whole factor is averaged back in squares, which
    undoes `write_mp4(upscale=...)`. Raises InputError for any other size: a reward is not what training would see."""
    frames, _, height, width = video.shape
    factor = max(1, height // clip.height)
    if (frames, height, width) != (clip.frames, clip.height * factor, clip.width * factor):
        raise InputError(
            f"{path} has {frames} frames of {height} x {width}, but the model of {recipe} makes {clip.frames} frames "
            f"of {clip.height} x {clip.width} (or these enlarged by a whole factor): give such videos, or leave out "
            "--rewards."
        )
    return F.avg_pool2d(video, factor)


# ------------------------------------------------------------------------------------------------------------- output


def _print_group(group: "RewardGroup") -> None:
    from worldr1.evaluate.pages.reward_page import measures_table, parts_table, request_of
    from worldr1.evaluate.scoring.reward_findings import findings

    print(group.prompt.text)
    print(request_of(group))
    _print_table(parts_table(group))
    _print_table(measures_table(group))
    print(*(f"{number}  {member.path}" for number, member in enumerate(group.members, start=1)), sep="\n")
    print(*(f"- {sentence}" for sentence in findings(group)), "", sep="\n")


def _print_table(table: "Table") -> None:
    shown = RichTable(box=None, pad_edge=False)
    for index, title in enumerate(table.titles):
        shown.add_column(title.replace(" ", "\n") if index else title, justify="right" if index else "left")
    for row in table.rows:
        shown.add_row(*row)
    Console().print(shown)
