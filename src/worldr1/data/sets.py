"""Prompt sets by name or path: ours, the official text files, and the layout of `microsoft/World-R1`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from worldr1.data.records import SceneRecord, read_records
from worldr1.errors import InputError
from worldr1.seeding import make_generator
from worldr1.types import Prompt

HOME = Path(__file__).parent
NAMES = ("world", "dynamic")
"""The sets in the package."""
Split = Literal["train", "test"]


def set_path(name: str, split: Split) -> Path:
    """File of a packaged set."""
    return HOME / f"{name}_{split}.jsonl"


def load_records(name: str, split: Split) -> list[SceneRecord]:
    """A packaged set, with plans and tags. Raises InputError for an unknown name."""
    if name not in NAMES:
        raise InputError(f"There is no prompt set {name!r}: name one of {', '.join(NAMES)}.")
    return read_records(set_path(name, split))


def load_prompts(
    source: str, split: Split = "train", *, dynamic: bool | None = None, enriched: bool = False
) -> list[Prompt]:
    """Prompts of a packaged set by name, or of a file; ids are the places in it, from 0.

    Files: .txt (one prompt per line, as the official release has them), or .jsonl with our records or with lines
    {"id", "prompt"} (the layout of the dataset microsoft/World-R1). dynamic: what the prompts are; None: what our
    records say, else static. enriched: take the long text of our records where there is one. A file has one split.
    Camera words are not checked here: `worldr1 prompts check` does.
    Raises InputError for an unknown name, a file that cannot be read, or one without prompts.
    """
    if source in NAMES:
        texts, moving = _of_records(load_records(source, split), enriched)
    else:
        texts, moving = _of_file(Path(source), enriched)
    if not texts:
        raise InputError(f"{source} has no prompts.")
    flags = moving if dynamic is None else [dynamic] * len(texts)
    return [Prompt(id=i, text=text, dynamic=flag) for i, (text, flag) in enumerate(zip(texts, flags, strict=True))]


def load_file(path: Path) -> tuple[list[SceneRecord], list[str]]:
    """A file's records if it is one of ours, else none and its prompts. Raises InputError as `load_prompts`."""
    lines = _lines(path)
    if path.suffix == ".txt":
        return [], lines
    if lines and _is_row(lines[0]):
        return [], [_row(line, f"{path.name} row {number}") for number, line in enumerate(lines, 1)]
    return read_records(path), []


def subset(prompts: Sequence[Prompt], num: int, *, seed: int) -> list[Prompt]:
    """`num` of the prompts, in the set's order. Nested: of one seed, the smaller subset lies inside the larger.

    Raises InputError if there are not so many.
    """
    if num > len(prompts):
        raise InputError(f"The prompt set has {len(prompts)} prompts, not {num}: ask for at most so many.")
    order = torch.randperm(len(prompts), generator=make_generator(seed, "prompt-subset"))
    return [prompts[index] for index in sorted(order[:num].tolist())]


def _of_records(records: Sequence[SceneRecord], enriched: bool) -> tuple[list[str], list[bool]]:
    return [record.text(enriched=enriched) for record in records], [bool(record.tags) for record in records]


def _of_file(path: Path, enriched: bool) -> tuple[list[str], list[bool]]:
    records, texts = load_file(path)
    return _of_records(records, enriched) if records else (texts, [False] * len(texts))


def _lines(path: Path) -> list[str]:
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path} is no prompt set: give {', '.join(NAMES)}, or a .txt or .jsonl file.")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error


def _is_row(line: str) -> bool:
    try:
        values = json.loads(line)
    except ValueError:
        return False
    return isinstance(values, dict) and "prompt" in values


def _row(line: str, where: str) -> str:
    try:
        text = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{where} is not {{"id", "prompt"}}; mend or drop the line.') from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where} has no text in prompt; mend or drop the line.")
    return text.strip()
