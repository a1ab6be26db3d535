"""One GPU against several of one machine, in the same run: seconds of an update, memory, whether they train alike.

    NCCL_NVLS_ENABLE=0 python benchmarks/two_gpus.py [mini-gpu 1.3b 1.3b-sharded] [--gpus 2] [--updates 5] [--out FILE]
    python benchmarks/two_gpus.py --tiny --out dry.md        # a dry run on the CPU: same code, tiny sizes

Each case is run by torchrun with 1 process and with as many as --gpus says: what `worldr1 train` trains with, without
its evaluations. `mini-gpu` is the recipe, rewards included; `1.3b` is a Wan2.1-1.3B at full size (832 x 480 pixels, 81
frames) on random weights with a reward of one's own (examples/own_reward), two groups of four, one in flight at a time;
`1.3b-sharded` is the same with train.shard_base, on the several GPUs. The first update of a run warms up and is
compared: the gradient (as the optimizer saw it) and the step it made, by |several - one| / |one| over all trained
parameters. AdamW's eps of 1e-15 makes a step of nearly the same length of the smallest gradient, rounding included, so
the gradient is what is judged. One process is run once more with the batches that each of several would have: what
that changes is rounding alone, and what several processes change is held against it. Seconds are medians of the updates
after the first, of the whole update on rank 0, which waits for the slowest; peak memory is torch's, of the updates
alone, on the rank that needs most.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from full_update import COMMON, REWARD, TINY
from machine import heading, load
from safetensors.torch import load_file, save_file
from tiny_models import TINY_WAN
from torch import Tensor

from worldr1.assembly import assemble
from worldr1.backends import architectures
from worldr1.build import ExperimentConfig, choose_device, load_experiment
from worldr1.train.ranks import Ranks

GIB = 2.0**30
ROUNDING = 2.0
"""The gradient of several processes may differ so many times as much as one process's does with their batches."""
LEAST = 1e-3
"""... or by this, relative, where such batches change nothing."""
SECONDS = ("seconds", "seconds_rollout", "seconds_reward")
_FULL = (
    *COMMON, "model.guidance=1.0", "train.groups_per_update=2", "train.group_size=4", "train.groups_in_flight=1",
    "sampler.first_index=5", "sampler.last_index=5",
)  # fmt: skip
CASES: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "mini-gpu": ("mini-gpu", (), ("device=cpu", "train.groups_per_update=2", "train.group_size=2", "reward.batch=8",
                                  "sampler.num_steps=4", "sampler.first_index=1", "sampler.last_index=1")),
    "1.3b": ("world-r1-small", _FULL, TINY),
    "1.3b-sharded": ("world-r1-small", (*_FULL, "train.shard_base=true"), TINY),
}  # fmt: skip
"""Recipe, words, and words of the dry run."""


def configure(case: str, *, tiny: bool, words: Sequence[str] = ()) -> ExperimentConfig:
    """The case's recipe as it is run."""
    recipe, given, dry = CASES[case]
    with _known():
        return load_experiment(recipe, (*given, *(dry if tiny else ()), *words))


@contextmanager
def _known() -> Iterator[None]:
    """The dry run's model and the reward of one's own can be named."""
    known = {**architectures.ARCHITECTURES, TINY_WAN.name: TINY_WAN}
    with (
        patch.object(architectures, "ARCHITECTURES", known),
        patch.object(sys, "path", [str(REWARD), *sys.path]),
    ):
        yield


# ------------------------------------------------------------------------------------------------------- one process


