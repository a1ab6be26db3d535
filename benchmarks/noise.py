"""Transported noise in numbers: `python benchmarks/noise.py [all|speed|statistics] [--official PATH] [--out FILE]`.

speed       seconds and memory of both transports at Wan's and larger sizes, beside the released warper, whose code is
            not part of this repository: --official takes a checkout (without it the run says how to get one)
statistics  whiteness, coupling and covariance of every path and transport, at Wan's size
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import noise_speed
import noise_tables
from machine import heading, load
from noise_cases import PATHS
from noise_statistics import SEEDS, TRANSPORTS


def main() -> None:
    """Prints the tables as Markdown, and writes them to --out too; targets that are not met are no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("all", "speed", "statistics"), default="all")
    parser.add_argument("--official", type=Path, metavar="PATH", help="a checkout of microsoft/World-R1")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a Markdown file for the tables")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed calls, of which the median counts")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), metavar="N", help="take the seeds 0 to N - 1")
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=TRANSPORTS, help="of the statistics")
    parser.add_argument("--path", nargs="+", metavar="TOKEN", help="of the statistics: this path alone")
    args = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    _run(args, say)
    if args.out is not None:
        args.out.write_text("\n".join(lines) + "\n")


def _run(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    say(heading())
    say(load())
    if args.part != "statistics":
        noise_speed.report(args.official, args.repeats, say)
    if args.part != "speed":
        paths = PATHS if args.path is None else (tuple(args.path),)
        noise_tables.report(paths, args.transports, range(args.seeds), say)


if __name__ == "__main__":
    main()
