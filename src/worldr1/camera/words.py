"""The words for camera moves: canonical ones and film makers' synonyms, as regular expressions.

The synonyms are those of CameraBench's primitives (pan, truck, dolly, arc) and of everyday shot lists; docs/camera.md
lists them. A word that belongs to another move (tilt, pedestal, roll) or to the lens (zoom) is in FILM_VERB only: it
is recognised, so that it can be refused instead of overlooked.
"""

import re

from worldr1.camera.trajectory import MAGNITUDES

TOKENS = tuple(MAGNITUDES)
"""The camera's whole vocabulary."""

_PUSH, _PULL = "push(?:es|ed|ing)?", "pull(?:s|ed|ing)?"
_DOLLY = "doll(?:y|ies|ied|ying)"
_MOVE_ALONG = (
    "mov(?:es?|ed|ing)|track(?:s|ed|ing)?|(?:slid|glid)(?:es?|ed|ing)|slid|drift(?:s|ed|ing)?|travel(?:s|led|ling)?"
)
_TRUCK = "truck(?:s|ed|ing)?|crab(?:s|bed|bing)?|shift(?:s|ed|ing)?"
_PAN = r"(?:whip[\s-])?pan(?:s|ned|ning)?"
_TURN = "swivel(?:s|led|ling)?|turn(?:s|ed|ing)?|rotat(?:es?|ed|ing)"
_ORBIT = "orbit(?:s|ed|ing)?|circl(?:es?|ed|ing)|arc(?:s|ed|ing)?|revolv(?:es?|ed|ing)"
_STILL = r"fixed|static|still|stationary|motionless|locked(?:[\s-](?:off|down))?"
_LY = r"(?!dolly\b)\w+ly"
_GAP = rf"[\s_-]+(?:{_LY}\s+)?"
_OPPOSITE = {"left": "right", "right": "left"}
_CLOCK = {"left": "clockwise", "right": "(?:anti|counter)-?clockwise"}
"""Seen from above: a camera that goes left around what is before it runs clockwise (CameraBench says the same)."""
_THINGS = r"(?:[\w'-]+\s+){1,6}?"


def _side(side: str) -> str:
    """ "left", "to the left", "leftward"; but not "left to right" nor "left of the door"."""
    away = _OPPOSITE[side]
    return rf"(?:to\s+(?:the|its)\s+)?{side}(?:wards?)?(?!-|\s+(?:of|to\s+(?:the\s+)?{away}|or|and\s+{away})\b)"


def _beyond(prepositions: str, side: str) -> str:
    """ "around the well to the left", "along the wall from left to right"."""
    away = _OPPOSITE[side]
    return (
        rf"\s+(?:{prepositions})\s+{_THINGS}(?:to\s+the\s+{side}(?!\s+of\b)|{side}wards?|"
        rf"from\s+(?:the\s+)?{away}\s+to\s+(?:the\s+)?{side})"
    )


def _sideways(verbs: str, side: str, prepositions: str) -> str:
    away = _OPPOSITE[side]
    sweep = rf"\s+(?:from\s+)?(?:the\s+)?{away}\s+to\s+(?:the\s+)?{side}"
    shot = r"(?:\s+shot(?:\s+moving)?)?"
    first = rf"{side}ward\s+(?:{verbs})(?:\s+shot)?|{away}[\s-]to[\s-]{side}\s+(?:{verbs})(?:\s+shot)?"
    return first + rf"|(?:{verbs}){shot}(?:{_GAP}{_side(side)}|{sweep}|{_beyond(prepositions, side)})"


def _pattern(token: str) -> str:
    """All ways to name a move, in any form of the verb."""
    if token == "fixed":
        return _STILL
    if token == "push_in":
        return (
            rf"(?:{_PUSH}|{_DOLLY}|{_MOVE_ALONG}){_GAP}(?:in(?:\s+closer)?|forwards?|closer)"
            rf"|advanc(?:es?|ed|ing)"
        )
    if token == "pull_out":
        return (
            rf"(?:{_PULL}|{_DOLLY}|{_MOVE_ALONG}){_GAP}(?:out|back(?:wards?)?|away)"
            r"|back(?:s|ed|ing)?\s+(?:away|off|up)|retreat(?:s|ed|ing)?"
        )
    verb, side = token.split("_")
    if verb == "pan":
        return _sideways(_PAN, side, "across|over|along|through|around|past") + rf"|(?:{_TURN}){_GAP}{_side(side)}"
    if verb == "move":
        return _sideways(f"{_MOVE_ALONG}|{_TRUCK}|{_DOLLY}", side, "across|over|along|alongside|through|past|beside")
    if verb == "orbit":
        around = rf"(?:\s+(?:around|round|about)\s+{_THINGS}|{_GAP}){_CLOCK[side]}"
        return _sideways(_ORBIT, side, "around|round|about") + rf"|(?:{_ORBIT}){around}"
    return rf"(?:{_PULL}){_GAP}{_side(side)}"


def compiled(pattern: str) -> re.Pattern[str]:
    """Case does not matter."""
    return re.compile(pattern, re.IGNORECASE)


MOVE = f"(?:{'|'.join(f'(?P<{token}>{_pattern(token)})' for token in TOKENS)})"
"""A group named like the token: "push_in" matches "push in", "push-in", "dollies in" and "moves slowly forward"."""
ANY_VERB = "|".join((_PUSH, _PULL, _DOLLY, _MOVE_ALONG, _TRUCK, _PAN, _TURN, _ORBIT))
FILM_VERB = (
    rf"(?:{ANY_VERB}|(?:zoom|tilt|cran|roll|rotat|follow|fly|flies|descend|ris|ascend|boom|pedestal|sweep|spin)\w*)"
)
"""Verbs of film making, understood or not."""
ADVERB = rf"(?:(?:{_LY}|now|then|first|just|also)\s+)*"
MANNER = (
    rf"(?:\s+(?:{_LY}|please|a\s+(?:little|bit)|in\s+slow\s+motion|"
    r"in\s+one\s+(?:smooth|continuous)\s+(?:move|motion|shot)))*"
)
"""How a move is made, after it."""
ADJECTIVES = (
    r"(?:(?:very\s+)?(?:slow(?:-motion)?|smooth|gentle|steady|subtle|quick|fast|rapid|long|short|gradual|continuous|"
    r"cinematic|careful|graceful|dramatic|lateral|simple|tight|wide|low|single|brief|deliberate|fluid|handheld|soft)"
    r"(?:,\s*|\s+(?:and\s+)?))*"
)
STILL = _STILL
