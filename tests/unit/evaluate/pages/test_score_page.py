"""The page of `worldr1 score`: what it says of good, still and broken shots, its pictures, and that it is safe."""

import json
import math
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.pages.charts import CameraPath, path_plot
from worldr1.evaluate.pages.score_page import write_score_page
from worldr1.evaluate.pages.score_pictures import (
    FULL_SCALE,
    HATCH_DARK,
    HATCH_LIGHT,
    error_colors,
    paint_error,
    redraw_error,
    sheet,
)
from worldr1.evaluate.scoring.figures import SCORE_METRICS, metric_id
from worldr1.evaluate.scoring.scorer import Scored, ShotScore
from worldr1.footage import Shot
from worldr1.rewards.reconstruction import Redrawn
from worldr1.types import Trajectory

HOSTILE = 'films/<script>alert("1") & "co".mp4'
FRAMES, HEIGHT, WIDTH = 9, 12, 16
VOID = {"meta", "img", "input", "br", "wbr"}


GOOD = ShotScore(
    path="clip.mp4",
    end_s=1.0,
    valid=True,
    reason="",
    consistency=0.8712,
    psnr_holdout=27.34,
    ssim_holdout=0.9123,
    perceptual_holdout=0.0456,
    coverage=0.951,
    mvcs=0.9876,
    mvcs_scale_free=0.9765,
    epipolar_px=0.421,
    camera_travel=0.6123,
    camera_rotation_deg=12.34,
    residual_motion=0.00321,
    reconstructor="sfm",
)


