"""Whether a command can write where it was told to, asked before its work begins: a wrong name should not cost minutes.

What is there already is somebody's work: it is replaced only by who says so (`add_overwrite`). `option` is the argument
that named the place, for the sentence.
"""

import argparse
import os
from pathlib import Path

from worldr1.errors import InputError


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Declares --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def check_absent(*paths: Path, overwrite: bool, option: str = "--out") -> None:
    """Raises InputError if one of them is there already, unless it may be replaced."""
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already: choose another {option}, or give --overwrite")


def check_parent(path: Path, *, option: str = "--out") -> None:
    """Raises InputError if there is no folder to put it into."""
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it or choose another {option}")


def check_file(path: Path, *, overwrite: bool, option: str = "--out", suffix: str = "") -> None:
    """Raises InputError if no file can be written there, or one is there and may not be replaced; writes nothing.

    The folder too must be writable: files are written beside their place and moved there whole.
    suffix: that the name must have, because the command writes that format whatever the name says.
    """
    check_parent(path, option=option)
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder: give a file name")
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"{option} needs a name that ends in {suffix}, not {path.name!r}")
    if not all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists()):
        raise InputError(f"{path} cannot be written: choose another {option}")
    check_absent(path, overwrite=overwrite, option=option)


def make_folder(path: Path, *, option: str = "--out") -> None:
    """Makes the folder. Raises InputError if it cannot be one, or takes no files."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be used as a folder ({error.strerror}): choose another") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{option} {path} cannot be used as a folder (Permission denied): choose another")
