"""What `worldr1 reproduce` says at its end."""

from pathlib import Path

import pytest

from worldr1.cli.reproduce import _say_failed, _say_left
from worldr1.reproduce.job import Job, State
from worldr1.reproduce.prices import Kind
from worldr1.reproduce.runner import Ended


def job(name: str, after: str = "") -> Job:
    return Job(
        name=name,
        kind=Kind.TRAIN,
        place=Path(name),
        state=lambda: State.READY,
        command=list,
        minutes=lambda: 1.0,
        after=after,
    )


def test_jobs_that_met_the_same_error_share_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"films of half": "no PyAV", "judge half, seed 0": "no sun", "films of no-gen": "no PyAV"}
    _say_failed(Ended(interrupted=False, failed=failed, left=[]))
    assert capsys.readouterr().err.splitlines() == [
        "not done: 2 jobs (films of half; films of no-gen): no PyAV",
        "not done: judge half, seed 0: no sun",
    ]


def test_what_is_left_is_due_to_the_budget_or_waits_for_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    left = [job("train half, seed 1"), job("judge half, seed 1", "train half, seed 1"), job("judge no-gen", "train")]
    ended = Ended(interrupted=False, failed={"train": "no luck"}, left=left)
    _say_left(ended, 19.0)
    assert capsys.readouterr().err.splitlines() == [
        "2 job(s) would not have ended within 19 minutes; the same command goes on with them",
        "1 job(s) wait for one that is not done",
    ]
    _say_left(Ended(interrupted=False, failed={}, left=[]), 19.0)
    assert capsys.readouterr().err == ""
