"""`worldr1 evaluate`: a model, a LoRA or a folder of videos on a suite of prompts, by a judge that no reward met."""

import argparse
import json
import math
import platform
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from worldr1 import __version__
from worldr1.cli.evaluate_sources import TRUTH, Source, find_source, num_samples
from worldr1.cli.judges import JUDGES, check_judge, default_judge, judge_device, load_fitting, load_judge_model
from worldr1.cli.model_options import MINI, PACKAGED, add_model_arguments
from worldr1.cli.options import refuse_unread
from worldr1.cli.places import make_folder
from worldr1.cli.progress import bar
from worldr1.errors import InputError
from worldr1.evaluate.suites.suite import SUITES, Suite, load_suite

if TYPE_CHECKING:
    from worldr1.evaluate.folder import EvaluationFolder, Facts
    from worldr1.evaluate.statistics.subsets import Estimate
    from worldr1.evaluate.suites.summary import GroupSummary
    from worldr1.evaluate.suites.videos import FileJudge, SuiteVideo

EXPORT_CLIP = (81, 480, 832)
"""Frames, height and width of exported poses: Wan's; the mini suite has its own (`backends.mini.CLIP_SIZE`)."""
NAMED = PACKAGED | {"truth": ("--model", "truth")}
"""What `worldr1 compare` evaluates by itself, on the mini suite: the words that say so here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `evaluate`."""
    add_model_arguments(parser)
    parser.add_argument("--lora", metavar="FILE", help="adapter.safetensors of a run, or mini-r1: the packaged one")
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="instead of a model: a folder with videos and their manifest.jsonl"
    )
    parser.add_argument("--suite", default=MINI, metavar="NAME", help=f"{', '.join(SUITES)} (default: mini)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="videos per prompt (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all start noises (default: 0)")
    parser.add_argument(
        "--judge",
        metavar="NAME",
        help=f"the 3D model that measures: {', '.join(JUDGES)} (default: judge for the mini world, else sfm)",
    )
    parser.add_argument(
        "--judge-weights", default="", metavar="DIR|HUB", help="of Depth Anything 3: a folder or a hub name"
    )
    parser.add_argument(
        "--lpips", type=Path, metavar="FILE", help="alexnet-owt-7be5be79.pth: measure LPIPS too (docs/models.md)"
    )
    parser.add_argument(
        "--fit", action="store_true", help="optimise 3D Gaussians for every video too: needs an NVIDIA GPU with gsplat"
    )
    parser.add_argument(
        "--vbench", metavar="PYTHON", help="measure VBench too: the python of an environment that has vbench 0.1.5"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of the evaluation (default: evaluations/SUITE-TITLE); goes on there"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the suite's first N prompts: spread as the whole is")
    parser.add_argument("--title", metavar="TEXT", help="what tables call the model (default: its name)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for example clip.frames=49")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--export-suite", type=Path, metavar="DIR", help="evaluate nothing: write the suite for other programs"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, or go on, print the table and write the report; 0. Raises InputError for what cannot be evaluated."""
    suite = load_suite(args.suite)
    for name in ("samples", "limit"):
        if (number := getattr(args, name)) is not None and number < 1:
            raise InputError(f"--{name} must be at least 1, got {number}")
    _refuse_unread(args)
    if args.export_suite is not None:
        return _export(args, suite)
    folder = _evaluate(args, suite)
    _print(folder, suite, as_json=args.json)
    sys.stdout.flush()  # the numbers are there while the page is made
    print(f"report: {_write_report(folder, suite)}", file=sys.stderr)
    return 0


def _refuse_unread(args: argparse.Namespace) -> None:
    """Raises InputError for options that say how a model samples where none does, or how to judge where nobody does."""
    usual = _parsed([])
    sampling = ("weights", "dtype", "attention", "compile", "negative_prompt", "lora", "samples", "set")
    if args.export_suite is not None:
        read = {"export_suite", "suite", "samples", "set"}
        unread = [name for name in vars(usual) if name not in read]
        refuse_unread(args, usual, unread, why="--export-suite writes the whole suite, and evaluates nothing")
    elif args.videos is not None:
        refuse_unread(args, usual, ("model", *sampling, "seed"), why="--videos are made already")
    elif args.model == TRUTH:
        refuse_unread(args, usual, sampling, why=f"--model {TRUTH} is rendered once, by no model")


def evaluate_named(name: str, *, limit: int | None = None) -> "EvaluationFolder":
    """The mini suite by a model of `NAMED`, as `worldr1 evaluate` does it: what is there already is not done again."""
    words = [*NAMED[name], "--title", name, *([] if limit is None else ["--limit", str(limit)])]
    return _evaluate(_parsed(words), load_suite(MINI))


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """As the command line has them after `worldr1 evaluate`."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def _evaluate(args: argparse.Namespace, suite: Suite) -> "EvaluationFolder":
    source = find_source(args, suite)
    from worldr1.evaluate.metrics import MEASURED_BY_FITTING
    from worldr1.evaluate.metrics.vbench import check_vbench

    name = args.judge or default_judge(suite, real_model=args.videos is None and args.model not in (MINI, "truth"))
    check_judge(name, weights=args.judge_weights)
    # before hours of sampling
    if args.lpips is not None and not args.lpips.is_file():
        raise InputError(f"--lpips {args.lpips} is no file: give AlexNet's weights as torchvision has them")
    if args.vbench is not None:
        check_vbench(args.vbench)
    fitting = load_fitting() if args.fit else None
    out = args.out or Path("evaluations") / _slug(f"{suite.name}-{source.title}")
    folder = _open(out, _facts(source, suite, name, gpu=args.fit))
    wanted = [*(MEASURED_BY_FITTING[:1] if args.fit else ()), *(["perceptual_holdout"] if args.lpips else ())]

    def load_judge() -> "FileJudge":
        return load_judge_model(name, suite, weights=args.judge_weights, lpips=args.lpips, fitting=fitting)

    try:
        _make_and_judge(folder, source, load_judge, wanted, vbench=args.vbench)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the same command goes on: {out} has all that is done") from None
    print(f"wrote {folder.path}", file=sys.stderr)
    return folder


def _write_report(folder: "EvaluationFolder", suite: Suite) -> Path:
    from worldr1.evaluate.pages.evaluation_page import write_evaluation_report
    from worldr1.evaluate.suites.published import published_rows

    return write_evaluation_report(folder, published=published_rows(suite.name))


def _export(args: argparse.Namespace, suite: Suite) -> int:
    from worldr1.backends.mini import CLIP_SIZE
    from worldr1.evaluate.suites.export import export_suite

    frames, height, width = CLIP_SIZE if suite.mini else EXPORT_CLIP
    numbers = {"frames": suite.frames or frames, "height": height, "width": width}
    for text in args.set:
        key, _, value = text.partition("=")
        size = key.strip().removeprefix("clip.")
        if size not in numbers or not value.strip().isdigit() or int(value) < 2:
            raise InputError(f"--set {text}: an export has clip.frames, clip.height and clip.width, numbers from 2 on.")
        numbers[size] = int(value)
    clip = (numbers["frames"], numbers["height"], numbers["width"])
    make_folder(args.export_suite, option="--export-suite")
    export_suite(suite, args.export_suite, clip=clip, samples=args.samples)
    print(args.export_suite)
    return 0


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "evaluation"


# ----------------------------------------------------------------------------------------------------------- evaluating


def _facts(source: Source, suite: Suite, judge: str, *, gpu: bool) -> "Facts":
    """gpu: whether judging needs one, whatever the judge."""
    from worldr1.evaluate.folder import Facts

    facts = Facts(
        title=source.title,
        source=source.facts,
        suite=suite.name,
        suite_sha256=suite.sha256,
        clip=(0, 0, 0),  # known from the first video
        samples=num_samples(source.videos),
        judge=judge,
        reward_model=source.reward_model,
        settings=source.settings,
        worldr1=__version__,
        machine=_machine(),
        devices={"judging": "cuda" if gpu else judge_device(judge)}
        | ({"sampling": source.device} if source.device else {}),
    )
    notes = []
    if facts.judged_by_reward:
        notes.append(f"the judge {judge} is the 3D model that these weights were rewarded by: its figures flatter them")
    if source.reward_model is None:
        notes.append("which 3D model these weights were rewarded by is not known: it may be the judge")
    return replace(facts, notes=tuple(notes))


def _open(out: Path, facts: "Facts") -> "EvaluationFolder":
    from worldr1.evaluate.folder import FACTS_FILE, RECORDS_FILE, EvaluationFolder
    from worldr1.evaluate.pages.evaluation_page import REPORT_FILE

    make_folder(out)
    for name in (RECORDS_FILE, REPORT_FILE):
        if (out / name).exists() and not (out / FACTS_FILE).exists():
            raise InputError(f"{out} holds something else than an evaluation ({name}): choose another --out")
    if (out / FACTS_FILE).is_file():  # its videos have told it
        facts = replace(facts, clip=EvaluationFolder.load(out).facts.clip)
    for note in facts.notes:
        print(f"warning: {note}", file=sys.stderr)
    folder = EvaluationFolder.create(out, facts)
    on_gpu = {what: device for what, device in facts.devices.items() if device == "cuda"}
    if not on_gpu.items() <= folder.facts.devices.items():  # begun without one
        folder.save_facts(replace(folder.facts, devices={**folder.facts.devices, **on_gpu}))
    if folder.records:
        print(f"{len(folder.records)} videos in {out} are judged already", file=sys.stderr)
    return folder


def _make_and_judge(
    folder: "EvaluationFolder",
    source: Source,
    load_judge: "Callable[[], FileJudge]",
    wanted: "Collection[str]",
    *,
    vbench: str | None,
) -> None:
    """All videos, then all records, holding the folder alone; what a killed process left is gone on with.

    The judge is loaded when the model that made the videos is gone: together they may not fit a GPU. wanted: measures
    that an option asks for: videos that were judged without them are judged again. vbench: the python that has it.
    """
    from worldr1.evaluate.folder import VIDEOS
    from worldr1.evaluate.suites.videos import lacks
    from worldr1.train.run_lock import RunLock

    lock, videos = RunLock(folder.path), folder.path / VIDEOS
    try:
        notes = source.make(videos, lambda seconds: _count(folder, "sampling", seconds))
        judged = {record.key for record in folder.records if not lacks(record, wanted)}
        left = [video for video in source.videos if video.key not in judged]
        before = [note for note in folder.facts.notes if not source.counts_videos(note)]
        seen: dict[str, None] = dict.fromkeys((*before, *notes))
        if left:
            _judge(folder, source, left, load_judge(), seen)
        folder.save_facts(replace(folder.facts, notes=tuple(seen)))
        if vbench is not None:
            _score_by_vbench(folder, vbench)
    finally:
        lock.close()


def _judge(
    folder: "EvaluationFolder",
    source: Source,
    left: "Sequence[SuiteVideo]",
    judge: "FileJudge",
    notes: dict[str, None],
) -> None:
    """A record of each; notes (of keys): what readers must know is added."""
    from worldr1.evaluate.folder import VIDEOS
    from worldr1.evaluate.pages.pictures import save_pictures
    from worldr1.types import Status

    known = {record.key: record.measures for record in folder.records}
    print(f"judge {judge.name}, licence {judge.licence}", file=sys.stderr)
    with bar("judging", len(left)) as update:
        for first in range(0, len(left), judge.at_once):
            begin, some = monotonic(), left[first : first + judge.at_once]
            judged = judge([folder.path / VIDEOS / video.name for video in some], some)
            for found in judged:
                if found.record.status is Status.OK and found.reconstruction is not None:
                    clip = found.clip.to(judge.device)
                    save_pictures(folder, found.record, clip, found.reconstruction, judge.judge.renderer)
                measures = known.get(found.record.key, {}) | found.record.measures
                folder.append(replace(found.record, measures=measures))
                if source.made_elsewhere:  # of our own videos it says only that they were enlarged to be watched
                    notes |= dict.fromkeys(found.notes)
            _count(folder, "judging", monotonic() - begin, clip=tuple(judged[-1].clip[:, 0].shape))
            update(advance=len(some))


def _score_by_vbench(folder: "EvaluationFolder", python: str) -> None:
    from worldr1.evaluate.suites.vbench_scores import add_vbench_scores, without_scores

    if not (left := without_scores(folder)):
        return
    print(f"VBench of {python} scores {len(left)} videos", file=sys.stderr)
    begin = monotonic()
    add_vbench_scores(folder, python)
    folder.save_facts(replace(folder.facts, devices={**folder.facts.devices, "VBench": "cuda"}))
    _count(folder, "VBench", monotonic() - begin)


def _count(folder: "EvaluationFolder", what: str, seconds: float, clip: tuple[int, ...] | None = None) -> None:
    facts = folder.facts
    total = {**facts.seconds, what: facts.seconds.get(what, 0.0) + seconds}
    folder.save_facts(replace(facts, seconds=total, clip=facts.clip if clip is None else clip))


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"


# --------------------------------------------------------------------------------------------------------------- output


def _print(folder: "EvaluationFolder", suite: Suite, *, as_json: bool) -> None:
    from worldr1.evaluate.suites.published import PUBLISHED, load_published
    from worldr1.evaluate.suites.summary import as_json as groups_as_json
    from worldr1.evaluate.suites.summary import summarise, summarise_types, valid_share
    from worldr1.types import Status

    facts, records = folder.facts, folder.records
    groups, types = summarise(records), summarise_types(records)
    tables = load_published().for_suite(suite.name)
    counts = {status.value: sum(record.status is status for record in records) for status in Status}
    prompts = len({record.prompt_key for record in records})
    if as_json:
        told: dict[str, Any] = {"folder": str(folder.path), **asdict(facts), "judged_by_reward": facts.judged_by_reward}
        told |= {"num_prompts": prompts, "num_suite_prompts": len(suite.prompts), "num_videos": len(records)}
        told |= {"valid_share": valid_share(records), "statuses": counts}
        told |= {"groups": groups_as_json(groups), "scene_types": groups_as_json(types)}
        told["published"] = {"status": PUBLISHED, "tables": [asdict(table) for table in tables]}
        print(json.dumps(told, allow_nan=False))
        return
    print(
        f"{facts.title}: {len(records)} videos of {prompts} of the {len(suite.prompts)} prompts of the suite "
        f"{suite.name}, judged by {facts.judge}"
    )
    print(
        f"valid: {valid_share(records):.1%} ({counts['rejected']} rejected, {counts['fault']} faults); "
        f"intervals are 95 % over prompts, figures are of the valid videos"
    )
    _table(groups)
    if len(types) > 1:
        _table(types)
    units = {"cuda": "GPU-seconds", "cpu": "seconds of the CPU"}
    costs = [f"{what} {seconds:.1f} {units[facts.devices[what]]}" for what, seconds in facts.seconds.items()]
    print(f"cost: {', '.join(costs)} ({facts.machine})")
    for note in facts.notes:
        print(f"note: {note}")
    if tables:
        ids = ", ".join(table.id for table in tables)
        print(f"the paper's tables {ids} have numbers for such prompts ({PUBLISHED}): --json prints them")


def _table(groups: "Sequence[GroupSummary]") -> None:
    from rich.console import Console
    from rich.table import Table

    from worldr1.evaluate.labels import LABELS, in_table_order, label_of

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for group in groups:
        table.add_column(group.name, justify="right")
    table.add_row("prompts, videos", *(f"{group.num_prompts}, {group.num_videos}" for group in groups))
    table.add_row("valid", *(f"{group.valid:.0%}" for group in groups))
    found = {name for group in groups for name in group.values}
    for name in in_table_order(found & set(LABELS)):  # the others, a probe's words one by one, are in the JSON
        label = label_of(name)
        table.add_row(label.text, *(_cell(group.values.get(name), label.decimals) for group in groups))
    console = Console()
    console.width = max(console.width, 60 + 24 * len(groups))  # a number that is cut is none
    console.print(table)


def _cell(value: "Estimate | None", decimals: int) -> str:
    if value is None:
        return "-"
    text = f"{value.mean:.{decimals}f}"
    return f"{text} [{value.low:.{decimals}f}, {value.high:.{decimals}f}]" if math.isfinite(value.low) else text
