"""The parser on labelled sentences of many styles (tests/data/camera_sentences; held_out is scored, never read)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from worldr1.camera.motion import parse_plan, scene_text
from worldr1.errors import PromptError

DATA = Path(__file__).parents[2] / "data" / "camera_sentences"

FREE = [  # text, tokens
    ("Camera dolly in.", "push_in"),
    ("Camera dolly back.", "pull_out"),
    ("The camera dolly in.", "push_in"),
    ("Camera truck right.", "move_right"),
    ("Camera arc left around the well.", "orbit_left"),
    ("The camera orbits to the left.", "orbit_left"),
    ("The camera orbits clockwise around the well.", "orbit_left"),
    ("The camera arcs counter-clockwise around it.", "orbit_right"),
    ("The camera moves left, pulls out, then pans left.", "move_left pull_out pan_left"),
    ("After pushing in on a door, the camera pans left.", "push_in pan_left"),
    ("The camera pans across the valley to the right.", "pan_right"),
    ("The camera pans left to right over a mountain.", "pan_right"),
    ("The camera does not move.", "fixed"),
    ("The camera doesn't move at all.", "fixed"),
    ("The camera does not move left.", ""),
    ("The camera never pans, it pushes in.", "push_in"),
    ("The camera never pans left but pushes in.", "push_in"),
    ("Let the camera pan left.", "pan_left"),
    ("Pan the camera slowly to the left.", "pan_left"),
    ("Pan the camera left across the bay.", "pan_left"),
    ("Push the camera in.", "push_in"),
    ("Don't pan the camera left.", ""),
    ("A man pans the camera left.", ""),
    ("The camera begins to push in.", "push_in"),
    ("The camera starts panning right.", "pan_right"),
    ("The camera performs a slow push-in on the face.", "push_in"),
    ("The camera makes an orbit to the left around a car.", "orbit_left"),
    ("The camera should pan left.", "pan_left"),
    ("The camera will slowly pull back from the house.", "pull_out"),
    ("We push in on a face.", "push_in"),
    ("Slow push-in on a face.", "push_in"),
    ("A slow pan left across the bay.", "pan_left"),
    ("Slowly push in on the castle.", "push_in"),
    ("Static shot of a harbour.", "fixed"),
    ("A static shot of a harbour.", "fixed"),
    ("Locked-off shot, a harbour.", "fixed"),
    ("Tripod shot of a harbour.", "fixed"),
    ("A tripod shot: a harbour.", "fixed"),
    ("The shot is static.", "fixed"),
    ("The camera is locked off.", "fixed"),
    ("The camera holds still.", "fixed"),
    ("The camera stays completely still while a dog runs.", "fixed"),
    ("A dog runs; camera static.", "fixed"),
    ("A dog runs, camera fixed.", "fixed"),
    ("The camera pans left. It then pushes in.", "pan_left push_in"),
    ("The camera pans left. It pushes in.", "pan_left push_in"),
    ("Camera movement: pan left.", "pan_left"),
    ("Camera: pan left, push in.", "pan_left push_in"),
    ("A cat, camera movement: orbit right, 4k", "orbit_right"),
    ("Tracking shot to the right along a wall.", "move_right"),
    ("A panning shot to the left.", "pan_left"),
    ("The camera wobbles.", ""),
    ("Camera operators move left.", ""),
    ("Camera crews push in.", ""),
    ("The camera operator moves left.", ""),
    ("The camera crew pushes in on the actor.", ""),
    ("A security camera pans left.", ""),
    ("A camera pans left.", ""),
    ("His camera moves left.", ""),
    ("Truck left behind the barn rusts.", ""),
    ("Pan left on the stove.", ""),
    ("Trucks left past midnight.", ""),
    ("Circling left around its prey, a shark waits.", ""),
    ("Push in the drawer.", ""),
    ("Pull out a chair.", ""),
    ("Move left.", "move_left"),
    ("Pull back to reveal a city.", "pull_out"),
    ("Push in line.", ""),
    ("Slide right into the pool.", "move_right"),
    ("A truck left in a field.", ""),
    ("A pan left to cool.", ""),
    ("The view pans left.", "pan_left"),
    ("The view from the tower is wide.", ""),
    ("The shot of espresso moves left.", ""),
    ("With the camera panning left, a dog runs.", "pan_left"),
    ("A man with the camera moves left.", ""),
    ("The camera moves closer to the door.", "push_in"),
    ("The camera backs away from the door.", "pull_out"),
    ("The camera retreats.", "pull_out"),
    ("The camera advances through a gate.", "push_in"),
    ("The camera turns left.", "pan_left"),
    ("The camera pulls away from a boat.", "pull_out"),
    ("The camera pulls left.", "pull_left"),
    ("The camera pans left, followed by a push-in on the door.", "pan_left push_in"),
    ("Push in, then pan left. A ball.", "push_in pan_left"),
    ("The camera glides forward over dunes, then turns right, and finally pulls back.", "push_in pan_right pull_out"),
    ("I want the camera to pan left.", "pan_left"),
    ("The camera, slowly, pushes in.", "push_in"),
    ("First, the camera pans left; next it dollies in.", "pan_left push_in"),
    ("A dog runs and the camera pans left with it.", "pan_left"),
    ("The camera pans left. A ball. It rolls left.", "pan_left"),
    ("The camera pushes in. A cat moves left.", "push_in"),
    ("The camera moves left and a cat moves right.", "move_left"),
    ("The camera moves left as a cat moves right.", "move_left"),
    ("The camera moves left while a cat moves right.", "move_left"),
    ("Children push in line.", ""),
    ("A fixed star.", ""),
    ("do not move left", ""),
    ("The camera lies on a table.", ""),
    ("Photographers push in with cameras.", ""),
    ("The fixed camera records a street.", "fixed"),
    ("A stationary camera.", "fixed"),
    ("The still camera was invented in 1816.", ""),
]
REFUSED = [  # unknown, at once, or with two readings
    "The camera circles the well counterclockwise.",
    "The camera pushes in while panning left.",
    "The camera pans left or right.",
    "The camera pans left and right.",
    "The camera pans across the valley.",
    "The camera pushes in on a dancer who spins and moves left.",
    "The camera pans left past a train. It moves right.",
    "Camera zoom in.",
    "The camera tilts up.",
    "The camera follows a dog.",
    "Camera push in, then wobble.",
    "Camera push in, pann left.",
    "Camera pushin.",
    "The camera moves in a circle.",
    "The camera moves to the left of the statue.",
    "The camera pans to the right window.",
]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("open", {"camera": 50, "look-alike": 42, "mixed": 7}),
        ("styles", {"camera": 90, "look-alike": 58, "mixed": 10}),
        ("held_out", {"camera": 45, "look-alike": 42, "mixed": 6}),
    ],
)
def test_as_many_sentences_are_read_right_as_published(name: str, least: dict[str, int]) -> None:
    """Numbers only: whoever prints what is wrong in held_out has spent it. Raise `least` with the parser."""
    right: Counter[str] = Counter()
    for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            right[entry["kind"]] += list(parse_plan(entry["text"]).tokens) == entry["tokens"]
        except PromptError:
            continue  # a request that is refused is not understood
    assert all(right[kind] >= number for kind, number in least.items()), dict(right)


@pytest.mark.parametrize(("text", "tokens"), FREE)
def test_free_sentences(text: str, tokens: str) -> None:
    assert parse_plan(text).tokens == tuple(tokens.split())


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(PromptError):
        parse_plan(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The camera pushes in while panning left.", "two camera moves at once"),
        ("The camera pans left past a train. It moves right.", "can mean the camera or what was named before it"),
        ("The camera pushes in on a dancer who spins and moves left.", "can mean the camera or what was named before"),
    ],
)
def test_an_ambiguous_prompt_says_so(text: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        parse_plan(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The camera does not move. A cat.", "does not move"),
        ("Pan the camera slowly to the left. A dog.", "Pan the camera slowly to the left"),
        ("fog, (pan right:1.2), 8k", "pan right"),
        ("Before panning right, the camera pushes in.", "pushes in|panning right"),
        ("After panning right, the camera pushes in.", "panning right|pushes in"),
    ],
)
def test_spans(text: str, said: str) -> None:
    assert [text[slice(*segment.span)] for segment in parse_plan(text).segments] == said.split("|")


@pytest.mark.parametrize(
    ("text", "tokens", "scene"),
    [
        ("The camera dollies in. A cat.", ["push_in"], "A cat."),
        ("The camera pulls back from a cat, then trucks right.", ["pull_out", "move_right"], "a cat."),
        ("The camera arcs to the left around a well. A cat sleeps on it.", ["orbit_left"], "A cat sleeps on it."),
        ("The camera pans from left to right. A cat.", ["pan_right"], "A cat."),
        ("The camera moves forward before panning leftward. A cat.", ["push_in", "pan_left"], "A cat."),
        ("A slow push-in shot of a cat on a sofa.", ["push_in"], "a cat on a sofa."),
        ("A cat on a sofa in the rain (camera pans left).", ["pan_left"], "A cat on a sofa in the rain."),
        ("Truck left past a bakery window, morning light.", ["move_left"], "a bakery window. morning light."),
        ("Trucks park in the yard. A dolly stands back.", [], "Trucks park in the yard. A dolly stands back."),
    ],
)
def test_the_scene_of_free_sentences(text: str, tokens: list[str], scene: str) -> None:
    assert list(parse_plan(text).tokens) == tokens
    assert scene_text(text) == scene
