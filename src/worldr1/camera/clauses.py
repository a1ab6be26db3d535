"""Which clauses of a sentence are about the camera, and the moves that each of them asks for.

A clause is the camera's if the camera is its subject ("the camera pans left", "we dolly back", "it" after such a
clause), its object ("pan the camera left"), or plainly meant: a shot ("a slow push-in on a face"), a tag ("..., orbit
right, 8k") or a line of a shot list ("Truck left past a bakery, then dolly out"). The rules are regular expressions
over one sentence; docs/camera.md says them in words, and tests/data/camera_sentences measures them.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from worldr1.camera.words import ADJECTIVES, ADVERB, ANY_VERB, FILM_VERB, MANNER, MOVE, STILL, TOKENS, compiled
from worldr1.errors import PromptError
from worldr1.types import Segment

_NOT_A_CAMERA = (
    "operators?|crews?|m[ae]n|wom[ae]n|teams?|shops?|stores?|bags?|cases?|lens(?:es)?|straps?|flash(?:es)?|shutters?|"
    "drones?|phones?|equipment|gear|clubs?|museums?|obscura|traps?|collections?|mounts?|rigs?"
)
"""What only has the camera in its name."""
_CAMERA = rf"camera\b(?!-|\s+(?:{_NOT_A_CAMERA})\b)"
_HELD = r"(?:hand-?held|steadicam|slow-moving|moving)\s+"
_ACTOR = rf"(?:(?:the|our)\s+(?:{_CAMERA}|view(?:point)?\b|shot\b)|we\b|(?:a|the)\s+{_HELD}{_CAMERA})"
_THEN = r"then|next|finally|lastly|afterwards|instead"
_JOIN = f"and|while|when|as|first|now|but|{_THEN}"
_SUBORDINATE = "while|as|when|until|where|so\\s+that"
_PREPOSITIONS = (
    "toward|towards|to|on|onto|past|over|around|across|through|along|alongside|down|between|from|in|into|at|with|for|"
    "behind|above|below|beneath|under|beside|inside|before|after|against|until|amid|among|off|near|within|about|up|by"
)
_NOT = (
    r"(?:(?:do|does|did|wo|will|would|can|could|must|should|shall|is|may)(?:n't|\s+not|not)|never|no\s+longer)\s+"
    r"(?:ever\s+|be\s+)?"
)
_AUXILIARY = (
    r"(?:(?:should|will|must|shall|can|may|would|please)\s+)*(?:(?:has|have|needs?|is|are|going)\s+)?(?:to\s+)?(?:be\s+)?"
    r"(?:gets?\s+|keeps?\s+|(?:starts?|begins?|continues?|proceeds?|opens?|ends?|closes?|finish(?:es)?)\s+"
    r"(?:to\s+|by\s+|with\s+|on\s+)?)?"
    rf"(?:(?:performs?|makes?|does|executes?|completes?)\s+)?(?:(?:an?|one)\s+{ADJECTIVES})?"
)
_BE = (
    r"(?:(?:is|be|stays|remains|keeps|holds|sits|rests|stay|remain|(?:is\s+|be\s+)?(?:kept|held|left))\s+)?"
    r"(?:(?:completely|perfectly|absolutely|entirely|quite|very)\s+)?"
)
_LABEL = rf"(?:{_HELD})?{_CAMERA}(?:\s+(?:movement|motion|work)\b|\s+moves?(?=\s*:))?\s*[:,]?"

# where a clause may begin; matched from the start of a sentence unless they say otherwise
_BARE = compiled(rf"^\s*{_LABEL}(?P<none>\s*(?:none|no\s+\w+)\b)?")
_TAG = compiled(rf"[,:]\s*{_LABEL}")
_SUBJECT = compiled(rf"(?:^|[,:]|\b(?:{_JOIN})\b)\s*(?:(?:{_JOIN})\b,?\s+|\w+ly,?\s+)*{_ACTOR}")
_INSIDE = compiled(rf"(?<=[\w'] )(?P<who>(?:the|your|our)\s+{_CAMERA})")
_SOMEONES = compiled(rf"\b(?:{_PREPOSITIONS}|of|and|or|holds?|carr(?:y|ies)|\w+ing)\s*$")
"""Before "the camera" it makes it a thing in the scene: "a tourist with the camera moves left"."""
_WITH = compiled(rf"(?:^|,)?\s*\bwith\s+the\s+{_CAMERA}(?=\s+{ADVERB}{_BE}(?:\w+ing|{STILL})\b)")
_PRONOUN = compiled(rf"^\s*(?:(?P<then>(?:and\s+)?(?:{_THEN}),?\s+)|and\s+)?it\b(?!')")
_OBJECT = compiled(rf"^\s*(?:(?:{_JOIN}|please|slowly|gently),?\s+)*(?P<verb>{ANY_VERB})\s+the\s+camera(?=\s)")
_ORDER = compiled(
    rf"^\s*(?:(?:shot|scene|frame)\s+\d+\s*[:,]\s*)?(?:(?:{_JOIN}|please|\w+ly)\b,?\s+)*(?=(?:{ANY_VERB})\b)"
)
_SHOWN = compiled(
    r"\b(?:(?:filmed|shown|captured|presented|seen|revealed|opens?|starts?|begins?|ends?|closes?)\s+"
    rf"(?:with|in|by|on)|with(?=\s+(?:an?|one)\s+(?:\w+,?\s+){{0,2}}camera))\s+(?:an?|one)\s+(?:{ADJECTIVES}|(?:\w+,?\s+){{0,2}}?)"
    rf"(?:camera\s+)?(?={ANY_VERB}\b)"
)
_NOUN = compiled(rf"(?:^|[,:])\s*(?:with\s+)?(?:(?P<article>an?|one|the)\s+)?(?P<how>{ADJECTIVES})(?=\w)")
_BEFORE_OR_AFTER = compiled(rf"^\s*(?P<order>before|after)\s+(?={ADVERB}(?:{ANY_VERB})\b)")
_STILL_CAMERA = compiled(
    rf"(?:^|[,:]|\b(?:like|want|use|using|from)\b)\s*(?:with\s+)?(?:(?:a|the)\s+)?(?P<fixed>(?:{STILL})(?:\s+tripod)?|tripod)"
    r"\s+(?:(?:wide|medium|close)(?=[\s,]|$)\s*)*(?:camera|shot|view|frame|close-?up|angle|wide)?(?:\s+(?:shot|view))?"
    r"\s*(?=$|[,:]|(?:looks?|watch(?:es)?|films?|shows?|records?|captures?|observes?|frames|holds?|faces|stares|sees|of|on|"
    r"facing|from|for|throughout|during)\b)"
)
_A_CAMERA_TOO = compiled(r"camera|shot|view|frame|close|angle|wide|tripod")

# what is read from there on
_BEFORE_MOVE = compiled(rf"\s*(?:,\s*\w+ly,\s*)?{ADVERB}{_AUXILIARY}{_BE}{ADVERB}")
_NEGATION = compiled(rf"\s*{ADVERB}(?P<no>{_NOT})")
_NEGATED = compiled(r"\b(?:\w+n't|not|never|no|without|avoid|instead\s+of|rather\s+than|stop|cannot)\b[^,:]*$")
_MOVE = compiled(rf"{MOVE}(?![\w-])")
_FILM = compiled(rf"{ADVERB}{FILM_VERB}\b")
_MANNER = compiled(MANNER)
_SHOT = compiled(r"\s+shot(?:\s+of)?\b")
_NEXT_MOVE = (
    rf"(?:,\s*)?\b(?:and|before|then|but|followed\s+by)\s+(?:(?:{_THEN})\s+)?{ADVERB}{_AUXILIARY}(?:{ANY_VERB})\b"
)
_TAIL = compiled(
    rf"(?!\s+{_NEXT_MOVE})\s+(?:{_PREPOSITIONS})\b(?:(?!\s+{_NEXT_MOVE})(?!\s+(?:{_SUBORDINATE})\b)[^,:])*"
)
_SCENE_TAIL = compiled(rf"\s+(?:{_SUBORDINATE})\b[^,:]*")
_PREPOSITION = compiled(rf"^(?:\s+(?:{_PREPOSITIONS}|{_SUBORDINATE})\b)+")
_AT_ONCE = compiled(rf"\s+(?:while|as\s+it)\s+(?:also\s+)?{ADVERB}(?={FILM_VERB}\b)")
_RELATIVE = compiled(r"\b(?:who|that|which|whose)\b")
_LINK = compiled(
    r"\s*(?:,?\s*(?:followed\s+by|after\s+which)\s+"
    rf"|,\s*(?:(?:and|but)\s+)?(?:(?:{_THEN})\b,?\s*)?(?:before\s+)?"
    rf"|\b(?:and|but)\s+(?:(?:{_THEN})\b,?\s*)?|\b(?:then|before)\s+)"
    rf"(?P<who>(?:the\s+camera|it|we)\s+)?{ADVERB}{_AUXILIARY}{_BE}{ADVERB}"
)
_MEANT = compiled(rf"{FILM_VERB}\b[^,:]*,\s*(?=(?:{ANY_VERB})\b)")
""" "sweeps across the roofs, panning right": the participle says what the verb leaves open."""
_STAYS = compiled(r"(?P<stay>(?:move|budge|shake)\b(?:\s+at\s+all)?)\s*(?:$|(?=,))")
_DENIED = compiled(rf"{FILM_VERB}\b(?:(?!\s+but\b)[^,])*")
_MOVE_LIKE = compiled(r"\W*(?:then\b|(?:[\w'-]+\W+){0,2}(?:in|out|back|left|right|forwards?|backwards?)\b)")

# what may stand after a move without a subject: "pan left on the stove" and "truck left behind" are things
_FOLLOWS_ORDER = compiled(
    r"\s*(?:$|[,:]|(?:and|then|before)\s)|\s+(?:past|along|across|around|through|over|towards?|from|down|into|above|"
    r"alongside|between|until|while|as|to\s+(?:the|an?|reveal|show|see|find)|followed\s+by|in\s+front\s+of)\b"
)
_FOLLOWS_IN_OUT = compiled(r"\s+(?:on|onto|to|at)\b")
_THINGS_TOO = ("pan", "truck", "slide", "track", "crab", "turn", "push", "pull", "drift", "glide", "move")
_FILM_ONLY = ("pan", "orbit", "doll", "truck", "track", "arc", "push", "pull")
_TAG_LIST_COMMAS = 2
_PLAIN = str.maketrans(dict.fromkeys('()[]{}/|"\u2013\u2014\u201c\u201d', ",") | {"\u2019": "'"})
"""Brackets, dashes and quotation marks part clauses as commas do."""
_WEIGHT = re.compile(r":\d+(?:\.\d+)?")
""" "(pan right:1.2)", as image generators weigh tags."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clause:
    """A stretch of a sentence that is about the camera; without segments it says what the camera does not do."""

    start: int
    end: int
    segments: tuple[Segment, ...] = ()
    things: tuple[str, ...] = ()
    """What it names beside the camera ("past a bakery window"): the scene, if there are no other words for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The clause that ended the sentence before, to which "it" may refer."""

    clause: Clause | None = None
    end: str = ""
    """The marks between the two."""