def work(case: str, folder: Path, *, updates: int, tiny: bool, words: Sequence[str]) -> None:
    """A process of a case; rank 0 writes numbers.json, and the first update's gradient and step, into `folder`."""
    config = configure(case, tiny=tiny, words=words)
    with _known():
        ranks = Ranks.join(choose_device(config.device))
        trainer, parts = assemble(config, ranks)
    texts = [prompt.text for prompt in (*trainer.prompts.main, *trainer.prompts.dynamic, *parts.test)]
    prepare = getattr(trainer.policy, "prepare_prompts")  # noqa: B009
    ranks.together(lambda: prepare(texts) if ranks.local_rank == 0 else None)
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rows = [trainer.update()]
    if ranks.is_first:
        tensors = {f"step {name}": (p.detach() - before[name]).cpu() for name, p in trainer.parameters.items()}
        grads = {f"grad {name}": p.grad.cpu() for name, p in trainer.parameters.items() if p.grad is not None}
        save_file({name: x.contiguous() for name, x in (tensors | grads).items()}, folder / "first.safetensors")
    rows += [trainer.update() for _ in range(updates)]
    peak = torch.cuda.max_memory_allocated() / GIB if trainer.device.type == "cuda" else 0.0
    peaks = ranks.gather(peak)
    if ranks.is_first:
        numbers = {"rows": rows, "peak_gib": max(peaks)}
        (folder / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")
    ranks.leave()


# ------------------------------------------------------------------------------------------------------------- tables


def batches_of(case: str, processes: int, *, tiny: bool, words: Sequence[str] = ()) -> tuple[str, ...]:
    """Words that give one process the batches that each of several has."""
    train = configure(case, tiny=tiny, words=words).train
    groups = train.groups_per_update // processes
    flight = min(train.groups_in_flight or groups, groups)
    return (f"train.groups_in_flight={flight}", f"sampler.batch={flight * train.group_size}")


def measure(
    case: str, processes: int, updates: int, options: argparse.Namespace, folder: Path, words: Sequence[str] = ()
) -> dict[str, Any]:
    """The numbers of a case with so many processes: one update, then `updates` more. words: beside the options'."""
    folder.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", __file__),
        *("--work", case, "--folder", str(folder), "--updates", str(updates)),
        *(["--tiny"] if options.tiny else []),
        *(word for text in (*options.set, *words) for word in ("--set", text)),
    ]
    # with one GPU too: multicast between GPUs is not everywhere to be had (docs/training.md)
    environment = {"OMP_NUM_THREADS": "1" if options.tiny else "8", "NCCL_NVLS_ENABLE": "0", **os.environ}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"error: {case} with {processes} processes did not run; what it said is above")
    return json.loads((folder / "numbers.json").read_text(encoding="utf-8"))


def difference(one: Mapping[str, Tensor], several: Mapping[str, Tensor], kind: str) -> float:
    """|several - one| / |one| over all tensors of a kind ("grad" or "step")."""
    names = [name for name in one if name.startswith(kind)]
    apart = sum(float((several[name].double() - one[name].double()).square().sum()) for name in names)
    return (apart / sum(float(one[name].double().square().sum()) for name in names)) ** 0.5


def compare(case: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """The case's three lines of the table."""
    same_batches = batches_of(case, options.gpus, tiny=options.tiny, words=options.set)
    runs = {
        "1": measure(case, 1, options.updates, options, folder / "one"),
        f"1, batches as of {options.gpus}": measure(case, 1, 0, options, folder / "batches", same_batches),
        str(options.gpus): measure(case, options.gpus, options.updates, options, folder / "several"),
    }
    one, rounded, several = (load_file(folder / name / "first.safetensors") for name in ("one", "batches", "several"))
    changes = [{"grad": 0.0, "step": 0.0}]
    changes += [{kind: difference(one, other, kind) for kind in ("grad", "step")} for other in (rounded, several)]
    alike = changes[2]["grad"] <= max(LEAST, ROUNDING * changes[1]["grad"])
    verdicts = ("", "", "as rounding" if alike else "DIFFERENT")
    base = _median(runs["1"], "seconds")
    lines = []
    for (name, found), change, verdict in zip(runs.items(), changes, verdicts, strict=True):
        timed = len(found["rows"]) > 1
        seconds = [f"{_median(found, key):.3f}" if timed else "" for key in SECONDS]
        cells = [
            *(case, name, *seconds, f"{base / _median(found, 'seconds'):.2f}" if timed else ""),
            *(f"{found['peak_gib']:.2f}", f"{change['grad']:.1e}", f"{change['step']:.1e}", verdict),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def _median(found: Mapping[str, Any], key: str) -> float:
    """Of the updates after the first."""
    return statistics.median(row[key] for row in found["rows"][1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and table; writes them to --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)} (default: all)")
    parser.add_argument("--gpus", type=int, default=2, help="processes, a GPU each, to compare with one")
    parser.add_argument("--updates", type=int, default=5, help="measured updates, after one that warms up")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipes")
    parser.add_argument("--tiny", action="store_true", help="a dry run: tiny sizes on the CPU, by gloo")
    parser.add_argument("--out", type=Path, help="markdown file to write")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work(options.work, options.folder, updates=options.updates, tiny=options.tiny, words=options.set)
        return
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; choose of {', '.join(CASES)}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and not options.tiny else "CPU, gloo"
    head = [
        *(heading(), f"on: {device}; {load()}", ""),
        "| case | processes | s an update | sampling | decoding, reward | speed-up | peak GiB | gradient | step | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lines = [line for case in options.cases or CASES for line in compare(case, options, Path(folder) / case)]
    if options.out:
        options.out.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
