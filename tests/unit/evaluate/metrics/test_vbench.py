"""VBench: its published result format, its official scores, and its package in another environment."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_vbench import SCORING, fake_vbench

from worldr1.errors import InputError
from worldr1.evaluate.metrics import CATALOGUE
from worldr1.evaluate.metrics import vbench as vb

SMALL = {
    "aesthetic_quality": 0.6574,
    "imaging_quality": 0.6753,
    "motion_smoothness": 0.9855,
    "subject_consistency": 0.9758,
    "background_consistency": 0.9667,
}
"""World-R1-Small's row of table T1."""


def results(means: dict[str, float], videos: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """As VBench.evaluate writes them; videos: dimension -> path -> value."""
    rows = videos or {}
    return {
        name: [mean, [{"video_path": p, "video_results": v} for p, v in rows.get(name, {}).items()]]
        for name, mean in means.items()
    }


def write(folder: Path, table: Any, name: str = "results_2026-11-30-07:00:00_eval_results.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(table, indent=4))
    return path


# ------------------------------------------------------------------------------------------------------------- reading


def test_the_mean_of_five_is_the_paper_s_avg(tmp_path: Path) -> None:
    scores = vb.read_results(write(tmp_path, results(SMALL | {"dynamic_degree": 0.4})))
    assert scores.average_of_five == pytest.approx(0.8521, abs=5e-5)
    assert scores.dynamic_degree == 0.4
    assert scores.quality is None and scores.total is None  # temporal_flickering is missing


def test_videos_are_told_by_their_file_and_imaging_quality_is_brought_to_0_to_1(tmp_path: Path) -> None:
    table = results(
        {"imaging_quality": 0.65, "dynamic_degree": 0.5},
        {
            "imaging_quality": {"/data/videos/0-0.mp4": 60.0, "/data/videos/1-0.mp4": 70.0},
            "dynamic_degree": {"/data/videos/0-0.mp4": True, "/data/videos/1-0.mp4": False},
        },
    )
    scores = vb.read_results(write(tmp_path, table))
    assert scores.measures("0-0.mp4") == {"vbench_imaging_quality": 0.6, "vbench_dynamic_degree": 1.0}
    assert scores.measures("1-0.mp4") == {"vbench_imaging_quality": 0.7, "vbench_dynamic_degree": 0.0}
    assert scores.measures("2-0.mp4") == {}
    assert scores.measures()["vbench_imaging_quality"] == 0.65


def test_files_of_one_dimension_each_are_put_together(tmp_path: Path) -> None:
    for name, value in SMALL.items():
        write(tmp_path, results({name: value}), f"{name}_eval_results.json")
    write(tmp_path, [], "results_full_info.json")  # VBench's other file is none of them
    assert vb.read_results(tmp_path).average_of_five == pytest.approx(0.8521, abs=5e-5)
    write(tmp_path, results({"imaging_quality": 0.1}), "again_eval_results.json")
    with pytest.raises(InputError, match="imaging_quality different"):
        vb.read_results(tmp_path)


def test_a_missing_dimension_is_not_a_zero(tmp_path: Path) -> None:
    few = {name: value for name, value in SMALL.items() if name != "imaging_quality"}
    scores = vb.read_results(write(tmp_path, results(few)))
    assert scores.average_of_five is None and scores.dynamic_degree is None
    assert "vbench_avg5" not in scores.measures()


@pytest.mark.parametrize(
    "table",
    [
        [],
        {},
        {"imaging_quality": 0.5},
        {"imaging_quality": [0.5]},
        {"imaging_quality": [0.5, {}]},
        {"imaging_quality": ["0.5", []]},
        {"imaging_quality": [float("nan"), []]},
        {"imaging_quality": [0.5, [{"video_path": "a.mp4"}]]},
        {"imaging_quality": [0.5, [{"video_path": 3, "video_results": 1.0}]]},
        {"imaging_quality": [0.5, [{"video_path": "a.mp4", "video_results": None}]]},
        {"image_quality": [0.5, []]},
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, table: Any) -> None:
    with pytest.raises(InputError, match="damaged"):
        vb.read_results(write(tmp_path, table))


def test_what_is_no_json_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x_eval_results.json"
    path.write_bytes(b'{"imaging_quality": [0.5, [')
    with pytest.raises(InputError, match="damaged"):
        vb.read_results(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="damaged"):
        vb.read_results(path)
    with pytest.raises(InputError, match="no VBench results"):
        vb.read_results(tmp_path / "elsewhere")


# ------------------------------------------------------------------------------------------------------------- scores


def scores_of(means: dict[str, float]) -> vb.VBenchScores:
    return vb.VBenchScores(means=means, videos={})


def test_the_best_values_make_a_total_of_one_and_the_lowest_of_zero() -> None:
    ends = {name: vb.RANGES.get(name, (0.0, 1.0)) for name in vb.DIMENSIONS}
    assert len(ends) == 16
    assert scores_of({name: high for name, (_, high) in ends.items()}).total == pytest.approx(1)
    assert scores_of({name: low for name, (low, _) in ends.items()}).total == pytest.approx(0)


def test_dynamic_degree_weighs_half_and_quality_four_times_semantic() -> None:
    means = {name: vb.RANGES.get(name, (0.0, 1.0))[0] for name in vb.DIMENSIONS}
    moving = scores_of(means | {"dynamic_degree": 1.0})
    assert moving.quality == pytest.approx(0.5 / 6.5)
    assert moving.total == pytest.approx(4 * 0.5 / 6.5 / 5)
    semantic = scores_of(means | {"color": 1.0})
    assert semantic.quality == pytest.approx(0) and semantic.semantic == pytest.approx(1 / 9)
    assert semantic.total == pytest.approx(1 / 45)


def test_normalised_by_hand() -> None:
    assert vb.normalised("subject_consistency", 0.9758) == pytest.approx((0.9758 - 0.1462) / 0.8538)
    assert vb.normalised("motion_smoothness", 0.9855) == pytest.approx((0.9855 - 0.706) / 0.2915)
    assert vb.normalised("aesthetic_quality", 0.6) == 0.6


def test_quality_alone_can_be_had_on_one_s_own_prompts() -> None:
    found = scores_of(dict.fromkeys(vb.QUALITY, 0.9))
    assert found.quality is not None and found.total is None
    assert set(found.measures()) <= set(CATALOGUE)


# ----------------------------------------------------------------------------------------------------- the other python


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip of mine; rm -rf $HOME.mp4"
    path.write_bytes(b"video")
    return path


def test_the_layout_is_what_custom_input_reads(tmp_path: Path, video: Path) -> None:
    vb.prepare(tmp_path / "vb", {"7-0.mp4": video}, {"7-0.mp4": "A red ball.", "8-0.mp4": "not generated"})
    assert (tmp_path / "vb" / "videos" / "7-0.mp4").read_bytes() == b"video"
    assert json.loads((tmp_path / "vb" / "prompts.json").read_text()) == {"7-0.mp4": "A red ball."}
    vb.prepare(tmp_path / "vb", {"7-0.mp4": video}, {"7-0.mp4": "A red ball."})  # again is fine
    with pytest.raises(InputError, match=r"holds 7-0\.mp4"):
        vb.prepare(tmp_path / "vb", {"8-0.mp4": video}, {"8-0.mp4": "x"})


def test_what_cannot_be_laid_out_is_refused(tmp_path: Path, video: Path) -> None:
    for name in ("../out.mp4", "a/b.mp4", "a.avi", "..\\a.mp4"):
        with pytest.raises(InputError, match="plain names"):
            vb.prepare(tmp_path / "vb", {name: video}, {name: "x"})
    with pytest.raises(InputError, match="missing"):
        vb.prepare(tmp_path / "vb", {"a.mp4": tmp_path / "none.mp4"}, {"a.mp4": "x"})
    with pytest.raises(InputError, match="no prompt"):
        vb.prepare(tmp_path / "vb", {"a.mp4": video}, {})
    with pytest.raises(InputError, match="there are none"):
        vb.prepare(tmp_path / "vb", {}, {})


def test_dimensions_that_need_vbench_s_own_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="'color' on prompts of one's own"):
        vb.command(Path("python"), Path("a"), Path("b"), ["color"])


def test_vbench_runs_in_its_own_environment(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    python, folder = fake_vbench(tmp_path, SCORING), tmp_path / "vb; echo"
    vb.prepare(folder, {"7-0.mp4": video}, {"7-0.mp4": "A $(ball)."})
    scores = vb.run_vbench(python, folder, dimensions=["subject_consistency"])
    assert scores.means == {"subject_consistency": 0.9, "dynamic_degree": 0.9}, "dynamic degree is always asked for"
    assert scores.measures("7-0.mp4")["vbench_subject_consistency"] == 1.0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise ValueError('no GPU here')", "VBench failed: ValueError: no GPU here"),
        ("import vbench.nothing", "has no vbench"),
        ("pass", "no VBench results"),
        (SCORING.replace("args.dimension}", "args.dimension[:1]}"), "gave no dynamic_degree"),
        ("import time; time.sleep(60)", "longer than 3 s"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence(tmp_path: Path, video: Path, body: str, sentence: str) -> None:
    python, folder = fake_vbench(tmp_path, body), tmp_path / "vb"
    vb.prepare(folder, {"7-0.mp4": video}, {"7-0.mp4": "A ball."})
    with pytest.raises(InputError, match=sentence):
        vb.run_vbench(python, folder, dimensions=["subject_consistency"], timeout_s=3)


def test_a_python_without_vbench_and_one_that_is_none_are_told(tmp_path: Path, video: Path) -> None:
    vb.prepare(tmp_path / "vb", {"7-0.mp4": video}, {"7-0.mp4": "A ball."})
    with pytest.raises(InputError, match="pip install vbench"):
        vb.run_vbench(sys.executable, tmp_path / "vb")
    with pytest.raises(InputError, match="no program"):
        vb.run_vbench(tmp_path / "nowhere" / "python", tmp_path / "vb")


def test_an_environment_is_asked_for_vbench_before_the_work(tmp_path: Path) -> None:
    vb.check_vbench(fake_vbench(tmp_path, SCORING))
    for python, sentence in (
        (sys.executable, "pip install vbench"),
        (tmp_path / "python", "no program"),
        ("cat", "has no vbench"),
    ):
        with pytest.raises(InputError, match=sentence):
            vb.check_vbench(python)


def test_one_video_has_the_scores_of_its_own_values(tmp_path: Path) -> None:
    """(0.5 + 0.6 + 0.7 + 0.8 + 0.9) / 5; the scores are linear, so two videos' mean is the run's."""
    rows = {"a.mp4": 0.5, "b.mp4": 0.9}
    videos: dict[str, dict[str, float]] = {
        name: dict(zip(vb.PAPER_FIVE, (low, low + 0.1, low + 0.2, low + 0.3, low + 0.4), strict=True))
        for name, low in rows.items()
    }
    means = {name: (videos["a.mp4"][name] + videos["b.mp4"][name]) / 2 for name in vb.PAPER_FIVE}
    scores = vb.VBenchScores(means=means, videos=videos)
    assert scores.measures("a.mp4")["vbench_avg5"] == pytest.approx(0.7)
    both = [scores.measures(name)["vbench_avg5"] for name in rows]
    assert sum(both) / 2 == pytest.approx(scores.measures()["vbench_avg5"])
    assert "vbench_quality" not in scores.measures("a.mp4"), "two of its seven dimensions are missing"
