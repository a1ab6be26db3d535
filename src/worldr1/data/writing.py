"""Scenes written from cards by a language model: asked for in batches, checked one by one, kept line by line."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from worldr1.data.chat import Message
from worldr1.data.check import CheckConfig, check_records, content_ngrams
from worldr1.data.planning import Card
from worldr1.data.records import SceneRecord, parse_records
from worldr1.data.similarity import character_ngrams, words
from worldr1.data.taxonomy import DOMAINS, DYNAMIC_TAGS
from worldr1.errors import InputError

_WORN_OUT = """
nestled bathed tapestry testament whisper whispers whispering symphony ethereal majestic serene breathtaking stunning
vibrant bustling shimmering timeless mesmerizing mesmerising intricate camera footage cinematic viewer photorealistic
bokeh
"""
WORN_OUT = frozenset(_WORN_OUT.split())
"""Words that no scene may use: those of advertising, which models like too much, and those of film making."""
RULES = f"""\
You write scenes for short videos. You get cards and answer with JSON alone, one entry for every card:
{{"scenes": [{{"id": "...", "place": "...", "subject": "...", "foreground": "...", "scene": "...", "enriched": null}}]}}

A card is a plan to write from. Choose a concrete place, a subject and something in the foreground (one to five words
each), then write. Attributes steer: drop one or two that do not fit, and show the mood instead of naming it. "form"
says how the sentence is built. Where a card has a complaint, your last text for it was refused: write a different one.

scene: about 15 words (9 to 22). One clear picture with depth: something near, something further off, things with shape
and texture. Plain words and concrete nouns. No style words, unless the domain is artistic.
enriched: null, unless the card says true. Then about 80 words (65 to 100) in 3 to 6 sentences on the same scene: what
is where (left, right, near, far), materials and their state, where the light comes from, small exact details.
Both: nothing about a camera, a shot or a viewer, and no verb that reads as a camera's move ("zoom", "pull back"); no
writing to be read, no brands, no famous people or works; none of these words: {", ".join(sorted(WORN_OUT))}.
Plain ASCII, British spelling, a full stop at the end.
If "moves" says what moves, the scene shows strong motion of that kind: what moves, how, and where to. Otherwise things
stand, lie, hang or grow.
Let no two scenes be alike: vary subject, continent, era, rhythm and the first words. Stay away from what "already"
lists.
"""
"""What the model is told."""
_FIELDS = ("place", "subject", "foreground", "scene")
_LINE_START = b'{"id": "'
_OPENING = re.compile(r"\{|\[(?=\s*\{)")
"""Where JSON of ours may begin."""
_NUM_ALREADY = 30
"""Subjects of earlier scenes that a request lists."""
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class WritingConfig:
    """How patiently scenes are asked for."""

    batch: int = 10
    """Cards in one request."""
    max_tries: int = 3
    """Texts for one card, before it is given up."""
    max_useless: int = 3
    """Answers in a row without one text for a card that was asked about, before all is given up."""
    check: CheckConfig = field(default_factory=CheckConfig)

    def __post_init__(self) -> None:
        """Raises InputError for a batch of nothing."""
        if self.batch < 1:
            raise InputError(f"A batch of {self.batch} cards asks for nothing: take at least one.")


class Outcome(NamedTuple):
    """What came of the cards."""

    num_written: int
    given_up: tuple[str, ...]
    """Ids."""


class SetFile:
    """A set's file that grows by whole lines; a last line that was cut short is dropped when writing begins."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises InputError for a file that is no set of ours; nothing is changed yet."""
        if path.suffix != ".jsonl" or not path.parent.is_dir():
            raise InputError(f"{path} cannot be a set: give a .jsonl file in a folder that exists.")
        self.path = path
        try:
            content = path.read_bytes() if path.exists() else b""
            whole, end, rest = content.rpartition(b"\n")
            lines = whole.decode().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}).") from error
        self.records = parse_records(lines, path.name)
        if not rest.startswith(_LINE_START[: len(rest)]):
            raise InputError(f"{path} ends with what is no line of a set; mend or drop it.")
        self._size = len(whole) + len(end)
        """Of the whole lines."""
        self._last = _record_or_none(rest)
        if self._last is not None:
            self.records.append(self._last)

    def begin(self) -> None:
        """Make the file end with a whole line. Raises InputError if it cannot be written."""
        try:
            with self.path.open("ab") as file:
                file.truncate(self._size)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error}).") from error
        if self._last is not None:
            self._append(self._last)  # only its line end was missing

    def add(self, record: SceneRecord) -> None:
        """One more line."""
        self._append(record)
        self.records.append(record)

    def _append(self, record: SceneRecord) -> None:
        with self.path.open("ab") as file:
            file.write(f"{record.to_json()}\n".encode())


