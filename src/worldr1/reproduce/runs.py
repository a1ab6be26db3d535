"""What lies in a run folder: nothing, a beginning, a finished run, or something that must not be counted."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from worldr1.backends.mini import CLIP_SIZE
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.config import config_differences
from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.evaluate.pages.report import AFTER, BEFORE, PREVIEWS
from worldr1.evaluate.records import RECORDS_FILE
from worldr1.shipped import FINAL
from worldr1.train.adapter_file import ADAPTER_FILE, read_adapter
from worldr1.train.checkpoint import RECIPE_FILE
from worldr1.train.runlog import METRICS_FILE, read_metrics

NO_MATTER = (
    "device",
    "prompts.test",
    "prompts.test_dynamic",
    "train.seed",
    "train.updates",
    "train.max_minutes",
    "train.groups_in_flight",
    "train.flights_ahead",
    "train.decode_batch",
    "train.shard_base",
    "train.checkpoint_every",
    "train.keep_last",
    "train.log.",
)
"""Keys in which a run that was made elsewhere may differ. Its length and its seed are looked at by themselves."""
TIMED_TOLERANCE = 0.05
"""A run whose length was set in minutes may be so much shorter or longer: the published ones have 201 or 202."""


class RunState(StrEnum):
    """What can be done with a run folder."""

    ABSENT = "absent"
    BEGUN = "begun"
    """`train --resume` goes on with it."""
    FINISHED = "finished"
    UNUSABLE = "unusable"
    """Damaged, or another run than is wanted."""


class Run(NamedTuple):
    """What lies in a run folder."""

    state: RunState
    updates: int = 0
    """Done and written down."""
    problem: str = ""
    """Why it is unusable."""


def look(folder: Path, wanted: ExperimentConfig) -> Run:
    """What is in a run folder. wanted: the recipe that the run is to have."""
    if not (folder / RECIPE_FILE).is_file():
        if (folder / FINAL).exists() or (folder / METRICS_FILE).exists():
            return Run(RunState.UNUSABLE, problem=f"{folder} has no {RECIPE_FILE}; {_REMEDY}")
        return Run(RunState.ABSENT)
    try:
        recipe = load_experiment(str(folder / RECIPE_FILE))
        updates = [row["update"] for row in read_metrics(folder)]
        adapter = folder / FINAL / ADAPTER_FILE
        if adapter.is_file():
            read_adapter(adapter)
    except InputError as error:
        return Run(RunState.UNUSABLE, problem=f"{folder} is damaged ({str(error).rstrip('.')}); {_REMEDY}")
    if other := _differences(recipe, wanted):
        return Run(RunState.UNUSABLE, problem=f"{folder} holds another run ({'; '.join(other)}); {_REMEDY}")
    if not adapter.is_file():
        return Run(RunState.BEGUN, len(updates))
    if updates != list(range(len(updates))) or not _is_long_enough(len(updates), recipe, wanted):
        problem = f"{len(updates)} updates are written down instead of {wanted.train.updates}"
        return Run(RunState.UNUSABLE, problem=f"{folder} has a result, but {problem}; {_REMEDY}")
    if not all((folder / PREVIEWS / name / RECORDS_FILE).is_file() for name in (BEFORE, AFTER)):
        return Run(RunState.UNUSABLE, problem=f"{folder} has a result and lacks an evaluation; {_REMEDY}")
    return Run(RunState.FINISHED, len(updates))


_REMEDY = "bring it back from a copy, or move it away to have it trained again"


def adapter_of(folder: Path) -> Path:
    """A finished run's result."""
    return folder / FINAL / ADAPTER_FILE


def read_judging(folder: Path) -> dict[str, Any]:
    """judging.json of a folder that `mini judge` wrote; empty if there is none that can be read."""
    try:
        found = json.loads((folder / "judging.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def has_judged(
    folder: Path, adapters: Sequence[Path], *, stream: str, prompts: tuple[int, int], clip: tuple[int, int, int]
) -> bool:
    """Whether a folder holds the judging of at least these adapters on such a list of prompts, at that size of clip.

    prompts: static and dynamic ones drawn; some fewer are judged, where a text is known from training.
    """
    found = read_judging(folder)
    judged = found.get("adapters_sha256", [])
    enough = 0.9 * sum(prompts) <= found.get("num_prompts", 0) <= sum(prompts)
    same = found.get("stream") == stream and tuple(found.get("clip", CLIP_SIZE)) == clip
    return bool(judged) and enough and same and {file_sha256(adapter) for adapter in adapters} <= {*judged}


def is_shorter(num: int, planned: int) -> bool:
    """Whether a run of `num` updates is shorter than one of `planned`, beyond what minutes leave open."""
    return num < (1 - TIMED_TOLERANCE) * planned


def _is_long_enough(num: int, recipe: ExperimentConfig, wanted: ExperimentConfig) -> bool:
    planned = wanted.train.updates
    if recipe.train.max_minutes is None:
        return num == planned
    return not is_shorter(num, planned) and num <= (1 + TIMED_TOLERANCE) * planned


def _differences(recipe: ExperimentConfig, wanted: ExperimentConfig) -> list[str]:
    """What makes it another run."""
    found = [d for d in config_differences(recipe, wanted) if not d.startswith(NO_MATTER)]
    train, other = recipe.train, wanted.train
    if train.seed != other.seed:
        found.append(f"train.seed {train.seed} -> {other.seed}")
    if train.max_minutes is None and train.updates != other.updates:
        found.append(f"train.updates {train.updates} -> {other.updates}")
    return found
