"""What the pages of evaluations say, without a browser: escaped, complete, warned, nothing published counted."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean

import pytest
import torch
from evaluated_folders import HOSTILE, SETTINGS, folder_of, record

from worldr1.cli import main
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.metrics import CATALOGUE
from worldr1.evaluate.pages.comparison_page import write_comparison_page
from worldr1.evaluate.pages.evaluation_page import write_evaluation_report
from worldr1.evaluate.statistics.differences import Counting
from worldr1.evaluate.statistics.folders import compare_folders
from worldr1.evaluate.statistics.subsets import ALL
from worldr1.video_io import write_mp4

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
    a = folder_of(home / "base", {i: {PSNR: 20.0 + 0.2 * i} for i in range(10)}, **facts)
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


def compared(folders: list[EvaluationFolder], page: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """What `worldr1 compare` prints, the page's text and its source."""
    assert main(["compare", *(str(folder.path) for folder in folders), "--out", str(page), "--overwrite"]) == 0
    return capsys.readouterr().out, Tags(page.read_text()).text, page.read_text()


@pytest.mark.parametrize("swapped", [False, True])
def test_what_lost_clips_may_explain_is_better_on_valid_clips_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], swapped: bool
) -> None:
    whole = folder_of(tmp_path / "whole", {i: {PSNR: 20.0 + 0.1 * i} for i in range(16)})
    part = folder_of(tmp_path / "part", {i: {PSNR: 21.0 + 0.1 * i} if i < 10 else None for i in range(16)})
    word, folders = ("worse", [part, whole]) if swapped else ("better", [whole, part])
    (found,) = compare_folders(folders).others
    worst = found.of(PSNR, ALL, Counting.WORST)
    assert worst and worst.low < 0 < worst.high
    printed, text, source = compared(folders, tmp_path / "page.html", capsys)
    assert f"{word} on valid clips" in printed and f"{word}*" not in printed
    assert text.count(f"{word} on valid clips") >= 4, "the headline twice, both tables"
    assert f'class="{word}">' not in source and f'class="ci {word}"' not in source, "no colour"
    assert 'class="wtl pale"' in source

    for i in range(10, 16):  # nothing is lost any more
        part.append(record(i, measures={PSNR: 21.0 + 0.1 * i}))
    printed, text, source = compared(folders, tmp_path / "page.html", capsys)
    assert f" {word}*" in printed and "on valid clips" not in printed + text.replace("valid clips, with", "")
    assert f'class="{word}">' in source and f'class="ci {word}"' in source and 'class="wtl pale"' not in source


def test_a_gain_that_outweighs_lost_clips_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder_of(tmp_path / "base", {i: {"consistency": 0.5 + 0.001 * i} for i in range(16)})
    b = folder_of(tmp_path / "r1", {i: {"consistency": 0.8 + 0.002 * i} if i < 15 else None for i in range(16)})
    printed, text, source = compared([a, b], tmp_path / "page.html", capsys)
    assert "with invalid clips counted worst" in printed and " better*" in printed
    assert "better on valid clips" not in printed + text and 'class="better">' in source


