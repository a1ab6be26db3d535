"""What several ranks do in tests, each in a process of its own: `meet` starts them, `run` runs the scenarios.

    python ranks_at_work.py MODEL_FOLDER OUT

Every process writes OUT/NAME-PROCESS.json for each scenario. Two processes run most of them; a third joins for one.
"""

import dataclasses
import functools
import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tiny_trainer import FAULT, METHOD, FakeReward, build_trainer, untimed

from worldr1.errors import InputError
from worldr1.rl.objective import ObjectiveConfig
from worldr1.train.ranks import Ranks
from worldr1.train.sharding import shard_base
from worldr1.train.trainer import Trainer
from worldr1.types import RewardResult

METHODS = {
    "flow-grpo": dataclasses.replace(METHOD, objective=ObjectiveConfig(kl_beta=0.1)),
    "best-of-n": dataclasses.replace(METHOD, objective=ObjectiveConfig(kl_beta=0.1, kind="best-of-n")),
    "two-steps": dataclasses.replace(METHOD, objective=ObjectiveConfig(kl_beta=0.1, updates_per_rollout=2)),
}
Result = dict[str, Any]


class Patchy(FakeReward):
    """Fails on every video of one prompt, whoever scores it: that group is in no loss."""

    def __call__(self, videos: Any, prompts: Any, *given: Any) -> list[RewardResult]:
        results = super().__call__(videos, prompts, *given)
        return [FAULT if prompt.id == 1 else result for prompt, result in zip(prompts, results, strict=True)]


def train(folder: Path, ranks: Ranks, *, method: str = "flow-grpo", updates: int = 4, **changes: Any) -> Result:
    """Metrics and parameters of some updates; the metrics of this rank, which must be those of all."""
    trainer = build_trainer(folder, changes.pop("reward", None), method=METHODS[method], **changes)
    trainer.ranks = ranks
    before = flat(trainer)
    rows = [untimed(trainer.update()) for _ in range(updates)]
    return {"rows": rows, "before": before.tolist(), "params": flat(trainer).tolist()}


def flat(trainer: Trainer) -> torch.Tensor:
    """Averages and parameters in one."""
    state = trainer.state()
    return torch.cat([part[name].flatten() for part in (state.params, state.ema) for name in sorted(state.params)])


def sharded(folder: Path, ranks: Ranks) -> Result:
    """As `train`, on a base that is dealt out; a rank has fewer groups than the other, and some are dropped."""
    trainer = build_trainer(
        folder, Patchy(), method=METHODS["flow-grpo"], groups_per_update=3, shard_base=True, lr=3e-3
    )
    trainer.ranks = ranks
    network: Any = trainer.policy.transformer
    whole = sum(p.numel() for p in network.parameters())
    if ranks.world > 1:
        place: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32}
        shard_base(network, trainer.parameters.values(), ranks, **place)
    held = sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in network.parameters())
    before = flat(trainer)
    rows = [untimed(trainer.update()) for _ in range(3)]
    return {"rows": rows, "before": before.tolist(), "params": flat(trainer).tolist(), "held": held / whole}


def raised(work: Callable[[], Any]) -> list[str]:
    try:
        work()
    except (Exception, KeyboardInterrupt) as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def not_finite(folder: Path, ranks: Ranks) -> Result:
    """One rank's gradient is not a number, then all is well again."""
    trainer = build_trainer(folder)
    trainer.ranks = ranks
    spoilt: list[Any] = []
    if ranks.rank == 1:
        spoilt.append(next(iter(trainer.parameters.values())).register_hook(lambda grad: grad * math.nan))
    before = flat(trainer)
    first = trainer.update()
    unchanged = bool(torch.equal(flat(trainer), before))
    for hook in spoilt:
        hook.remove()
    second = trainer.update()
    return {"skipped": [first["skipped"], second["skipped"]], "unchanged": unchanged, "norm": second["grad_norm"]}


def failing(folder: Path, ranks: Ranks) -> Result:
    """What each rank raises when one fails, and that they go on together afterwards."""
    trainer = build_trainer(folder, max_fault_fraction=0.4)
    trainer.ranks = ranks
    before, sound = flat(trainer), trainer.reward

    class Broken(FakeReward):
        def __call__(self, *given: Any) -> list[RewardResult]:
            raise self.error

        error: Exception = RuntimeError("the reward has a bug")

    said = {}
    for name, error in {"bug": RuntimeError("the reward has a bug"), "mistake": InputError("No such file.")}.items():
        broken = Broken()
        broken.error = error
        trainer.reward = broken if ranks.rank == 1 else sound  # type: ignore[assignment]
        said[name] = raised(trainer.update)
    trainer.reward = FakeReward(FAULT) if ranks.rank == 1 else sound  # type: ignore[assignment]
    said["faults"] = raised(trainer.update)
    said["wait"] = raised(lambda: ranks.share(lambda: (_ for _ in ()).throw(InputError("The folder is taken."))))
    trainer.reward = sound
    unchanged = bool(torch.equal(flat(trainer), before)) and trainer.updates_done == 0
    return {**said, "unchanged": unchanged, "then": untimed(trainer.update())["update"]}


