"""What besides recipe and seed decides the bits of a run on a CPU: the number of threads, and torch itself."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from worldr1 import __version__
from worldr1.errors import InputError
from worldr1.train.checkpoint import write_whole

ENVIRONMENT_FILE = "environment.json"


def record_environment(run_dir: Path) -> None:
    """Writes down where a run begins: CPU threads of torch (they split sums), and versions."""
    found = {"num_threads": torch.get_num_threads(), "torch": torch.__version__, "worldr1": __version__}
    write_whole(run_dir / ENVIRONMENT_FILE, json.dumps(found, indent=1).encode())


def restore_environment(run_dir: Path, say: Callable[[str], None]) -> None:
    """Gives torch the run's number of threads. say: is told what cannot be restored, and what was changed.

    Does nothing for a run from before there was such a file. Raises InputError if the file is damaged.
    """
    path = run_dir / ENVIRONMENT_FILE
    if not path.is_file():
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        num_threads, version = int(known["num_threads"]), str(known["torch"])
        if num_threads < 1:
            raise ValueError("no threads")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged; delete it to resume with this machine's number of threads.") from error
    if num_threads != torch.get_num_threads():
        say(f"note: torch uses {num_threads} threads as when the run began, not {torch.get_num_threads()}")
        torch.set_num_threads(num_threads)
    if version != torch.__version__:
        say(f"warning: the run began with torch {version}, this is {torch.__version__}; its last digits may differ.")
