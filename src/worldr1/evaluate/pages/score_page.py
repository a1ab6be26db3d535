"""The page of `worldr1 score`: one offline HTML file for somebody who never trains and does not know this project."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote

from worldr1.errors import InputError
from worldr1.evaluate.pages.html import asset
from worldr1.evaluate.pages.score_page_parts import figures, paths, player
from worldr1.evaluate.pages.score_pictures import thumbnail
from worldr1.evaluate.scoring.figures import SCORE_METRICS
from worldr1.evaluate.scoring.scorer import Scored

TITLE = "How 3D-consistent is the video?"
_HEADLINE = SCORE_METRICS[0]


class Verdict(NamedTuple):
    """What a shot's section says first."""

    kind: str
    """A CSS class: "scored", "unknown" (valid, but nothing can be said) or "invalid"."""
    figure: str
    """Large; a number only if the kind is "scored"."""
    beside: str
    """In brackets behind it: the interval, or in a few words why there is no figure."""
    sentence: str
    """What it means, in plain words."""


def write_score_page(
    path: str | Path,
    scored: Sequence[Scored],
    *,
    perceptual: str,
    num_frames: int,
    title: str = TITLE,
    plys: Sequence[str | None] = (),
) -> Path:
    """Writes one HTML file that needs no network and no other file, and returns its path.

    perceptual: name of the network behind `perceptual_holdout`; num_frames: the frame budget; both for the figures'
    ids. plys: for each shot the path of its .ply relative to the page, if one was written; they are linked, not
    embedded. Raises InputError without a shot, or with another number of plys than of shots.
    """
    if not scored:
        raise InputError("There is no scored shot to write a page about; score at least one video.")
    if plys and len(plys) != len(scored):
        raise InputError(f"{len(plys)} .ply paths do not match {len(scored)} shots; give one (or None) for each.")
    body = [f"<h1>{escape(title)}</h1>", _introduction()]
    if len(scored) > 1:
        body.append(_overview(scored))
    for index, (shot, ply) in enumerate(zip_longest(scored, plys)):
        body.append(_section(index, shot, ply, figures(shot, perceptual=perceptual, num_frames=num_frames)))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{asset('page.css')}{asset('score.css')}</style>"
        "<noscript><style>canvas,.controls{display:none}.sheet{display:block}</style></noscript></head>"
        f'<body class="score">{"".join(body)}<script>{asset("score.js")}</script></body></html>\n'
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def verdict(scored: Scored) -> Verdict:
    """The headline of a shot; an invalid one has no figure, whatever its record holds."""
    score = scored.score
    if not score.valid:
        beside = "(not reconstructable)"
        return Verdict("invalid", "No score", beside, f"No 3D scene could be recovered from this shot: {score.reason}.")
    if score.consistency is None:
        return Verdict(
            "unknown",
            "Nothing to judge",
            "(the camera stays in its place)",
            "The camera does not move through the scene, so every frame shows it from the same place. Nothing can be "
            "said about 3D: a photograph would pass every test.",
        )
    share = _HEADLINE.text(score.consistency)
    low_high = score.consistency_interval
    spread = f"({100 * low_high[0]:.0f} to {100 * low_high[1]:.0f})" if low_high else ""
    return Verdict(
        "scored",
        share,
        spread,
        f"{share} of what changes in the picture is explained by one rigid 3D scene, on frames the scene was not built "
        "from.",
    )


def _introduction() -> str:
    return (
        "<p>Every other frame of a shot was turned into a 3D scene; the frames between them, which the scene has not "
        "seen, were then drawn from it and compared with the video. If the video shows one solid world, they agree.</p>"
        "<details><summary>How to read this page</summary><ul>"
        "<li><b>100 %</b>: the 3D scene predicts the held-out frames perfectly. <b>0 %</b>: it predicts them no better "
        "than a copy of a frame a quarter of the shot away. Differences of one pixel are forgiven. The numbers in "
        "brackets are the 95 % interval over the shot's frames.</li>"
        "<li>A video without camera movement cannot be judged, because every frame looks like every other. One whose "
        "3D scene cannot be recovered has no score either; that alone does not say that it is bad.</li>"
        "<li>Things that move by themselves are not part of a rigid scene and lower the score, even if they are "
        "meant to move.</li>"
        "<li>Nothing here says whether the video is beautiful, or shows what was asked for.</li></ul></details>"
    )


