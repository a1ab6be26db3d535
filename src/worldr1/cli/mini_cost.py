"""`worldr1 mini cost`: seconds, modules and parameters of the base, with a LoRA on it, and with the LoRA merged in."""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from worldr1.cli.model_options import euler_steps
from worldr1.cli.places import add_overwrite, check_file, make_folder
from worldr1.cli.progress import tracked
from worldr1.errors import InputError

RECIPE = "mini"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mini cost`."""
    parser.add_argument("--lora", default="mini-r1", metavar="FILE", help="adapter of a mini run (default: mini-r1)")
    parser.add_argument("--num", type=int, metavar="N", help="videos at a time (default: 96 on a GPU, 1 on the CPU)")
    parser.add_argument("--rounds", type=int, metavar="N", help="timed ones (default: 30 on a GPU, 5 on the CPU)")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: the recipe's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the JSON")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write the JSON and print it. Raises InputError for an adapter that does not fit the mini model."""
    from worldr1.build import choose_device, load_experiment
    from worldr1.shipped import find_adapter
    from worldr1.train.checkpoint import write_whole

    for name in ("num", "rounds", "steps"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)} measures nothing: give at least 1.")
    make_folder(args.out.parent)
    check_file(args.out, overwrite=args.overwrite)
    device = choose_device(args.device)
    num = args.num or (96 if device == "cuda" else 1)
    rounds = args.rounds or (30 if device == "cuda" else 5)
    adapter, config = find_adapter(args.lora), load_experiment(RECIPE)
    if args.steps is not None:
        config = replace(config, sampler=euler_steps(args.steps))
    with TemporaryDirectory(prefix="worldr1-merged-") as folder:
        policies = _policies(config, device, adapter, Path(folder) / "merged")
        found = {
            "adapter": args.lora,
            "device": _name(device),
            "num_videos": num,
            "steps": config.sampler.num_steps,
            **_graph(policies),
            **_seconds(policies, config, num, rounds),
        }
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_whole(args.out, text.encode())
    print(text, end="")
    return 0


def _policies(config: Any, device: str, adapter: Path, merged: Path) -> dict[str, Any]:
    """The three, each on the device: the merged one as anybody loads a merged export, from its folder."""
    from worldr1.backends.mini import mini_base
    from worldr1.build import build_policy
    from worldr1.train.adapter_file import read_adapter
    from worldr1.train.merging import merge_folder

    info, state = read_adapter(adapter)
    model = replace(config.model, guidance=info.guidance)
    merge_folder(mini_base(), merged, state, info)
    return {
        "base": build_policy(model, device),
        "lora": build_policy(model, device, lora=adapter),
        "merged": build_policy(replace(model, folder=str(merged)), device),
    }


def _graph(policies: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the transformers, and whether the merged one has the base's modules and parameters (`graph_of`)."""
    from worldr1.train.lora import graph_of

    networks = {name: policy.transformer for name, policy in policies.items()}
    found: dict[str, Any] = {f"modules_{name}": sum(1 for _ in net.modules()) for name, net in networks.items()}
    found |= {f"parameters_{name}": sum(p.numel() for p in net.parameters()) for name, net in networks.items()}
    return found | {"same_graph": graph_of(networks["base"]) == graph_of(networks["merged"])}


def _seconds(policies: Mapping[str, Any], config: Any, num: int, rounds: int) -> dict[str, list[float]]:
    """Of every round, sampled and decoded, in turn: whoever is first in a round is last in the next."""
    from worldr1.build import evaluation_config
    from worldr1.evaluate.evaluation import film, plan_tasks
    from worldr1.mini.promptset import random_prompts
    from worldr1.rollout.start_noise import PlanCache

    settings = evaluation_config(config, seed=0)
    tasks = plan_tasks(random_prompts(num, seed=0, stream="cost"), settings)
    plans, names = PlanCache(), list(policies)

    def once(name: str) -> float:
        return _timed(lambda: film(policies[name], tasks, settings, plans))

    for name in names:
        once(name)  # kernels are chosen, text and plans of the noise are stored
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in tracked(range(rounds), "rounds"):
        for name in (*names[number % 3 :], *names[: number % 3]):
            seconds[name].append(once(name))
    return {f"seconds_{name}": values for name, values in seconds.items()}


def _timed(work: Callable[[], Any]) -> float:
    """Seconds until the result is there, also on a GPU."""
    import torch

    begin = time.perf_counter()
    float(work().sum())
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _name(device: str) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
