"""What decides the bits of a run on a CPU: the number of threads, torch itself, and the recipe that was agreed to."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from worldr1 import __version__
from worldr1.errors import InputError
from worldr1.train.checkpoint import write_whole

ENVIRONMENT_FILE = "environment.json"


def record_environment(run_dir: Path, *, recipe: str) -> None:
    """Writes down how a run begins: CPU threads of torch (they split sums), versions, the hash of its recipe (TOML)."""
    found = {"num_threads": torch.get_num_threads(), "torch": torch.__version__, "worldr1": __version__}
    _write(run_dir, found | {"recipe_sha256": _digest(recipe)})


def record_recipe(run_dir: Path, recipe: str) -> None:
    """Puts another recipe's hash in the place of the run's; the rest stays as it began."""
    _write(run_dir, (_read(run_dir) or {}) | {"recipe_sha256": _digest(recipe)})


def is_recorded_recipe(run_dir: Path, recipe: str) -> bool:
    """Whether `recipe` is to the letter what the run began with or was told to go on with (--override)."""
    return (_read(run_dir) or {}).get("recipe_sha256") == _digest(recipe)


def restore_environment(run_dir: Path, say: Callable[[str], None]) -> None:
    """Gives torch the run's number of threads. say: is told what cannot be restored, and what was changed.

    Does nothing for a run from before this was written down. Raises InputError if the file is damaged.
    """
    known = _read(run_dir) or {}
    num_threads, version = known.get("num_threads"), known.get("torch", torch.__version__)
    if num_threads is not None and num_threads != torch.get_num_threads():
        say(f"note: torch uses {num_threads} threads as when the run began, not {torch.get_num_threads()}")
        torch.set_num_threads(num_threads)
    if version != torch.__version__:
        say(f"warning: the run began with torch {version}, this is {torch.__version__}; its last digits may differ.")


def _digest(recipe: str) -> str:
    return hashlib.sha256(recipe.encode()).hexdigest()


def _write(run_dir: Path, found: dict[str, Any]) -> None:
    write_whole(run_dir / ENVIRONMENT_FILE, json.dumps(found, indent=1).encode())


def _read(run_dir: Path) -> dict[str, Any] | None:
    """What was written down; None if nothing was."""
    path = run_dir / ENVIRONMENT_FILE
    if not path.is_file():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        num_threads = known.get("num_threads", 1)
        if type(num_threads) is not int or num_threads < 1:
            raise ValueError("no number of threads")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged; delete it to resume with this machine's number of threads.") from error
    return known
