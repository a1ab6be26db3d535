"""How fast a swapped reward model moves to the GPU, from page-locked memory and from ordinary, in turns.

    python benchmarks/swapping.py [light paper]       # needs a GPU; random weights of the published sizes

A profile's row is what one call of its reward (`reward.batch` videos) costs more with `reward.placement = "swap"`.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from full_size import in_turns
from machine import heading, load

from worldr1.backends.swapping import Swapped, tensors_of
from worldr1.build import build_composite, load_experiment
from worldr1.rewards.profiles import ROLES

RECIPES = {"light": "small-24gb", "paper": "world-r1-small"}
ROUNDS = 5


def swapped_models(profile: str) -> dict[str, Swapped]:
    """The reward models of a recipe that has the profile, by role, in host memory."""
    weights = (f"reward.models.{role}=random" for role in ROLES)
    words = ("reward.placement=swap", f"reward.profile={profile}", *weights)
    config = load_experiment(RECIPES[profile], words)
    composite = build_composite(config.reward, "cuda", config.clip)
    models = {role: getattr(composite, role) for role in ROLES}
    return {role: model for role, model in models.items() if isinstance(model, Swapped) and tensors_of(model.model)}


def measure(model: Swapped) -> dict[str, float]:
    """Bytes, and median seconds from page-locked and from ordinary memory."""
    locked = [tensor.data for tensor in tensors_of(model.model)]
    places = {"locked": locked, "pageable": [tensor.clone() for tensor in locked]}
    fetch: dict[str, Callable[[], object]] = {name: partial(model._fetch, some) for name, some in places.items()}
    seconds = in_turns(torch.device("cuda"), fetch, rounds=ROUNDS)
    return {"bytes": float(sum(tensor.nbytes for tensor in locked))} | {
        name: statistics.median(times) for name, times in seconds.items()
    }


def rows_of(profile: str) -> list[str]:
    """Markdown."""
    found = {}
    for role, model in swapped_models(profile).items():
        locked = all(tensor.is_pinned() for tensor in tensors_of(model.model))
        found[role if locked else f"{role} (**not page-locked**)"] = measure(model)
    found["all"] = {key: sum(each[key] for each in found.values()) for key in ("bytes", "locked", "pageable")}
    return [line(profile, role, **each) for role, each in found.items()]


def line(profile: str, role: str, *, bytes: float, locked: float, pageable: float) -> str:
    """Of the table."""
    rates = f"{bytes / locked / 1e9:.1f} | {bytes / pageable / 1e9:.1f}"
    return f"| `{profile}` | {role} | {bytes / 1e9:.2f} | {locked:.3f} | {pageable:.3f} | {rates} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", nargs="*", choices=RECIPES, default=["light", "paper"])
    options = parser.parse_args(arguments)
    print(heading(), f"on: {torch.cuda.get_device_name()}; {load()}; medians of {ROUNDS}, in turns", sep="\n")
    print("\n| profile | model | GB | page-locked, s | ordinary, s | GB/s | GB/s |\n|---|---|---|---|---|---|---|")
    for profile in options.profiles:
        print(*rows_of(profile), sep="\n", flush=True)


if __name__ == "__main__":
    main()
