"""Every fault of a prompt set is found, and a good set has none; similarities against a count by hand."""

from itertools import combinations
from typing import Any

import pytest
import torch
from scene_record import record

from worldr1.data.check import CheckConfig, check_lengths, check_records, check_texts, content_ngrams, token_bound
from worldr1.data.similarity import (
    character_ngrams,
    duplicates_by_characters,
    duplicates_by_minhash,
    nearest,
    similar_by_characters,
)
from worldr1.data.statistics import balance_table, text_statistics, text_table, token_table

LONG = "Grey " * 79 + "nets."


def _random_texts(num: int) -> list[str]:
    generator = torch.Generator().manual_seed(3)
    words = ["reed", "lamp", "tin", "stone", "gate", "moss", "wire", "boat"]
    picks = torch.randint(len(words), (num, 9), generator=generator).tolist()
    return [" ".join(words[i] for i in row) for row in picks]


def test_shared_characters_are_counted_as_by_hand() -> None:
    texts = _random_texts(40)
    expected = {
        (i, j): len(a & b) / len(a | b) for (i, a), (j, b) in combinations(enumerate(map(character_ngrams, texts)), 2)
    }
    found = duplicates_by_characters(texts, 0.2)
    assert {(p.first, p.second) for p in found} == {pair for pair, s in expected.items() if s >= 0.2}
    assert all(p.similarity == pytest.approx(expected[p.first, p.second]) for p in found)
    assert [p.similarity for p in found] == sorted((p.similarity for p in found), reverse=True)
    best = max((s, j) for (i, j), s in expected.items() if i == 0)
    assert nearest(texts, [0])[0].similarity == pytest.approx(best[0])
    assert similar_by_characters(texts, [], 0.2) == []


def test_minhash_finds_what_shares_words() -> None:
    base = "a copper kettle stands on the sill beside two chipped blue cups and a folded cloth"
    texts = [
        base,
        base.replace("copper", "tin"),
        "seven geese sleep under the bridge where barges used to turn at low tide",
    ]
    assert [(p.first, p.second) for p in duplicates_by_minhash(texts, 0.5)] == [(0, 1)]


def test_a_good_record_has_no_fault() -> None:
    assert check_records([record()]) == []
    assert check_records([record(split="test", enriched=LONG)]) == []
    dynamic = record(id="d", domain="micro", subdomain="water", tags=("water",), enriched=LONG)
    assert check_records([dynamic]) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"camera_class": "inter"}, "its camera class is composite"),
        ({"domain": "sea"}, "unknown sub-domain sea/streets"),
        ({"tags": ("wind",), "enriched": LONG}, "unknown tags wind"),
        ({"tags": ("water",), "domain": "sea", "enriched": LONG}, "unknown domain sea"),
        ({"split": "dev"}, "unknown split dev"),
        ({"scene": "A wet net."}, "scene has 3 words"),
        ({"enriched": "Too short."}, "enriched has 2 words"),
        ({"scene": "The camera pushes in on nets that dry over an iron bollard at dusk."}, "camera words of its own"),
        ({"scene": "The camera zooms in on nets that dry over an iron bollard at dusk."}, "zoom"),
        ({"split": "test"}, "need their long text"),
        ({"tags": ("water",)}, "need their long text"),
    ],
)
def test_every_fault_of_a_record_is_found(changes: dict[str, Any], said: str) -> None:
    found = check_records([record(**changes)])
    assert any(said in complaint and complaint.startswith("urban-streets-000") for complaint in found), found


def test_an_id_may_stand_once() -> None:
    assert check_records([record(), record()]) == ["the id urban-streets-000 is there 2 times"]


def test_faults_between_texts_are_found() -> None:
    texts = {f"t{i}": text for i, text in enumerate(_random_texts(4))}
    assert check_texts(texts) == []
    doubled = texts | {"again": texts["t0"] + " now"}
    assert sum("t0 and again are near-duplicates" in complaint for complaint in check_texts(doubled)) == 2
    leaked = check_texts(texts, against=[texts["t2"]])
    assert len(leaked) == 1 and leaked[0].startswith("t2 is close (1.00) to the other set's")
    assert "zoom" in check_texts({"z": "The camera zooms in on a lake."})[0]


def test_a_phrase_that_returns_is_found() -> None:
    fillers = _random_texts(4)
    texts = {f"t{i}": f"{filler} with copper kettle on the old sill" for i, filler in enumerate(fillers)}
    complaints = check_texts(texts, config=CheckConfig(similarity=0.8))
    assert any("'copper kettle on the' stand in 4 of 4" in complaint for complaint in complaints)
    assert check_texts(dict(list(texts.items())[:3]), config=CheckConfig(similarity=0.8)) == []


def test_only_phrases_with_content_count() -> None:
    assert content_ngrams("in the middle of the") == set()
    assert content_ngrams("over the old stone") == {"over the old stone"}


def test_lengths_are_those_of_the_encoder() -> None:
    assert check_lengths({"a": "one two three"}, lambda text: len(text.split()), config=CheckConfig(max_tokens=2)) == [
        "a has 3 tokens; the encoder takes 2"
    ]
    assert token_bound("é a") == 4 + 2


def test_statistics_by_hand() -> None:
    found = text_statistics(["A red gate, a red gate.", "A red gate, a red gate."])
    assert (found.num, found.unique, found.mean_words) == (2, 1, 6.0)
    assert found.type_token_ratio == pytest.approx(3 / 12)
    assert found.distinct_bigrams == pytest.approx(3 / 10)
    assert found.largest_ngram_share == 1.0
    table = text_table({"mine": found})
    assert "| mine | 2 | 1 | 6.0 | 0.250 | 0.300 | 12 |" in table


def test_tables_count() -> None:
    records = [
        record(),
        record(id="b", camera=("fixed",), camera_class="still"),
        record(id="c", camera=(), camera_class="none"),
    ]
    assert "| urban | streets | 1 | 1 | 0 | 0 | 1 | 3 |" in balance_table(records)
    assert token_table(records).splitlines()[-1] == "| prompts | 1 | 1 | 1 | 1 | 1 | 1 |"
