"""What one check of a recipe found."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from worldr1.rewards.guard import FAULT_ERRORS


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One number against its threshold."""

    name: str
    value: float
    """NaN if there is none."""
    at_least: float | None = None
    at_most: float | None = None
    detail: str
    fix: str
    """What to do if it fails."""
    seconds: float = 0.0
    broken: str = ""
    """Why there is no value to judge."""

    @property
    def verdict(self) -> Literal["ok", "FAILED"]:
        """A number that is not finite fails; so does one that equals a threshold of 0 that it must exceed."""
        if self.broken or not math.isfinite(self.value):
            return "FAILED"
        above = self.at_least is None or self.value > self.at_least or self.value == self.at_least != 0
        return "ok" if above and (self.at_most is None or self.value <= self.at_most) else "FAILED"

    @property
    def threshold(self) -> str:
        """In words."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "above 0" if self.at_least == 0 else f"at least {self.at_least:g}"


def timed(check: Callable[[], Finding]) -> Finding:
    """A check with its seconds."""
    start = time.perf_counter()
    found = check()
    return replace(found, seconds=time.perf_counter() - start)


def attempted(check: Callable[[], Finding], otherwise: Finding) -> Finding:
    """A check, or `otherwise` with the error in words if a model failed in it; a bug of the program passes through."""
    start = time.perf_counter()
    try:
        return timed(check)
    except FAULT_ERRORS as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return replace(otherwise, broken=told, seconds=time.perf_counter() - start)
