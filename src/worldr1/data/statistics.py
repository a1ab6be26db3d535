"""How varied a prompt set is, in numbers and as tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from worldr1.data.check import content_ngrams, token_bound
from worldr1.data.records import CAMERA_CLASSES, SceneRecord
from worldr1.data.similarity import words
from worldr1.seeding import make_generator

SAMPLE_WORDS = 20_000
"""Ratios of types to tokens fall with length: sets are compared on so many words of a seeded sample of their texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStatistics:
    """Of the scenes' texts, camera sentences left out."""

    num: int
    unique: int
    mean_words: float
    type_token_ratio: float
    """Different words per word, on SAMPLE_WORDS words (or all, if there are fewer)."""
    distinct_bigrams: float
    """Different pairs of neighbouring words per pair, likewise."""
    sampled_words: int
    largest_ngram_share: float
    """Of the texts, that have the commonest content 4-gram."""
    commonest_ngram: str
    max_token_bound: int
    """Of the longest text."""


def text_statistics(texts: Sequence[str], *, seed: int = 0) -> TextStatistics:
    """texts: at least one."""
    order: list[int] = torch.randperm(len(texts), generator=make_generator(seed, "prompt-statistics")).tolist()
    types: set[str] = set()
    bigrams: set[tuple[str, str]] = set()
    num_words = num_bigrams = 0
    for index in order:
        found = words(texts[index])[: SAMPLE_WORDS - num_words]
        types.update(found)
        bigrams.update(pairwise(found))
        num_words, num_bigrams = num_words + len(found), num_bigrams + max(0, len(found) - 1)
        if num_words >= SAMPLE_WORDS:
            break
    grams = Counter(gram for text in texts for gram in content_ngrams(text))
    gram, count = grams.most_common(1)[0] if grams else ("", 0)
    return TextStatistics(
        num=len(texts),
        unique=len({" ".join(words(text)) for text in texts}),
        mean_words=sum(len(text.split()) for text in texts) / len(texts),
        type_token_ratio=len(types) / max(1, num_words),
        distinct_bigrams=len(bigrams) / max(1, num_bigrams),
        sampled_words=num_words,
        largest_ngram_share=count / len(texts),
        commonest_ngram=gram,
        max_token_bound=max(token_bound(text) for text in texts),
    )


def text_table(statistics: dict[str, TextStatistics]) -> str:
    """Markdown, one row per set."""
    lines = [
        "| set | prompts | unique | mean words | type-token ratio | distinct bigrams | on words "
        "| commonest content 4-gram | tokens at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, s in statistics.items():
        ratios = f"{s.type_token_ratio:.3f} | {s.distinct_bigrams:.3f} | {s.sampled_words}"
        gram = f"{s.commonest_ngram} ({s.largest_ngram_share:.2%})"
        lines.append(
            f"| {name} | {s.num} | {s.unique} | {s.mean_words:.1f} | {ratios} | {gram} | {s.max_token_bound} |"
        )
    return "\n".join(lines) + "\n"


def balance_table(records: Sequence[SceneRecord]) -> str:
    """Markdown: records per domain and sub-domain (or tag) by camera class."""
    counts = Counter((record.domain, record.subdomain, record.camera_class) for record in records)
    rows = sorted({(domain, subdomain) for domain, subdomain, _ in counts})
    lines = [f"| domain | | {' | '.join(CAMERA_CLASSES)} | all |", f"|---|---|{'---|' * (len(CAMERA_CLASSES) + 1)}"]
    for domain, subdomain in rows:
        numbers = [counts[domain, subdomain, name] for name in CAMERA_CLASSES]
        lines.append(f"| {domain} | {subdomain} | {' | '.join(map(str, numbers))} | {sum(numbers)} |")
    totals = [sum(record.camera_class == name for record in records) for name in CAMERA_CLASSES]
    lines.append(f"| all | | {' | '.join(map(str, totals))} | {len(records)} |")
    return "\n".join(lines) + "\n"


def token_table(records: Sequence[SceneRecord]) -> str:
    """Markdown: how often each camera move is asked for, and plans by their number of moves."""
    moves = Counter(token for record in records for token in record.camera)
    lengths = Counter(len(record.camera) for record in records)
    head = ["move", *sorted(moves), *(f"{n} moves" for n in sorted(lengths))]
    numbers = [str(moves[token]) for token in sorted(moves)] + [str(lengths[n]) for n in sorted(lengths)]
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n| prompts | {' | '.join(numbers)} |\n"
