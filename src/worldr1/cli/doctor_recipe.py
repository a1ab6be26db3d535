"""`worldr1 doctor --recipe NAME`: the first-run check for people who have weights, with a file for an issue."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.cli.places import add_overwrite, check_file
from worldr1.errors import InputError

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help does not wait for them
    from worldr1.checkup.findings import Finding


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--recipe`, `--set`, `--out` and `--overwrite`."""
    group = parser.add_argument_group("a recipe with its weights")
    group.add_argument(
        "--recipe",
        metavar="NAME",
        help="load what this recipe (packaged name or TOML file) names and check that it does what it must: minutes",
    )
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    group.add_argument("--out", type=Path, metavar="FILE.json", help="the report (default: doctor-RECIPE.json)")
    add_overwrite(parser)


def refuse_without_recipe(args: argparse.Namespace) -> None:
    """Raises InputError for options that belong to `--recipe`."""
    for name, given in (("set", args.set), ("out", args.out is not None), ("overwrite", args.overwrite)):
        if given:
            raise InputError(f"--{name} belongs to a recipe: give --recipe NAME.")


def run_recipe(args: argparse.Namespace) -> int:
    """Check the recipe args.recipe; 0 if all is well, 1 if a check failed.

    Reads args.set, args.out, args.overwrite and args.json. Raises InputError for a recipe, weights or a file that
    cannot be used.
    """
    from worldr1.build import load_experiment
    from worldr1.checkup.recipe import check_recipe
    from worldr1.checkup.record import make_record

    config = load_experiment(args.recipe, tuple(args.set))
    out = args.out or Path(f"doctor-{Path(args.recipe).stem}.json")
    # the default name is its own report's, and one asks until nothing is wrong
    check_file(out, suffix=".json", overwrite=args.overwrite or args.out is None)
    start = time.perf_counter()
    findings = check_recipe(config, say=lambda line: print(line, file=sys.stderr))
    record = make_record(args.recipe, config, findings, time.perf_counter() - start)
    text = json.dumps(record, allow_nan=False)
    out.write_text(text + "\n", encoding="utf-8")
    if args.json:
        print(text)
    else:
        _print(findings, record["seconds"], out)
    return 0 if record["ok"] else 1


def _print(findings: "list[Finding]", seconds: float, out: Path) -> None:
    width = max(len(finding.name) for finding in findings) + 2
    for f in findings:
        number = f.broken or f"{f.value:.3g} ({f.threshold})"
        print(f"{f.verdict:8}{f.name:{width}}{number}, {f.seconds:.1f} s")
        print(f"{'':{8 + width}}{f.detail}")
        if f.verdict != "ok":
            print(f"{'':{8 + width}}-> {f.fix}")
    failed = [f.name for f in findings if f.verdict != "ok"]
    said = f"FAILED: {', '.join(failed)}" if failed else "All checks passed"
    print(f"{said} ({seconds:.0f} s). Report, without paths or keys: {out}")
