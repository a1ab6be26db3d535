"""report.html from a run folder: complete, escaped, offline, and never a crash for what is missing."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from worldr1.evaluate.charts import CameraPath, path_extent, path_plot
from worldr1.evaluate.clips import EMBED_MAX_BYTES
from worldr1.evaluate.evaluation import save_evaluation
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.evaluate.report import write_report
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
        self.loads += [value for name in ("src", "href") if (value := attributes.get(name))]
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
    assert all(load.startswith("data:video/mp4;base64,") for load in page.loads)
    assert "Rejected: its geometry explains &lt;1 %" in page.text
    assert 'name = "<b>"' not in page.source and "name = &quot;&lt;b&gt;&quot;" in page.source
    assert "There is no" not in page.text and "not logged" in page.text  # travel etc. are not in these metrics


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


def test_the_table_says_better_or_worse_only_where_it_is_shown(run_dir: Path) -> None:
    source = write_report(run_dir, metrics()).read_text()
    groups = re.findall(r'<th colspan="6">(.*?)</th>', source)
    assert groups == ["moving: 7 / 7 videos", "dynamic: 1 / 1 videos"]
    moving = source.split('<th colspan="6">')[1]
    rows = dict(re.findall(r"<td>([^<]+?)(?: <span class=\"\w+\">(\w+)</span>)?</td>", moving))
    assert rows["Reward"] == rows["PSNR of held-out frames (dB)"] == rows["Rotation error (degrees)"] == "better"
    assert rows["my_part"] == rows["Rejected (nothing to reconstruct)"] == ""
    assert "too few prompts" in source.split('<th colspan="6">')[2]


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
    assert len(page.videos) == 2 and "moving: 7 videos" in page.text


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
    own, shipped = page.text.split("A longer run, which ships with worldr1")
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
