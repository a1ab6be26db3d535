"""Checkpoints beside training: an update waits for no disk, nothing that goes wrong is lost, nothing is half done."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from worldr1.errors import TrainingError
from worldr1.train import checkpoint_writer
from worldr1.train.checkpoint import TrainState, list_checkpoints, load_checkpoint
from worldr1.train.checkpoint_writer import CheckpointWriter


def _state(update: int) -> TrainState:
    return TrainState(update=update, params={"w": torch.full((2,), float(update))}, ema={}, optimizer={})


class Disk:
    """Stands before the writing: `open` lets it through, `error` is what it raises."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.error: Exception | None = None


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk, save = Disk(), checkpoint_writer.save_checkpoint

    def slow(*args: object, **keywords: object) -> Path:
        disk.reached.set()
        assert disk.open.wait(30)
        if disk.error is not None:
            raise disk.error
        return save(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", slow)
    yield disk
    disk.open.set()  # or the interpreter would wait for the thread


@pytest.fixture
def writer(tmp_path: Path) -> CheckpointWriter:
    return CheckpointWriter(tmp_path, recipe="seed = 1\n", keep_last=3)


def _updates(run: Path) -> list[int]:
    return [load_checkpoint(path).update for path in list_checkpoints(run)]


def test_handing_over_waits_for_no_disk(writer: CheckpointWriter, disk: Disk, tmp_path: Path) -> None:
    writer.save(_state(1), score=0.5)
    assert disk.reached.wait(30) and not disk.open.is_set()  # back here, while nothing is written yet
    writer.check()
    assert _updates(tmp_path) == []
    disk.open.set()
    writer.wait()
    assert _updates(tmp_path) == [1]
    assert '"score": 0.5' in (list_checkpoints(tmp_path)[0] / "state.json").read_text()


def test_the_next_one_waits_for_the_one_before(writer: CheckpointWriter, disk: Disk, tmp_path: Path) -> None:
    writer.save(_state(1))
    threading.Timer(0.1, disk.open.set).start()
    writer.save(_state(2))
    assert 1 in _updates(tmp_path)
    writer.wait()
    assert _updates(tmp_path) == [1, 2]


def test_leaving_waits_for_the_disk(writer: CheckpointWriter, disk: Disk, tmp_path: Path) -> None:
    threading.Timer(0.1, disk.open.set).start()
    with writer:
        writer.save(_state(1))
    assert _updates(tmp_path) == [1]


@pytest.mark.parametrize("when", ["check", "wait", "save", "exit"])
def test_what_goes_wrong_is_raised_once_in_one_sentence(
    when: str, writer: CheckpointWriter, disk: Disk, tmp_path: Path
) -> None:
    disk.error = OSError(28, "No space left on device")
    disk.open.set()
    message = r"checkpoint of update 1 could not be written \(No space left on device\); the earlier ones are whole: .*"
    with pytest.raises(TrainingError, match=message + rf"worldr1 train --resume {tmp_path}"), writer:
        writer.save(_state(1))
        if when != "exit":
            assert writer._thread is not None
            writer._thread.join()
            {"check": writer.check, "wait": writer.wait, "save": lambda: writer.save(_state(2))}[when]()
            pytest.fail("nothing was raised")
    assert writer.failed
    writer.wait()
    assert _updates(tmp_path) == []


def test_a_failure_hides_no_earlier_one_and_an_interrupt_hides_no_failure(writer: CheckpointWriter, disk: Disk) -> None:
    disk.error = OSError(30, "Read-only file system")
    disk.open.set()
    with pytest.raises(ZeroDivisionError) as caught, writer:
        writer.save(_state(1))
        raise ZeroDivisionError
    assert "Read-only file system" in caught.value.__notes__[0]
    with pytest.raises(TrainingError, match="Read-only file system"), writer:
        writer.save(_state(1))
        raise KeyboardInterrupt


def test_a_bug_is_raised_as_it_is(writer: CheckpointWriter, disk: Disk) -> None:
    disk.error = KeyError("w")
    disk.open.set()
    with pytest.raises(KeyError, match="w"), writer:
        writer.save(_state(1))
