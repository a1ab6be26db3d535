"""A prompt's camera words: which moves it asks for, in which order, and where it says so.

The canonical form is `Camera A[, B], then C. Scene.` (docs/conventions.md section 3). Verb forms of these words count
too ("The camera slowly pushes in", "Camera orbiting left", "Static camera.", "A push-in shot of"), and film makers'
synonyms (dolly in, truck right, arc left), but only in a clause whose subject is the camera: "children push in line"
and "a fixed star" ask for nothing. Moves joined by "and" or "before" are taken in order.

A request that is not understood is an error, never dropped in silence: all of a sentence that begins with a bare
"Camera" must be understood, and every "the camera" whose verb is one of film making ("the camera zooms in").
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from worldr1.camera.trajectory import MAGNITUDES
from worldr1.errors import PromptError
from worldr1.types import CameraPlan, Segment

TOKENS = tuple(MAGNITUDES)
"""The camera's whole vocabulary."""
MAX_MOVES = 4
"""Moves that one prompt may ask for."""

_DOLLY = "doll(?:y|ies|ying)"
_MOVING = "mov(?:es?|ing)"
_VERBS = {
    "push": "push(?:es|ing)?",
    "pull": "pull(?:s|ing)?",
    "move": f"{_MOVING}|(?:truck|track)(?:s|ing)?|(?:slid|glid)(?:es?|ing)",
    "pan": "pan(?:s|ning)?",
    "orbit": "orbit(?:s|ing)?|circl(?:es?|ing)|arc(?:s|ing)?",
}
"""Film makers' synonyms beside the canonical verbs, as CameraBench names them."""
_SPELLINGS = {
    "push_in": rf"(?:{_VERBS['push']}|{_DOLLY})[\s_-]+in|(?:{_DOLLY}|{_MOVING})\s+forwards?",
    "pull_out": rf"(?:{_VERBS['pull']}|{_DOLLY})[\s_-]+(?:out|back)|(?:{_DOLLY}|{_MOVING})\s+backwards?",
    "pan_left": rf"(?:{_VERBS['pan']})(?:[\s_-]+(?:to\s+the\s+)?left(?:wards?)?|\s+from\s+right\s+to\s+left)",
    "pan_right": rf"(?:{_VERBS['pan']})(?:[\s_-]+(?:to\s+the\s+)?right(?:wards?)?|\s+from\s+left\s+to\s+right)",
}
"""Tokens that are more than a verb and a direction."""
_ANY_VERB = "|".join((*_VERBS.values(), _DOLLY))
_STILL = "fixed|static|still|stationary"
_BE = r"(?:(?:is|stays|remains|keeps)\s+)?"
_ADVERB = r"(?:\w+ly\s+)?"
_OTHER_FILM_VERBS = "zoom|tilt|doll(?:y|ie)|truck|track|crane|roll|rotat|circl|arc|follow|fly|flies|descend|rise"
_PREPOSITIONS = (
    "toward|towards|to|on|onto|past|over|around|across|through|along|down|between|from|in|into|at|with|for|until|while"
    "|as"
)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _move_pattern(token: str) -> str:
    """A group named like the token: "push_in" matches "push in", "push-in" and "pushing in", "fixed" also "static"."""
    if token == "fixed":
        return f"(?P<fixed>{_STILL})"
    if token in _SPELLINGS:
        return f"(?P<{token}>{_SPELLINGS[token]})"
    verb, direction = token.split("_")
    return rf"(?P<{token}>(?:{_VERBS[verb]})[\s_-]+(?:to\s+the\s+)?{direction}(?:wards?)?)"


