"""One process per run folder: a lock that the kernel takes back when its holder dies, however it dies."""

import errno
import fcntl
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from worldr1.errors import InputError

LOCK_FILE = ".lock"
"""Stays in the run folder; only whether somebody holds the lock counts, not whether the file is there."""


class RunLock:
    """Held from its making until `close`, or the process's death (so no lock is ever stale)."""

    def __init__(self, run_dir: Path) -> None:
        """Raises InputError if another process (or object) has it, whom it names, or if the folder is read-only."""
        self._file = _open(run_dir)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._file)
            self._file.close()
            raise InputError(
                f"{run_dir} is in use by {holder}: wait for it or stop it, or give another --out."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            print(f"warning: the disk of {run_dir} knows no locks; do not start two runs in it.", file=sys.stderr)
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        self._file.flush()

    def close(self) -> None:
        """Lets others in."""
        self._file.close()


def _open(run_dir: Path) -> Any:
    try:
        return (run_dir / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(run_dir, error) from error


def unwritable(run_dir: Path, error: OSError) -> InputError:
    """For a folder that cannot be written."""
    return InputError(f"{run_dir} cannot be written ({error.strerror}); make it writable, or give another --out.")


def _holder(file: Any) -> str:
    try:
        file.seek(0)
        known = json.load(file)
        return f"process {known['pid']} on {known['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
