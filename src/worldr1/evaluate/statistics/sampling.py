"""How the videos of two evaluations were sampled: what differs is a cause of differences beside the weights."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from worldr1.errors import InputError
from worldr1.evaluate.folder import MODELS_OWN, EvaluationFolder
from worldr1.video_io import read_comment

Setting = str | int | float
_START_NOISE = ("strength", "parallax_strength", "transport", "frames", "height", "width")
"""What a start noise depends on beside its seed and the model's latent."""
_TITLES = {
    "negative_prompt": "negative prompt",
    "strength": "noise strength",
    "parallax_strength": "noise strength where the camera's centre moves",
    "transport": "noise transport",
    "fps": "frames per second",
}


class Unlike(NamedTuple):
    """One setting in which two evaluations differ."""

    name: str
    """As `folder.Facts.settings` has it."""
    first: Setting
    other: Setting

    @property
    def text(self) -> str:
        """For people: `guidance 5 and 1`."""
        return f"{_TITLES.get(self.name, self.name)} {_words(self.first)} and {_words(self.other)}"


def unlike_settings(first: EvaluationFolder, other: EvaluationFolder) -> tuple[Unlike, ...]:
    """What both were sampled with, and differently; nothing if no model sampled one of them.

    The seed is not among them: it says which noise, not how. A shift that was left to the model is the number that its
    videos say, so that one number in two words does not differ.
    """
    here, there = _sampled_with(first), _sampled_with(other)
    said = {*first.facts.settings, *other.facts.settings}
    return tuple(
        Unlike(name, value, there[name])
        for name, value in here.items()
        if name in said and name in there and value != there[name]
    )


def share_noise(first: EvaluationFolder, other: EvaluationFolder) -> bool:
    """Whether equal seeds give equal start noise: its strength, its transport and the clip are known and the same."""
    here, there = _sampled_with(first), _sampled_with(other)
    return all(name in here and here[name] == there.get(name) for name in _START_NOISE)


def _sampled_with(folder: EvaluationFolder) -> dict[str, Setting]:
    """Its settings but for the seed, what they leave open filled in; nothing if no model sampled its videos."""
    settings = {name: value for name, value in folder.facts.settings.items() if name != "seed"}
    if "strength" in settings:  # which holds for all paths where the other is not said
        settings.setdefault("parallax_strength", settings["strength"])
    if settings.get("shift") == MODELS_OWN:
        settings["shift"] = _comment(folder).get("shift") or MODELS_OWN
    return settings


def _comment(folder: EvaluationFolder) -> Mapping[str, Setting]:
    """What the first of the folder's videos says of itself; nothing if there is none that does."""
    for record in folder.records:
        path = folder.video(record)
        if path is not None and path.is_file():
            with suppress(InputError, ValueError):
                found = json.loads(read_comment(path))
                return found if isinstance(found, dict) else {}
    return {}


def _words(value: Setting) -> str:
    return (f'"{value}"' if " " in value or not value else value) if isinstance(value, str) else f"{value:g}"
