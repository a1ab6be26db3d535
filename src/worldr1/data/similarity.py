"""Which texts are nearly the same: shared character n-grams (exact), and MinHash of word shingles."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import csr_array

NUM_CHARACTERS = 5
SHINGLE = 3
"""Words."""
_WORD = re.compile(r"[a-z0-9']+")


class Pair(NamedTuple):
    """Two texts and the Jaccard similarity of their pieces, 0 to 1."""

    first: int
    second: int
    similarity: float


def words(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())


def character_ngrams(text: str) -> set[str]:
    """All pieces of NUM_CHARACTERS letters, of the words joined by single spaces."""
    joined = " ".join(words(text))
    return {joined[i : i + NUM_CHARACTERS] for i in range(max(1, len(joined) - NUM_CHARACTERS + 1))}


def similar_by_characters(first: Sequence[str], second: Sequence[str], threshold: float) -> list[Pair]:
    """All pairs of a text of `first` and one of `second` that share that much, the most similar first."""
    a, b = _matrices(first, second)
    shared: Any = (a @ b.T).tocoo()
    union = a.sum(1)[shared.row] + b.sum(1)[shared.col] - shared.data
    similarity = shared.data / union
    found = [
        Pair(int(i), int(j), float(s))
        for i, j, s in zip(shared.row, shared.col, similarity, strict=True)
        if s >= threshold
    ]
    return sorted(found, key=lambda pair: -pair.similarity)


def duplicates_by_characters(texts: Sequence[str], threshold: float) -> list[Pair]:
    """The same inside one list; each pair once."""
    return [pair for pair in similar_by_characters(texts, texts, threshold) if pair.first < pair.second]


def duplicates_by_minhash(texts: Sequence[str], threshold: float, *, num_hashes: int = 256) -> list[Pair]:
    """Pairs whose word shingles are that similar by MinHash (an estimate, off by about 1 / sqrt(num_hashes))."""
    hashes = [_minhash(text, num_hashes) for text in texts]
    index = MinHashLSH(threshold=threshold, num_perm=num_hashes)
    for number, found in enumerate(hashes):
        index.insert(number, found)
    found_near: list[list[Any]] = [index.query(found) for found in hashes]  # keys are the numbers that went in
    candidates = {(i, j) for i, others in enumerate(found_near) for j in others if i < j}
    pairs = [Pair(i, j, float(hashes[i].jaccard(hashes[j]))) for i, j in candidates]
    return sorted((pair for pair in pairs if pair.similarity >= threshold), key=lambda pair: -pair.similarity)


def nearest(texts: Sequence[str], chosen: Sequence[int]) -> list[Pair]:
    """Of each chosen text, the other one that shares most characters with it."""
    a, b = _matrices([texts[i] for i in chosen], texts)
    shared = (a @ b.T).toarray()
    similarity = shared / (a.sum(1)[:, None] + b.sum(1)[None] - shared)
    similarity[np.arange(len(chosen)), np.asarray(chosen, dtype=int)] = -1
    return [Pair(i, int(row.argmax()), float(row.max())) for i, row in zip(chosen, similarity, strict=True)]


def _matrices(*lists: Sequence[str]) -> list[Any]:
    """For each list its texts by n-grams, 1 where the text has it; columns mean the same in all."""
    columns: dict[str, int] = {}
    numbered = [[[columns.setdefault(p, len(columns)) for p in character_ngrams(t)] for t in texts] for texts in lists]
    return [
        csr_array(
            (
                np.ones(sum(map(len, rows))),
                (np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate([*rows, []]).astype(int)),
            ),
            shape=(len(rows), len(columns)),
        )
        for rows in numbered
    ]


def _minhash(text: str, num_hashes: int) -> MinHash:
    found = words(text)
    pieces = {" ".join(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))}
    return next(iter(MinHash.bulk([[piece.encode() for piece in pieces]], num_perm=num_hashes)))
