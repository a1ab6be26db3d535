"""Does sampling go on while rewards elsewhere are computed, and does that change a number?

    python benchmarks/reward_overlap.py [--groups 6] [--nap 1.0] [--sampling 0] [--updates 2]

`mini-smoke` with a reward that sleeps on one Ray actor, and with --sampling a rollout that sleeps too, like a trainer
that waits for its GPU: then two busy cores measure the waiting and not each other. Updates without overlap, with one
and two flights ahead, beside what `cluster_simulation` makes of the first row's own stage times. The metrics of all
must be equal but for the times. Needs `pip install 'worldr1[cluster]'` and no GPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from cluster_simulation import Layout, Times, simulate
from torch import Tensor

from worldr1.build import load_experiment, release_reward
from worldr1.session import Session
from worldr1.types import Prompt, RewardResult


class SlowReward:
    """The brightness of a video, after a while."""

    licence = "none"
    part_weights: ClassVar = {"look": 1.0}

    def __init__(self, device: str, *, nap: float) -> None:
        """nap: seconds for each video."""
        self._nap = nap

    def __call__(self, videos: Tensor, prompts: Sequence[Prompt], paths: Any, dynamic: bool) -> list[RewardResult]:
        """One result per video."""
        time.sleep(self._nap * len(videos))
        return [RewardResult(value=float(video.mean()), parts={"look": float(video.mean())}) for video in videos]


def updates(ahead: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Metrics of some updates, after one that does not count."""
    words = (
        "device=cpu", "reward.placement=remote", "reward.custom=reward_overlap:SlowReward", "reward.batch=1",
        f"reward.options.custom.nap={args.nap}", "reward.remote.cpus=0", f"train.groups_per_update={args.groups}",
        "train.group_size=2", "train.groups_in_flight=1", f"train.flights_ahead={ahead}",
        "phases.dynamic_updates=0", f"train.updates={args.updates + 1}", "prompts.main=16", "prompts.test=1",
        "prompts.test_dynamic=0",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        session = Session.create(load_experiment("mini-smoke", words), Path(folder) / "run")
        algorithm = session.trainer.algorithm
        roll_out = algorithm.roll_out

        def slow(*given: Any, **more: Any) -> Any:
            time.sleep(args.sampling)
            return roll_out(*given, **more)

        algorithm.roll_out = slow
        try:
            return [dict(session.trainer.update()) for _ in range(args.updates + 1)][1:]
        finally:
            release_reward(session.trainer.reward)


def predicted(ahead: int, first: Sequence[dict[str, Any]], args: argparse.Namespace) -> float:
    """Seconds of an update by the simulation, from the stage times of the row without overlap."""
    mean = {name: fmean(row[name] for row in first) for name in first[0] if name.startswith("seconds")}
    rollout, decode = mean["seconds_rollout"], mean["seconds_decode"]
    times = Times(
        velocity=0.0,
        sde_velocity=rollout / args.groups,
        decode=decode / args.groups / 2,
        copy=0.0,
        hand_over=0.0,
        unpack=0.0,
        score=mean["seconds_reward_wait"] / args.groups / 2,
        step=(mean["seconds"] - rollout - decode - mean["seconds_reward"]) / args.groups,
    )
    layout = Layout(policy=1, reward=1, ahead=ahead, groups=args.groups, group_size=2)
    return simulate(times, layout, [2] * args.groups).seconds


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--groups", type=int, default=6, help="of an update, one a flight")
    parser.add_argument("--nap", type=float, default=1.0, help="seconds that the reward takes for a video")
    parser.add_argument("--sampling", type=float, default=0.0, help="seconds that each flight's sampling takes besides")
    parser.add_argument("--updates", type=int, default=2)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # the actors find this file as it is found here
    rows: dict[int, list[dict[str, Any]]] = {}
    print("| flights ahead | an update, s | rollout | decode | reward | of which waiting | simulated |")
    print("|---|---|---|---|---|---|---|")
    for ahead in (0, 1, 2):
        rows[ahead] = updates(ahead, args)
        names = ("seconds", "seconds_rollout", "seconds_decode", "seconds_reward", "seconds_reward_wait")
        cells = [f"{fmean(row[name] for row in rows[ahead]):.1f}" for name in names]
        print(f"| {ahead} | {' | '.join(cells)} | {predicted(ahead, rows[0], args):.1f} |", flush=True)
    untimed = [[{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows[x]] for x in rows]
    print(f"metrics equal but for the times: {untimed[0] == untimed[1] == untimed[2]}")


if __name__ == "__main__":
    main()
