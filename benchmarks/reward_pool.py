"""Does every video get its own score, whatever happens to the reward's actors, and what does that cost?

    python benchmarks/reward_pool.py owners                 # wrong-owner scores, 1, 2 and 8 clients
    python benchmarks/reward_pool.py ranks                  # the same with clients in processes of their own
    python benchmarks/reward_pool.py faults                 # injected, survived, masked
    python benchmarks/reward_pool.py overhead               # seconds per video against the same reward in process
    python benchmarks/reward_pool.py training --out DIR     # mini-smoke, its actors killed again and again

The videos of the first three are small and carry their own number, which is the score that they must get, and what is
to go wrong with them. Needs `pip install 'worldr1[cluster]'` and no GPU.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from worldr1.cluster.actor import Arithmetic, RewardActor
from worldr1.cluster.messages import Answer, Packed, Request, pack
from worldr1.cluster.pool import ActorLost, Done
from worldr1.cluster.ranks import Rank
from worldr1.cluster.ray_actors import RayActors
from worldr1.cluster.reward import RemoteReward
from worldr1.rewards.remote import RemoteConfig
from worldr1.train.metrics import untimed
from worldr1.types import Prompt, RewardResult, Status

ACTIONS = ("none", "killed", "hung", "raised", "short", "foreign", "shuffled", "nan", "late", "duplicate", "poison")
"""What goes wrong with a request; its number lies in the second channel of its first video. "poison" does at every
attempt, the others at the first one only; "late" and "duplicate" need `ThreadActors`."""
BATCH = 4


class NumberReward:
    """The score of a video is the number that it carries."""

    licence = "none"
    part_weights: ClassVar = {"look": 1.0}

    def __call__(self, videos: Tensor, prompts: Sequence[Prompt], paths: Any, dynamic: bool) -> list[RewardResult]:
        """One result per video."""
        assert len(videos) == len(prompts) == len(paths)
        return [RewardResult(value=number, parts={"look": number}) for number in videos[:, 0, 0, 0, 0].tolist()]


class SabotagedActor(RewardActor):
    """Does what the videos say, at a pace of its own."""

    def __init__(self, *given: Any, slowest_s: float = 0.01) -> None:
        super().__init__(*given)
        self._nap_s = slowest_s * random.random()
        self._earlier: Answer | None = None

    def answer(self, packed: Packed) -> Answer:
        """Right or wrong, as the request's first video wants it."""
        time.sleep(self._nap_s)
        action = ACTIONS[int(packed.videos[0, 0, 1, 0, 0])]
        if action != "poison" and packed.attempt > 1:
            action = "none"
        if action in ("killed", "poison"):
            self._die()
        if action == "hung":
            time.sleep(3600)
        right = super().answer(packed)
        if action == "raised":
            return right._replace(results=(), failed="RuntimeError: out of memory")
        if action == "short":
            return right._replace(results=right.results[:-1])
        if action == "foreign":
            return self._earlier or right._replace(video_ids=tuple(f"x{name}" for name in right.video_ids))
        if action == "shuffled":
            return right._replace(video_ids=right.video_ids[::-1], results=right.results[::-1])
        if action == "nan":
            broken = RewardResult(value=math.nan, parts={"look": math.nan})
            return right._replace(results=(broken, *right.results[1:]))
        self._earlier = right
        return right

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def videos_of(numbers: Sequence[int], action: str = "none") -> Tensor:
    """[B, 2, 3, 4, 4]; the action is of every request's first video."""
    videos = torch.zeros(len(numbers), 2, 3, 4, 4)
    videos[:, :, 0] = torch.tensor(numbers, dtype=torch.float32)[:, None, None, None]
    videos[::BATCH, :, 1] = float(ACTIONS.index(action))
    return videos


def ask(reward: RemoteReward, numbers: Sequence[int], action: str = "none") -> list[RewardResult]:
    """Scores videos with these numbers."""
    prompts = [Prompt(id=number, text="a wall") for number in numbers]
    return reward(videos_of(numbers, action), prompts, [None] * len(numbers), False)


# ---------------------------------------------------------------------------------------------- actors without Ray


class _Killed(Exception):
    pass


class _ThreadActor(SabotagedActor):
    def _die(self) -> None:
        raise _Killed


