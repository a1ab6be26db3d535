"""How far a long piece of work is, on stderr."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar that goes when the work is done; without a terminal there is none. total: None if it is not known yet.

    Inside, call what it gives as rich's `Progress.update`: with advance=1, or with completed=... and total=...
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield partial(progress.update, progress.add_task(what, total=total))


def tracked(work: Sequence[T], what: str) -> Iterable[T]:
    """The pieces of work one by one, under such a bar."""
    with bar(what, len(work)) as update:
        for piece in work:
            yield piece
            update(advance=1)