def interrupted(folder: Path, ranks: Ranks) -> Result:
    """A signal to one rank stops both before the same update: in its rollout at once, in its step after it."""
    found: Result = {}
    for where, number in (("rollout", signal.SIGTERM), ("step", signal.SIGINT)):
        trainer = build_trainer(folder)
        trainer.ranks = ranks
        if ranks.rank == 1:
            owner, name = (trainer.reward, "__call__") if where == "rollout" else (trainer.optimizer, "step")
            _signal_before(owner, name, number)
        rows: list[Any] = []
        said = [raised(lambda: trainer.update(rows.append))[0] for _ in range(2)]  # noqa: B023
        found[where] = {"raised": said, "done": trainer.updates_done, "rows": len(rows)}
        ranks._interrupts.pending = False
    return found


def _signal_before(owner: Any, name: str, number: int) -> None:
    """The first call of a method signals this process first."""
    original = getattr(owner, name)
    target = type(owner) if name.startswith("__") else owner

    def signalling(*given: Any) -> Any:
        setattr(target, name, unsignalled)
        signal.raise_signal(number)
        return original(*given[-4:]) if target is not owner else original(*given)

    unsignalled = getattr(target, name)
    setattr(target, name, signalling)


def apart(folder: Path, ranks: Ranks) -> Result:
    """One rank's parameters are not the other's any more."""
    trainer = build_trainer(folder)
    trainer.ranks = ranks
    hashes = [trainer.update().get("parameter_hash")]
    if ranks.rank == 1:
        with torch.no_grad():
            next(iter(trainer.parameters.values())).add_(1e-6)
    return {"hashes": hashes, "raised": raised(trainer.update)}


def caught_up(folder: Path, ranks: Ranks) -> Result:
    """Rank 0 alone has a checkpoint's state; both go on from it."""
    trainer = build_trainer(folder)
    if ranks.is_first:
        for _ in range(2):
            trainer.update()
    trainer.ranks = ranks
    trainer.share_state()
    return {"row": untimed(trainer.update()), "params": flat(trainer).tolist()}


def tensors(folder: Path, ranks: Ranks) -> Result:
    """Messages and tensors arrive as they were."""
    mine = {ranks.rank: torch.full((2, 3), float(ranks.rank)), 10 + ranks.rank: torch.arange(ranks.rank + 1)}
    sent = ranks.send_to_first(mine)
    shared = ranks.share_tensors({"a": torch.tensor(7), "b": torch.ones(2, dtype=torch.bfloat16)})
    return {
        "gathered": ranks.gather({"rank": ranks.rank, "text": "ä" * (1 + 50 * ranks.rank), "x": 0.1 + 0.2}),
        "sent": {number: t.tolist() for number, t in sorted(sent.items())},
        "shared": {name: [str(t.dtype), t.tolist()] for name, t in shared.items()},
        "deal": list(ranks.deal(5)),
        "order": ranks.in_order([[0, 2, 4], [1, 3]]),
    }


UNEVEN = {"groups_per_update": 3, "groups_in_flight": 1}
SCENARIOS: dict[str, Callable[[Path, Ranks], Result]] = {
    "equal": functools.partial(train, **UNEVEN),
    "at-once": functools.partial(train, groups_per_update=3),
    "two-steps": functools.partial(train, method="two-steps", updates=2, **UNEVEN),
    "best-of-n": functools.partial(train, method="best-of-n", updates=2, **UNEVEN),
    "full": functools.partial(train, trainable="full", updates=2, **UNEVEN),
    "dropped": lambda folder, ranks: train(folder, ranks, reward=Patchy(), updates=3),
    "sharded": sharded,
    "not-finite": not_finite,
    "failing": failing,
    "interrupted": interrupted,
    "apart": apart,
    "caught-up": caught_up,
    "tensors": tensors,
}
"""Of two ranks."""
OF_THREE: dict[str, Callable[[Path, Ranks], Result]] = {
    "three": functools.partial(train, groups_per_update=4, groups_in_flight=1, updates=2)
}


def meet(folder: Path, out: Path) -> None:
    """Runs all scenarios; raises with what the processes said if one fails."""
    command = [sys.executable, __file__, str(folder), str(out)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=400)
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def joined(rank: int, world: int, port: str) -> Iterator[Ranks]:
    """As torchrun starts a process."""
    given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in given.items()})
    ranks = Ranks.join("cpu")
    yield ranks
    ranks.leave()


def run(folder: Path, out: Path, process: int, ports: list[str]) -> None:
    """One process."""
    for world, port, scenarios in ((2, ports[0], SCENARIOS), (3, ports[1], OF_THREE)):
        if process >= world:
            continue
        with joined(process, world, port) as ranks:
            for name, scenario in scenarios.items():
                result = scenario(folder, ranks)
                (out / f"{name}-{process}.json").write_text(json.dumps(result))
                ranks.pass_time, ranks.may_give_up = (lambda: None), True


def main() -> None:
    """Forks, so that what takes longest, importing torch and diffusers, is done once."""
    folder, out = map(Path, sys.argv[1:])
    ports = [str(free_port()) for _ in range(2)]
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=run, args=(folder, out, process, ports)) for process in range(3)]
    for process in started:
        process.start()
    while any(process.is_alive() for process in started):
        time.sleep(0.05)
        if any(process.exitcode for process in started):
            for process in started:
                process.kill()
            sys.exit(1)


if __name__ == "__main__":
    main()
