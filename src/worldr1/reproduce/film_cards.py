"""Cards that show one prompt by several models side by side, in step: base, control, variant, truth.

A film is carried once however many claims show it: cards name its data by `_data_id` (evaluation.js decodes it when a
card comes near).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import count

from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.pages.clip_cards import ClipKey, model_row
from worldr1.evaluate.pages.clip_cards import controls as card_controls
from worldr1.evaluate.pages.embedding import Embedded, embed
from worldr1.evaluate.records import VideoRecord
from worldr1.reproduce.films import BASE, TRUTH
from worldr1.reproduce.variants import Variant

FACTS = ("psnr_holdout_db", "image_gradient", "words", "motion", "travel_ratio")
"""Beside a film: of that one video, by the judge."""
CARRIED = ("video", "redrawn", "unseen")
MOST_BYTES = 60_000
"""Of a film that is carried as its file is."""
PLACES = {BASE: 0, TRUTH: 2}
CONTROL_PLACE, VARIANT_PLACE = 1, 3
"""Colours of the models' names (evaluation.css)."""
OPEN_CARDS = 2
"""Shown at once, of each claim; the others are folded away."""


class Films:
    """All films of a page."""

    def __init__(
        self,
        folders: Mapping[str, EvaluationFolder],
        variants: Mapping[str, Variant],
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Reads every film. folders: by `BASE`, `TRUTH` or a variant's name (`films.filmed`).

        Raises InputError for a video that is damaged.
        """
        self._folders, self._variants, self._numbers = folders, variants, count()
        records = [(name, record) for name, folder in folders.items() for record in folder.records]
        self._films: dict[tuple[str, ClipKey], tuple[VideoRecord, Embedded]] = {}
        for done, (name, record) in enumerate(records, start=1):
            film = embed(folders[name], record, video_bytes=MOST_BYTES)
            carried = {part: film.data[part] for part in CARRIED if part in film.data}
            self._films[name, record.key] = record, replace(film, data=carried)
            on_progress(done, len(records))

    def data(self) -> str:
        """Scripts that hold the films, for the page's end."""
        made = []
        for (name, key), (_, film) in self._films.items():
            made.append(f'<script type="application/json" id="{_data_id(name, key)}">{json.dumps(film.data)}</script>')
        return "".join(made)

    def _controls(self, variants: Iterable[str]) -> list[str]:
        """What some variants are compared with."""
        known = [self._variants[name].control for name in variants if name in self._variants]
        return list(dict.fromkeys(control for control in known if control is not None))

    def sides(self, variants: Iterable[str]) -> list[str]:
        """What is held beside each other for some variants: base, their controls, they, the truth; filmed ones only."""
        variants = list(variants)
        wanted = dict.fromkeys([BASE, *self._controls(variants), *variants, TRUTH])
        return [name for name in wanted if name in self._folders]

    def cards(self, variants: Sequence[str]) -> str:
        """A card per prompt; "" without films of any of the variants."""
        sides = self.sides(variants)
        if not any(name in variants for name in sides):
            return ""
        keys = sorted({key for name, key in self._films if name in sides})
        order = _mixed(keys)
        made = [
            self._card(key, sides, self._controls(variants), poster=place < OPEN_CARDS)
            for place, key in enumerate(order)
        ]
        shown, folded = made[:OPEN_CARDS], made[OPEN_CARDS:]
        more = (
            f"<details><summary>{len(folded)} more prompt{'s' if len(folded) != 1 else ''}</summary>"
            f'<div class="clips">{"".join(folded)}</div></details>'
            if folded
            else ""
        )
        return f'<div class="clips">{"".join(shown)}</div>{more}'

    def _card(self, key: ClipKey, sides: Sequence[str], controls: Sequence[str], *, poster: bool) -> str:
        """poster: a picture until the videos are decoded; without it a card is small."""
        found = {name: self._films[name, key] for name in sides if (name, key) in self._films}
        record, film = next(iter(found.values()))
        index = next(self._numbers)
        moves = ", then ".join(token.replace("_", " ") for token in record.tokens) or "no camera words"
        rows = []
        for name in sides:
            of, pictures = found.get(name, (None, None))
            if pictures is not None and not poster:
                pictures = replace(pictures, poster="")
            title = self._title(name, is_control=name in controls)
            place = PLACES.get(name, CONTROL_PLACE if name in controls else VARIANT_PLACE)
            rows.append(model_row(title, of, pictures, FACTS, place=place, data_id=_data_id(name, key)))
        return (
            f'<article class="card clip film" id="clip-{index}" data-frames="{film.num_frames}" '
            f'data-fps="{film.fps:.6g}" aria-labelledby="clip-{index}-title">'
            f'<h4 class="prompt" id="clip-{index}-title">{escape(record.prompt)}</h4>'
            f'<p class="small">{escape(moves)} · {escape(record.group.value)}</p>'
            f'<div class="film-sides">{"".join(rows)}</div>{card_controls(film.num_frames)}</article>'
        )

    def _title(self, name: str, *, is_control: bool) -> str:
        facts = self._folders[name].facts
        seed = facts.source.get("seed")
        return f"{'control: ' if is_control else ''}{facts.title}{f', seed {seed}' if seed is not None else ''}"


def _mixed(keys: Sequence[ClipKey]) -> list[ClipKey]:
    """A static prompt and a dynamic one first, which are shown at once; then the others in their order."""
    first = [next((key for key in keys if key[1] is dynamic), None) for dynamic in (False, True)]
    return list(dict.fromkeys([*(key for key in first if key is not None), *keys]))


def _data_id(name: str, key: ClipKey) -> str:
    prompt, dynamic, sample = key
    return f"film-{name}-{prompt}-{int(dynamic)}-{sample}"