def camera_clauses(sentence: str, context: Context) -> list[Clause]:
    """The camera clauses of one sentence, in order; spans are within the sentence.

    Raises PromptError for a request that is not understood or has two readings.
    """
    body = _WEIGHT.sub(lambda m: " " * len(m[0]), sentence.translate(_PLAIN))
    found = list(_by_subject(body)) or list(_by_pronoun(body, context)) or list(_by_order(body))
    for clause in (*_by_still_camera(body), *_by_noun(body), *_by_tag(body)):
        if not any(clause.start < other.end and other.start < clause.end for other in found):
            found.append(clause)
    return sorted(found, key=lambda clause: clause.start)


def unknown_move(asked: str, text: str) -> PromptError:
    """Names the move that was asked for, the nearest known one and all others."""
    words = [token.replace("_", " ") for token in TOKENS]
    if not asked:
        return PromptError(f"{text.strip()!r} names no camera move; use one of {', '.join(words)}")
    asked = " ".join(asked.split(",")[0].split()[:4])
    nearest = difflib.get_close_matches(asked.lower(), words, n=1, cutoff=0.0)[0]
    return PromptError(
        f"unknown camera move {asked!r} in {text.strip()!r}; did you mean {nearest!r}? Known moves: {', '.join(words)}"
    )


