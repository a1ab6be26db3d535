"""One piece of work: a process, and how to tell whether it is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from worldr1.reproduce.prices import Kind


class State(StrEnum):
    """Of a job."""

    DONE = "done"
    READY = "ready"
    WAITING = "waiting"
    """For other jobs."""
    UNUSABLE = "unusable"
    """What lies in its place must not be counted and is not overwritten."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process, and how to tell whether it is needed. What it asks of the folder it asks anew every time."""

    name: str
    """For people."""
    kind: Kind
    place: Path
    """The folder or file that it fills: no two jobs fill one at a time. Its output goes to PLACE.log."""
    state: Callable[[], State]
    command: Callable[[], Sequence[str]]
    minutes: Callable[[], float]
    """Of what is left of it, in one of this start's slots; by `prices`."""
    after: str = ""
    """The job that must be done before."""
    then_minutes: Callable[[], float] = lambda: 0.0
    """Of what must follow, or it was for nothing: a run that is not judged says nothing."""
    problem: Callable[[], str] = lambda: ""
    """Why it is unusable."""

    @property
    def log(self) -> Path:
        """Its standard output and errors, of all attempts."""
        return self.place.with_name(f"{self.place.name}.log")