class ThreadActors:
    """`pool.Actors` in threads of this process, which can also answer late and twice. `sleep` 3600 hangs a thread."""

    def __init__(self, num: int, *, restarts: int = 10**6, slowest_s: float = 0.002) -> None:
        self.num, self.first = num, 0
        self._slowest_s, self._restarts = slowest_s, [restarts] * num
        self._lock = threading.Lock()
        self._lives = [0] * num
        self._alive = [True] * num
        self._lines: list[deque[Any]] = [deque() for _ in range(num)]
        self._workers = [self._worker() for _ in range(num)]
        self.held: list[Any] = []
        """Answers that come after their attempt was given up."""
        self.most_held = [0] * num

    def _worker(self) -> SabotagedActor:
        return _ThreadActor(NumberReward, "cpu", Arithmetic.here(), slowest_s=self._slowest_s)

    def about(self, actor: int, done: Done) -> None:
        """Revives an actor that may live again, and lets late answers out."""
        if not self._alive[actor]:
            if self._restarts[actor] == 0:
                done(ActorLost("it may not start again", for_good=True))
                return
            self._restarts[actor] -= 1
            self._lives[actor] += 1
            self._alive[actor], self._workers[actor] = True, self._worker()
        held, self.held = self.held, []
        for answer in held:
            answer()
        done(self._workers[actor].about())

    def send(self, actor: int, request: Request, attempt: int, done: Done) -> None:
        """One at a time, in order."""
        if not self._alive[actor]:
            done(ActorLost("it is dead", for_good=False))
            return
        with self._lock:
            line = self._lines[actor]
            line.append((pack(request, attempt), done))
            self.most_held[actor] = max(self.most_held[actor], len(line))
            if len(line) == 1:
                threading.Thread(target=self._work, args=(actor, self._lives[actor], line), daemon=True).start()

    def _work(self, actor: int, life: int, line: deque[Any]) -> None:
        while self._lives[actor] == life and self._alive[actor]:
            packed, done = line[0]
            action = ACTIONS[int(packed.videos[0, 0, 1, 0, 0])] if packed.attempt == 1 else "none"
            if action in ("hung", "late"):
                if action == "late":
                    answer = self._workers[actor].answer(packed)
                    self.held.append(partial(done, answer))
                return  # the thread that would have gone on is the one that hangs
            try:
                answer = self._workers[actor].answer(packed)
            except _Killed:
                self._kill(actor)
                return
            with self._lock:
                line.popleft()
                is_last = not line
            done(answer)
            if action == "duplicate":
                done(answer)
            if is_last:
                return

    def _kill(self, actor: int) -> None:
        with self._lock:
            self._alive[actor] = False
            line, self._lines[actor] = self._lines[actor], deque()
        for _, done in line:
            done(ActorLost("killed", for_good=False))

    def restart(self, actor: int) -> None:
        """As a SIGKILL does."""
        self._kill(actor)

    def close(self) -> None:
        """Nothing of it outlives its thread."""
        self._alive = [False] * self.num


# ------------------------------------------------------------------------------------------------------- measurements


def wrong_owners(reward: RemoteReward, *, clients: int, videos: int, action: str = "none") -> tuple[int, int]:
    """(scores, scores that are another video's) of `clients` threads that ask at a time, 1 to 9 videos a call."""

    def client(number: int) -> tuple[int, int]:
        rng, scored, wrong, first = random.Random(number), 0, 0, number * 1_000_000
        while scored < videos / clients:
            numbers = [first + scored + i for i in range(rng.randint(1, 9))]
            results = ask(reward, numbers, action)
            assert len(results) == len(numbers)
            wrong += sum(r.status is Status.OK and r.value != n for r, n in zip(results, numbers, strict=True))
            scored += sum(r.status is Status.OK for r in results)
        return scored, wrong

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, range(clients)))
    return sum(scored for scored, _ in found), sum(wrong for _, wrong in found)


def outcomes(reward: RemoteReward, action: str, *, times: int) -> dict[str, int]:
    """Of `times` requests of `BATCH` videos with which something goes wrong: what became of their videos."""
    survived = masked = invented = 0
    for round_ in range(times):
        numbers = list(range(round_ * BATCH, (round_ + 1) * BATCH))
        for number, result in zip(numbers, ask(reward, numbers, action), strict=True):
            masked += result.status is Status.FAULT
            survived += result.status is Status.OK and result.value == number
            invented += result.status is Status.OK and result.value != number
    return {"injected": times, "videos": times * BATCH, "survived": survived, "masked": masked, "invented": invented}


