"""The parser on labelled sentences of many styles (tests/data/camera_sentences; held_out is scored, not read)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from worldr1.camera.motion import parse_plan, scene_text
from worldr1.errors import PromptError

OPEN = Path(__file__).parents[2] / "data" / "camera_sentences" / "open.jsonl"
LEAST = {"camera": 37, "look-alike": 40, "mixed": 5}
"""Right ones so far, of 50, 43 and 7. Raise them with the parser, never lower them."""


def test_sentences_understood_so_far() -> None:
    right: Counter[str] = Counter()
    for line in OPEN.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            right[entry["kind"]] += list(parse_plan(entry["text"]).tokens) == entry["tokens"]
        except PromptError:
            continue  # a request that is refused is not understood
    assert all(right[kind] >= least for kind, least in LEAST.items()), right


@pytest.mark.parametrize(
    ("text", "tokens", "scene"),
    [
        ("The camera dollies in. A cat.", ["push_in"], "A cat."),
        ("The camera pulls back from a cat, then trucks right.", ["pull_out", "move_right"], ""),
        ("The camera arcs to the left around a well. A cat.", ["orbit_left"], "A cat."),
        ("The camera pans from left to right. A cat.", ["pan_right"], "A cat."),
        ("The camera moves forward before panning leftward. A cat.", ["push_in", "pan_left"], "A cat."),
        ("A slow push-in shot of a cat on a sofa.", ["push_in"], "a cat on a sofa."),
        ("Trucks park in the yard. A dolly stands back.", [], "Trucks park in the yard. A dolly stands back."),
    ],
)
def test_synonyms_of_film_makers(text: str, tokens: list[str], scene: str) -> None:
    assert list(parse_plan(text).tokens) == tokens
    assert scene_text(text) == scene
