"""Cards of clips: the video, the video drawn again, where they differ, and scene and cameras in 3D, model by model.

evaluation.js brings them to life: a card's data stand at the page's end and are decoded when the card comes near.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.pages.embedding import Embedded, embed, video_budget
from worldr1.evaluate.pages.score_pictures import FULL_SCALE, error_colors
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.values import record_value
from worldr1.types import Status

ClipKey = tuple[int, bool, int]
"""`VideoRecord.key`."""
MAX_FACTS = 5
SHORT = {
    "psnr_holdout_db": "PSNR, dB",
    "ssim_holdout": "SSIM",
    "rotation_error_deg": "rotation error, °",
    "translation_error": "translation error",
    "mvcs_scale_free": "MVCS",
    "travel_ratio": "travel",
    "coverage": "explained",
    "image_gradient": "image gradient",
    "words": "words shown",
    "motion": "movers that move",
}
"""What numbers are called below a clip; others by their label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A clip to show, and why."""

    key: ClipKey
    reason: str
    """Of the filter: "gain", "loss", "validity" or "others"; of one evaluation "best", "worst", "invalid", "others"."""
    badge: str
    """The same in a few words and numbers; "" for none."""


REASONS = {
    "gain": "largest gains",
    "loss": "largest losses",
    "validity": "valid in one only",
    "best": "best",
    "worst": "worst",
    "invalid": "not valid",
    "others": "others, chosen to be varied",
}


def clip_cards(
    folders: Sequence[EvaluationFolder],
    chosen: Sequence[Chosen],
    facts: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[str, str]:
    """HTML of filters and cards, and of their data, which belongs to the page's end.

    facts: numbers beside a clip. on_progress: called with (clips done, clips in all).
    """
    by_key = [{record.key: record for record in folder.records} for folder in folders]
    budget = video_budget(len(chosen) * len(folders))
    cards, data, records = [], [], []
    for index, choice in enumerate(chosen):
        sides = [known.get(choice.key) for known in by_key]
        films = [
            embed(folder, record, video_bytes=budget) if record else None
            for folder, record in zip(folders, sides, strict=True)
        ]
        records += [record for record in sides if record][:1]
        cards.append(_card(index, choice, list(zip(folders, sides, films, strict=True)), facts))
        text = json.dumps([film.data if film else {} for film in films], allow_nan=False).replace("<", "\\u003c")
        data.append(f'<script type="application/json" id="clip-{index}-data">{text}</script>')
        on_progress(index + 1, len(chosen))
    if not cards:
        return '<p class="missing">No videos were kept.</p>', ""
    return f'{_filters(chosen, records)}{legend()}<div class="clips">{"".join(cards)}</div>', "".join(data)


def _filters(chosen: Sequence[Chosen], records: Sequence[VideoRecord]) -> str:
    reasons = {reason: text for reason, text in REASONS.items() if any(choice.reason == reason for choice in chosen)}
    tokens = {token: token.replace("_", " ") for token in dict.fromkeys(t for r in records for t in r.tokens)}
    types = {name: name for name in dict.fromkeys(record.scene_type for record in records if record.scene_type)}
    states = {"valid": "all valid", "invalid": "not all valid"}
    selects = [
        _select("reason", "Why shown", reasons),
        _select("token", "Camera", dict(sorted(tokens.items()))),
        _select("type", "Scene", types),
        _select("state", "Validity", states),
    ]
    return (
        f'<form class="filters" aria-label="Filter the clips">{"".join(selects)}'
        f'<output class="small" aria-live="polite">{len(chosen)} of {len(chosen)} clips</output></form>'
    )


def _select(name: str, label: str, options: Mapping[str, str]) -> str:
    if len(options) < 2:
        return ""
    choices = "".join(f'<option value="{escape(key)}">{escape(text)}</option>' for key, text in options.items())
    return f'<label>{label} <select name="{name}"><option value="">all</option>{choices}</select></label>'


def legend(*, cameras: bool = True) -> str:
    """What the colours of a page's pictures mean. cameras: whether it draws camera paths."""
    shown = ",".join(f"rgb({r} {g} {b})" for r, g, b in error_colors(17).tolist())
    every = "".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in error_colors(256).tolist())
    most = round(FULL_SCALE * 255)
    return (
        f'<div class="legend" data-colours="{every}" data-full-scale="{most}">'
        '<span>difference in grey levels of 255</span><div class="scale-of-colors">'
        f'<div class="colors" style="background:linear-gradient(90deg,{shown})"></div><div class="marks">'
        f"<span>0</span><span>{most // 2}</span><span>{most} or more</span></div></div>"
        '<span><span class="hatch"></span> not known: out of sight of the frames that made the scene</span>'
        + (
            '<span><span class="swatch requested"></span> requested camera</span>'
            '<span><span class="swatch recovered"></span> recovered camera</span>'
            if cameras
            else ""
        )
        + "</div>"
    )