def test_what_was_sampled_differently_is_said_and_no_noise_is_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"guidance": 1.0, "steps": 4, "strength": 0.5, "negative_prompt": "a <b>blur</b>"}
    folders = [
        folder_of(tmp_path / name, {i: {PSNR: 20.0 + i} for i in range(8)}, settings={**SETTINGS, **changed})
        for name, changed in (("base", {"guidance": 5.0, "strength": 1.0}), ("r1", few))
    ]
    printed, text, source = compared(folders, tmp_path / "page.html", capsys)
    words = 'guidance 5 and 1, negative prompt "" and "a <b>blur</b>", noise strength 1 and 0.5, steps 20 and 4'
    assert f"warning: base and r1 were sampled differently: {words}" in printed.replace("\n", " ")
    assert f"base and r1 were sampled differently : {words}." in text and "<b>blur" not in source
    assert "base and r1 are paired by prompt alone" in printed
    assert "paired by prompt alone" in text and "paired by prompt, sample and start noise" not in text
    assert (
        main(["compare", *(str(folder.path) for folder in folders), "--out", str(tmp_path / "p.html"), "--json"]) == 0
    )
    (told,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert told["paired_by"] == "prompt" and told["sampled_differently"]["steps"] == [20, 4]
    assert list(told["sampled_differently"]) == ["guidance", "negative_prompt", "strength", "steps"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strength": 0.4}, "noise strength 0.5 and 0.4"),
        ({"parallax_strength": 0.1}, "noise strength where the camera's centre moves 0.5 and 0.1"),
        ({"transport": "flow"}, "noise transport canvas and flow"),
        ({"frames": 5}, "frames 9 and 5"),
        ({"parallax_strength": 0.5}, ""),
        ({"guidance": 3.0}, "guidance 1 and 3"),
        ({"seed": 7}, ""),  # of the videos here the seeds are equal
    ],
)
def test_pairs_share_their_noise_where_strength_transport_and_clip_are_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, float], said: str
) -> None:
    values = {i: {PSNR: 20.0 + i} for i in range(8)}
    folders = [
        folder_of(tmp_path / "a", values),
        folder_of(tmp_path / "b", values, settings={**SETTINGS, **changed}),
    ]
    printed, text, source = compared(folders, tmp_path / "page.html", capsys)
    assert (said in printed and said in text) if said else "sampled differently" not in printed + text
    shared = not said or "guidance" in said
    assert ("paired by prompt, sample and start noise" in text) is shared
    assert ("paired by prompt alone" in printed) is not shared
    assert ('class="unlike"' in source) is bool(said)


def test_the_model_s_own_shift_is_the_number_that_its_videos_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measures = {PSNR: 20.0}
    own = folder_of(tmp_path / "own", {}, settings={**SETTINGS, "shift": "the model's own"})
    said = folder_of(tmp_path / "said", {0: measures})
    own.append(record(0, measures=measures, video="000-0.mp4"))
    file = own.path / "videos" / "000-0.mp4"
    for shift, said_of_it in (
        (3.0, ""),
        (5.0, "shift 5 and 3"),
        (None, 'shift "the model\'s own" and 3'),  # of a video that is gone nothing is known
    ):
        file.unlink(missing_ok=True)
        if shift is not None:
            write_mp4(file, torch.rand(5, 3, 16, 16), comment=json.dumps({"shift": shift}))
        printed, text, _ = compared([own, said], tmp_path / "page.html", capsys)
        assert ("sampled differently" in printed) is ("sampled differently" in text) is bool(said_of_it)
        assert said_of_it in printed and "paired by prompt, sample and start noise" in text


def test_a_suite_of_which_no_paper_speaks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "No paper has numbers for prompts like this suite's, so none stand here."
    for suite, silent in (("mini", True), ("paper", False)):
        folders = pair(tmp_path / suite, suite=suite)
        _, text, _ = compared(folders, tmp_path / "page.html", capsys)
        assert (sentence in text) is silent and "Published, not measured here" in text


def test_no_clip_that_is_valid_in_both_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder_of(tmp_path / "base", {i: {PSNR: 20.0 + i} for i in range(8)})
    b = folder_of(tmp_path / "r1", dict.fromkeys(range(8)))
    _, text, _ = compared([a, b], tmp_path / "page.html", capsys)
    assert "No clip is valid in both, so there is no difference." in text and "By kind of prompt" not in text


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


def test_a_report_is_led_by_a_number_that_valid_clips_have(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", {i: {"rotation_error_deg": 1.0 + i} for i in range(3)})
    folder.append(replace(record(3, valid=False), measures={PSNR: 20.0}))
    told = Tags(write_evaluation_report(folder).read_text())
    assert "4 clips: Rotation error (degrees)" in told.text and "PSNR of held-out" not in told.text


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
