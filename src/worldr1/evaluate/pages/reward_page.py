"""rewards.html: the parts of a training reward beside the pictures that they come from, in one offline file.

The tables are also those of the terminal (`parts_table`, `measures_table`).
"""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from worldr1.evaluate.evaluation import positions, yaw_deg
from worldr1.evaluate.pages.charts import CameraPath, path_extent, path_plot
from worldr1.evaluate.pages.html import asset
from worldr1.evaluate.pages.score_pictures import FULL_SCALE, paint, paint_error, redraw_error
from worldr1.evaluate.scoring.reward_findings import findings
from worldr1.evaluate.scoring.reward_parts import REWARD, Member, Pictures, RewardGroup, title_of
from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ
from worldr1.rewards.trajectory import recovered_path
from worldr1.types import Reconstruction, Status, Trajectory

MEASURES = {
    "psnr_holdout_db": ("PSNR dB", ".1f"),
    "psnr_db": ("PSNR dB", ".1f"),
    "rotation_error_deg": ("turn error °", ".2f"),
    "translation_error": ("path error", ".1%"),
    "travel_depth_units": ("travel", ".3f"),
    "travel_deg": ("turn °", ".1f"),
    "image_gradient": ("image gradient", ".4f"),
    "coverage": ("coverage", ".0%"),
    "median_depth": ("median depth", ".2f"),
    "quality": ("quality", ".3f"),
}
"""Measure -> short title and format, in the order of the table."""
PATH_MEASURES = ("rotation_error_deg", "translation_error", "travel_depth_units", "travel_deg")
"""Those beside the picture of the path."""
STRIP_FRAMES = 5
"""Frames shown of a video, evenly spaced."""
REDRAWN_FRAMES = 4
"""Frames shown of its re-rendering."""
PICTURE_PX = 320
"""Longer side of a picture; larger frames are averaged down, or one video of 832 x 480 would make a page of 20 MB."""
OWN_PART = '<p class="small">A part of a reward of your own: a number, without a picture.</p>'

_STYLE = """
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 6px 26px; }
.strip { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; align-items: start; }
.rows { display: grid; grid-template-columns: max-content repeat(4, 1fr); gap: 4px; align-items: center; }
.rows span, .strip span { font-size: .78rem; color: var(--muted); font-variant-numeric: tabular-nums; }
.strip figcaption { font-size: .8rem; color: var(--muted); }
img { display: block; width: 100%; image-rendering: pixelated; border-radius: 3px; }
.panels .facts { grid-template-columns: 190px 170px; } .bars rect { fill: var(--c0); }
tr.sum td { font-weight: 600; } li { max-width: 90ch; } .card { margin-top: 14px; }
"""


class Table(NamedTuple):
    """Rows of text under their titles, the last `num_sums` of them about the group."""

    titles: list[str]
    rows: list[list[str]]
    num_sums: int = 0


def parts_table(group: RewardGroup) -> Table:
    """Reward, parts, advantage and status of each video (numbered from 1), then the group's std and each part's share.

    Without a group there are no sums and no advantages.
    """
    columns = [REWARD, *group.names]
    rows = []
    for number, member in enumerate(group.members, start=1):
        values = {REWARD: member.result.value, **member.result.parts}
        advantage = f"{member.advantage:+.2f}" if group.std and member.valid else "-"
        numbers = [f"{values[name]:.3f}" if member.valid else "-" for name in columns]
        rows.append([str(number), *numbers, advantage, member.result.status.value])
    titles = ["", "reward", *(title_of(name) for name in group.names), "advantage", "status"]
    if not group.std:
        return Table(titles, rows)
    shares = [f"{group.share[name]:.0%}" if name in group.share else "-" for name in group.names]
    rows.append(["std in group", *(f"{group.std[name]:.3f}" for name in columns), "", ""])
    rows.append(["share of spread", "", *shares, "", ""])
    return Table(titles, rows, 2)


def measures_table(group: RewardGroup) -> Table:
    """What is measured and not rewarded by itself, for each video."""
    measured = {name for member in group.members for name in member.result.measures}
    names = [name for name in MEASURES if name in measured]
    names += sorted(measured - MEASURES.keys()) if not group.ours else []
    rows = []
    for number, member in enumerate(group.members, start=1):
        known = member.result.measures
        rows.append([str(number), *(format(known[n], _shown_as(n)[1]) if n in known else "-" for n in names)])
    return Table(["", *(_shown_as(name)[0] for name in names)], rows)


def _shown_as(measure: str) -> tuple[str, str]:
    return MEASURES.get(measure, (measure, ".3f"))