def _card(
    index: int,
    choice: Chosen,
    sides: Sequence[tuple[EvaluationFolder, VideoRecord | None, Embedded | None]],
    facts: Sequence[str],
) -> str:
    records = [record for _, record, _ in sides if record]
    films = [film for _, _, film in sides if film]
    record = records[0]
    valid = len(records) == len(sides) and all(r.status is Status.OK for r in records)
    num_frames = max(film.num_frames for film in films)
    fps = next((film.fps for film in films if "video" in film.data), 8.0)
    moves = ", then ".join(token.replace("_", " ") for token in record.tokens) or "no camera words"
    about = " · ".join(dict.fromkeys(t for t in (moves, record.group.value, record.scene_type) if t))
    sample = f" · sample {record.sample}" if record.sample else ""
    badge = f'<span class="badge {choice.reason}">{escape(choice.badge)}</span>' if choice.badge else ""
    rows = "".join(
        model_row("" if len(sides) == 1 else folder.facts.title, record, film, facts, place=place)
        for place, (folder, record, film) in enumerate(sides)
    )
    return (
        f'<article class="card clip" id="clip-{index}" data-reason="{choice.reason}" '
        f'data-type="{escape(record.scene_type)}" data-tokens="{" ".join(record.tokens)}" '
        f'data-state="{"valid" if valid else "invalid"}" data-frames="{num_frames}" data-fps="{fps:.6g}" '
        f'aria-labelledby="clip-{index}-title">'
        f'<h3 class="prompt" id="clip-{index}-title">{badge}{escape(record.prompt)}</h3>'
        f'<p class="small">{escape(about)}{sample}</p>{rows}{controls(num_frames)}</article>'
    )


def controls(num_frames: int) -> str:
    """One button and one slider for all videos of a card."""
    return (
        '<div class="controls"><button type="button" class="play">Play</button>'
        f'<input type="range" min="0" max="{max(0, num_frames - 1)}" value="0" step="1" aria-label="frame">'
        f"<output>1 of {num_frames}</output>"
        '<button type="button" class="larger" aria-pressed="false">Larger</button></div>'
    )


def model_row(
    title: str,
    record: VideoRecord | None,
    film: Embedded | None,
    facts: Sequence[str],
    *,
    place: int,
    data_id: str = "",
) -> str:
    """A model's part of a card: its pictures and numbers. title: the model's; "" where it is the only one.

    place: which of the card's models; decides its colour. data_id: of the script that holds its data; those of the card
    at `place` if "".
    """
    name = f'<h4 class="model m{place}">{escape(title)}</h4>' if title else ""
    if record is None or film is None:
        who = escape(title) or "This model"
        return f'<div class="model-row">{name}<p class="missing small">{who} has no such clip.</p></div>'
    problem = "" if record.status is Status.OK else f'<p class="missing small">{escape(_problem(record))}</p>'
    here = f"{title}: " if title else ""
    if "video" in film.data:
        style = f'style="aspect-ratio:{film.aspect:.4f}"'
        poster = f'<img src="{film.poster}" alt="">' if film.poster else ""
        panels = [
            _panel("Video", f'<div class="screen" data-part="video" {style}>{poster}</div>'),
        ]
        if "redrawn" in film.data:
            panels += [
                _panel("Drawn from its 3D scene", f'<div class="screen" data-part="redrawn" {style}></div>'),
                _panel(
                    "Where they differ",
                    f'<div class="screen" {style}><canvas data-part="error" role="img" '
                    f'aria-label="{escape(here)}difference of the video and its 3D scene"></canvas></div>',
                ),
            ]
    else:
        panels = ['<p class="missing small">This video was not kept.</p>']
        style = 'style="aspect-ratio:1.5"'
    if any(part in film.data for part in ("points", "requested", "recovered")):
        panels.append(
            _panel(
                "Scene and cameras",
                f'<div class="screen" {style}><canvas data-part="view" tabindex="0" role="application" '
                f'aria-label="{escape(here)}scene and cameras in 3D: arrows turn, plus and minus zoom, Home resets">'
                "</canvas></div>",
            )
        )
    source = f' data-source="{data_id}"' if data_id else ""
    return (
        f'<div class="model-row" data-place="{place}"{source}>{name}'
        f'<div class="panels n{len(panels)}">{"".join(panels)}</div>'
        f'{problem}<dl class="facts-line">{_facts(record, facts)}</dl></div>'
    )


def _panel(title: str, inside: str) -> str:
    return f"<figure><figcaption>{title}</figcaption>{inside}</figure>"


def _facts(record: VideoRecord, facts: Sequence[str]) -> str:
    shown = []
    for name in in_table_order(facts)[:MAX_FACTS]:
        value = record_value(record, name)
        if value is not None:
            label = label_of(name)
            shown.append(
                f"<div><dt>{escape(SHORT.get(name, label.text))}</dt><dd>{value:.{label.decimals}f}</dd></div>"
            )
    return "".join(shown)


def _problem(record: VideoRecord) -> str:
    what = "A fault of ours" if record.status is Status.FAULT else "Not valid"
    return f"{what}: {record.reason}"
