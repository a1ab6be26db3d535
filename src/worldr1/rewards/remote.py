"""What a recipe says about rewards elsewhere (`reward.placement = "remote"`); the code is `worldr1.cluster`."""

import math
from dataclasses import dataclass

from worldr1.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteConfig:
    """The reward's actors: processes on this machine's other GPUs or on other nodes, each with all of its models.

    Raises ConfigError for impossible numbers.
    """

    address: str = ""
    """Of a running Ray ("host:6379", "auto"); empty: RAY_ADDRESS, and without that a Ray of this machine that lives as
    long as the run and listens on 127.0.0.1 only."""
    actors: int = 1
    gpus: float | None = None
    """GPUs of an actor; a fraction puts several on one. None: 1 where the recipe's device is a GPU, else 0. With 0 the
    reward is computed on the CPU."""
    cpus: float = 1.0
    """CPU cores that Ray reserves for an actor."""
    in_flight: int = 2
    """Most requests (of `reward.batch` videos) that an actor holds: one is scored while the next one travels. The
    others wait at the trainer, not in Ray's memory."""
    timeout_s: float = 900.0
    """Longest time for one request, from when its actor takes it up; then the actor is restarted."""
    start_timeout_s: float = 1800.0
    """Longest time for an actor to start and load its models."""
    retries: int = 2
    """Further attempts at a request that brought no usable answer, on another actor where there is one."""
    restarts: int = 3
    """Times that an actor that died or hung is started again."""

    def __post_init__(self) -> None:
        for name, low in {"actors": 1, "in_flight": 1, "retries": 0, "restarts": 0}.items():
            if getattr(self, name) < low:
                raise ConfigError(f"reward.remote.{name} is {getattr(self, name)}: give at least {low}.")
        for name in ("timeout_s", "start_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"reward.remote.{name} is {getattr(self, name)}: give a positive number of seconds.")
        if not 0 <= self.cpus < math.inf:
            raise ConfigError(f"reward.remote.cpus is {self.cpus}: give 0 or more.")
        gpus = self.gpus
        if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())):
            raise ConfigError(f"reward.remote.gpus is {gpus}: give a fraction of one GPU, or a whole number.")

    def gpus_on(self, device: str) -> float:
        """GPUs of an actor of a run on "cpu" or "cuda"."""
        if self.gpus is not None:
            return self.gpus
        return 0.0 if device == "cpu" else 1.0