def messages_for(
    cards: Sequence[Card], records: Sequence[SceneRecord], complaints: dict[str, str] | None = None
) -> list[Message]:
    """The request for a batch. records: of the set so far. complaints: by id, on texts that came before."""
    already = [f"{record.plan.subject}, {record.plan.place}" for record in records[-_NUM_ALREADY:]]
    asked = {"cards": [_asked(card, (complaints or {}).get(card.id)) for card in cards], "already": already}
    return [
        {"role": "system", "content": RULES},
        {"role": "user", "content": json.dumps(asked, ensure_ascii=False, indent=1)},
    ]


def write_scenes(
    output: SetFile,
    cards: Sequence[Card],
    ask: Callable[[Sequence[Message]], str],
    *,
    others: Sequence[SceneRecord] = (),
    config: WritingConfig | None = None,
    report: Report = lambda line: None,
) -> Outcome:
    """Have every card written that the file does not have yet; whatever interrupts this, a second call goes on.

    others: records that no text may be close to, besides those of the file. report: gets lines on what goes on.
    Raises InputError if the model's answers are of no use again and again, and whatever `ask` raises.
    """
    settings = config or WritingConfig()
    shelves = _Shelves(output.records, others, settings.check)
    waiting = unwritten(cards, output.records)
    complaints: dict[str, str] = {}
    tries, given_up, num_written, num_useless = Counter[str](), list[str](), 0, 0
    output.begin()
    while waiting:
        batch, waiting = waiting[: settings.batch], waiting[settings.batch :]
        answers = _rows(ask(messages_for(batch, output.records, complaints)))
        if not any(card.id in answers for card in batch):
            num_useless += 1
            if num_useless == settings.max_useless:
                raise InputError(
                    f"The model's last {num_useless} answers held no JSON of the kind asked for; "
                    "try a smaller --batch or another --model."
                )
            waiting = batch + waiting
            continue
        num_useless = 0
        for card in batch:
            record, faults = _judged(card, answers.get(card.id), shelves)
            if record is not None and not faults:
                output.add(record)
                shelves.add(record)
                num_written += 1
                continue
            tries[card.id] += 1
            complaints[card.id] = "; ".join(faults)
            if tries[card.id] < settings.max_tries:
                waiting.append(card)
            else:
                given_up.append(card.id)
                report(f"{card.id} is given up after {tries[card.id]} tries: {complaints[card.id]}")
        report(f"{num_written} written, {len(waiting)} to go")
    return Outcome(num_written, tuple(given_up))


def unwritten(cards: Sequence[Card], records: Sequence[SceneRecord]) -> list[Card]:
    """Cards whose ids no record has."""
    done = {record.id for record in records}
    return [card for card in cards if card.id not in done]


def _asked(card: Card, complaint: str | None) -> dict[str, Any]:
    """What the model learns of a card: everything but the camera's moves, which are none of the scene's business."""
    moving = bool(card.tags)
    about = {"moves": DYNAMIC_TAGS[card.subdomain]} if moving else {"about": DOMAINS[card.domain][card.subdomain].about}
    attributes = {key: getattr(card, key) for key in ("light", "weather", "material", "scale", "mood", "form")}
    asked = {"id": card.id, "domain": card.domain, **about} | {key: text for key, text in attributes.items() if text}
    return asked | {"enriched": card.enriched} | ({"complaint": complaint} if complaint else {})


