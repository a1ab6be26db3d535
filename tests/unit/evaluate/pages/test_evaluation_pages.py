"""What the pages of evaluations say, without a browser: escaped, complete, warned, nothing published counted."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean

import pytest
from evaluated_folders import HOSTILE, folder_of, record

from worldr1.cli import main
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.metrics import CATALOGUE
from worldr1.evaluate.pages.comparison_page import write_comparison_page
from worldr1.evaluate.pages.evaluation_page import write_evaluation_report
from worldr1.evaluate.statistics.folders import compare_folders

PSNR = "psnr_holdout_db"
PUBLISHED = [
    {"table": "T2", "model": "World-R1-<Small>", "source": "the paper", "values": {"PSNR (dB)": 77.77}},
    {"table": "T3", "model": "Wan2.1", "source": "the paper", "values": {"MVCS": 0.9741}},
]


class Tags(HTMLParser):
    """Tags must close in order; remembers what the page would load and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}
        self.loads += [value for name, value in attrs if name in ("src", "href") and value and value[:1] != "#"]
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += " ".join(data.split()) + " "


def pair(home: Path, gain: float = 1.0, **facts: str) -> list[EvaluationFolder]:
    a = folder_of(home / "base", {i: {PSNR: 20.0 + 0.2 * i} for i in range(10)})
    b = folder_of(home / "mini-r1", {i: {PSNR: 20.0 + gain + 0.21 * i} for i in range(10)}, **facts)
    return [a, b]


def test_a_comparison_says_its_finding_and_counts_nothing_published(tmp_path: Path) -> None:
    comparison = compare_folders(pair(tmp_path))
    plain = write_comparison_page(tmp_path / "plain.html", comparison).read_text()
    page = write_comparison_page(tmp_path / "page.html", comparison, published=PUBLISHED).read_text()
    told = Tags(page)
    assert "10 won, 0 tied, 0 lost of 10 prompts" in told.text and "better" in told.text
    assert f"This page shows {comparison.num_intervals} intervals" in told.text
    assert "World-R1-<Small>" in told.text and "77.77" in told.text and "T3" in told.text and "World-R1" not in plain
    before, rest = page.split("Published, not measured here</h2>")
    assert "77.77" not in before  # stands in its own section alone
    assert json.loads(rest.split('id="record">')[1].split("</script>")[0]) == json.loads(
        plain.split('id="record">')[1].split("</script>")[0]
    )
    assert not [load for load in told.loads if not load.startswith("data:")]
    assert "sampling 12 s, judging 3 s on a machine" in told.text