def _by_subject(body: str) -> Iterator[Clause]:
    """ "The camera pans left", "Camera pan left", "..., camera pan left, 35mm"; "After pushing in, the camera ..."."""
    clauses: list[Clause] = []
    bare = _BARE.match(body)
    starts = {m.end(): m.start() for p in (_SUBJECT, _TAG, _WITH) for m in p.finditer(body)}
    for inside in _INSIDE.finditer(body):
        if not _SOMEONES.search(body[: inside.start()]) and not _NEGATED.search(body[: inside.start()]):
            starts.setdefault(inside.end(), inside.start())
    if bare and not bare["none"]:
        starts[bare.end()] = 0
    for end, start in sorted(starts.items()):
        if clauses and start < clauses[-1].end:  # "..., then the camera pans left": read already
            continue
        clause = _read(body, start, end, strict=bool(bare) and start == 0 and bare is not None and end == bare.end())
        if clause:
            clauses.append(clause)
    other = _BEFORE_OR_AFTER.match(body)
    aside = _read(body[: clauses[0].start], 0, other.end()) if other and clauses else None
    if other and aside:
        first, *more = clauses
        pair = (aside, first) if other["order"].lower() == "after" else (first, aside)
        moves = (*pair[0].segments, *pair[1].segments)
        clauses = [Clause(start=0, end=first.end, segments=moves, things=aside.things + first.things), *more]
    yield from clauses


