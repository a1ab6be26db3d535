"""The public half of a study, study.json: what is asked of whom, and nothing about who made what.

A study's folder:
- study.json: `Study`; it may be shown to anybody, and is before the first vote
- key.json: which model made which video, sealed (`study.key`)
- votes.sqlite: the votes (`study.votes`)
- tokens.txt: one secret per participant; whoever has it votes as that participant
- videos/NAME.mp4: under random names
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch

from worldr1.errors import InputError
from worldr1.evaluate.records import save_json
from worldr1.seeding import make_generator
from worldr1.study.questions import CAMERA, QUESTIONS

STUDY_FILE, VIDEOS = "study.json", "videos"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two videos of one prompt; which is called first says nothing."""

    first: str
    """Name of a file in videos/."""
    second: str
    prompt: str
    """The scene, without camera words."""
    camera: str
    """The camera's moves in words; "" if nothing was requested."""
    clip_ms: int
    """Duration of the longer video."""

    @property
    def questions(self) -> tuple[str, ...]:
        """Which of all questions can be asked of it."""
        return tuple(name for name in QUESTIONS if name != CAMERA or self.camera)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Who is left out of the analysis. Fixed before the first vote; results are always given with everybody too."""

    max_failed_checks: float = 1 / 3
    """Share of a participant's attention checks that may fail."""
    fast_ms_per_question: int = 700
    """A pair that was answered in less time than one run of its video and this for every question is fast."""
    max_fast: float = 0.5
    """Share of a participant's pairs that may be fast."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """As study.json has it."""

    title: str
    questions: tuple[str, ...]
    pairs: tuple[Pair, ...]
    """Real pairs and attention checks, in an order that does not tell them apart."""
    participants: int
    """Planned; more links can be made."""
    seed: int
    """Of every participant's order and sides. It knows first and second, not the models."""
    key_sha256: str
    """The commitment: of key.json's sealed text."""
    rules: Rules
    created: str
    """UTC, ISO 8601."""
    worldr1: str
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Writes study.json whole or not at all."""
        save_json(folder / STUDY_FILE, asdict(self))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What `save` wrote. Raises InputError if it is missing or damaged, or of another version."""
        path = Path(folder) / STUDY_FILE
        if not path.is_file():
            raise InputError(f"There is no {path}; give a folder that `worldr1 study new` made.")
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            _check(cls, table)
            if table["format"] != FORMAT:
                raise ValueError(f"format {table['format']}")
            pairs, rules = table["pairs"], table["rules"]
            for entry in pairs:
                _check(Pair, entry)
            _check(Rules, rules)
            questions = tuple(table["questions"])
            if not pairs or not questions or any(name not in QUESTIONS for name in questions):
                raise ValueError("no pairs, or questions that are not known")
            loaded = {"pairs": tuple(Pair(**entry) for entry in pairs), "rules": Rules(**rules), "questions": questions}
            return cls(**{**table, **loaded})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is damaged or of another version ({error}); make the study again.") from error

    def asked(self, pair: Pair) -> tuple[str, ...]:
        """The study's questions that can be asked of a pair."""
        return tuple(name for name in self.questions if name in pair.questions)

    def is_fast(self, pair: Pair, ms: int) -> bool:
        """Whether a pair was answered too quickly to have been looked at."""
        return ms < pair.clip_ms + self.rules.fast_ms_per_question * len(self.asked(pair))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A pair as one participant sees it."""

    pair: int
    """Index into `Study.pairs`."""
    first_is_left: bool


def schedule(study: Study, slot: int) -> tuple[Trial, ...]:
    """All pairs in participant `slot`'s own order, from 0 on.

    Participants 2 k and 2 k + 1 see opposite sides, so that over them every video is as often left as right.
    """
    num = len(study.pairs)
    order: list[int] = torch.randperm(num, generator=make_generator(study.seed, "study order", slot)).tolist()
    coins = torch.randint(2, (num,), generator=make_generator(study.seed, "study sides", slot // 2)).tolist()
    return tuple(Trial(pair=index, first_is_left=bool(coins[index]) != bool(slot % 2)) for index in order)


def minutes_per_participant(study: Study) -> int:
    """A guess for the invitation: every clip twice, and six seconds per question."""
    ms = sum(2 * pair.clip_ms + 6000 * len(study.asked(pair)) for pair in study.pairs)
    return max(1, math.ceil(ms / 60_000))


def _check(cls: Any, table: Any) -> None:
    known = {f.name for f in fields(cls)}
    if not isinstance(table, Mapping):
        raise ValueError(f"{cls.__name__} is no JSON object")
    if wrong := sorted(known ^ set(table)):
        raise ValueError(f"{cls.__name__} lacks or does not know the field {wrong[0]!r}")