def _rows(answer: str) -> dict[str, dict[str, Any]]:
    """Every JSON object with an id, wherever it stands: between fences or words, or in an answer that breaks off."""
    decoder, position, found = json.JSONDecoder(), 0, {}
    while match := _OPENING.search(answer, position):
        try:
            value, position = decoder.raw_decode(answer, match.start())
        except (ValueError, RecursionError):
            position = match.start() + 1
            continue
        rows = value.get("scenes", [value]) if isinstance(value, dict) else value
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and isinstance(row.get("id"), str):
                found[row["id"]] = row
    return found


def _judged(card: Card, row: dict[str, Any] | None, shelves: "_Shelves") -> tuple[SceneRecord | None, list[str]]:
    """The record that a row makes, if it makes one, and what is wrong."""
    if row is None:
        return None, ["no text came for this card"]
    texts = {name: " ".join(row[name].split()) for name in _FIELDS if isinstance(row.get(name), str)}
    long = row.get("enriched") if card.enriched else None
    if missing := [name for name in _FIELDS if not texts.get(name)]:
        return None, [f"{', '.join(missing)} must be text"]
    if card.enriched and not (isinstance(long, str) and long.strip()):
        return None, ["enriched must be text"]
    record = card.record(**texts, enriched=" ".join(long.split()) if long else None)
    faults = [complaint.removeprefix(f"{card.id}: ") for complaint in check_records([record], config=shelves.limits)]
    for name, text in _texts(record):
        if not text.endswith("."):
            faults.append(f"{name} does not end with a full stop")
        if worn := sorted(WORN_OUT.intersection(words(text))):
            faults.append(f"{name} uses {', '.join(worn)}")
    return record, faults + list(shelves.complaints(record))


class _Shelves:
    """Texts that new ones must keep away from, scenes and long ones apart."""

    def __init__(self, own: Sequence[SceneRecord], others: Sequence[SceneRecord], limits: CheckConfig) -> None:
        self.limits = limits
        self._pieces: dict[str, list[tuple[str, set[str]]]] = {"scene": [], "enriched": []}
        self._phrases: dict[str, Counter[str]] = {"scene": Counter(), "enriched": Counter()}
        self._num_own = Counter[str]()
        for record in others:
            self._shelve(record)
        for record in own:
            self.add(record)

    def add(self, record: SceneRecord) -> None:
        """One of the set's own, whose phrases count too."""
        self._shelve(record)
        for name, text in _texts(record):
            self._phrases[name].update(content_ngrams(text))
            self._num_own[name] += 1

    def complaints(self, record: SceneRecord) -> Iterator[str]:
        """Near-duplicates, and phrases that stand in too many of the set's texts already."""
        for name, text in _texts(record):
            pieces = character_ngrams(text)
            for other, found in self._pieces[name]:
                shared = len(pieces & found)
                if shared >= self.limits.similarity * (len(pieces) + len(found) - shared):
                    yield f"{name} {text!r} is too close to {other!r}"
                    break
            allowed = max(2, self.limits.max_ngram_share * (self._num_own[name] + 1))
            for phrase in sorted(content_ngrams(text)):
                if self._phrases[name][phrase] + 1 > allowed:
                    yield f"{name} uses the words {phrase!r}, which others use already"

    def _shelve(self, record: SceneRecord) -> None:
        for name, text in _texts(record):
            self._pieces[name].append((text, character_ngrams(text)))


def _texts(record: SceneRecord) -> list[tuple[str, str]]:
    return [("scene", record.scene), *([("enriched", record.enriched)] if record.enriched else [])]


def _record_or_none(line: bytes) -> SceneRecord | None:
    """None for a line that was cut short."""
    try:
        return SceneRecord.from_json(line.decode(), where="the last line")
    except (InputError, UnicodeDecodeError):
        return None