def _overview(scored: Sequence[Scored]) -> str:
    """A row per shot, in the order given."""
    rows = []
    for index, shot in enumerate(scored):
        said = verdict(shot)
        figure = f"<b>{escape(said.figure)}</b> {escape(said.beside)}"
        rows.append(
            f'<tr class="{said.kind}"><td><a href="#shot-{index}" tabindex="-1" aria-hidden="true">'
            f'<img src="{thumbnail(shot.shot.video)}" alt=""></a></td>'
            f'<td><a href="#shot-{index}">{escape(_file_name(shot))}</a><br>'
            f'<span class="small">{escape(_place(shot))}</span></td>'
            f"<td>{figure}</td><td>{'yes' if shot.score.valid else 'no'}</td></tr>"
        )
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "Shot", _HEADLINE.title, "Valid"))
    return (
        f'<h2>All shots</h2><table class="overview"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"</table><p>{_download('All figures as JSON', scored, 'scores.json')}</p>"
    )


def _section(index: int, scored: Scored, ply: str | None, table: str) -> str:
    """Everything about one shot; table: its `figures`."""
    said, score = verdict(scored), scored.score
    bar = ""
    if score.valid and score.consistency is not None:
        bar = _bar(score.consistency, score.consistency_interval)
    notes = "".join(f"<li>{escape(note)}</li>" for note in score.notes)
    links = [_download("Figures as JSON", [scored], f"{PurePath(score.path).stem}-shot-{score.shot}.json")]
    if ply is not None:
        links.append(f'<a href="{quote(ply)}">3D scene ({escape(PurePath(ply).name)})</a>')
    return (
        f'<section id="shot-{index}" class="card"><h2>{escape(score.path)}</h2>'
        f'<p class="small">{escape(_place(scored))}</p>'
        f'<p class="verdict {said.kind}">{f"{_HEADLINE.title} " if said.kind == "scored" else ""}'
        f"<b>{escape(said.figure)}</b> <span>{escape(said.beside)}</span></p>"
        f"{bar}<p>{escape(said.sentence)}</p>"
        f"{player(scored)}{paths(scored) if score.valid else ''}{_figures(said, table)}"
        f"{f'<h3>What was done to the video</h3><ul>{notes}</ul>' if notes else ''}"
        f'<p class="links">{" &middot; ".join(links)}</p></section>'
    )


def _figures(said: Verdict, table: str) -> str:
    """The table in full view for a scored shot, behind a warning for one that nothing can be said about."""
    if said.kind == "scored":
        return f"<h3>All figures</h3>{table}"
    if said.kind == "invalid":
        return ""
    return (
        "<details><summary>All figures</summary>"
        f'<p class="missing">A still picture passes these tests too: here they are no sign of quality.</p>{table}'
        "</details>"
    )


def _bar(share: float, interval: Sequence[float] | None) -> str:
    """0 to 100 %, filled to the headline, its interval as a line."""
    low, high = interval or (share, share)
    return (
        f'<div class="bar" aria-hidden="true"><div class="filled" style="width:{100 * share:.1f}%"></div>'
        f'<div class="interval" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></div></div>'
    )


def _file_name(scored: Scored) -> str:
    return PurePath(scored.score.path).name or scored.score.path


def _place(scored: Scored) -> str:
    """Which part of the video it is, and with what it was measured."""
    score = scored.score
    part = f"shot {score.shot + 1} of {score.num_shots}, " if score.num_shots > 1 else ""
    return f"{part}{score.start_s:.1f} to {score.end_s:.1f} s, 3D by {score.reconstructor}"


def _download(text: str, scored: Sequence[Scored], name: str) -> str:
    """A link that saves what `worldr1 score --json` prints of these shots."""
    record = json.dumps({"videos": [asdict(s.score) for s in scored]}, allow_nan=False)
    data = b64encode(record.encode()).decode()
    return f'<a download="{escape(name)}" href="data:application/json;base64,{data}">{escape(text)}</a>'