_SENTENCE = _compile(r"(?P<body>[^.!?;\n]+)(?P<end>[.!?;\n]*)")
_SUBJECT = _compile(
    r"(?P<bare>^\s*camera\b(?!-))"
    r"|\s*(?:^|[,:]|\b(?:and|then|while|when|as)\b)\s*(?:(?:and|then|while|when|as)\s+)?the\s+camera\b(?!-)"
)
_STILL_CAMERA = _compile(
    rf"\s*(?:^|,)\s*(?:(?:with\s+)?(?:a|the)\s+)?(?P<fixed>{_STILL})\s+camera(?:\s+(?:shot|view))?\s*(?=,|$)"
)
_BEFORE_MOVE = _compile(rf"\s*:?\s*{_BE}{_ADVERB}")
_ANY_MOVE = f"(?:{'|'.join(_move_pattern(token) for token in TOKENS)})"
_MOVE = _compile(rf"{_ANY_MOVE}\b")
_MOVE_SHOT = _compile(rf"^\s*(?:(?:an?|the)\s+)?(?:\w+\s+)?{_ANY_MOVE}\s+shot(?:\s+of)?\b")
# "slowly" and "toward the red ball": words about a move, up to a comma or the next verb.
_AFTER_MOVE = _compile(
    rf"(?:\s+\w+ly)?(?:\s+(?:{_PREPOSITIONS})\b"
    rf"(?:(?!\s+(?:(?:and|before)\s+)?(?:then\s+|{_ADVERB}(?:{_ANY_VERB})\b))[^,])*)?\s*"
)
_LINK = _compile(
    r"\s*(?:,\s*(?:and\s+)?(?:then\s+)?|\band\s+(?:then\s+)?|\bthen\s+|\bbefore\s+)"
    rf"(?:(?:the\s+camera|it)\s+)?{_BE}{_ADVERB}"
)
_LOOSE_START = _compile(r"^[\s,]*(?:(?:and|then)\s+)*")
_FILM_VERB = _compile(
    rf"(?:(?:do|does|did|will|can|must|should)(?:n't|\s+not)?\s+)?(?:not\s+|never\s+)?"
    rf"(?:{_ANY_VERB}|(?:{_OTHER_FILM_VERBS})\w*)\b"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clause:
    """A stretch of a sentence that is about the camera."""

    start: int
    end: int
    segments: tuple[Segment, ...]


def parse_plan(prompt: str) -> CameraPlan:
    """The camera moves that a prompt asks for, in order, with the characters that say so.

    A prompt without camera words gives a plan without segments (which is not `fixed`).
    Raises PromptError for camera words that are not understood and for more than MAX_MOVES moves.
    """
    segments = []
    for sentence in _SENTENCE.finditer(prompt):
        for clause in _camera_clauses(sentence["body"]):
            for segment in clause.segments:
                start, end = segment.span
                span = (sentence.start() + start, sentence.start() + end)
                segments.append(Segment(token=segment.token, span=span))
    if len(segments) > MAX_MOVES:
        raise PromptError(f"the prompt asks for {len(segments)} camera moves; use at most {MAX_MOVES}")
    return CameraPlan(segments=tuple(segments))


def scene_text(prompt: str) -> str:
    """The prompt without its camera clauses. Raises PromptError for camera words that are not understood."""
    sentences = []
    for sentence in _SENTENCE.finditer(prompt):
        body = sentence["body"]
        for clause in reversed(_camera_clauses(body)):
            body = _LOOSE_START.sub("", body[: clause.start] + body[clause.end :]).rstrip(" ,")
        if body.strip():
            sentences.append(body.strip() + sentence["end"].rstrip())
    return " ".join(sentences)


def camera_sentence(tokens: Sequence[str]) -> str:
    """The canonical sentence of a sequence of moves: "Camera push in, then pan left."

    `parse_plan` reads it back. Raises PromptError for no token, an unknown one or more than MAX_MOVES.
    """
    for token in tokens:
        if token not in TOKENS:
            raise _unknown(token.replace("_", " "), token)
    if not 1 <= len(tokens) <= MAX_MOVES:
        raise PromptError(f"a camera sentence takes 1 to {MAX_MOVES} moves, got {len(tokens)}")
    *others, last = (token.replace("_", " ") for token in tokens)
    return f"Camera {', '.join(others)}, then {last}." if others else f"Camera {last}."


def _camera_clauses(body: str) -> list[_Clause]:
    """The camera clauses of one sentence, in order; spans are within the sentence."""
    clauses: list[_Clause] = []
    for subject in _SUBJECT.finditer(body):
        if clauses and subject.start() < clauses[-1].end:  # "..., then the camera pans left": read already
            continue
        segments, end = _read_moves(body, subject.end(), strict=subject["bare"] is not None)
        if segments:
            clauses.append(_Clause(start=subject.start(), end=end, segments=segments))
    for noun in (*_STILL_CAMERA.finditer(body), *_MOVE_SHOT.finditer(body)):
        if any(clause.start < noun.end() and noun.start() < clause.end for clause in clauses):
            continue
        assert noun.lastgroup is not None, "every alternative is a named group"
        segment = Segment(token=noun.lastgroup, span=noun.span(noun.lastgroup))
        clauses.append(_Clause(start=noun.start(), end=noun.end(), segments=(segment,)))
    return sorted(clauses, key=lambda clause: clause.start)


def _read_moves(body: str, start: int, *, strict: bool) -> tuple[tuple[Segment, ...], int]:
    """The moves that follow a subject, and where the clause ends.

    strict: whatever is left of the sentence is an error; otherwise only what reads like another camera move.
    """
    segments: list[Segment] = []
    end, position = start, _end(_BEFORE_MOVE, body, start)
    while move := _MOVE.match(body, position):
        after = _end(_AFTER_MOVE, body, move.end())
        next_move = _end(_LINK, body, after)
        if next_move == after < len(body):  # "pushes in line": not a move after all
            break
        assert move.lastgroup is not None, "every alternative of a move is a named group"
        segments.append(Segment(token=move.lastgroup, span=move.span()))
        end, position = after, next_move
    rest = body[position:].strip()
    if (strict and (rest or not segments)) or _FILM_VERB.match(rest):
        raise _unknown(rest, body)
    return tuple(segments), end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where `pattern` ends if it matches at `position`; `position` if it does not."""
    match = pattern.match(text, position)
    return match.end() if match else position


def _unknown(asked: str, text: str) -> PromptError:
    """Names the move that was asked for, the nearest known one and all others."""
    words = [token.replace("_", " ") for token in TOKENS]
    if not asked:
        return PromptError(f"{text.strip()!r} names no camera move; use one of {', '.join(words)}")
    asked = " ".join(asked.split(",")[0].split()[:4])
    nearest = difflib.get_close_matches(asked.lower(), words, n=1, cutoff=0.0)[0]
    return PromptError(
        f"unknown camera move {asked!r} in {text.strip()!r}; did you mean {nearest!r}? Known moves: {', '.join(words)}"
    )
