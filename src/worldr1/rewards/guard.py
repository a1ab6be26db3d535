"""Calling models so that one bad sample costs one sample: an error is never a reward (DESIGN section 5)."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worldr1.types import RewardResult, Status

Item = TypeVar("Item")
Result = TypeVar("Result")

FAULT_ERRORS = (RuntimeError, ValueError, ArithmeticError, ConnectionError, TimeoutError)
"""What a model call may raise for one input or one bad moment (out of memory is a RuntimeError). Everything else,
TypeError and KeyError above all, is a bug in the program and passes through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Stands where a result should be."""

    reason: str


def call_each(
    call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], what: str
) -> list[Result | Fault]:
    """One result or one `Fault` per item, in order.

    call: takes all items at once and returns one result each; it raises one of `FAULT_ERRORS`, also for values that
    are not finite. If it does, every item is tried once more alone. what: names the call in the fault's reason.
    """
    if not items:
        return []
    try:
        return list(_checked(call, items))
    except FAULT_ERRORS:
        return [_alone(call, item, what) for item in items]


def fault_result(parts: Iterable[str], reason: str, measures: Mapping[str, float] | None = None) -> RewardResult:
    """What a video gets that nobody could score: no number that could be taken for a reward. parts: their names."""
    return RewardResult(
        value=math.nan,
        parts=dict.fromkeys(parts, math.nan),
        status=Status.FAULT,
        reason=reason,
        measures=dict(measures or {}),
    )


def not_finite(result: RewardResult) -> str:
    """Which of a result's numbers are not, in words; "" if all are."""
    wild = [name for name, value in result.parts.items() if not math.isfinite(value)]
    return f"{' and '.join(wild) or 'the value'} is not finite" if wild or not math.isfinite(result.value) else ""


def _alone(call: Callable[[Sequence[Item]], Sequence[Result]], item: Item, what: str) -> Result | Fault:
    try:
        return _checked(call, [item])[0]
    except FAULT_ERRORS as error:
        return Fault(reason=f"{what}: {type(error).__name__}: {error}")


def _checked(call: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> Sequence[Result]:
    results = call(items)
    if len(results) != len(items):
        raise ValueError(f"{len(results)} results for {len(items)} inputs")
    return results
