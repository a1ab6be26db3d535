"""What participants are asked, in words that favour neither side, and the camera's moves in everyday words."""

from collections.abc import Sequence

from worldr1.errors import InputError

QUESTIONS: dict[str, tuple[str, str]] = {
    "geometry": (
        "Which place looks more like one solid, real place?",
        "Things keep their shape, size and position while the view changes.",
    ),
    "camera": ("Which video shows the camera movement described above more closely?", ""),
    "overall": ("Which video do you like better overall?", ""),
    "editable": (
        "Which video would you rather work with as background footage?",
        "Say you had to add an object or a title that stays in its place in the scene.",
    ),
}
"""Name -> (question, explanation or "")."""
CAMERA = "camera"
"""Asked only of pairs whose prompt has camera words."""
LEFT, TIE, RIGHT = "left", "tie", "right"
CHOICES = (LEFT, TIE, RIGHT)
"""Answers. On the page "left" is Video 1: beside Video 2, or above it on a narrow screen."""
CHOICE_LABELS = {LEFT: "Video 1", TIE: "No difference", RIGHT: "Video 2"}

_MOVES = {
    "push_in": "moves forward",
    "pull_out": "moves backward",
    "move_left": "slides to the left",
    "move_right": "slides to the right",
    "pan_left": "stays in its place and turns to the left",
    "pan_right": "stays in its place and turns to the right",
    "orbit_left": "circles to the left around what it looks at",
    "orbit_right": "circles to the right around what it looks at",
    "pull_left": "moves backward and to the left, turning left",
    "pull_right": "moves backward and to the right, turning right",
    "fixed": "does not move",
}


def camera_words(tokens: Sequence[str]) -> str:
    """The requested moves as a sentence: "The camera moves forward, then circles to the left ..."; "" for none."""
    moves = [_MOVES.get(token, token.replace("_", " ")) for token in tokens]
    return f"The camera {', then '.join(moves)}." if moves else ""


def read_questions(text: str) -> tuple[str, ...]:
    """Names of --questions, comma separated, in `QUESTIONS`' order. Raises InputError for none and unknown ones."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in QUESTIONS]:
        raise InputError(f"--questions knows {', '.join(QUESTIONS)}; not {unknown[0]!r}.")
    if not names:
        raise InputError(f"--questions needs at least one of {', '.join(QUESTIONS)}.")
    return tuple(name for name in QUESTIONS if name in names)
