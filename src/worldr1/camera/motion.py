"""A prompt's camera words: which moves it asks for, in which order, and where it says so.

The canonical form is `Camera A[, B], then C. Scene.` (docs/conventions.md section 3). Free sentences count too ("The
camera slowly pushes in", "A slow push-in on a face", "..., orbit right, 8k"); `camera.clauses` has the rules and
`camera.words` the words. "Children push in line", "a fixed star" and "do not move left" ask for nothing, and neither
does a move that the camera is told not to make. A request that is not understood ("the camera zooms in") or has two
readings is an error, never dropped in silence.
"""

import re
from collections.abc import Iterator, Sequence

from worldr1.camera.clauses import Clause, Context, camera_clauses, unknown_move
from worldr1.camera.words import TOKENS, compiled
from worldr1.errors import PromptError
from worldr1.types import CameraPlan, Segment

MAX_MOVES = 4
"""Moves that one prompt may ask for."""
_FEW_WORDS = 4
"""A scene of fewer is not told in the sentences without camera words."""
_SENTENCE = compiled(r"(?P<body>(?:[^.!?;\n]|\.(?=\d))+)(?P<end>[.!?;\n]*)")
_LOOSE_START = compiled(r"^[\s,:]*(?:(?:and|then)\s+)*")
_OPENING, _CLOSING = re.compile(r"\s*[(\[{]"), re.compile(r"^\s*[)\]}]")


def parse_plan(prompt: str) -> CameraPlan:
    """The camera moves that a prompt asks for, in order, with the characters that say so.

    A prompt without camera words gives a plan without segments (which is not `fixed`).
    Raises PromptError for camera words that are not understood or have two readings, and for more than MAX_MOVES moves.
    """
    segments = []
    for sentence, clauses in _sentences(prompt):
        for clause in clauses:
            for segment in clause.segments:
                start, end = segment.span
                span = (sentence.start() + start, sentence.start() + end)
                segments.append(Segment(token=segment.token, span=span))
    if len(segments) > MAX_MOVES:
        raise PromptError(f"the prompt asks for {len(segments)} camera moves; use at most {MAX_MOVES}")
    return CameraPlan(segments=tuple(segments))


def scene_text(prompt: str) -> str:
    """The prompt without its camera clauses, but with what they name if little else is left. Raises as `parse_plan`."""
    kept: list[str] = []
    things: list[str] = []
    for sentence, clauses in _sentences(prompt):
        body = sentence["body"]
        things += [thing for clause in clauses for thing in clause.things]
        for clause in reversed(clauses):
            after = body[clause.end :]
            after = _CLOSING.sub("", after) if _OPENING.match(body, clause.start) else after
            body = _LOOSE_START.sub("", body[: clause.start] + after).rstrip(" ,:")
        if body.strip():
            kept.append(body.strip() + sentence["end"].rstrip())
    scene = " ".join(kept)
    return scene if len(scene.split()) >= _FEW_WORDS else " ".join([*(f"{thing}." for thing in things), scene]).strip()


def camera_sentence(tokens: Sequence[str]) -> str:
    """The canonical sentence of a sequence of moves: "Camera push in, then pan left."

    `parse_plan` reads it back. Raises PromptError for no token, an unknown one or more than MAX_MOVES.
    """
    for token in tokens:
        if token not in TOKENS:
            raise unknown_move(token.replace("_", " "), token)
    if not 1 <= len(tokens) <= MAX_MOVES:
        raise PromptError(f"a camera sentence takes 1 to {MAX_MOVES} moves, got {len(tokens)}")
    *others, last = (token.replace("_", " ") for token in tokens)
    return f"Camera {', '.join(others)}, then {last}." if others else f"Camera {last}."


def _sentences(prompt: str) -> Iterator[tuple[re.Match[str], list[Clause]]]:
    """The prompt's sentences (cut at semicolons too), each with its camera clauses in order."""
    context = Context()
    for sentence in _SENTENCE.finditer(prompt):
        clauses = camera_clauses(sentence["body"], context)
        ended = bool(clauses) and not sentence["body"][clauses[-1].end :].strip(" ,")
        context = Context(clause=clauses[-1] if ended else None, end=sentence["end"])
        yield sentence, clauses
