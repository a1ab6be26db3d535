"""What a shot's section of the score page is made of: a player of pictures, the camera's path, a table of figures."""

import math
from collections.abc import Sequence
from html import escape

from worldr1.evaluate.pages.charts import CameraPath, path_extent, path_plot
from worldr1.evaluate.pages.score_pictures import (
    ERROR_QUALITY,
    FULL_SCALE,
    Sheet,
    error_colors,
    paint,
    paint_error,
    paint_known,
    redraw_error,
    sheet,
)
from worldr1.evaluate.scoring.figures import SCORE_METRICS, metric_id
from worldr1.evaluate.scoring.scorer import Scored

MIN_RATE, MAX_RATE = 2.0, 12.0
"""Frames per second of a player: the video's own rate of held-out frames, where it lies between them."""
CRISP_PX = 200
"""Pictures narrower than this are enlarged with sharp pixels."""
_BETTER = {"higher": "higher is better", "lower": "lower is better", "": "neither by itself"}
_MARKS = 5
"""Numbers under the error map's colours."""


def player(scored: Scored) -> str:
    """Held-out frames, re-render and error map in step, or the shot's frames alone if there is no re-render."""
    redrawn, shot = scored.redrawn, scored.shot
    if redrawn is None:
        return _player({"The video": sheet(paint(shot.video))}, shot.times_s)
    error = redraw_error(redrawn, shot.mask)
    panels = {
        "The video (held-out frames)": sheet(paint(redrawn.target)),
        "The same frames drawn from the 3D scene": sheet(paint_known(redrawn.drawn, error)),
        "Where they differ": sheet(paint_error(error), quality=ERROR_QUALITY),
    }
    held_out = shot.times_s[1::2]
    return _player(panels, held_out if len(held_out) == len(redrawn.target) else shot.times_s) + _legend()


def paths(scored: Scored) -> str:
    """The recovered and the requested camera path from above and from the side, in one scale; "" without any."""
    found = scored.score.world_from_camera
    poses = {} if found is None else {"recovered": found}
    if scored.requested is not None:
        poses = {"requested": scored.requested.world_from_camera.tolist(), **poses}
    if not poses:
        return ""
    above = [_seen(name, path, right=(1, 0, 0), up=(0, 0, 1)) for name, path in poses.items()]
    side = [_seen(name, path, right=(0, 0, 1), up=(0, -1, 0)) for name, path in poses.items()]
    extents = [path_extent(view) for view in (above, side)]
    size = max(extent[2] for extent in extents)
    plots = "".join(
        f"<figure><figcaption>From {name}: {axes}</figcaption>"
        f"{path_plot(view, (*extent[:2], size), seen_from=name)}</figure>"
        for name, axes, view, extent in (
            ("above", "forward is up", above, extents[0]),
            ("the side", "forward is right", side, extents[1]),
        )
    )
    keys = "".join(f'<span class="swatch {name}"></span> {name} ' for name in poses)
    return (
        f'<h3>The camera\'s path</h3><div class="paths">{plots}</div>'
        f'<p class="small">{keys}&middot; dot: first camera; thin lines: where the first and the last camera look; '
        "lengths in depth units (1 is the median depth of the first frame).</p>"
    )


def figures(scored: Scored, *, perceptual: str, num_frames: int) -> str:
    """A table of all figures of a valid shot: value, unit, direction, meaning, id."""
    rows = []
    for metric in SCORE_METRICS:
        value = getattr(scored.score, metric.field)
        unit = f' <span class="unit">{escape(metric.unit)}</span>' if metric.unit and value is not None else ""
        shown = "not measured" if value is None else escape(metric.text(value))
        identity = metric_id(
            metric.field, reconstructor=scored.score.reconstructor, perceptual=perceptual, num_frames=num_frames
        )
        rows.append(
            f'<tr{"" if value is not None else " class=absent"}><th scope="row">{escape(metric.title)}</th>'
            f'<td class="value">{shown}{unit}</td><td>{_BETTER[metric.better]}</td>'
            f"<td>{escape(metric.meaning)}</td><td><code>{escape(identity).replace(';', ';<wbr>')}</code></td></tr>"
        )
    heads = "".join(
        f'<th scope="col">{title}</th>' for title in ("Figure", "Value", "Direction", "What it means", "Id")
    )
    return f'<table class="figures"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _player(panels: dict[str, Sheet], times_s: Sequence[float]) -> str:
    """Pictures of one number of frames that score.js shows in step; without scripts: all frames at once."""
    first = next(iter(panels.values()))
    figures = "".join(
        f'<figure><figcaption>{title}</figcaption><canvas width="{s.width}" height="{s.height}" role="img" '
        f'aria-label="{title}"></canvas><img class="sheet" src="{s.uri}" alt="{title}: all frames"></figure>'
        for title, s in panels.items()
    )
    span = times_s[-1] - times_s[0]
    rate = (first.num_frames - 1) / span if span > 0 else MIN_RATE
    marks = ",".join(f"{time:.2f}" for time in times_s)
    kinds = ["player", f"of{len(panels)}"]
    kinds += ["tall"] if first.height > first.width else []
    kinds += ["crisp"] if first.width < CRISP_PX else []
    return (
        f'<div class="{" ".join(kinds)}" data-columns="{first.columns}" data-times="{marks}" '
        f'data-rate="{min(MAX_RATE, max(MIN_RATE, rate)):.3g}"><div class="panels">{figures}</div>'
        '<div class="controls"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{first.num_frames - 1}" value="0" step="1" aria-label="frame">'
        f"<output>1 of {first.num_frames}</output></div></div>"
    )


def _legend() -> str:
    """The error map's colours with grey levels, and what the stripes mean."""
    colors = ",".join(f"rgb({r} {g} {b})" for r, g, b in error_colors(17).tolist())
    most = round(FULL_SCALE * 255)
    marks = [f"{most * i // (_MARKS - 1)}" for i in range(_MARKS)]
    marks[-1] = f"{most} or more"
    numbers = "".join(f"<span>{mark}</span>" for mark in marks)
    return (
        '<div class="legend"><span>difference, mean of red, green and blue, in grey levels of 255</span>'
        f'<div class="scale-of-colors"><div class="colors" style="background:linear-gradient(90deg,{colors})"></div>'
        f'<div class="marks">{numbers}</div></div><span><span class="hatch"></span> '
        "not judged: out of sight in the frames that made the scene, or a fixed overlay</span></div>"
    )


def _seen(
    name: str, poses: Sequence[Sequence[Sequence[float]]], *, right: tuple[int, ...], up: tuple[int, ...]
) -> CameraPath:
    """A path of [4, 4] poses turned so that `path_plot`, which looks from above, shows the plane of right and up."""
    places, angles, lengths = [], [], []
    for pose in poses:
        centre, sight = [row[3] for row in pose[:3]], [row[2] for row in pose[:3]]
        across, along = _dot(sight, right), _dot(sight, up)
        places.append((_dot(centre, right), 0.0, _dot(centre, up)))
        angles.append(math.degrees(math.atan2(across, along)))
        lengths.append(math.hypot(across, along))
    return CameraPath(name=name, positions=places, yaw_deg=angles, sight=lengths)


def _dot(vector: Sequence[float], axis: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(vector, axis, strict=True))
