"""Options that would not do what they say: repeated values, and those that nothing reads beside another option."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from worldr1.errors import InputError


def check_distinct(values: Iterable[int | str | Path], *, what: str) -> None:
    """Raises InputError if a value is there twice: it would be made twice, or counted twice in a mean.

    Texts and paths are files or folders, and two names of one of them are the same. what: for the sentence.
    """
    seen = set()
    for value in values:
        key = value if isinstance(value, int) else Path(value).resolve()
        if key in seen:
            raise InputError(f"{what} {value} is given twice: give different ones")
        seen.add(key)


def refuse_unread(args: argparse.Namespace, usual: argparse.Namespace, names: Iterable[str], *, why: str) -> None:
    """Raises InputError for the first of the options `names` that was given. usual: what stands where nothing is given.

    why: ends the sentence.
    """
    for name in names:
        if getattr(args, name) != getattr(usual, name):
            raise InputError(f"leave out --{name.replace('_', '-')}: {why}")