def test_what_a_prompt_or_a_title_holds_stays_text(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    b.save_facts(replace(b.facts, title='<img src=x onerror="alert(1)">', notes=("<b>cropped</b>",)))
    for folder in (a, b):
        folder.append(record(10, prompt=HOSTILE, measures={PSNR: 22.0}, scene_type="<marquee>", reason="</script>"))
    for path in (
        write_comparison_page(tmp_path / "page.html", compare_folders([a, b])),
        write_evaluation_report(b),
    ):
        source = path.read_text()
        told = Tags(source)
        assert "onerror" not in told.names and "<script>alert" not in source and "marquee" not in told.names
        assert '<img src=x onerror="alert(1)">' in told.text and "<b>cropped</b>" in told.text


def test_a_judge_that_is_the_reward_is_shouted_about(tmp_path: Path) -> None:
    alarm = "is judged by its own reward"
    for judge, loud in (("reward", True), ("judge", False)):
        folders = [
            folder_of(
                tmp_path / judge / name, {i: {PSNR: 20.0 + i} for i in range(8)}, judge=judge, reward_model=rewarded
            )
            for name, rewarded in (("base", ""), ("mini-r1", "reward"))
        ]
        page = write_comparison_page(tmp_path / f"{judge}.html", compare_folders(folders)).read_text()
        assert (f"<b>mini-r1 {alarm}" in page) is loud and f"<b>base {alarm}" not in page
        assert (alarm in write_evaluation_report(folders[1]).read_text()) is loud


def test_every_number_says_whose_it_is_what_it_is_read_beside_and_which_model_decides(tmp_path: Path) -> None:
    measures = {i: {PSNR: 20.0 + i, "mvcs_scale_free": 0.9, "image_gradient": 0.04} for i in range(8)}
    models = (("base", ""), ("r1", "judge"), ("closed", None))
    folders = [folder_of(tmp_path / name, measures, judge="judge", reward_model=by) for name, by in models]
    for path in (
        write_comparison_page(tmp_path / "page.html", compare_folders(folders)),
        write_evaluation_report(folders[1]),
    ):
        text = Tags(path.read_text()).text
        for name in measures[0]:
            assert (
                CATALOGUE[name].source in text and CATALOGUE[name].group_note in text and CATALOGUE[name].frames in text
            )
        assert text.count("VideoGPA") == 1 and "r1: Depth and poses by judge. Warning" in text
    text = Tags((tmp_path / "page.html").read_text()).text
    assert "base: Depth and poses by judge. r1" in text and "closed: Depth and poses by judge. Which" in text
    assert "none" in text and "not known" in text


def test_a_gain_that_lost_clips_ate_is_said(tmp_path: Path) -> None:
    a = folder_of(tmp_path / "base", {i: {PSNR: 20.0 + 0.1 * i} for i in range(16)})
    b = folder_of(tmp_path / "r1", {i: {PSNR: 21.0 + 0.1 * i} if i < 10 else None for i in range(16)})
    text = Tags(write_comparison_page(tmp_path / "page.html", compare_folders([a, b])).read_text()).text
    assert "The gain on valid clips does not outweigh the clips that are lost." in text
    assert "62.5% (10 of 16)" in text and "With invalid clips counted worst" in text


def test_a_report_has_means_intervals_and_its_json(tmp_path: Path) -> None:
    folder = pair(tmp_path)[0]
    page = write_evaluation_report(folder, published=PUBLISHED)
    assert page == folder.path / "report.html"
    told = Tags(page.read_text())
    pooled = -10 * math.log10(fmean(10 ** -(2.0 + 0.02 * i) for i in range(10)))  # not the mean of the PSNRs
    assert f"{pooled:.2f}" in told.text and f"{20.9:.2f}" not in told.text
    record_ = json.loads(page.read_text().split('id="record">')[1].split("</script>")[0])
    assert len(record_["records"]) == 10 and record_["facts"]["judge"] == "judge"
    whole = next(m for m in record_["means"] if m["metric"] == PSNR and m["subset_kind"] == "all")
    assert whole["mean"] == pytest.approx(pooled) and whole["low"] < whole["mean"] < whole["high"]


def test_a_report_without_a_valid_clip_says_so_instead_of_showing_empty_tables(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "none", {0: None})
    told = Tags(write_evaluation_report(folder).read_text())
    assert "No clip is valid, so there is no number." in told.text and "1 prompt, 1 video each" in told.text
    assert "By kind of prompt" not in told.text and "Means over prompts" not in told.text


def test_the_command_prints_a_table_or_json_and_refuses_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [str(folder.path) for folder in pair(tmp_path)]
    page = tmp_path / "page.html"
    assert main(["compare", *folders, "--out", str(page)]) == 0
    said = capsys.readouterr()
    assert "PSNR of held-out frames (dB)" in said.out and "10/0/0" in said.out and "page.html" in said.err
    written = page.stat().st_mtime_ns
    assert main(["compare", *folders, "--out", str(page)]) == 2
    said = capsys.readouterr()
    assert said.err == f"error: {page} is there already: choose another --out, or give --overwrite\n" and not said.out
    assert page.stat().st_mtime_ns == written
    assert main(["compare", *folders, "--out", str(page), "--overwrite", "--json"]) == 0
    assert page.stat().st_mtime_ns > written
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["against"] == "base"
    for wrong, sentence in (
        ([folders[0]], "Give two folders"),
        ([*folders, f"{folders[0]}/"], f"the evaluation {folders[0]}/ is given twice: give different ones"),
        ([*folders, "--limit", "3"], "these folders are evaluated already: leave it out"),
        (["mine", "yours"], "worldr1 evaluate --out mine"),
        ([*folders, "--metric", "fid"], "No video has the metric 'fid'"),
        ([*folders, "--out", str(tmp_path / "no" / "page.html")], "no does not exist: create it"),
    ):
        assert main(["compare", *wrong]) == 2
        said = capsys.readouterr()
        assert sentence in said.err and said.err.count("\n") == 1 and not said.out
