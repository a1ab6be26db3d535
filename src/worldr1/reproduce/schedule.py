"""When jobs that run side by side will all be done: what `runner` is going to do, gone through in thought."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Planned(NamedTuple):
    """A job that has not begun."""

    name: str
    minutes: float
    after: str = ""
    """The job that must be done before, earlier in the list; nothing to wait for if it is neither there nor running."""


def minutes_until_done(planned: Sequence[Planned], running: Mapping[str, float], slots: int) -> float:
    """From now on. running: job -> minutes that it still takes. A free slot takes the first job that need not wait."""
    ends, todo, now = dict(running), list(planned), 0.0
    while todo:
        under_way = {name for name, end in ends.items() if end > now}
        to_end = under_way | {one.name for one in todo}
        ready = [one for one in todo if one.after not in to_end]
        for one in ready[: slots - len(under_way)]:
            ends[one.name] = now + one.minutes
            todo.remove(one)
        now = min((end for end in ends.values() if end > now), default=now)
    return max(ends.values(), default=0.0)