def ray_reward(config: RemoteConfig) -> RemoteReward:
    """Number rewards on Ray."""
    actors = RayActors(config, NumberReward, "cpu", actor=SabotagedActor)
    return RemoteReward(actors, config, batch=BATCH, say=lambda line: None)


def owners(args: argparse.Namespace) -> None:
    """Wrong-owner scores."""
    print("| clients | actors | scores | wrong owner | videos/s |\n|---|---|---|---|---|")
    with ray_reward(RemoteConfig(actors=args.actors, cpus=0.5)) as reward:
        for clients in (1, 2, 8):
            begin = time.monotonic()
            scored, wrong = wrong_owners(reward, clients=clients, videos=args.videos)
            rate = scored / (time.monotonic() - begin)
            print(f"| {clients} | {args.actors} | {scored} | {wrong} | {rate:.0f} |", flush=True)


def ranks(args: argparse.Namespace) -> None:
    """Wrong-owner scores of processes that share one pool, as torchrun's ranks do; one actor is killed meanwhile."""
    import ray

    print("| ranks | actors | killed | scores | wrong owner | faults | videos/s |\n|---|---|---|---|---|---|---|")
    with ray_reward(RemoteConfig(actors=1, cpus=0)):  # whose Ray it is
        address = ray.get_runtime_context().gcs_address
        for of in (1, 2, 8):
            begin = time.monotonic()
            command = [
                sys.executable,
                __file__,
                "rank",
                "--actors",
                str(args.actors),
                "--videos",
                str(args.videos // of),
            ]
            processes = [
                subprocess.Popen(
                    [*command, "--address", address],
                    stdout=subprocess.PIPE,
                    text=True,
                    env={
                        **os.environ,
                        **{"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(of)},
                        **{"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": str(begin)},
                    },
                )
                for number in range(of)
            ]
            found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
            totals = {name: sum(row[name] for row in found) for name in ("killed", "scored", "wrong", "faults")}
            rate = totals["scored"] / max(row["seconds"] for row in found)
            numbers = " | ".join(str(totals[name]) for name in ("killed", "scored", "wrong", "faults"))
            print(f"| {of} | {args.actors} | {numbers} | {rate:.0f} |", flush=True)


def rank(args: argparse.Namespace) -> None:
    """One of them; prints what it saw. The last rank kills an actor half way."""
    config = RemoteConfig(address=args.address, actors=args.actors, cpus=0, restarts=100)
    here = Rank.here()
    with ray_reward(config) as reward:
        begin, scored, wrong, faulty, killed = time.monotonic(), 0, 0, 0, 0
        rng, first = random.Random(here.number), here.number * 1_000_000
        while scored + faulty < args.videos:
            kills = not killed and here.number == here.of - 1 and scored > args.videos / 2
            numbers = [first + scored + faulty + i for i in range(rng.randint(1, 9))]
            killed += kills
            for number, result in zip(numbers, ask(reward, numbers, "killed" if kills else "none"), strict=True):
                scored += result.status is Status.OK
                faulty += result.status is Status.FAULT
                wrong += result.status is Status.OK and result.value != number
        seconds = time.monotonic() - begin
        if here.number == 0:  # whoever starts the actors ends them
            time.sleep(args.linger)
    print(json.dumps({"killed": killed, "scored": scored, "wrong": wrong, "faults": faulty, "seconds": seconds}))


def faults(args: argparse.Namespace) -> None:
    """One thing after the other, on Ray and (late, duplicate) in threads."""
    print("| what goes wrong | requests | videos | survived | masked | invented |\n|---|---|---|---|---|---|")
    config = RemoteConfig(actors=2, cpus=0.5, timeout_s=2.0, retries=2, restarts=1000)
    with ray_reward(config) as reward:
        for action in ("killed", "hung", "raised", "short", "foreign", "shuffled", "nan", "poison"):
            slow = action in ("killed", "hung", "poison")
            _print_row(action, outcomes(reward, action, times=args.times if slow else 10 * args.times))
        print(f"\n{reward.counts}\n", flush=True)
    config = RemoteConfig(actors=2, timeout_s=0.05, restarts=10**6)
    with RemoteReward(ThreadActors(2), config, batch=BATCH, say=lambda line: None) as reward:
        for action in ("late", "duplicate"):
            _print_row(f"{action} (threads)", outcomes(reward, action, times=10 * args.times))
        print(f"\n{reward.counts}", flush=True)


def _print_row(action: str, row: dict[str, int]) -> None:
    print(f"| {action} | {' | '.join(map(str, row.values()))} |", flush=True)


def overhead(args: argparse.Namespace) -> None:
    """With videos of two sizes: what a pool adds to a reward that costs nothing."""
    print("| clip | MB a video | batch | s per video, pool | s per video, in process |\n|---|---|---|---|---|")
    config = RemoteConfig(actors=1, cpus=1)
    actors = RayActors(config, NumberReward, "cpu")
    with RemoteReward(actors, config, batch=BATCH) as reward:
        for frames, height, width in ((17, 64, 96), (33, 240, 416), (81, 480, 832)):
            videos = torch.zeros(2 * BATCH if frames < 81 else BATCH, frames, 3, height, width)
            given = ([Prompt(id=0, text="a wall")] * len(videos), [None] * len(videos), False)
            reward(videos, *given)
            seconds = []
            for score in (reward, NumberReward()):
                begin = time.monotonic()
                for _ in range(args.times):
                    score(videos, *given)
                seconds.append((time.monotonic() - begin) / args.times / len(videos))
            size = videos[0].numel() * 4 / 1e6
            print(f"| {frames} x {height} x {width} | {size:.0f} | {BATCH} | {seconds[0]:.4f} | {seconds[1]:.4f} |")


def actor_processes(pid: int) -> Iterator[int]:
    """Reward actors among the descendants of a process (Linux)."""
    parents = {}
    for folder in Path("/proc").iterdir():
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (ValueError, OSError):
            continue
    for child in parents:
        line, ancestor = [child], child
        while ancestor in parents and ancestor != pid and len(line) < 20:
            ancestor = parents[ancestor]
            line.append(ancestor)
        try:
            name = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if ancestor == pid and name.startswith(b"ray::RewardActor"):
            yield child


def training(args: argparse.Namespace) -> None:
    """A run in process and one on actors that are killed; their metrics must be equal but for the times."""
    rows = {}
    for name, sets in (
        ("resident", ()),
        ("remote", ("reward.placement=remote", "reward.remote.actors=2", "reward.remote.restarts=1000")),
    ):
        out, command = args.out / name, [sys.executable, "-m", "worldr1", "train", "mini-smoke", "--set", "device=cpu"]
        given = [*sets, f"train.updates={args.updates}", "reward.batch=2", "train.group_size=4"]
        for text in given:
            command += ["--set", text]
        process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
        killed, rng = 0, random.Random(0)
        while process.poll() is None:
            time.sleep(rng.uniform(1, args.every))
            for actor in list(actor_processes(process.pid))[: 1 if name == "remote" else 0]:
                os.kill(actor, signal.SIGKILL)
                killed += 1
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        rows[name] = [untimed(line) for line in lines]
        faulty = sum(line["fault_fraction"] > 0 for line in lines)
        print(f"{name}: exit {process.returncode}, {len(lines)} updates, {killed} kills, {faulty} updates with faults")
    print(f"metrics equal but for the times: {rows['resident'] == rows['remote']}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("owners", "ranks", "rank", "faults", "overhead", "training"))
    parser.add_argument("--actors", type=int, default=3)
    parser.add_argument("--videos", type=int, default=3000, help="scores per row of owners")
    parser.add_argument(
        "--times", type=int, default=5, help="requests per row of faults, ten times as many of fast ones"
    )
    parser.add_argument("--address", default="", help="of the Ray that a rank uses")
    parser.add_argument(
        "--linger", type=float, default=15.0, help="seconds that rank 0 waits for the others at the end"
    )
    parser.add_argument("--updates", type=int, default=6, help="of training")
    parser.add_argument("--every", type=float, default=12.0, help="most seconds between two kills of training")
    parser.add_argument("--out", type=Path, help="folder of training's two runs")
    args = parser.parse_args()
    if args.what == "training" and args.out is None:
        parser.error("training needs --out")
    {"owners": owners, "ranks": ranks, "rank": rank, "faults": faults, "overhead": overhead, "training": training}[
        args.what
    ](args)


if __name__ == "__main__":
    main()
