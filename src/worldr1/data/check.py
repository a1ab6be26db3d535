"""What is wrong with a prompt set: schema, camera grammar, balance, duplicates, leakage, length. Nothing is mended."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worldr1.camera.motion import parse_plan
from worldr1.data.records import CAMERA_CLASSES, SceneRecord, camera_class
from worldr1.data.similarity import duplicates_by_characters, duplicates_by_minhash, similar_by_characters, words
from worldr1.data.taxonomy import DOMAINS, DYNAMIC_TAGS
from worldr1.errors import PromptError

_STOP_WORDS = """
a an the of in on at to and with by for from its it is are was were be as into over under near between behind before
beside after through against above below across along inside outside where while that this his her their has have than
one two three no not but or all each only still
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say nothing of a scene."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckConfig:
    """Limits."""

    similarity: float = 0.5
    """Jaccard from which two texts are near-duplicates."""
    max_ngram_share: float = 0.005
    """Of the texts, that may have one content 4-gram in common."""
    scene_words: tuple[int, int] = (8, 24)
    enriched_words: tuple[int, int] = (60, 105)
    max_tokens: int = 512
    """Of the text encoder (UMT5 in Wan)."""


def check_texts(
    texts: Mapping[str, str], *, against: Sequence[str] = (), config: CheckConfig | None = None
) -> list[str]:
    """Complaints on any prompts by name, one sentence each: camera words, duplicates, closeness to other texts.

    against: texts that none may be close to.
    """
    limits, names, found = config or CheckConfig(), list(texts), []
    for name, text in texts.items():
        try:
            parse_plan(text)
        except PromptError as error:
            found.append(f"{name}: {error}")
    values = list(texts.values())
    found += _duplicates(values, names, limits)
    for i, j, similarity in similar_by_characters(values, against, limits.similarity):
        found.append(f"{names[i]} is close ({similarity:.2f}) to the other set's {against[j][:60]!r}")
    return found + list(_frequent(values, limits))


def check_lengths(
    texts: Mapping[str, str], count_tokens: Callable[[str], int], *, config: CheckConfig | None = None
) -> list[str]:
    """Complaints on prompts that the text encoder would cut. count_tokens: of the encoder, the end included."""
    most = (config or CheckConfig()).max_tokens
    counts = {name: count_tokens(text) for name, text in texts.items()}
    return [f"{name} has {n} tokens; the encoder takes {most}" for name, n in counts.items() if n > most]


def check_records(records: Sequence[SceneRecord], *, config: CheckConfig | None = None) -> list[str]:
    """Complaints on what only our records have: labels that fit, camera words in place, lengths, ids."""
    limits = config or CheckConfig()
    found = [f"the id {name} is there {n} times" for name, n in Counter(r.id for r in records).items() if n > 1]
    for record in records:
        found += [f"{record.id}: {complaint}" for complaint in _record_complaints(record, limits)]
    return found


def content_ngrams(text: str, size: int = 4) -> set[str]:
    """Word n-grams in which at least half of the words say something."""
    found = words(text)
    grams = (found[i : i + size] for i in range(len(found) - size + 1))
    return {" ".join(gram) for gram in grams if sum(word not in STOP_WORDS for word in gram) * 2 >= size}


def token_bound(text: str) -> int:
    """More tokens than this no SentencePiece encoder makes of it: one per byte, a leading blank and the end."""
    return len(text.encode()) + 2


def _duplicates(texts: Sequence[str], names: Sequence[str], limits: CheckConfig) -> Iterator[str]:
    for how, search in (("characters", duplicates_by_characters), ("MinHash", duplicates_by_minhash)):
        for i, j, similarity in search(texts, limits.similarity):
            yield f"{names[i]} and {names[j]} are near-duplicates by {how} ({similarity:.2f})"


def _frequent(texts: Sequence[str], limits: CheckConfig) -> Iterator[str]:
    counts = Counter(gram for text in texts for gram in content_ngrams(text))
    allowed = max(3, limits.max_ngram_share * len(texts))  # in small sets three is chance, not habit
    for gram, count in counts.most_common():
        if count <= allowed:
            return
        yield f"the words {gram!r} stand in {count} of {len(texts)} texts"


def _record_complaints(record: SceneRecord, limits: CheckConfig) -> Iterator[str]:
    if record.tags:
        if not set(record.tags) <= set(DYNAMIC_TAGS):
            yield f"unknown tags {', '.join(record.tags)}"
        if record.domain not in DOMAINS:
            yield f"unknown domain {record.domain}"
    elif record.subdomain not in DOMAINS.get(record.domain, {}):
        yield f"unknown sub-domain {record.domain}/{record.subdomain}"
    if record.split not in ("train", "test"):
        yield f"unknown split {record.split}"
    if record.camera_class not in CAMERA_CLASSES or record.camera_class != camera_class(record.camera):
        yield f"its camera class is {camera_class(record.camera)}, not {record.camera_class}"
    for name, text, (least, most) in (
        ("scene", record.scene, limits.scene_words),
        ("enriched", record.enriched, limits.enriched_words),
    ):
        if text is None:
            continue
        if not least <= len(text.split()) <= most:
            yield f"{name} has {len(text.split())} words, not {least} to {most}"
        try:
            if parse_plan(text).segments:
                yield f"{name} has camera words of its own"
        except PromptError as error:
            yield f"{name}: {error}"
    if record.enriched is None and (record.split == "test" or record.tags):
        yield "test and dynamic scenes need their long text"
    for enriched in (False, True):
        try:
            if parse_plan(record.text(enriched=enriched)).tokens != record.camera:
                yield "its prompt is not read as its camera plan"
        except PromptError as error:
            yield str(error)
