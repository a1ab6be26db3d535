"""Which of the processes of a run this is, as torchrun tells each in its environment."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from worldr1.errors import InputError


class Place(NamedTuple):
    """Of a process among those of its run."""

    rank: int = 0
    world: int = 1
    """How many there are."""
    local_rank: int = 0
    """Among those of its machine."""


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """As torchrun sets it; one process of its own without WORLD_SIZE.

    Raises InputError for half of such an environment, or impossible numbers.
    """
    if "WORLD_SIZE" not in environment:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    try:
        rank, world, local_rank = (int(environment[name]) for name in names)
        sound = 0 <= rank < world and local_rank >= 0 and (world == 1 or "MASTER_ADDR" in environment)
    except (KeyError, ValueError):
        sound, rank, world, local_rank = False, 0, 0, 0
    if not sound:
        said = ", ".join(f"{name}={environment.get(name, '(missing)')}" for name in (*names, "MASTER_ADDR"))
        raise InputError(
            f"The environment is no process of torchrun's ({said}): start with torchrun --nproc-per-node N -m worldr1 "
            "train ..., or unset WORLD_SIZE."
        )
    return Place(rank, world, local_rank)


def speaks(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is rank 0, as far as an environment says that may not be sound."""
    return environment.get("RANK", "0") in ("", "0") or "WORLD_SIZE" not in environment
