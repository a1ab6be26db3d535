"""Kills a run again and again, resumes it every time, and holds it against the run that nobody killed.

    python benchmarks/kills.py cli [--kills 200] [--mean-s 5] [--slow-save-s 1] [--updates 200] [--work DIR] [--out F]
    python benchmarks/kills.py trainer --kills 1000 --mean-s 0.4 --slow-save-s 0.1

`cli`: `worldr1 train mini-smoke` as it is, a checkpoint after every update, on the CPU. `trainer`: the same session,
checkpoints and run folder around a random network of a few thousand parameters, whose updates take milliseconds.
The time from a start to its kill is drawn from an exponential distribution, which has no memory: over the run's wall
time kills are uniform, whatever it is doing. --slow-save-s stretches the writing of checkpoints (a hook of the harness)
so that many kills fall into it. A run that ends before all kills are dealt out is followed by another one.
Each run must end as the one that nobody killed: the last checkpoint's files, the adapter, the evaluations and
metrics.jsonl but for its seconds. Exit code 1 if anything is not so. With --work, the same command goes on where it was
interrupted, and with more --kills after it was over.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WORLDR1_TUNED", "1")  # no second exec of the command
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from killing import Life, Phases, live
from machine import heading
from tiny_session import differences, tiny_models, train
from tiny_wan import save_tiny_wan

from worldr1.cli import main as worldr1
from worldr1.train.checkpoint import RECIPE_FILE

Job = Callable[[Path], int]
"""Starts the run in a folder, or goes on with it; an exit code."""


def command_line(updates: int) -> Job:
    """`worldr1 train`."""

    def job(run: Path) -> int:
        if (run / RECIPE_FILE).is_file():
            return worldr1(["train", "--resume", str(run)])
        settings = ["device=cpu", f"train.updates={updates}", "train.checkpoint_every=1"]
        return worldr1(["train", "mini-smoke", *(w for s in settings for w in ("--set", s)), "--out", str(run)])

    return job


def tiny_network(folder: Path, updates: int) -> Job:
    """The session's training alone, around the tiny random Wan of the tests. folder: of `tests/tiny_wan.py`."""

    def job(run: Path) -> int:
        with tiny_models(folder):
            train(run, updates=updates)
        return 0

    return job


@dataclass(kw_only=True)
class Harness:
    """Kills runs of one job."""

    job: Job
    work: Path
    mean_s: float
    slow_save_s: float
    seed: int

    def run(self, kills: int, say: Callable[[str], None]) -> tuple[list[Life], list[str]]:
        """All lives, in order, and what differed at the end of a run from `work/reference`.

        Goes on where an earlier call with the same folder was interrupted: `work/lives.jsonl` has its lives.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        phases, file = Phases(), self.work / "lives.jsonl"
        lives = [Life(**json.loads(line)) for line in file.read_text().splitlines()] if file.is_file() else []
        while True:
            dead, over = (sum(life.ended == ended for life in lives) for ended in ("killed", "finished"))
            if lives and lives[-1].ended == "finished" and dead >= kills:
                runs = [self.work / f"run{number}" for number in range(over)]
                return lives, [f"{r.name}: {name}" for r in runs for name in differences(r, self.work / "reference")]
            run, draw = self.work / f"run{over}", random.Random(f"{self.seed}/{len(lives)}")
            kill_after_s = draw.expovariate(1 / self.mean_s) if dead < kills else None
            life = live(lambda run=run: self._life(run, phases), run, phases, kill_after_s, log=self.work / "life.log")
            lives.append(life)
            with file.open("a") as out:
                out.write(json.dumps(asdict(life)) + "\n")
            say(f"{dead} killed before, {life.saved} updates saved, {life.rows} rows; {life.phase} | {life.writer}")
            if life.ended == "failed":
                return lives, [f"{run.name} failed: {life.said}"]

    def _life(self, run: Path, phases: Phases) -> int:
        phases.watch(self.slow_save_s)
        return self.job(run)


def summary(lives: Sequence[Life], wrong: Sequence[str]) -> dict[str, Any]:
    """The numbers of docs/reliability.md."""
    killed = [life for life in lives if life.ended == "killed"]
    return {
        "killed": len(killed),
        "resumed": sum(life.ended != "failed" for life in lives[1:]),
        "failed": [life.said for life in lives if life.ended == "failed"],
        "killed_during_a_save": sum(life.in_save for life in killed),
        "damaged_checkpoints": sum(life.damaged for life in killed),
        "lost_updates": dict(sorted(Counter(life.lost for life in killed).items())),
        "phases": dict(Counter(life.phase or "between" for life in killed).most_common()),
        "writer": dict(Counter(life.writer or "idle" for life in killed).most_common()),
        "runs_compared": sum(life.ended == "finished" for life in lives),
        "differences": list(wrong),
        "seconds": round(sum(life.seconds for life in lives)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a run was not what it would have been, or a kill cost more than one update."""
    parser = argparse.ArgumentParser(description="Kill and resume runs, and compare them with one that nobody killed.")
    parser.add_argument("level", choices=("cli", "trainer"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--updates", type=int, default=200, help="length of a run")
    parser.add_argument("--mean-s", type=float, default=5.0, help="mean seconds from a start to its kill")
    parser.add_argument("--slow-save-s", type=float, default=1.0, help="how much longer a checkpoint takes to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the runs; kept (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="write every life as JSON")
    args = parser.parse_args(argv)
    work = args.work or Path(tempfile.mkdtemp(prefix="worldr1-kills-"))
    work.mkdir(parents=True, exist_ok=True)
    job = command_line(args.updates) if args.level == "cli" else tiny_network(_tiny_folder(work), args.updates)
    print(heading(), flush=True)
    reference = work / "reference"
    if not reference.exists():
        start = time.monotonic()
        life = live(lambda: job(reference), reference, Phases(), None, log=work / "reference.log")
        print(f"the run that nobody kills: {life.ended} in {time.monotonic() - start:.0f} s", flush=True)
        if life.ended != "finished":
            print(life.said)
            return 1
    harness = Harness(job=job, work=work, mean_s=args.mean_s, slow_save_s=args.slow_save_s, seed=args.seed)
    lives, wrong = harness.run(args.kills, lambda line: print(line, flush=True))
    found = summary(lives, wrong)
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps({"summary": found, "lives": [life.row() for life in lives]}) + "\n")
    if args.work is None:
        shutil.rmtree(work)
    good = not (found["failed"] or found["differences"] or found["damaged_checkpoints"])
    return 0 if good and max(found["lost_updates"], default=0) <= 1 else 1


def _tiny_folder(work: Path) -> Path:
    """Made in a process of its own: one that has made it has threads, and forks of it may hang."""
    folder = work / "tiny-wan"
    live(lambda: int(not save_tiny_wan(folder)), work, Phases(), None, log=work / "folder.log")
    return folder


if __name__ == "__main__":
    sys.exit(main())
