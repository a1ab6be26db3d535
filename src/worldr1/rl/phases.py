"""The periodic dynamic-only phase (World-R1, arXiv 2604.24764; DESIGN 3.6): a pure function of the update's index."""

from dataclasses import dataclass
from enum import StrEnum

from worldr1.errors import ConfigError


class Phase(StrEnum):
    """What an update trains on."""

    MAIN = "main"
    """All prompts, the full reward."""
    DYNAMIC = "dynamic"
    """Dynamic prompts, R_gen alone: takes the 3D reward's pressure off motion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseConfig:
    """`main_updates` of MAIN, then `dynamic_updates` of DYNAMIC, and again. Raises ConfigError for bad counts."""

    main_updates: int = 100
    """At least 1."""
    dynamic_updates: int = 50
    """0: no dynamic phase."""

    def __post_init__(self) -> None:
        if self.main_updates < 1:
            raise ConfigError(f"main_updates is {self.main_updates}: give at least 1.")
        if self.dynamic_updates < 0:
            raise ConfigError(f"dynamic_updates is {self.dynamic_updates}: give 0 (no dynamic phase) or more.")

    def phase_at(self, update: int) -> Phase:
        """Phase of the update with this index (the first is 0), equal on all ranks and after a resume."""
        position = update % (self.main_updates + self.dynamic_updates)
        return Phase.MAIN if position < self.main_updates else Phase.DYNAMIC