def _by_pronoun(body: str, context: Context) -> Iterator[Clause]:
    """ "The camera does not pan left; it pushes in." """
    pronoun = _PRONOUN.match(body)
    if not (pronoun and context.clause):
        return
    sure = bool(context.end.strip() == ";" or pronoun["then"])
    clause = _read(body, 0, pronoun.end(), lenient=not sure)
    if clause and not sure and context.clause.things:
        raise PromptError(
            f"{body.strip()!r} can mean the camera or what was named before it: "
            'write "The camera" instead of "it", or name the thing that moves'
        )
    if clause:
        yield clause


def _by_order(body: str) -> Iterator[Clause]:
    """Lines of a shot list: "Truck left past a bakery, then dolly out", "Pan the camera left"."""
    target = _OBJECT.match(body)
    if target:
        blank = " " * (target.end() - target.end("verb"))
        clause = _read(body[: target.end("verb")] + blank + body[target.end() :], 0, target.start("verb"))
    else:
        order = _ORDER.match(body)
        move = _MOVE.match(body, order.end()) if order else None
        clause = _read(body, 0, order.end()) if order and move and _is_order(body, move) else None
    if clause:
        yield clause


def _is_order(body: str, move: re.Match[str]) -> bool:
    """Not "Trucks left past midnight", nor "Circling left around its prey, a shark ..." (the shark circles)."""
    verb = _first_word(move)
    rest = body[move.end() :]
    if verb.endswith("s") or (
        verb.endswith("ing") and "shot" not in move[0] and "," in rest and rest.lstrip()[:1] != ":"
    ):
        return False
    return _may_follow(body, move)


def _by_still_camera(body: str) -> Iterator[Clause]:
    """ "Static camera", "A fixed camera looks down a corridor", "LOCKED-OFF WIDE", "tripod shot of"."""
    for still in _STILL_CAMERA.finditer(body):
        if _A_CAMERA_TOO.search(still[0]):
            segment = Segment(token="fixed", span=still.span("fixed"))
            yield Clause(start=still.start(), end=still.end(), segments=(segment,))


def _by_noun(body: str) -> Iterator[Clause]:
    """ "A slow push-in on a face", "a pan-left shot of", "filmed with a smooth truck to the left"."""
    for noun in _NOUN.finditer(body):
        move = _MOVE.match(body, noun.end())
        if not move or move.lastgroup == "fixed":
            continue
        shot = _SHOT.match(body, move.end())
        plain = move[0].lower().startswith(_THINGS_TOO) and not noun["how"] and not re.search(r"-|\bshot\b", move[0])
        if shot:
            segment = Segment(token=_token(move), span=move.span())
            yield Clause(start=noun.start(), end=shot.end(), segments=(segment,))
        elif (noun["article"] or noun["how"]) and not plain and _may_follow(body, move):
            clause = _read(body, noun.start(), noun.end())
            if clause:
                yield clause
    for shown in _SHOWN.finditer(body):
        move = _MOVE.match(body, shown.end())
        if move and not _first_word(move).endswith("s") and not _NEGATED.search(body[: shown.start()]):
            clause = _read(body, shown.start(), shown.end(), lenient=True)
            if clause:
                yield clause


def _by_tag(body: str) -> Iterator[Clause]:
    """ "harbour, fog, orbit right, 8k": one of several tags that is nothing but a move."""
    if body.count(",") < _TAG_LIST_COMMAS:
        return
    for tag in re.finditer(r"[^,:]+", body):
        words = re.match(rf"\s*{ADVERB}{ADJECTIVES}", tag[0], re.IGNORECASE)
        move = _MOVE.match(tag[0], words.end() if words else 0)
        if not move or not move[0].lower().startswith(_FILM_ONLY):
            continue
        if not tag[0][_end(_MANNER, tag[0], move.end()) :].strip():
            span = (tag.start() + move.start(), tag.start() + move.end())
            yield Clause(start=tag.start(), end=tag.end(), segments=(Segment(token=_token(move), span=span),))


