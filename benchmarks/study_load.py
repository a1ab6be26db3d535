"""How many participants a study's server takes at once, and whether it loses votes: also when it is killed.

    python benchmarks/study_load.py load [--participants 60] [--pairs 30] [--work DIR]
    python benchmarks/study_load.py kills [--kills 50] [--mean-s 1.5] [--participants 60] [--pairs 30] [--work DIR]

`load`: every participant is a thread with its own connection that does what the page's script does, without watching:
the next pair, both videos, the vote; over and over, as fast as answers come. `kills`: votes with pauses, while the
server gets SIGKILL after exponentially distributed times and is started again; participants try until a vote is
acknowledged. At the end every acknowledged vote must stand in votes.sqlite as it was given, and no other: exit code 1
if not. Videos are 81 frames of 480 x 832 with --real, else tiny.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import heading
from study_folders import Client, Rater, StudyServer, make_study, study_key

from worldr1.study.design import Study
from worldr1.study.making import StudyPlan
from worldr1.study.votes import VOTES_FILE, VoteStore

TASTE = {"geometry": 0.8, "camera": 0.5, "overall": 0.65, "editable": 0.7}
Given = dict[tuple[int, int], dict[str, str]]


def take_part(client: Client, rater: Rater, given: Given, times_s: dict[str, list[float]], pause_s: float) -> None:
    """A participant from the first to the last pair; `given` gets every acknowledged vote."""
    for position in range(len(rater.study.pairs)):
        answers = rater.answers(position)
        if not pause_s:
            state = timed(times_s, "state", client.state)
            for side in ("left", "right"):
                timed(times_s, "video", lambda path=state["pair"][side]: client.raw("GET", path, Range="bytes=0-"))
        else:
            time.sleep(rater.dice.random() * 2 * pause_s)
        timed(times_s, "vote", lambda p=position, a=answers: client.vote_until_acknowledged(p, a))
        given[rater.slot, position] = answers
    client.close()


def timed(times_s: dict[str, list[float]], name: str, work):
    """What `work` returns; its wall time goes into `times_s`."""
    start = time.perf_counter()
    found = work()
    times_s[name].append(time.perf_counter() - start)
    return found


def lost(folder: Path, given: Given) -> tuple[int, int]:
    """Acknowledged votes that are not stored as they were given, and stored votes that nobody was told of."""
    store = VoteStore(folder / VOTES_FILE)
    found = {(vote.slot, vote.position): dict(vote.answers) for vote in store.votes}
    store.close()
    return sum(found.get(key) != answers for key, answers in given.items()), len(set(found) - set(given))


def run(args: argparse.Namespace, work: Path) -> int:
    """The whole; 0 if no vote was lost."""
    size = (81, 480, 832) if args.real else (4, 64, 96)
    plan = StudyPlan(pairs=args.pairs, checks=3, participants=args.participants, seed=1)
    make_study(work, plan, size=size, fps=16)
    folder = work / "study"
    study, key = Study.load(folder), study_key(folder)
    given: Given = {}
    times_s: dict[str, list[float]] = {"state": [], "video": [], "vote": []}
    pause_s = 0.0 if args.action == "load" else args.pause_s
    with StudyServer(folder) as server:
        threads = []
        for slot, link in enumerate(server.links):
            rater = Rater(study, key, slot, TASTE, dice=random.Random(slot))
            threads.append(threading.Thread(target=take_part, args=(Client(link), rater, given, times_s, pause_s)))
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        kills = worst = 0
        dice = random.Random(0)
        while args.action == "kills" and kills < args.kills and any(thread.is_alive() for thread in threads):
            time.sleep(dice.expovariate(1 / args.mean_s))
            server.kill()
            kills += 1
            worst = max(worst, lost(folder, dict(given))[0])
            server.restart()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
    print(heading())
    num = sum(map(len, times_s.values()))
    print(f"{args.participants} participants at once, {len(study.pairs)} pairs: {len(given)} votes in {seconds:.1f} s")
    if args.action == "load":
        print(f"{num / seconds:.0f} requests/s, of them {len(times_s['vote']) / seconds:.0f} votes/s")
        for name, values in times_s.items():
            quantiles = statistics.quantiles(values, n=100)
            cells = [f"{1000 * value:.0f} ms" for value in (quantiles[49], quantiles[94], max(values))]
            print(f"{name}: median {cells[0]}, 95 % {cells[1]}, worst {cells[2]}")
    else:
        print(f"{kills} kills")
    gone, unknown = lost(folder, given)
    gone = max(gone, worst)
    expected = args.participants * len(study.pairs)
    print(
        f"acknowledged votes lost: {gone}; stored but not acknowledged: {unknown}; never given: {expected - len(given)}"
    )
    return int(bool(gone or unknown or len(given) != expected))


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("load", "kills"))
    parser.add_argument("--participants", type=int, default=60, metavar="N")
    parser.add_argument("--pairs", type=int, default=30, metavar="N")
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--mean-s", type=float, default=1.5, metavar="S", help="between a start and its kill")
    parser.add_argument("--pause-s", type=float, default=2.0, metavar="S", help="of kills: mean time to think")
    parser.add_argument("--real", action="store_true", help="videos of 81 frames, 480 x 832")
    parser.add_argument("--work", type=Path, metavar="DIR", help="an empty folder to keep (default: a temporary one)")
    args = parser.parse_args(argv)
    if args.work is not None:
        return run(args, args.work)
    with tempfile.TemporaryDirectory() as work:
        return run(args, Path(work))


if __name__ == "__main__":
    sys.exit(main())
