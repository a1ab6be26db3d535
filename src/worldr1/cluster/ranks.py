"""Several ranks of one torchrun share the reward's actors: each is a client of all, rank 0 starts and ends them.

One pool and no shares: an actor that is lost is lost to nobody in particular, and there may be fewer actors than ranks.
Names make it one pool. They live in a namespace of this torchrun's own, a new one after each of its restarts, so that
nobody finds the dying actors of ranks that were killed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from worldr1 import torchrun

RUN = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
"""What torchrun says to all ranks alike and to no other run of the cluster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """This process among the run's."""

    number: int = 0
    of: int = 1
    namespace: str = ""
    """Of the actors' names."""

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> "Rank":
        """As torchrun says it; one process of its own without torchrun. Raises InputError as `torchrun.place` does."""
        rank, world, _ = torchrun.place(environment)
        return cls(number=rank, of=world, namespace="-".join(["worldr1", *(environment.get(x, "") for x in RUN)]))

    @property
    def shares(self) -> bool:
        """Whether there are other ranks."""
        return self.of > 1

    def first_of(self, actors: int) -> int:
        """The actor that this rank turns to first: the ranks are spread over them."""
        return self.number * actors // self.of if self.of <= actors else self.number % actors


def actor_name(number: int) -> str:
    """Of a shared actor, as `ray list actors` shows it."""
    return f"worldr1-reward-{number}"
