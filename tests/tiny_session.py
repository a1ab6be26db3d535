"""A session's training (run folder, checkpoints, resume) around a tiny random Wan, for tests of what interrupts it."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from tiny_trainer import FakeReward, build_trainer

from worldr1 import session as sessions
from worldr1.assembly import Parts
from worldr1.build import load_experiment
from worldr1.session import Session
from worldr1.train.checkpoint import CHECKPOINTS, RECIPE_FILE, list_checkpoints
from worldr1.train.runlog import read_metrics

EVERY_UPDATE = ("device=cpu", "train.checkpoint_every=1")
"""A recipe's changes: a checkpoint each."""


@contextmanager
def tiny_models(folder: Path, reward: Callable[[], Any] = FakeReward, **changes: Any) -> Iterator[None]:
    """Inside, sessions are made around `build_trainer(folder, reward(), **changes)`. folder: of `save_tiny_wan`."""
    parts = Parts([], None, [])
    with patch.object(sessions, "assemble", lambda *_: (build_trainer(folder, reward(), **changes), parts)):
        yield


def begin_or_go_on(run: Path, *words: str, updates: int, override: bool = False) -> Session:
    """A session in `run` of so many updates, resumed if there is one. words: of the recipe."""
    config = load_experiment("mini-smoke", (*EVERY_UPDATE, f"train.updates={updates}", *words))
    known = (run / RECIPE_FILE).is_file()
    session = Session.resume(config, run, override=override) if known else Session.create(config, run)
    session.console = Console(file=io.StringIO())
    return session


def train(
    run: Path,
    *words: str,
    updates: int,
    override: bool = False,
    spoil: Callable[[Session], object] = lambda session: None,
) -> Session:
    """Begins or goes on, and trains to the end. spoil: may change the session before."""
    session = begin_or_go_on(run, *words, updates=updates, override=override)
    spoil(session)
    with session.log:
        session._train()
    return session


def untimed_rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the seconds, which no two runs share."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_metrics(run)]


def differences(run: Path, reference: Path) -> list[str]:
    """In which files a finished run is not the one that nothing happened to; seconds are no difference."""
    found = []
    numbers = [row["update"] for row in read_metrics(run)]
    if numbers != list(range(len(numbers))):
        found.append("metrics.jsonl: a row is missing or there twice")
    if untimed_rows(run) != untimed_rows(reference):
        found.append("metrics.jsonl")
    names = [path.name for path in list_checkpoints(reference)]
    if [path.name for path in list_checkpoints(run)] != names:
        found.append("names of the checkpoints")
    files = [path.relative_to(reference) for name in names for path in (reference / CHECKPOINTS / name).iterdir()]
    files += [path.relative_to(reference) for path in reference.glob("final/*.safetensors")]
    files += [path.relative_to(reference) for path in reference.glob("previews/*/records.json")]
    for file in files:
        if not (run / file).is_file() or _content(run / file) != _content(reference / file):
            found.append(str(file))
    return found


def _content(file: Path) -> Any:
    """Without seconds, and without the order of a safetensors file's metadata, which is another every time."""
    if file.name == "records.json":
        return {key: value for key, value in json.loads(file.read_bytes()).items() if key != "seconds"}
    if file.name == "adapter.safetensors":
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        return json.loads(data[8 : 8 + size]), data[8 + size :]
    return file.read_bytes()
