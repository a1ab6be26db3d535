"""The report's videos: the same prompt and start noise model by model, with the camera's path from above."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from worldr1.evaluate.comparison import Comparison, Side
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.pages.charts import CameraPath, path_extent, path_plot
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.values import record_value
from worldr1.types import Status

EMBED_MAX_BYTES = 1_000_000
"""Larger videos are linked, not embedded: such a report needs its run folder beside it."""
FACTS = {
    "reward": "reward",
    "s_meta": "S_meta",
    "s_recon": "S_recon",
    "s_traj": "S_traj",
    "r_gen": "R_gen",
    "s_motion": "S_motion",
    "psnr_holdout_db": "PSNR, dB",
    "psnr_db": "PSNR, dB",
    "rotation_error_deg": "rotation err., °",
    "translation_error": "translation err.",
}
"""Numbers beside a video, by the short name they have there."""


def clip_cards(comparison: Comparison, *, run_dir: Path) -> str:
    """HTML: one card per kept prompt; run_dir: what links are relative to. "" if no videos were kept.

    Every card has a place for every model, so that a video that was not kept leaves a gap and no other takes its place.
    """
    sides = comparison.sides
    shown: dict[tuple[int, bool, int], list[VideoRecord | None]] = {}
    for place, side in enumerate(sides):
        for record in side.records:
            if record.video:
                shown.setdefault(record.key, [None] * len(sides))[place] = record
    if not shown:
        return ""
    cards = "".join(_card(list(zip(sides, films, strict=True)), run_dir) for films in shown.values())
    return (
        '<p class="small">Same prompt and start noise, side by side. Below each: the camera from above, forward is up, '
        'lengths in depth units; <span class="swatch requested"></span> requested, '
        '<span class="swatch recovered"></span> found by the 3D model; thin lines are its line of sight at the start '
        "and the end.</p>"
        f'<div class="cards of{len(sides)}">{cards}</div>'
    )


def _card(films: Sequence[tuple[Side, VideoRecord | None]], run_dir: Path) -> str:
    records = [record for _, record in films if record]
    record = records[0]
    moves = ", then ".join(token.replace("_", " ") for token in record.tokens)
    kinds = " · ".join(text for text in (moves, record.group.value) if text)
    paths = [path for r in records for path in _paths(r)]
    extent = path_extent(paths) if paths else None
    figures = "".join(_figure(side, r, extent, run_dir) for side, r in films)
    return (
        f'<article class="card"><p class="prompt">{escape(record.prompt)}</p><p class="small">{escape(kinds)}</p>'
        f'<div class="sides">{figures}</div></article>'
    )


def _figure(side: Side, record: VideoRecord | None, extent: tuple[float, float, float] | None, run_dir: Path) -> str:
    if record is None:
        return f'<figure><figcaption>{side.title}</figcaption><p class="small">This video was not kept.</p></figure>'
    paths = _paths(record)
    plan = path_plot(paths, extent) if paths and extent else '<p class="small">no camera path</p>'
    problem = "" if record.status is Status.OK else f'<p class="missing small">{escape(_problem(record))}</p>'
    return (
        f"<figure><figcaption>{side.title}</figcaption>{_video(side.folder / (record.video or ''), run_dir)}{problem}"
        f'<div class="facts">{plan}<dl>{_facts(record)}</dl></div></figure>'
    )


def _video(path: Path, run_dir: Path) -> str:
    if not path.is_file():
        return f'<p class="missing small">The video {escape(path.name)} is missing.</p>'
    if path.stat().st_size <= EMBED_MAX_BYTES:
        source = f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
    else:
        source = quote(path.relative_to(run_dir).as_posix())
    return f'<video src="{source}" autoplay loop muted playsinline></video>'


def _paths(record: VideoRecord) -> list[CameraPath]:
    candidates = (
        ("requested", record.requested_path, record.requested_yaw_deg),
        ("recovered", record.recovered_path, record.recovered_yaw_deg),
    )
    return [
        CameraPath(name=name, positions=positions, yaw_deg=yaw)
        for name, positions, yaw in candidates
        if positions and yaw
    ]


def _facts(record: VideoRecord) -> str:
    values = {name: record_value(record, name) for name in in_table_order(FACTS)}
    return "".join(
        f"<dt>{FACTS[name]}</dt><dd>{value:.{label_of(name).decimals}f}</dd>"
        for name, value in values.items()
        if value is not None
    )


def _problem(record: VideoRecord) -> str:
    what = "A fault of ours, left out" if record.status is Status.FAULT else "Rejected"
    return f"{what}: {record.reason}"
