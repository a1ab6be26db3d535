"""VBench's scores in the records of an evaluation, by a stand-in for its package."""

import json
from pathlib import Path

import pytest
from evaluated_folders import folder_of, record
from fake_vbench import SCORING, fake_vbench

from worldr1.errors import InputError
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.suites.vbench_scores import add_vbench_scores


@pytest.fixture
def folder(tmp_path: Path) -> EvaluationFolder:
    """A valid and a rejected video, and a record without one."""
    made = folder_of(tmp_path / "evaluation", {})
    for number, valid in enumerate((True, False)):
        (made.path / "videos" / f"{number:03d}-0.mp4").write_bytes(b"video")
        made.append(record(number, valid=valid, video=f"{number:03d}-0.mp4", measures={"psnr_holdout_db": 20.0}))
    made.append(record(2))
    return made


def test_every_video_is_scored_once_whether_valid_or_not(folder: EvaluationFolder, tmp_path: Path) -> None:
    python = fake_vbench(tmp_path, SCORING)
    assert add_vbench_scores(folder, python) == 2 and add_vbench_scores(folder, python) == 0
    first, rejected, unseen = EvaluationFolder.load(folder.path).records
    assert first.measures["psnr_holdout_db"] == 20.0 and "psnr_holdout_db" not in rejected.measures
    for one in (first, rejected):
        assert one.measures["vbench_avg5"] == pytest.approx((1 + 1 + 1 + 1 + 0.01) / 5), "imaging quality is of 100"
        assert {"vbench_dynamic_degree", "vbench_quality"} <= one.measures.keys()
    assert not any(name.startswith("vbench") for name in unseen.measures)
    (results,) = (folder.path / "vbench").rglob("*_eval_results.json")
    assert len(json.loads(results.read_text())) == 7
    assert not (folder.path / "vbench" / "videos").exists(), "the copies go"


def test_what_a_killed_run_left_is_in_nobody_s_way(folder: EvaluationFolder, tmp_path: Path) -> None:
    stale = folder.path / "vbench" / "videos" / "999-0.mp4"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another run")
    assert add_vbench_scores(folder, fake_vbench(tmp_path, SCORING)) == 2


def test_nothing_is_kept_of_a_run_that_fails(folder: EvaluationFolder, tmp_path: Path) -> None:
    before = folder.records
    with pytest.raises(InputError, match="no GPU here"):
        add_vbench_scores(folder, fake_vbench(tmp_path, "raise ValueError('no GPU here')"))
    assert EvaluationFolder.load(folder.path).records == before
