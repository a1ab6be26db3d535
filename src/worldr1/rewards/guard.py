"""Calling models so that one bad sample costs one sample: an error is never a reward (DESIGN section 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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