def _may_follow(body: str, move: re.Match[str]) -> bool:
    """Whether the words after a move without a subject leave it a move."""
    in_or_out = _token(move) in ("push_in", "pull_out")
    return bool(_FOLLOWS_ORDER.match(body, move.end()) or (in_or_out and _FOLLOWS_IN_OUT.match(body, move.end())))


def _read(body: str, start: int, position: int, *, strict: bool = False, lenient: bool = False) -> Clause | None:
    """The clause from `start`, whose moves begin at `position`; None if it has none.

    strict: a sentence that begins with a bare "Camera", of which all that reads like a move must be understood.
    lenient: words of film making that are not understood are left to the scene ("it rolls").
    """
    clause = Clause(start=start, end=position)
    negation = _NEGATION.match(body, position)
    position = negation.end() if negation else _end(_BEFORE_MOVE, body, position)
    if negation and (stays := _STAYS.match(body, position)):
        span = (negation.start("no"), stays.end("stay"))
        return Clause(start=start, end=stays.end(), segments=(Segment(token="fixed", span=span),))
    moved = _MOVE.match(body, position)
    denied = _DENIED.match(body, position) if negation and not moved else None
    link = _LINK.match(body, denied.end()) if denied else None
    meant = None if moved or negation else _MEANT.match(body, position)
    if link:  # "never pans, it pushes in"
        position = link.end()
    elif meant:
        position = meant.end()
    negated_only = bool(negation)
    negation = None if link else negation
    while move := _MOVE.match(body, position):
        stop, things = _after(body, move.end())
        link = _LINK.match(body, stop)
        if not link and stop < len(body) and body[stop] not in ",:":  # "pushes in line": not a move after all
            break
        if link and not link["who"] and any(_RELATIVE.search(t) for t in things) and _MOVE.match(body, link.end()):
            raise PromptError(
                f"{body[link.end() :].strip()!r} can mean the camera or what was named before it: "
                'write "then the camera ...", or give it a sentence of its own'
            )
        token = _token(move)
        # "holds still, fixed on the wheel" is said twice; "Camera fixed, fixed" is two parts of the clip
        twice = bool(token == "fixed" and not strict and clause.segments and clause.segments[-1].token == "fixed")
        new = () if negation or twice else (Segment(token=token, span=move.span()),)
        clause = replace(clause, end=stop, segments=clause.segments + new, things=clause.things + things)
        position = link.end() if link else stop
        negation = _NEGATION.match(body, position) if link else None
        negated_only = negated_only or bool(negation)
        position = negation.end() if negation else position
    rest = body[position:].strip(" ,:")
    refused = (_FILM.match(rest) and not lenient) or (strict and _is_request(rest, found=bool(clause.segments)))
    if refused and not negated_only:
        raise unknown_move(rest, body)
    return clause if clause.segments or (negated_only and clause.end > start) else None


def _after(body: str, position: int) -> tuple[int, tuple[str, ...]]:
    """Where the words about a move end ("slowly past a bakery window"), and the things that they name."""
    position = _end(_MANNER, body, position)
    tail = _TAIL.match(body, position)
    position = tail.end() if tail else position
    if _AT_ONCE.match(body, position):
        raise PromptError(
            f"{body.strip()!r} asks for two camera moves at once; write them one after the other: "
            '"push in, then pan left"'
        )
    scene = _SCENE_TAIL.match(body, position)
    named = [_PREPOSITION.sub("", found[0]).strip() for found in (tail, scene) if found]
    return scene.end() if scene else position, tuple(thing for thing in named if " " in thing)


def _is_request(rest: str, *, found: bool) -> bool:
    """Whether the rest of a sentence that begins with "Camera" reads like a move; without any before it, always."""
    if not found:
        return True
    first = rest.split(" ")[0].lower()
    return bool(rest) and bool(_MOVE_LIKE.match(rest) or difflib.get_close_matches(first, _VERBS, cutoff=0.75))


_VERBS = ("push", "pull", "move", "pan", "orbit", "fixed", "static", "dolly", "truck", "wobble", "zoom", "tilt")


def _first_word(move: re.Match[str]) -> str:
    return re.split(r"[\s_-]", move[0], maxsplit=1)[0].lower()


def _token(move: re.Match[str]) -> str:
    assert move.lastgroup is not None, "every alternative of a move is a named group"
    return move.lastgroup


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where `pattern` ends if it matches at `position`; `position` if it does not."""
    match = pattern.match(text, position)
    return match.end() if match else position
