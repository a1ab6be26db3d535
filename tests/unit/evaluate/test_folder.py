"""The folder of an evaluation: what a kill leaves, and what may not be mixed."""

from dataclasses import replace

import pytest

from worldr1.errors import InputError
from worldr1.evaluate.folder import FACTS_FILE, RECORDS_FILE, EvaluationFolder, Facts
from worldr1.evaluate.records import VideoRecord
from worldr1.types import Status

FACTS = Facts(
    title="base",
    source={"model": "mini"},
    suite="mini",
    suite_sha256="00",
    clip=(17, 64, 96),
    samples=2,
    judge="judge",
    reward_model="reward",
    settings={"guidance": 1.0},
    worldr1="0",
)


def record(prompt_id: int, sample: int = 0) -> VideoRecord:
    return VideoRecord(
        prompt_id=prompt_id,
        prompt="Camera push in. A ball.",
        dynamic=False,
        tokens=("push_in",),
        seed=7,
        status=Status.OK,
        reason="",
        reward=None,
        measures={"psnr_holdout_db": 22.0},
        sample=sample,
    )


def test_what_was_appended_is_read_back_in_order(tmp_path):
    folder = EvaluationFolder.create(tmp_path / "a", FACTS)
    for prompt, sample in ((1, 1), (0, 0), (1, 0)):
        folder.append(record(prompt, sample))
    assert EvaluationFolder.load(tmp_path / "a").records == (record(0), record(1), record(1, 1))
    assert EvaluationFolder.load(tmp_path / "a").facts == FACTS


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_next_is_whole(tmp_path):
    EvaluationFolder.create(tmp_path, FACTS).append(record(0))
    with (tmp_path / RECORDS_FILE).open("a") as file:
        file.write('{"prompt_id": 1, "pro')
    assert EvaluationFolder.load(tmp_path).records == (record(0),)
    EvaluationFolder.create(tmp_path, FACTS).append(record(2))
    assert EvaluationFolder.load(tmp_path).records == (record(0), record(2))


def test_a_video_measured_by_more_stands_for_its_earlier_record(tmp_path):
    folder = EvaluationFolder.create(tmp_path, FACTS)
    folder.append(record(0))
    folder.append(record(1))
    more = replace(record(0), measures={"psnr_holdout_db": 22.0, "ssim_holdout": 0.8})
    folder.append(more)
    assert folder.records == EvaluationFolder.load(tmp_path).records == (more, record(1))


def test_another_evaluation_is_not_mixed_in(tmp_path):
    EvaluationFolder.create(tmp_path, FACTS)
    EvaluationFolder.create(tmp_path, replace(FACTS, seconds={"judging": 3.0}, machine="another"))
    with pytest.raises(InputError, match="differs in suite_sha256"):
        EvaluationFolder.create(tmp_path, replace(FACTS, suite_sha256="11"))


def test_a_damaged_or_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="worldr1 evaluate"):
        EvaluationFolder.load(tmp_path)
    (tmp_path / FACTS_FILE).write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        EvaluationFolder.load(tmp_path)


def test_a_judge_that_is_the_reward_is_told_apart():
    assert not FACTS.judged_by_reward
    assert replace(FACTS, judge="reward").judged_by_reward
    assert not replace(FACTS, judge="", reward_model="").judged_by_reward
