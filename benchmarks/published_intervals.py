"""Writes `reproduce/published_intervals.json` from the judged folders of published runs.

    python benchmarks/published_intervals.py --judged DIR... --about runs.json

Each DIR is one of `worldr1 mini judge`, in the order of the runs; all must have judged the same prompts, and the same
base model to the same numbers. runs.json: {"command": of the judging, "runs": [{"seed", "commit", "command", "machine",
"updates"}, ...]}, a run for each adapter. The records themselves (MB) are not kept in the repository.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from worldr1.digests import file_sha256
from worldr1.reproduce.claims.gain import rows_of
from worldr1.reproduce.evidence import JUDGING_FILE, Runs, read_judged
from worldr1.reproduce.published_runs import FILE, PublishedRun, PublishedRuns, save_published_runs, values_of
from worldr1.reproduce.variants import VARIANTS


def read_all(folders: list[Path]) -> Runs:
    """The runs of several judged folders as one. Raises SystemExit if they were not judged alike."""
    parts = []
    for folder in folders:
        num = len(json.loads((folder / JUDGING_FILE).read_text(encoding="utf-8"))["runs"])
        parts.append(read_judged(folder, VARIANTS["full"], range(num), [folder] * num))
    first = parts[0]
    for part in parts[1:]:
        if part.prompts_sha256 != first.prompts_sha256:
            raise SystemExit("The folders were judged on different prompts.")
        if [e.records for e in part.base] != [e.records for e in first.base]:
            print("The base model's records differ between the folders: its numbers are the first one's.")
    trained = tuple(run for part in parts for run in part.trained)
    adapters = tuple(adapter for part in parts for adapter in part.adapters_sha256)
    return replace(
        first,
        seeds=tuple(range(len(trained))),
        trained=trained,
        own=(),
        updates=(None,) * len(trained),
        adapters_sha256=adapters,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads, says and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judged", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--about", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE")
    args = parser.parse_args(arguments)
    about = json.loads(args.about.read_text(encoding="utf-8"))
    runs = read_all(args.judged)
    judged = []
    for folder in args.judged:
        path = folder / JUDGING_FILE
        num = len(json.loads(path.read_text(encoding="utf-8"))["runs"])
        judged += [file_sha256(path)] * num
    published = PublishedRuns(
        command=about["command"],
        stream=runs.stream,
        prompts_sha256=runs.prompts_sha256,
        num_prompts=runs.num_prompts,
        runs=tuple(
            PublishedRun(**run, adapter_sha256=adapter, judging_sha256=judging)
            for run, adapter, judging in zip(about["runs"], runs.adapters_sha256, judged, strict=True)
        ),
        values=values_of(rows_of(runs)),
    )
    save_published_runs(published, args.out)
    for name, interval in published.intervals.items():
        print(f"{name:20} {published.values[name]} -> {interval.low:.4g} to {interval.high:.4g}")


if __name__ == "__main__":
    main()
