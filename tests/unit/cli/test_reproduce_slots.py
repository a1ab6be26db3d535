"""Where `worldr1 reproduce` puts its jobs: cards, and threads on each."""

import os
import socket
from pathlib import Path

import pytest
import torch

from worldr1.cli.reproduce import _has_mps, _per_card, _slots


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_every_card_has_its_jobs_and_all_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    # the first job of every card comes before a second one on any
    cards = [slot.environment for slot in _slots("cuda", None)]
    assert cards == [{"CUDA_VISIBLE_DEVICES": card, "OMP_NUM_THREADS": "2"} for card in "0101"]
    assert len(_slots("cuda", 1)) == 2
    assert [_per_card(_slots("cuda", each)) for each in (1, 4)] == [1, 4]


def test_cards_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8a1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in _slots("cuda", 1)] == ["3", "GPU-8a1"]


def test_one_job_on_the_cpu_with_all_its_threads_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [slot.environment for slot in _slots("cpu", None)] == [{"OMP_NUM_THREADS": "8"}]
    assert [slot.environment for slot in _slots("cpu", 3)] == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [slot.environment for slot in _slots("cpu", 3)] == [{"OMP_NUM_THREADS": "1"}] * 3


def test_mps_is_known_by_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not _has_mps()
    (tmp_path / "control").touch()
    assert not _has_mps(), "what a daemon may have left behind"
    (tmp_path / "control").unlink()
    monkeypatch.chdir(tmp_path)  # a socket's path has little room
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind("control")
        assert _has_mps()
