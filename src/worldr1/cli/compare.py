"""`worldr1 compare`: what two or more evaluations of one suite differ in, prompt by prompt."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from worldr1.cli.options import check_distinct
from worldr1.cli.places import add_overwrite, check_file
from worldr1.cli.progress import bar
from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.evaluate.folder import EvaluationFolder
    from worldr1.evaluate.statistics.differences import Difference
    from worldr1.evaluate.statistics.folders import FolderComparison, PairedComparison

DEFAULT_PAGE = Path("comparison.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`."""
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="DIR",
        help="of `worldr1 evaluate`; all are held against the first. base, mini-r1 and truth are the mini world's own, "
        "and evaluated first if need be (10 minutes each on two CPU cores)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="of what is evaluated here: the suite's first N prompts")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_PAGE, metavar="FILE.html", help=f"the page (default: {DEFAULT_PAGE})"
    )
    parser.add_argument("--metric", metavar="NAME", help="chooses the largest gains and losses (default: the PSNR)")
    add_overwrite(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print the differences and write the page. Raises InputError for folders that cannot be compared."""
    from worldr1.evaluate.pages.comparison_page import write_comparison_page
    from worldr1.evaluate.statistics.folders import compare_folders
    from worldr1.evaluate.suites.published import published_rows

    if len(args.folders) < 2:
        raise InputError("Give two folders of `worldr1 evaluate` or more; all are held against the first.")
    check_distinct(args.folders, what="the evaluation")
    check_file(args.out, suffix=".html", overwrite=args.overwrite)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit must be at least 1, got {args.limit}")
    if args.limit is not None and not any(_is_named(name) for name in args.folders):
        raise InputError("--limit is of what is evaluated here, and these folders are evaluated already: leave it out")
    _check_metric(args)
    folders = [resolve(name, limit=args.limit) for name in args.folders]
    comparison = compare_folders(folders, metric=args.metric)
    if args.json:
        print(json.dumps(comparison.as_json(), allow_nan=False))
    else:
        _print(comparison)
    sys.stdout.flush()  # the numbers are there while the page is made
    with bar("page") as update:
        page = write_comparison_page(
            args.out,
            comparison,
            published=published_rows(folders[0].facts.suite),
            on_progress=lambda done, total: update(completed=done, total=total),
        )
    print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
    return 0


def _check_metric(args: argparse.Namespace) -> None:
    """Before minutes of evaluating, which brings the numbers that have names; folders may have more."""
    from worldr1.cli.evaluate import NAMED
    from worldr1.evaluate.labels import LABELS

    if args.metric is not None and args.metric not in LABELS and all(name in NAMED for name in args.folders):
        raise InputError(f"There is no metric {args.metric!r}; known are: {', '.join(LABELS)}.")


def _is_named(name: str) -> bool:
    """Whether it is one of `NAMED`; a folder that is called so comes first."""
    from worldr1.cli.evaluate import NAMED

    return name in NAMED and not Path(name).exists()


def resolve(name: str, *, limit: int | None = None) -> "EvaluationFolder":
    """The evaluation that a user named: a folder, or one of `NAMED`, which is evaluated if need be.

    Raises InputError if there is none.
    """
    from worldr1.cli.evaluate import evaluate_named
    from worldr1.evaluate.folder import EvaluationFolder

    if _is_named(name):
        return evaluate_named(name, limit=limit)
    if not Path(name).is_dir():
        raise InputError(f"There is no folder {name}; make it with `worldr1 evaluate --out {name}`, or give another.")
    return EvaluationFolder.load(name)


# ------------------------------------------------------------------------------------------------------------- output


def _print(comparison: "FolderComparison") -> None:
    from worldr1.evaluate.labels import LABELS, label_of

    first = comparison.first.facts
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    print(f"suite {first.suite}, judged by {first.judge}, against {first.title}")
    for folder, v in zip(comparison.folders, comparison.validity, strict=True):
        print(
            f"{folder.facts.title}: {v.share:.1%} of {v.asked} clips valid "
            f"({v.rejected} rejected, {v.faults} faults, {v.missing} missing)"
        )
        if folder.facts.judged_by_reward:
            print(f"warning: {folder.facts.title} is judged by its own reward; its numbers are no evidence")
    for other in comparison.others:
        _print_unlike(comparison, other)
        named = [name for name in comparison.metrics if name in LABELS]
        console.print(_table(other, [(label_of(name).text, other.of(name)) for name in named], "", first.title))
        subsets = [(f"  {s.name.replace('_', ' ')}" if s.kind else s.name, s) for s in comparison.subsets]
        found = [(text, other.of(comparison.metric, subset)) for text, subset in subsets]
        console.print(_table(other, found, label_of(comparison.metric).text, first.title))
        _print_worst(comparison, other)
    shown = sum(d.is_shown for other in comparison.others for d in other.differences)
    survivors = sum(d.survives for other in comparison.others for d in other.differences)
    chance = round(0.05 * comparison.num_intervals)
    print(
        f"{comparison.num_intervals} intervals in all, {shown} exclude 0 (about {chance} would by chance), "
        f"{survivors} after Holm (*)"
    )


def _table(other: "PairedComparison", rows: "list[tuple[str, Difference | None]]", title: str, first: str) -> Table:
    """title: above the names of the rows; first: the first model's."""
    from worldr1.evaluate.labels import label_of

    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for head in (first, other.folder.facts.title, "difference", "95 % interval", "won/tied/lost", "prompts"):
        table.add_column(head, justify="right", no_wrap=head == "difference")
    for name, d in rows:
        if d is None:
            continue
        label = label_of(d.metric)
        digits, better = label.decimals, label.better
        verdict = f" {word}" if (word := other.verdict(d)) else ""
        interval = f"{d.low:+.{digits}f} to {d.high:+.{digits}f}" if d.low > -float("inf") else "too few prompts"
        table.add_row(
            name,
            f"{d.first:.{digits}f}",
            f"{d.other:.{digits}f}",
            f"{d.mean:+.{digits}f}{verdict}{'*' if d.survives else ''}",
            interval,
            f"{d.wins}/{d.ties}/{d.losses}" if better else "",
            str(d.num),
        )
    return table


def _print_unlike(comparison: "FolderComparison", other: "PairedComparison") -> None:
    """What is not alike in the two beside their weights, and so in their pairs."""
    titles = f"{comparison.first.facts.title} and {other.folder.facts.title}"
    if other.unlike:
        print(f"warning: {titles} were sampled differently: {', '.join(one.text for one in other.unlike)}")
    if not other.by_clip:
        print(f"{titles} are paired by prompt alone: their start noises differ")


def _print_worst(comparison: "FolderComparison", other: "PairedComparison") -> None:
    """The chosen number again with invalid clips counted worst, where that is another number."""
    from worldr1.evaluate.labels import label_of
    from worldr1.evaluate.statistics.differences import Counting
    from worldr1.evaluate.statistics.subsets import ALL

    worst = other.of(comparison.metric, ALL, Counting.WORST)
    if worst is None:
        return
    label = label_of(comparison.metric)
    interval = f"{worst.low:+.{label.decimals}f} to {worst.high:+.{label.decimals}f}"
    print(
        f"with invalid clips counted worst: {label.text} {worst.mean:+.{label.decimals}f} ({interval}); "
        f"{len(other.lost)} clips lost, {len(other.won)} won"
    )