def request_of(group: RewardGroup) -> str:
    """What the prompt asks of the camera, and the parts that it leaves out, as text."""
    moves = ", then ".join(token.replace("_", " ") for token in group.tokens) or "free (no camera words)"
    absent = "; ".join(f"{title_of(name)} is absent: {reason}" for name, reason in group.absent.items())
    return f"requested camera: {moves}" + (f"; {absent}" if absent else "")


def reward_page(groups: Sequence[RewardGroup], *, recipe: str, model_frames: int) -> str:
    """The whole page. recipe: its name or path; model_frames: K, the frames that R_gen looks at."""
    style = asset("page.css") + _STYLE
    title = f"worldr1 rewards of {escape(recipe)}"
    body = "".join(_section(group, model_frames) for group in groups)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><h1>{title}</h1>"
        '<p class="small">The videos of one prompt are a group, scored as the training of this recipe would. '
        "The advantage is (reward - mean) / max(std, train.std_floor); a part's share of the spread (its weight times "
        f"its std) is what it has to say in it.</p>{body}</body></html>\n"
    )


def _section(group: RewardGroup, model_frames: int) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(group))
    cards = "".join(_card(number, m, group, model_frames) for number, m in enumerate(group.members, start=1))
    return (
        f'<h2>{escape(group.prompt.text)}</h2><p class="small">{escape(request_of(group))}</p>'
        f"{_table(parts_table(group))}<ul>{said}</ul><h3>Measured, not rewarded by itself</h3>"
        f"{_table(measures_table(group))}{cards}"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in table.titles)
    marks = [""] * (len(table.rows) - table.num_sums) + [' class="sum"'] * table.num_sums
    rows = "".join(
        f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for mark, row in zip(marks, table.rows, strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


# --------------------------------------------------------------------------------------------------------------- cards


def _card(number: int, member: Member, group: RewardGroup, model_frames: int) -> str:
    result, pictures = member.result, member.pictures or Pictures(frame_scores=())
    reason = (
        "" if result.status is Status.OK else f'<p class="missing">{escape(f"{result.status}: {result.reason}")}</p>'
    )
    value = f": reward {result.value:.3f}" if member.valid else ""
    chosen = _evenly(len(member.video), STRIP_FRAMES)
    strip = "".join(_picture(member.video[i], f"frame {i}", f"frame {i}") for i in chosen)
    bodies = (
        dict.fromkeys(group.known, OWN_PART)
        if not group.ours
        else {
            S_RECON: _redrawn(pictures),
            S_META: _off_path(pictures, member.video[len(member.video) // 2]),
            S_TRAJ: _paths(pictures.reconstruction, group.trajectory, result.measures),
            R_GEN: _rated(pictures, member.video[:model_frames]),
            **({S_MOTION: _moved(pictures, member.video)} if S_MOTION in group.known else {}),
        }
    )
    panels = "".join(_panel(name, member, body, group.absent.get(name)) for name, body in bodies.items())
    return (
        f'<article class="card"><p class="prompt"><b>{number}</b> {escape(member.path)}{value}</p>{reason}'
        f'<div class="strip">{strip}</div><div class="panels">{panels}</div></article>'
    )


def _panel(name: str, member: Member, body: str, absent: str | None) -> str:
    """One part: its value and its pictures, or why there is none."""
    value = member.result.parts.get(name)
    shown = "" if value is None or not member.valid else f" {value:.3f}"
    if absent is not None:
        body = f'<p class="small">Absent: {escape(absent)}.</p>'
    elif not body:
        body = '<p class="small">No picture: the video did not get that far.</p>'
    return f"<section><h3>{escape(title_of(name))}{shown}</h3>{body}</section>"


def _redrawn(pictures: Pictures) -> str:
    """Frames, their re-rendering and the error, under each other."""
    redrawn = pictures.redrawn
    if redrawn is None:
        return ""
    chosen = _evenly(len(redrawn.target), REDRAWN_FRAMES)
    all_pixels = torch.ones(redrawn.target.shape[-2:], dtype=torch.bool)
    rows = {
        "video": paint(redrawn.target),
        "re-render": paint(redrawn.drawn),
        "error": paint_error(redraw_error(redrawn, all_pixels)),
    }
    return (
        f'{_rows(rows, chosen, pictures.target_frames)}<p class="small">The re-render comes from the other '
        "frames' geometry at the video's own recovered camera. Error: black is none, pale yellow "
        f"{FULL_SCALE:.2f} of the grey range and more; striped is not covered and not compared (covered: "
        f"{redrawn.coverage:.0%}).</p>"
    )


def _off_path(pictures: Pictures, middle: Float[Tensor, "3 H W"]) -> str:
    """The middle frame, the critic's picture, and its digits as bars."""
    if pictures.off_path is None or pictures.digits is None:
        return ""
    return (
        f'<div class="strip">{_picture(middle, "the middle frame", "middle frame")}'
        f"{_picture(pictures.off_path, 'what the critic saw', 'view from off the path')}"
        f"<figure>{digit_bars(pictures.digits.tolist())}<figcaption>the critic's digit</figcaption></figure></div>"
        f'<p class="small">The critic read: "{escape(pictures.critic_text)}". Grey was never seen by the camera. '
        "S_meta is 0.1 times the mean digit.</p>"
    )


def _paths(found: Reconstruction | None, requested: Trajectory | None, measures: Mapping[str, float]) -> str:
    """Both camera paths from above, beside their errors."""
    if found is None:
        return ""
    recovered = recovered_path(found)
    candidates = {"requested": requested.world_from_camera if requested else None, "recovered": recovered}
    paths = [
        CameraPath(name=name, positions=places, yaw_deg=yaw)
        for name, poses in candidates.items()
        if (places := positions(poses)) and (yaw := yaw_deg(poses))
    ]
    known = [(*MEASURES[name], measures[name]) for name in PATH_MEASURES if name in measures]
    facts = "".join(f"<dt>{title}</dt><dd>{value:{form}}</dd>" for title, form, value in known)
    return (
        f'<div class="facts">{path_plot(paths, path_extent(paths))}<dl>{facts}</dl></div>'
        '<p class="small">From above, forward is up, in depth units: <span class="swatch requested"></span> requested, '
        '<span class="swatch recovered"></span> recovered by the reward\'s 3D model.</p>'
    )


def _moved(pictures: Pictures, video: Float[Tensor, "T 3 H W"]) -> str:
    """Frames above what moved in them by itself."""
    residual = pictures.residual
    if residual is None:
        return ""
    chosen = _evenly(len(residual), REDRAWN_FRAMES)
    first = len(video) - len(residual)
    rows = {"video": paint(video[first:]), "motion": paint_error(residual)}
    return (
        f'{_rows(rows, chosen, range(first, len(video)))}<p class="small">Motion: what has changed in a quarter of '
        f"the clip beyond what the camera explains; black is none, pale yellow {FULL_SCALE:.2f} of the grey range and "
        "more; striped is not known.</p>"
    )


def _rated(pictures: Pictures, frames: Float[Tensor, "K 3 H W"]) -> str:
    """The first K frames under the quality model's score."""
    if not pictures.frame_scores:
        return ""
    rated = enumerate(zip(frames, pictures.frame_scores, strict=True))
    shown = "".join(_picture(frame, f"frame {i}", f"{score:.3f}") for i, (frame, score) in rated)
    return f'<div class="strip">{shown}</div><p class="small">The quality model\'s score, in its own units.</p>'


# ------------------------------------------------------------------------------------------------------------ pictures


def digit_bars(probabilities: Sequence[float]) -> str:
    """SVG: one bar per digit, the tallest as high as the picture."""
    width, height, step = 150, 100, 15
    tallest = max(probabilities)
    bars = []
    for digit, p in enumerate(probabilities):
        tall = (height - 16) * p / tallest
        bars.append(
            f'<rect x="{digit * step + 2}" y="{height - 14 - tall:.1f}" width="{step - 4}" height="{tall:.1f}">'
            f'<title>{digit}: {p:.0%}</title></rect><text x="{(digit + 0.5) * step}" y="{height - 2}" '
            f'text-anchor="middle">{digit}</text>'
        )
    return f'<svg class="bars" viewBox="0 0 {width} {height}" role="img" aria-label="digits">{"".join(bars)}</svg>'


def _rows(rows: Mapping[str, UInt8[Tensor, "V H W 3"]], chosen: Sequence[int], frames: Sequence[int]) -> str:
    """The chosen pictures of each row under each other. frames: of the video, which each picture belongs to."""
    cells = ["<span></span>", *(f"<span>frame {frames[i]}</span>" for i in chosen)]
    for label, images in rows.items():
        cells += [f"<span>{label}</span>", *(_image(images[i], label) for i in chosen)]
    return f'<div class="rows">{"".join(cells)}</div>'


def _picture(image: Float[Tensor, "3 H W"], alt: str, caption: str) -> str:
    return f"<figure>{_image(paint(image[None])[0], alt)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(pixels: UInt8[Tensor, "H W 3"], alt: str) -> str:
    """An <img> that carries its own PNG, its longer side at most `PICTURE_PX`."""
    data, image = io.BytesIO(), Image.fromarray(pixels.numpy())
    if max(image.size) > PICTURE_PX:
        image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX)
    image.save(data, format="PNG")
    return f'<img src="data:image/png;base64,{b64encode(data.getvalue()).decode()}" alt="{escape(alt)}">'


def _evenly(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` frames, first to last; all if there are fewer."""
    return torch.linspace(0, available - 1, min(available, wanted)).round().long().tolist()
