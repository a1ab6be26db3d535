"""Settings of a recipe side by side: each trains for the same minutes and is judged on the tuning prompts.

    python benchmarks/settings.py SETTINGS.txt --out DIR [--recipe mini-gpu] [--minutes 4.4] [--gpus 2]

A line of SETTINGS.txt is a name and `key=value` words, as `worldr1 train --set` takes them; several runs share a GPU if
there are more lines than GPUs (which gains no time where the GPU is busy: docs/log.md). Each run leaves DIR/NAME with
its log, adapter, metrics and judge/table.md; what is done already is not done again. Prints one table of all runs: the
judge's targets, beside how far the policy went (KL) and what an update cost.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import heading

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.train.runlog import read_metrics

COLUMNS = {
    "gap_closed": "gap closed",
    "rotation_error": "rotation",
    "translation_error": "translation",
    "words": "words",
    "image_gradient": "gradient, farther from truth by",
    "travel": "travel",
    "dynamic_words": "dynamic words",
    "mover_motion": "mover motion",
    "rejected": "rejected",
}
"""Targets of `evaluate.judging.targets`, in the order of the table."""


class Setting(NamedTuple):
    """One line of the file."""

    name: str
    overrides: list[str]


def read_settings(text: str) -> list[Setting]:
    """Name and overrides of every line; empty lines and those that begin with # are left out.

    Raises ValueError for a name that is given twice.
    """
    lines = [shlex.split(line) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    settings = [Setting(name, overrides) for name, *overrides in lines]
    if len({setting.name for setting in settings}) < len(settings):
        raise ValueError("two settings have one name: give each line another one")
    return settings


def run(setting: Setting, args: argparse.Namespace, gpu: int) -> None:
    """Trains and judges one setting, output to DIR/NAME.log; what is there is kept. Raises CalledProcessError."""
    folder: Path = args.out / setting.name
    minutes = ["train.updates=100000", f"train.max_minutes={args.minutes}"]
    sets = [word for override in [*minutes, *setting.overrides] for word in ("--set", override)]
    begun = (folder / "recipe.toml").is_file()
    train = ["train", "--resume", str(folder)] if begun else ["train", args.recipe, *sets, "--out", str(folder)]
    prompts = ["--prompts", str(args.prompts), "--dynamic-prompts", str(args.dynamic_prompts)]
    out = ["--out", str(folder / "judge"), "--overwrite"]  # a kill may have left half of it
    judge = ["mini", "judge", "--run", str(folder), "--stream", "tuning", *prompts, *out]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": str(gpu)}
    with (args.out / f"{setting.name}.log").open("a") as log:
        for command, result in ((train, folder / "report.html"), (judge, folder / "judge" / "table.md")):
            if not result.is_file():
                whole = [sys.executable, "-m", "worldr1", *command]
                subprocess.run(whole, stdout=log, stderr=subprocess.STDOUT, env=environment, check=True)


def row(setting: Setting, out: Path) -> str:
    """The setting's line of the table; says so if it failed."""
    file = out / setting.name / "judge" / "judging.json"
    if not file.is_file():
        return f"| {setting.name} | failed: see {setting.name}.log |"
    found: dict[str, Any] = {target["name"]: target for target in json.loads(file.read_text())["judges"]["judge"]}
    metrics = read_metrics(out / setting.name)
    seconds = statistics.median(float(line["seconds"]) for line in metrics)
    kl = [float(line["kl_sum"]) for line in metrics if "kl_sum" in line]
    cells = [_cell(found[name]) for name in COLUMNS]
    last = [str(len(metrics)), f"{seconds:.2f}", f"{kl[-1]:.2f}" if kl else "-"]
    return f"| {setting.name} | {' | '.join([*cells, *last])} |"


def _cell(target: dict[str, Any]) -> str:
    """Value and interval; bold where the target is met. A value that does not exist is a dash."""
    if target["value"] is None:
        return "-"
    scale, ending = (100, " %") if target["percent"] else (1, "")
    digits = 0 if target["percent"] else target["decimals"]
    value, low, high = (
        "?" if target[name] is None else f"{scale * target[name]:+.{digits}f}" for name in ("value", "low", "high")
    )
    text = f"{value}{ending} [{low}, {high}]"
    return f"**{text}**" if target["verdict"] == "met" else text


def table(settings: Sequence[Setting], out: Path) -> str:
    """Markdown; bold: the target of the mini world (docs/results.md) is met."""
    titles = [*COLUMNS.values(), "updates", "s an update", "KL, nats"]
    lines = [f"| setting | {' | '.join(titles)} |", "|" + "---|" * (len(titles) + 1)]
    lines += [row(setting, out) for setting in settings]
    lines += ["", *(f"- {setting.name}: `{' '.join(setting.overrides)}`" for setting in settings)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="mini-gpu")
    parser.add_argument("--minutes", type=float, default=4.4, help="of updates; evaluations and judge come on top")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=144, help="static ones that the judge looks at")
    parser.add_argument("--dynamic-prompts", type=int, default=48)
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = read_settings(args.settings.read_text())
    if torch.cuda.is_available():  # runs that start together would break each other's compilation (docs/log.md)
        GsplatRenderer()
    with ThreadPoolExecutor(len(settings)) as pool:
        jobs = [pool.submit(run, setting, args, number % args.gpus) for number, setting in enumerate(settings)]
        for job, setting in zip(jobs, settings, strict=True):
            try:
                job.result()
            except subprocess.CalledProcessError as error:
                print(f"{setting.name}: exit code {error.returncode}", file=sys.stderr)
    print(heading(), table(settings, args.out), sep="\n\n")


if __name__ == "__main__":
    main()