class Page(HTMLParser):
    """Tags must close in order; remembers what the page would load, its ids, its tables' rows and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.labels: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.source)
        self.close()
        assert not self.open

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name in ("src", "href") if (value := values.get(name))]
        self.ids += [value for name in ("id",) if (value := values.get(name))]
        self.labels += [value for name in ("aria-label",) if (value := values.get(name))]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<line/> and its like in SVG."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def redrawn(error: float = 0.1) -> Redrawn:
    """Four frames, drawn wrong by `error` in one channel, but for a covered-by-nothing first column."""
    target = torch.full((4, 3, HEIGHT, WIDTH), 0.5)
    drawn = target.clone()
    drawn[:, 0, :, 1:] += error
    covered = torch.ones(4, HEIGHT, WIDTH, dtype=torch.bool)
    covered[:, :, 0] = False
    return Redrawn(drawn=drawn, target=target, covered=covered, coverage=0.9, psnr_db=20.0)


def show(*, found: bool = True, requested: Trajectory | None = None, **fields: Any) -> Scored:
    shot = Shot(
        video=torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)),
        times_s=tuple(0.125 * frame for frame in range(FRAMES)),
        mask=torch.ones(HEIGHT, WIDTH, dtype=torch.bool),
        index=0,
        num_shots=1,
        start_s=0.0,
        end_s=1.0,
        notes=(),
    )
    return Scored(replace(GOOD, **fields), shot, redrawn=redrawn() if found else None, requested=requested)


STILL: dict[str, Any] = {"consistency": None, "camera_travel": 0.004, "psnr_holdout": 48.25}
INVALID: dict[str, Any] = {"valid": False, "reason": "only 3 of its 24 frames could be placed", "found": False}


def write(path: Path, scored: Sequence[Any], **options: Any) -> Page:
    return Page(write_score_page(path, scored, perceptual="mini-trunk", num_frames=24, **options))


# --------------------------------------------------------------------------------------------------------- the words


def test_a_scored_shot_says_its_share_with_its_interval_and_what_it_means(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show(consistency_interval=[0.83, 0.904])])
    assert "3D consistency 87 % (83 to 90)" in page.text
    assert "87 % of what changes in the picture is explained by one rigid 3D scene" in page.text


def test_every_figure_has_a_row_with_value_unit_direction_and_id(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show()])
    rows = {row[0]: row for row in page.rows if len(row) == 5}
    psnr = rows["PSNR of held-out frames"]
    assert psnr[1:3] == ["27.3 dB", "higher is better"]
    assert psnr[4] == "psnr_holdout@1;sfm;even-odd;24-frames"
    assert rows["3D consistency"][1] == "87 %"
    assert rows["Perceptual distance of held-out frames"][1:3] == ["0.046", "lower is better"]
    assert rows["Perceptual distance of held-out frames"][4] == "perceptual_holdout@1;mini-trunk;sfm;even-odd;24-frames"
    assert rows["Camera travel"][1:3] == ["0.612 depth units", "neither by itself"]
    assert rows["Translation error"][1] == "not measured"
    assert len(rows) == len(SCORE_METRICS) + 1  # the head


@pytest.mark.parametrize("found", [True, False])
def test_an_invalid_shot_shows_its_reason_and_no_figure(tmp_path: Path, found: bool) -> None:
    # Figures that were measured before the shot failed must not leak either.
    poses = torch.eye(4).repeat(FRAMES, 1, 1).tolist()
    shot = show(valid=False, reason=INVALID["reason"], found=found, world_from_camera=poses)
    page = write(tmp_path / "page.html", [shot])
    assert "No score (not reconstructable)" in page.text
    assert "only 3 of its 24 frames could be placed." in page.text
    assert "87 %" not in page.text
    assert "table" not in page.tags and "svg" not in page.tags
    assert not re.search(r"\d+(\.\d+)? (%|dB)", page.text.split("No score")[1])


def test_a_still_shot_is_not_judged_and_its_figures_come_with_a_warning(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show(**STILL)])
    assert "Nothing to judge (the camera stays in its place)" in page.text
    assert "is explained by one rigid" not in page.text
    assert page.text.index("no sign of quality") < page.text.index("48.2")
    # in the second <details>, which starts closed; the first says how to read the page
    assert page.source.split("<details>")[2].split("</details>")[0].count("48.2") == 1


def test_several_shots_have_an_overview_with_anchors_in_the_order_given(tmp_path: Path) -> None:
    shots = [
        show(path="b.mp4", consistency_interval=[0.83, 0.9]),
        show(path="a.mp4", shot=1, num_shots=2, start_s=1.5, end_s=3.25, **STILL),
        show(path="c.mp4", **INVALID),
    ]
    page = write(tmp_path / "page.html", shots, plys=["b.ply", None, None])
    rows = [[" ".join(cell.split()) for cell in row] for row in page.rows if len(row) == 4][1:]
    assert [row[1][:5] for row in rows] == ["b.mp4", "a.mp4", "c.mp4"]
    assert "shot 2 of 2, 1.5 to 3.2 s" in rows[1][1]
    assert [row[2:] for row in rows] == [
        ["87 % (83 to 90)", "yes"],
        ["Nothing to judge (the camera stays in its place)", "yes"],
        ["No score (not reconstructable)", "no"],
    ]
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert sorted(set(anchors)) == sorted(page.ids) == ["shot-0", "shot-1", "shot-2"]


def test_one_shot_needs_no_overview(tmp_path: Path) -> None:
    assert "All shots" not in write(tmp_path / "page.html", [show()]).text


def test_the_json_can_be_saved_from_the_page(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show(), show(path="b.mp4")])
    data = [link.split(",", 1)[1] for link in page.links if link.startswith("data:application/json;base64,")]
    records = [json.loads(b64decode(text)) for text in data]
    assert [[video["path"] for video in record["videos"]] for record in records] == [
        ["clip.mp4", "b.mp4"],
        ["clip.mp4"],
        ["b.mp4"],
    ]
    assert records[1]["videos"][0]["psnr_holdout"] == 27.34


# ------------------------------------------------------------------------------------------------------------ safety


def test_what_files_are_called_is_escaped(tmp_path: Path) -> None:
    hostile = show(path=HOSTILE, notes=("<img src=x onerror=alert(1)>",), reason="<b>", reconstructor="<i>")
    broken = show(path=HOSTILE, valid=False, reason="<b>bold</b>")
    page = write(tmp_path / "page.html", [hostile, broken], plys=['javascript:alert("1").ply', None], title="<u>T</u>")
    assert page.tags.count("script") == 1  # our own
    assert not {"i", "u"} & set(page.tags)
    assert "<b>bold" not in page.source and "onerror" not in re.sub(r"&lt;img.*?&gt;", "", page.source)
    assert HOSTILE in page.text  # all of it, as text
    assert not [link for link in page.links if link.startswith("javascript:")]


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show(), show(**INVALID)], plys=["scene 1.ply", None])
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == ["scene%201.ply"]
    assert "http" not in page.source and "url(" not in page.source and "@import" not in page.source
    assert "fetch(" not in page.source and "XMLHttpRequest" not in page.source


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one video"):
        write(tmp_path / "page.html", [])
    with pytest.raises(InputError, match=r"2 \.ply paths do not match 1 shots"):
        write(tmp_path / "page.html", [show()], plys=["a.ply", "b.ply"])


# ---------------------------------------------------------------------------------------------------------- pictures


def test_the_error_is_the_mean_over_the_channels_and_unknown_where_nothing_covers_or_is_masked() -> None:
    mask = torch.ones(HEIGHT // 2, WIDTH // 2, dtype=torch.bool)  # as of another size than the re-render
    mask[-1, -1] = False
    error = redraw_error(redrawn(0.12), mask)
    expected = torch.full((4, HEIGHT, WIDTH), 0.04)
    expected[:, :, 0] = math.nan
    expected[:, -2:, -2:] = math.nan
    assert torch.allclose(error, expected, atol=1e-6, equal_nan=True)


def test_the_error_maps_colours_are_those_of_the_legend() -> None:
    error = torch.tensor([[[0.0, FULL_SCALE / 2, FULL_SCALE, 1.0, math.nan]]]).repeat(1, 8, 1)
    painted = paint_error(error)[0]
    nothing, half, most, more = painted[0, :4]
    colors = error_colors(256)
    assert FULL_SCALE * 255 == 64
    assert torch.equal(nothing, colors[0]) and torch.equal(half, colors[128])
    assert torch.equal(most, colors[255]) and torch.equal(more, colors[255])
    assert set(painted[:, 4].flatten().tolist()) == {HATCH_DARK, HATCH_LIGHT}


def test_a_larger_error_is_brighter() -> None:
    linear = ((error_colors(64).double() / 255 + 0.055) / 1.055) ** 2.4
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    assert bool((luminance.diff() > 0).all())
    assert float(luminance[-1] / luminance[0]) > 100


def test_a_sheet_holds_its_frames_row_by_row() -> None:
    frames = (torch.arange(5, dtype=torch.uint8) * 50)[:, None, None, None].expand(5, 32, 48, 3)
    made = sheet(frames)
    assert (made.num_frames, made.columns, made.height, made.width) == (5, 3, 32, 48)
    image = Image.open(BytesIO(b64decode(made.uri.split(",", 1)[1]))).convert("L")
    assert image.size == (3 * 48, 2 * 32)
    centres = [image.getpixel((48 * (i % 3) + 24, 32 * (i // 3) + 16)) for i in range(5)]
    assert centres == pytest.approx([0, 50, 100, 150, 200], abs=3)


def test_the_player_shows_three_sheets_of_the_held_out_frames_at_their_times(tmp_path: Path) -> None:
    page = write(tmp_path / "page.html", [show()])
    assert page.tags.count("canvas") == 3
    assert 'data-columns="2" data-times="0.12,0.38,0.62,0.88" data-rate="4"' in page.source
    assert 'min="0" max="3"' in page.source
    alone = write(tmp_path / "alone.html", [show(**INVALID)])
    assert alone.tags.count("canvas") == 1 and 'max="8"' in alone.source


# ------------------------------------------------------------------------------------------------------------- paths


def polyline(source: str, view: str, name: str) -> list[tuple[float, float]]:
    plot = source.split(f'aria-label="camera seen from {view}')[1].split("</svg>")[0]
    found = re.search(rf'class="path {name}" points="([^"]*)"', plot)
    assert found
    points = [point.split(",") for point in found[1].split()]
    return [(float(x), float(y)) for x, y in points]


def test_both_paths_are_drawn_from_above_and_from_the_side_with_equal_axes(tmp_path: Path) -> None:
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([0.2, -1.2, 0.8])  # right, up (y is down), forward
    page = write(
        tmp_path / "page.html",
        [show(world_from_camera=poses.tolist(), requested=synthesize(("push_in",), FRAMES))],
    )
    (x0, y0), (x1, y1) = polyline(page.source, "above", "recovered")
    (side_x0, side_y0), (side_x1, side_y1) = polyline(page.source, "the side", "recovered")
    unit = (side_x1 - side_x0) / 0.8  # forward is right
    assert abs(side_y1 - side_y0) == pytest.approx(94, abs=0.3)  # the longest fills the plot but for its margins
    assert (side_y1 - side_y0) / unit == pytest.approx(-1.2, abs=0.01)  # up is up
    assert ((x1 - x0) / unit, (y1 - y0) / unit) == pytest.approx((0.2, -0.8), abs=0.01)
    first, *_, last = polyline(page.source, "the side", "requested")
    assert (last[0] - first[0]) / unit == pytest.approx(0.6, abs=0.01)
    assert page.labels.count("camera seen from above: requested and recovered") == 1


@pytest.mark.parametrize(
    ("sight", "above", "side"),
    [((1, 0, 0), (1, 0), (0, 0)), ((0, 0, 1), (0, -1), (1, 0)), ((0, -0.6, 0.8), (0, -0.8), (0.8, -0.6))],
    ids=["right", "forward", "raised"],
)
def test_lines_of_sight_point_where_the_camera_looks(
    tmp_path: Path, sight: tuple[float, ...], above: tuple[float, ...], side: tuple[float, ...]
) -> None:
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[:, :3, 2] = torch.tensor(sight)
    page = write(tmp_path / "page.html", [show(world_from_camera=poses.tolist())])
    for view, expected in (("above", above), ("the side", side)):
        plot = page.source.split(f'aria-label="camera seen from {view}')[1].split("</svg>")[0]
        found = re.search(r'class="sight recovered" x1="(.*?)" y1="(.*?)" x2="(.*?)" y2="(.*?)"', plot)
        assert found
        x1, y1, x2, y2 = (float(number) for number in found.groups())
        assert ((x2 - x1) / 24, (y2 - y1) / 24) == pytest.approx(expected, abs=0.01)


def test_a_line_of_sight_that_leaves_the_plane_is_shorter() -> None:
    def length(sight: tuple[float, ...]) -> float:
        path = CameraPath(name="recovered", positions=[[0, 0, 0]], yaw_deg=[90.0], sight=sight)
        found = re.search(r'class="sight.*?x1="([\d.]+)".*?x2="([\d.]+)"', path_plot([path], (0, 0, 1)))
        assert found
        return float(found[2]) - float(found[1])

    assert length((0.25,)) == pytest.approx(length(()) / 4, abs=0.06)


# -------------------------------------------------------------------------------------------------------- the metrics


def test_the_metrics_are_the_scores_float_fields_once_each() -> None:
    fields = [metric.field for metric in SCORE_METRICS]
    record = asdict(replace(GOOD, translation_error=0.1, rotation_error_deg=0.1))
    floats = [name for name, value in record.items() if isinstance(value, float) and not name.endswith("_s")]
    assert sorted(fields) == sorted(floats)
    assert fields[0] == "consistency"


def test_metric_ids() -> None:
    where: dict[str, Any] = {"reconstructor": "sfm", "perceptual": "lpips-alex", "num_frames": 16}
    assert metric_id("mvcs", **where) == "mvcs@1;sfm;neighbours;16-frames"
    assert metric_id("perceptual_holdout", **where) == "perceptual_holdout@1;lpips-alex;sfm;even-odd;16-frames"
    assert len({metric_id(metric.field, **where) for metric in SCORE_METRICS}) == len(SCORE_METRICS)
    with pytest.raises(InputError, match="no figure 'psnr'"):
        metric_id("psnr", **where)


def test_a_number_as_text() -> None:
    by_field = {metric.field: metric for metric in SCORE_METRICS}
    assert by_field["consistency"].text(0.8712) == "87 %"
    assert by_field["translation_error"].text(0.0512) == "5.1 %"
    assert by_field["psnr_holdout"].text(None) == "-"
