"""report.html from a run folder: complete, escaped, offline, and never a crash for what is missing."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from worldr1.evaluate.evaluation import save_evaluation
from worldr1.evaluate.pages.charts import CameraPath, path_extent, path_plot
from worldr1.evaluate.pages.report import write_report
from worldr1.evaluate.pages.report_clips import EMBED_MAX_BYTES
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.types import Status

HOSTILE = 'Camera push in. A <script>alert("1")</script> & a "ball" on a red floor.'
PATH = [[0.0, 0.0, 0.1 * frame] for frame in range(5)]
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Tags must close in order; remembers what the page would load and which charts it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        """Names of all tags and of their attributes."""
        self.videos: list[str] = []
        self.loads: list[str] = []
        self.charts: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open

    @property
    def text(self) -> str:
        """Without tags, spaces collapsed."""
        body = re.sub(r"<(style|script)>.*?</\1>", "", self.source, flags=re.DOTALL)
        return " ".join(re.sub(r"<[^>]+>", " ", body).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags += [tag, *attributes]
        links = [value for name in ("src", "href") if (value := attributes.get(name))]
        self.loads += [link for link in links if not link.startswith("#")]
        if tag == "video":
            self.videos.append(attributes["src"] or "")
        label = attributes.get("aria-label") or ""
        if tag == "svg" and not label.startswith("camera seen from above"):
            self.charts.append(label)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def evaluation(gain: float, *, seed: int = 1, num: int = 8) -> Evaluation:
    records = [
        VideoRecord(
            prompt_id=index,
            prompt=HOSTILE if index == 0 else f"Camera push in. Scene {index}.",
            dynamic=index == num - 1,
            tokens=("push_in",),
            seed=seed + index,
            status=Status.REJECTED if index == 1 and gain == 0 else Status.OK,
            reason="its geometry explains <1 %" if index == 1 and gain == 0 else "",
            reward=1.0 + gain + 0.01 * index,
            parts={"s_traj": 0.5 + gain, "my_part": 0.5},
            measures={"psnr_holdout_db": 20.0 + 10 * gain, "rotation_error_deg": 2.0 - gain},
            requested_path=PATH,
            requested_yaw_deg=[0.0] * 5,
            recovered_path=PATH if index else None,
            recovered_yaw_deg=[0.0] * 5 if index else None,
            video=f"{index:03d}.mp4" if index < 2 else None,
        )
        for index in range(num)
    ]
    return Evaluation(records=tuple(records), seconds=3.0, guidance=5.0, strength=0.8)


def save(folder: Path, gain: float, **fields: Any) -> None:
    clip = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    save_evaluation(evaluation(gain, **fields), {0: clip, 1: clip}, folder)


def metrics() -> list[dict[str, Any]]:
    """Six updates of the main phase, two dynamic ones without 3D parts, a gradient that was not finite."""
    rows: list[dict[str, Any]] = []
    for update in range(8):
        row: dict[str, Any] = {"update": update, "phase": "main" if update < 6 else "dynamic"}
        for part in ("r_gen",) if update >= 6 else ("s_meta", "s_recon", "s_traj", "r_gen"):
            row |= {part: 0.1 * update, f"{part}_std": 0.05}
        row |= {"reward": 0.4 * update, "reward_std": 0.1, "fault_fraction": 0.0, "rejected_fraction": 0.125}
        row |= {"kl": 1e-6 * update, "ratio_deviation": 0.0, "clip_fraction": 0.0}
        row |= {"grad_norm": None if update == 3 else 0.002, "seconds": 30.0, "image_gradient": 0.1}
        row |= {"seconds_rollout": 14.0, "seconds_reward": 13.0}
        rows.append(row)
    return rows


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "a run"
    run.mkdir()
    (run / "recipe.toml").write_text('name = "<b>"\n')
    save(run / "previews" / "before", 0.0)
    save(run / "previews" / "after", 0.25)
    return run


def test_a_finished_run(run_dir: Path) -> None:
    path = write_report(run_dir, metrics())
    assert path == run_dir / "report.html"
    page = Page(path)
    assert "Reward: 1.035 before, 1.285 after; difference +0.250, 95 % interval +0.250 to +0.250 over 8" in page.text
    assert "guidance 5, transported noise 0.8" in page.text
    assert (
        "<script>alert" not in page.source
        and "A &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; a" in page.source
    )
    assert "Camera push in. Scene 1." in page.text and "Scene 2" not in page.text  # only kept videos are shown
    assert len(page.videos) == 4  # two prompts, before and after
    assert "mini-r1" not in page.text
    assert all(load.startswith("data:video/mp4;base64,") for load in page.loads)
    assert "Rejected: its geometry explains &lt;1 %" in page.text
    assert 'name = "<b>"' not in page.source and "name = &quot;&lt;b&gt;&quot;" in page.source
    assert "There is no" not in page.text and "not logged" in page.text  # travel etc. are not in these metrics


def test_names_with_quotes_and_tags_stay_text(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldr1.evaluate.pages.report_clips.EMBED_MAX_BYTES", 0)  # every video is a link
    hostile = 'x" onerror="alert(1)" <script>alert(2)<script>.mp4'
    before = run_dir / "previews" / "before"
    (before / "000.mp4").rename(before / hostile)
    records = before / "records.json"
    table = json.loads(records.read_text())
    table["records"][0]["video"] = hostile
    records.write_text(json.dumps(table))
    named = run_dir.rename(run_dir.with_name("a \"run\" 'of' <img src=x onerror=alert(3)>"))
    page = Page(write_report(named, metrics()))
    assert len(page.videos) == 4 and "onerror" not in re.sub(r"&lt;img.*?&gt;", "", "".join(page.tags))
    assert all(re.fullmatch(r"[\w%./-]+", video) for video in page.videos)
    assert page.tags.count("script") == 1 and "img" not in page.tags
    assert "<img src=x" not in page.source and "<script>alert" not in page.source


def test_every_curve_is_drawn_and_the_dynamic_phase_shaded(run_dir: Path) -> None:
    page = Page(write_report(run_dir, metrics()))
    wanted = (
        "Reward",
        "S_meta, view from off the path",
        "S_recon, re-rendering",
        "S_traj, camera path",
        "R_gen, image quality",
        "KL to the base model (nats per dimension)",
        "Largest |ratio - 1|",
        "Clipped samples (share)",
        "Gradient norm before clipping",
        "Masked samples (share)",
        "Seconds per update",
        "Image gradient (falls with blur)",
    )
    assert page.charts == list(wanted)
    assert page.source.count('<rect class="dynamic"') == len(wanted)
    charts = dict(zip(wanted, page.source.split('<figure class="chart">')[1:], strict=True))
    assert charts["S_traj, camera path"].count('class="band') == 1
    assert "update 5: mean 0.5" in charts["S_traj, camera path"]
    assert charts["Reward"].count('class="curve') == 2  # broken where the phase changes
    assert charts["Gradient norm before clipping"].count('class="curve') == 3  # and where it was not finite
    assert charts["Seconds per update"].count('class="key') == 3


def table_of(source: str) -> tuple[list[str], dict[str, dict[str, list[str]]]]:
    """The first table: its heads, and by kind of request and row name the cells."""
    table = re.sub(r"</?span[^>]*>", "", source.split('<table class="models">')[1].split("</table>")[0])
    blocks: dict[str, dict[str, list[str]]] = {}
    block: dict[str, list[str]] = {}
    for line in table.split("<tbody>")[1].split("<tr>")[1:]:
        if title := re.search(r"<th colspan[^>]*>(.*?)</th>", line):
            block = blocks[title[1]] = {}
        else:
            name, *cells = re.findall(r"<td[^>]*>(.*?)</td>", line)
            block[name] = cells
    return re.findall(r"<th>(.*?)</th>", table), blocks


def test_the_table_says_better_or_worse_only_where_it_is_shown(run_dir: Path) -> None:
    heads, blocks = table_of(write_report(run_dir, metrics()).read_text())
    assert heads == ["", "base", "this run", "this run - base", "95 % interval", "prompts"]
    assert list(blocks) == ["moving: 7 prompts", "dynamic: 1 prompts"]
    moving = {name: cells[2] for name, cells in blocks["moving: 7 prompts"].items()}
    assert moving["Reward"] == "better +0.250"
    assert moving["PSNR of held-out frames (dB)"] == "better +2.50"
    assert moving["Rotation error (degrees)"] == "better -0.25"
    assert (moving["my_part"], moving["Rejected (nothing to reconstruct)"]) == ("+0.000", "-0.143")
    assert blocks["dynamic: 1 prompts"]["Reward"] == ["1.070", "1.320", "+0.250", "too few prompts", "1"]


def test_the_packaged_adapter_is_a_third_column_and_a_third_video(run_dir: Path) -> None:
    save(run_dir / "previews" / "mini-r1", -0.5)
    path = write_report(run_dir, metrics())
    page, (heads, blocks) = Page(path), table_of(path.read_text())
    assert heads[1:4] == ["base", "this run", "mini-r1"]
    assert heads[4:] == ["this run - base", "95 % interval", "mini-r1 - base", "95 % interval", "prompts"]
    reward = blocks["moving: 7 prompts"]["Reward"]
    assert reward[:4] == ["1.030", "1.280", "0.530", "better +0.250"]
    assert reward[5:] == ["worse -0.500", "-0.500 to -0.500", "7"]
    assert "mini-r1 : Reward: 1.035 before, 0.535 after" in page.text and "mini-r1: 8 prompts" in page.text
    cards = re.findall(r'<article class="card">(.*?)</article>', page.source)
    titles = [re.findall("<figcaption>(.*?)</figcaption>", card) for card in cards]
    assert titles == [["base", "this run", "mini-r1"]] * 2
    assert len(page.videos) == 6


def test_a_video_that_was_not_kept_leaves_its_place_empty(run_dir: Path) -> None:
    clip = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    some = evaluation(0.5)
    records = [replace(record, video=None) if record.prompt_id == 0 else record for record in some.records[:3]]
    save_evaluation(replace(some, records=tuple(records)), {1: clip}, run_dir / "previews" / "mini-r1")
    path = write_report(run_dir, metrics())
    page, (_, blocks) = Page(path), table_of(path.read_text())
    assert len(page.videos) == 5 and page.text.count("This video was not kept.") == 1
    assert "moving: 7 / 3 prompts" in blocks and blocks["moving: 7 / 3 prompts"]["Reward"][-1] == "7 / 3"


def test_an_unpaired_packaged_adapter_is_named_and_left_out(run_dir: Path) -> None:
    save(run_dir / "previews" / "mini-r1", 0.5, seed=99)
    page = Page(write_report(run_dir, metrics()))
    assert "The evaluation of mini-r1 is left out: Prompt 0 has another text" in page.text and len(page.videos) == 4


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("after", "There is no evaluation after training yet."),
        ("before", "There is no evaluation before training yet."),
    ],
)
def test_an_interrupted_run_says_what_is_missing(run_dir: Path, missing: str, sentence: str) -> None:
    folder = run_dir / "previews" / missing
    folder.rename(run_dir / "elsewhere")
    page = Page(write_report(run_dir, metrics()[:3]))
    assert sentence in page.text and "difference +" not in page.text
    assert len(page.videos) == 2 and "moving: 7 prompts" in page.text


def test_an_empty_run_folder_gives_a_page(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, []))
    for sentence in (
        "There is no evaluation before training yet.",
        "There is no evaluation after training yet.",
        "No update was finished",
        "has no recipe.toml",
    ):
        assert sentence in page.text


def test_damaged_or_unpaired_evaluations_are_named_and_left_out(run_dir: Path) -> None:
    save(run_dir / "previews" / "after", 0.25, seed=99)
    page = Page(write_report(run_dir, metrics()))
    assert "left out: Prompt 0 has another text or start noise" in page.text and len(page.videos) == 2
    (run_dir / "previews" / "after" / "records.json").write_text("{")
    page = Page(write_report(run_dir, metrics()))
    assert "records.json is damaged" in page.text and len(page.videos) == 2


def test_the_shipped_run_has_its_own_section(run_dir: Path) -> None:
    save(run_dir / "previews" / "shipped_before", 0.0)
    save(run_dir / "previews" / "shipped_after", 0.5)
    page = Page(write_report(run_dir, metrics()))
    own, shipped = page.text.split("How mini-r1 did in its own evaluation mini-r1 ")  # the first is a link
    assert "1.285 after" in own and "1.535 after" in shipped and len(page.videos) == 8


def test_lost_and_large_videos(run_dir: Path) -> None:
    before, after = run_dir / "previews" / "before", run_dir / "previews" / "after"
    (before / "000.mp4").unlink()
    (after / "000.mp4").write_bytes(bytes(EMBED_MAX_BYTES + 1))
    page = Page(write_report(run_dir, metrics()))
    assert "The video 000.mp4 is missing." in page.text
    assert [load for load in page.loads if not load.startswith("data:")] == ["previews/after/000.mp4"]


def test_a_path_plot_is_in_scale_with_forward_up() -> None:
    ahead = CameraPath(name="requested", positions=[[0, 0, 0], [0, 0, 0.4]], yaw_deg=[0.0, 90.0])
    right = CameraPath(name="recovered", positions=[[0, 0, 0], [0.2, 0, 0]], yaw_deg=[0.0, 0.0])
    extent = path_extent([ahead, right])
    assert extent == pytest.approx((0.1, 0.2, 0.4))
    svg = path_plot([ahead, right], extent)
    (up, across) = (
        [tuple(map(float, p.split(","))) for p in line.split()] for line in re.findall(r'points="(.*?)"', svg)
    )
    (x0, y0), (x1, y1) = up
    assert x0 == x1 and y1 < y0  # forward is up
    assert across[0] == (x0, y0) and across[1][0] - x0 == pytest.approx((y0 - y1) / 2, abs=0.2)  # right is right
    sights: list[Mapping[str, str]] = [
        dict(re.findall(r'(\w+)="(.*?)"', line)) for line in re.findall(r'<line class="sight[^>]*', svg)
    ]
    assert float(sights[1]["x2"]) > float(sights[1]["x1"]) and sights[1]["y1"] == sights[1]["y2"]  # it looks right


def test_a_long_run_has_curves_without_dots_and_single_points_with_one(run_dir: Path) -> None:
    rows = [{"update": u, "phase": "main", "reward": float(u), "kl": 1.0 if u == 7 else None} for u in range(300)]
    source = write_report(run_dir, rows).read_text()
    assert source.count('class="dot') == 1
