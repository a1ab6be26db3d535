"""Which sentences are about the camera, and which only look so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldr1.camera.motion import MAX_MOVES, TOKENS, camera_sentence, parse_plan, scene_text
from worldr1.errors import PromptError

# prompt, tokens, the characters that say so
MOVES = [
    ("Camera push in. A red ball.", "push_in", "push in"),
    ("Camera pull out. A red ball.", "pull_out", "pull out"),
    ("Camera move left. A red ball.", "move_left", "move left"),
    ("Camera move right. A red ball.", "move_right", "move right"),
    ("Camera pan left. A red ball.", "pan_left", "pan left"),
    ("Camera pan right. A red ball.", "pan_right", "pan right"),
    ("Camera orbit left. A red ball.", "orbit_left", "orbit left"),
    ("Camera orbit right. A red ball.", "orbit_right", "orbit right"),
    ("Camera pull left. A red ball.", "pull_left", "pull left"),
    ("Camera pull right. A red ball.", "pull_right", "pull right"),
    ("Camera fixed. A red ball.", "fixed", "fixed"),
    ("Camera push in, then pan left. A red ball.", "push_in pan_left", "push in|pan left"),
    (
        "Camera push in, move left, then orbit right. A.",
        "push_in move_left orbit_right",
        "push in|move left|orbit right",
    ),
    ("Camera push in, move left and then pan right. A.", "push_in move_left pan_right", "push in|move left|pan right"),
    ("Camera pan left, pan right, pan left, then fixed.", "pan_left pan_right pan_left fixed", None),
    ("Camera push in", "push_in", "push in"),
    ("Camera push-in.", "push_in", "push-in"),
    ("Camera: push_in, then pan_left.", "push_in pan_left", "push_in|pan_left"),
    ("camera PUSH IN. a ball", "push_in", "PUSH IN"),
    ("Camera pushing in.", "push_in", "pushing in"),
    ("Camera orbiting left.", "orbit_left", "orbiting left"),
    ("Camera is fixed.", "fixed", "fixed"),
    ("Camera static.", "fixed", "static"),
    ("Camera slowly pan left.", "pan_left", "pan left"),
    ("Camera pan left slowly.", "pan_left", "pan left"),
    ("Camera push in toward the red ball, then pan left.", "push_in pan_left", "push in|pan left"),
    ("The camera pushes in.", "push_in", "pushes in"),
    ("The camera is panning left.", "pan_left", "panning left"),
    ("The camera moves to the right.", "move_right", "moves to the right"),
    ("The camera slowly pulls out.", "pull_out", "pulls out"),
    ("The camera pushes in on a red ball, then pans left.", "push_in pan_left", "pushes in|pans left"),
    ("The camera pushes in, then the camera pans left.", "push_in pan_left", "pushes in|pans left"),
    ("The camera pushes in. Then the camera pans left.", "push_in pan_left", "pushes in|pans left"),
    ("The camera pans left and pulls out.", "pan_left pull_out", "pans left|pulls out"),
    ("The camera pans left past a ball and then orbits left.", "pan_left orbit_left", "pans left|orbits left"),
    ("The camera remains still.", "fixed", "still"),
    ("The camera stays fixed on the ball.", "fixed", "fixed"),
    ("A red ball rolls. The camera orbits left.", "orbit_left", "orbits left"),
    ("A dog runs while the camera orbits left.", "orbit_left", "orbits left"),
    ("As the camera moves left, a dog runs.", "move_left", "moves left"),
    ("A dog runs, and the camera pans right.", "pan_right", "pans right"),
    ("Static camera. A dog runs.", "fixed", "Static"),
    ("A dog runs, static camera.", "fixed", "static"),
    ("With a fixed camera, children push in line.", "fixed", "fixed"),
]
NOTHING = [
    "",
    "A striped red box on a green tiled floor in a blue brick room. The red box moves left.",
    "A fixed star shines.",
    "He pans left on the stove.",
    "Pan left on the stove.",
    "Children push in line.",
    "Do not move left.",
    "A man with a camera moves left.",
    "A camera moves left on a belt.",
    "A cameraman moves left.",
    "The cameras pan left.",
    "The camera sits on a frying pan.",
    "The camera on the desk is old.",
    "The camera still works.",
    "A book, the camera and a lamp move left.",
    "Camera-shy cats push in.",
    "A fixed camera mount moves left.",
]
UNKNOWN = [  # prompt, the words that the message names, the move that it proposes
    ("Camera zoom in. A ball.", "zoom in", "push in"),
    ("Camera pushh in.", "pushh in", "push in"),
    ("Camera orbit lft.", "orbit lft", "orbit left"),
    ("Camera push in, then zoom out. A ball.", "zoom out", "pull out"),
    ("Camera push in line with the wall.", "push in line", "push in"),
    ("Camera pan left right.", "pan left right", "pan"),
    ("Camera push in, then wobble. A ball.", "wobble", ""),
    ("The camera zooms in.", "zooms in", "push in"),
    ("The camera moves up.", "moves up", "move"),
    ("The camera pushes in line with the wall.", "pushes in line", "push in"),
    ("The camera pans left, then tilts up.", "tilts up", ""),
    ("A dog runs while the camera moves along.", "moves along", "move"),
]


@pytest.mark.parametrize(("prompt", "tokens", "said"), MOVES)
def test_camera_sentences(prompt: str, tokens: str, said: str | None) -> None:
    plan = parse_plan(prompt)
    assert plan.tokens == tuple(tokens.split())
    if said is not None:
        assert [prompt[slice(*segment.span)] for segment in plan.segments] == said.split("|")


@pytest.mark.parametrize("prompt", NOTHING)
def test_sentences_about_other_things(prompt: str) -> None:
    assert parse_plan(prompt).segments == ()
    assert scene_text(prompt) == prompt


@pytest.mark.parametrize(("prompt", "asked", "nearest"), UNKNOWN)
def test_unknown_moves_are_named_with_the_nearest_known_one(prompt: str, asked: str, nearest: str) -> None:
    with pytest.raises(PromptError) as error:
        parse_plan(prompt)
    message = str(error.value)
    assert f"unknown camera move '{asked}" in message
    assert f"did you mean '{nearest}" in message
    assert all(token.replace("_", " ") in message for token in TOKENS)


def test_a_camera_without_a_move_is_refused() -> None:
    with pytest.raises(PromptError, match="names no camera move"):
        parse_plan("Camera. A red ball.")


def test_four_moves_are_the_most() -> None:
    moves = "pan left, pan right, push in"
    assert len(parse_plan(f"Camera {moves}, then fixed.").segments) == MAX_MOVES
    with pytest.raises(PromptError, match="5 camera moves; use at most 4"):
        parse_plan(f"Camera {moves}, pull out, then fixed.")
    with pytest.raises(PromptError, match="5 camera moves"):
        parse_plan(f"Camera {moves}. The camera pans left, then pans right.")


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("Camera push in, then pan left. A red ball. It rolls.", "A red ball. It rolls."),
        ("A red ball. The camera pushes in. It rolls!", "A red ball. It rolls!"),
        ("A dog runs while the camera orbits left.", "A dog runs."),
        ("As the camera moves left, a dog runs.", "a dog runs."),
        ("The camera pushes in and a dog barks.", "a dog barks."),
        ("Static camera.", ""),
    ],
)
def test_the_scene_is_what_the_camera_leaves(prompt: str, scene: str) -> None:
    assert scene_text(prompt) == scene


def test_the_canonical_sentence() -> None:
    assert camera_sentence(["push_in"]) == "Camera push in."
    assert camera_sentence(["push_in", "pan_left"]) == "Camera push in, then pan left."
    assert camera_sentence(["push_in", "pan_left", "fixed"]) == "Camera push in, pan left, then fixed."
    with pytest.raises(PromptError, match="did you mean 'push in'"):
        camera_sentence(["push_inn"])
    for tokens in ([], ["fixed"] * 5):
        with pytest.raises(PromptError, match="1 to 4 moves"):
            camera_sentence(tokens)


@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=MAX_MOVES))
def test_parsing_reads_the_canonical_sentence_back(tokens: list[str]) -> None:
    scene = "A marbled red ball on a white checkered floor under a blue sky. The red ball moves left."
    prompt = f"{camera_sentence(tokens)} {scene}"
    assert parse_plan(prompt).tokens == tuple(tokens)
    assert scene_text(prompt) == scene


@given(st.text(alphabet="Camerthpusin ,.-:'", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_plan(text)
    except PromptError:
        return
    scene_text(text)
