"""What the pages of one evaluation and of a comparison share."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from worldr1.evaluate.folder import EvaluationFolder, Facts
from worldr1.evaluate.labels import label_of
from worldr1.evaluate.pages.html import html_page, with_contents
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.values import record_value
from worldr1.types import Status

STYLES = ("page.css", "evaluation.css")
SCRIPTS = ("view3d.js", "evaluation.js")


def page(
    title: str, sections: Mapping[str, str], record: Mapping[str, Any], name: str, data: str, *, css: str = ""
) -> str:
    """A whole page. record: the JSON to download, as a file called `name`. data: scripts of `clip_cards`.

    css: styles of this kind of page beside the shared ones.
    """
    text = json.dumps(record, allow_nan=False).replace("<", "\\u003c")
    download = f'<p><button type="button" class="download" data-name="{name}">Download the numbers as JSON</button></p>'
    noscript = (
        '<noscript><p class="missing">Videos, filters and 3D views need JavaScript; the tables do not.</p></noscript>'
    )
    opening, *rest = sections.items()
    sections = dict([(opening[0], opening[1] + download + noscript), *rest])
    body = f'{with_contents(sections)}{data}<script type="application/json" id="record">{text}</script>'
    return html_page(f"worldr1: {title}", body, styles=STYLES, scripts=SCRIPTS, kind="evaluation", css=css)


def warnings(facts: Facts) -> str:
    """What an evaluation says of itself, and in large if the model was judged by what rewarded it."""
    notes = "".join(f'<p class="missing">{escape(facts.title)}: {escape(note)}</p>' for note in facts.notes)
    if not facts.judged_by_reward:
        return notes
    return notes + (
        f'<div class="alarm" role="alert"><b>{escape(facts.title)} is judged by its own reward.</b> The 3D model '
        f"{escape(facts.judge)} paid for these weights in training, and a model may learn to please it. Its numbers "
        "here are no evidence; evaluate with another --judge.</div>"
    )


def tile(title: str, big: str, plot: str, note: str) -> str:
    """A number in large. big, plot: HTML; title, note: plain text."""
    return f'<div class="tile"><h3>{escape(title)}</h3><div class="big">{big}</div>{plot}<p>{escape(note)}</p></div>'


def every_clip(folders: Sequence[EvaluationFolder], metric: str) -> str:
    """One number of every clip of every model, folded away."""
    by_key = [{record.key: record for record in folder.records} for folder in folders]
    keys = sorted(set().union(*by_key))
    label = label_of(metric)
    rows = []
    for key in keys:
        sides = [known.get(key) for known in by_key]
        record = next(side for side in sides if side)
        moves = ", ".join(token.replace("_", " ") for token in record.tokens)
        cells = "".join(f"<td>{_cell(side, metric)}</td>" for side in sides)
        rows.append(
            f"<tr><td>{escape(record.prompt)}</td><td>{escape(moves)}</td><td>{escape(record.scene_type)}</td>"
            f"<td>{record.sample}</td>{cells}</tr>"
        )
    heads = ["Prompt", "Camera", "Scene", "Sample", *(folder.facts.title for folder in folders)]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return (
        f"<details><summary>{len(keys)} clips: {escape(label.text)}</summary>"
        '<div class="wide every" tabindex="0" role="region" aria-label="every clip"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _cell(record: VideoRecord | None, metric: str) -> str:
    if record is None:
        return "missing"
    value = record_value(record, metric)
    shown = "" if value is None else f"{value:.{label_of(metric).decimals}f}"
    return shown if record.status is Status.OK else f"{shown} {escape(record.status.value)}".strip()
