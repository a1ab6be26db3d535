"""A disk that is full or read-only, two runs in one folder, another machine: one sentence, and nothing is lost."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import WRITER
from tiny_session import begin_or_go_on, differences, tiny_models, train
from tiny_trainer import FakeReward

from worldr1.cli import main
from worldr1.errors import InputError, TrainingError
from worldr1.train import checkpoint
from worldr1.train.checkpoint import CHECKPOINTS, list_checkpoints, load_checkpoint
from worldr1.train.environment import ENVIRONMENT_FILE
from worldr1.train.run_lock import RunLock
from worldr1.train.runlog import RunLog, read_metrics
from worldr1.types import RewardResult

UPDATES = 3


# ------------------------------------------------------------------------------------------------------------ the disk


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, *(pytest.param(n, marks=pytest.mark.slow) for n in (errno.EROFS, errno.EIO))]
)
def test_a_disk_that_fails_stops_the_run_before_the_next_update_and_a_resume_is_as_if_nothing_had_been(
    number: int, models: None, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint._write

    def fails_once_there_is_one(path: Path, data: bytes) -> str:
        if threading.current_thread().name == WRITER and list_checkpoints(run):
            path.write_bytes(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        return write(path, data)

    monkeypatch.setattr(checkpoint, "_write", fails_once_there_is_one)
    run = tmp_path / "run"
    with pytest.raises(
        TrainingError, match=r"The checkpoint of update 2 could not be written \(.*\); the earlier"
    ) as e:
        train(run, updates=UPDATES)
    assert os.strerror(number) in str(e.value) and f"--resume {run}" in str(e.value)
    assert [path.name for path in (run / CHECKPOINTS).iterdir()] == ["000001"]
    assert len(read_metrics(run)) in (2, 3) and load_checkpoint(run / CHECKPOINTS / "000001").update == 1
    monkeypatch.undo()
    train(run, updates=UPDATES)
    assert differences(run, reference) == []


def test_files_that_may_not_grow_are_a_full_disk(models: None, reference: Path, tmp_path: Path) -> None:
    """No stand-in: the kernel itself refuses the write, in the middle of a file."""
    run, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    train(run, updates=1)
    largest = max(file.stat().st_size for file in list_checkpoints(run)[0].iterdir())
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"checkpoint of update 2 could not be written \(File too large\)"):
            train(run, updates=UPDATES, override=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (run / CHECKPOINTS).iterdir()] == ["000001"]
    train(run, updates=UPDATES)  # the recipe is the longer one since then
    shutil.copy(reference / "recipe.toml", run / CHECKPOINTS / "000001")
    shutil.copy(reference / CHECKPOINTS / "000001" / "manifest.json", run / CHECKPOINTS / "000001")
    assert differences(run, reference) == []


def _as_nobody(work: list[str], log: Path) -> tuple[int, str]:
    """Runs the command in a child without root's rights, which no permission stops."""
    log.touch()
    child = os.fork()
    if child == 0:
        descriptor = os.open(log, os.O_WRONLY)
        if os.geteuid() == 0:
            os.setuid(65534)
        os.dup2(descriptor, 2)
        os.sys.stderr = os.fdopen(2, "w")  # type: ignore[attr-defined]
        code = main(work)
        os.sys.stderr.flush()  # type: ignore[attr-defined]
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status), log.read_text()


def test_a_folder_that_cannot_be_written_is_one_sentence(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    for folder in [tmp_path, *tmp_path.parents]:  # pytest's folders are root's alone
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of"):
            break
    for path in [run, *run.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code, said = _as_nobody(["train", "--resume", str(run)], tmp_path / "log")
    assert (code, said) == (
        2, f"error: {run} cannot be written (Permission denied); make it writable, or give another --out.\n",
    )  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files
    run.chmod(0o755)
    with pytest.raises(InputError, match="cannot be written"):
        RunLog.create("/proc/no-such-folder/run", recipe="")


# ------------------------------------------------------------------------------------------------------------ two runs


def test_two_runs_in_one_folder(models: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    session = begin_or_go_on(run, updates=UPDATES)
    metrics = (run / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"error: {run} is in use by process {os.getpid()} on {os.uname().nodename}: wait for it or stop it, or give "
        "another --out.\n"
    )
    with pytest.raises(InputError, match="is in use by process"):
        RunLog.create(run, recipe="")
    assert (run / "metrics.jsonl").read_bytes() == metrics
    session.log.close()
    begin_or_go_on(run, updates=UPDATES).log.close()


def test_the_lock_of_a_dead_process_blocks_nobody(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        lock = RunLock(tmp_path)
        os.write(writing, b"1")
        signal.pause()
        lock.close()
    os.read(reading, 1)
    with pytest.raises(InputError, match=f"in use by process {child} on"):
        RunLock(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    RunLock(tmp_path).close()
    (tmp_path / ".lock").write_text("what another program left")
    RunLock(tmp_path).close()


def test_a_refused_resume_lets_others_in(models: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, updates=1)
    with pytest.raises(InputError, match="trained with another recipe"):
        begin_or_go_on(run, "train.lr=1.0", updates=1)
    train(run, updates=1)


# -------------------------------------------------------------------------------------------------------- repeatability


def test_the_number_of_threads_is_the_runs(
    models: None, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, before = tmp_path / "run", torch.get_num_threads()
    session = begin_or_go_on(run, updates=UPDATES)
    session.log.close()
    assert json.loads((run / ENVIRONMENT_FILE).read_text())["num_threads"] == before
    try:
        torch.set_num_threads(before + 2)
        train(run, updates=UPDATES)
        assert torch.get_num_threads() == before
        assert f"note: torch uses {before} threads as when the run began, not {before + 2}" in capsys.readouterr().err
    finally:
        torch.set_num_threads(before)
    assert differences(run, reference) == []
    file = run / ENVIRONMENT_FILE
    file.write_text(file.read_text().replace(torch.__version__, "1.0"))
    begin_or_go_on(run, updates=UPDATES).log.close()
    assert "warning: the run began with torch 1.0" in capsys.readouterr().err
    file.write_text('{"num_threads": 0}')
    with pytest.raises(InputError, match="is damaged; delete it"):
        begin_or_go_on(run, updates=UPDATES)
    file.unlink()  # as of a run from before there was one
    begin_or_go_on(run, updates=UPDATES).log.close()


class Careless(FakeReward):
    """Somebody else's reward, which draws from the process's generators."""

    def __call__(self, *args: object) -> list[RewardResult]:
        found = super().__call__(*args)  # type: ignore[arg-type]
        noise = [random.random() + np.random.rand() + float(torch.rand(())) for _ in found]
        return [RewardResult(value=r.value + n, parts={"look": r.value + n}) for r, n in zip(found, noise, strict=True)]


def test_a_reward_that_draws_from_global_generators_is_repeated_too(tiny_wan_folder: Path, tmp_path: Path) -> None:
    with tiny_models(tiny_wan_folder, Careless):
        train(tmp_path / "straight", updates=UPDATES)
        session = begin_or_go_on(tmp_path / "run", updates=UPDATES)
        update = session.trainer.update

        def interrupted(*args: object) -> object:
            if session.trainer.updates_done == 2:
                raise KeyboardInterrupt
            return update(*args)  # type: ignore[arg-type]

        session.trainer.update = interrupted  # type: ignore[method-assign,assignment]
        with pytest.raises(KeyboardInterrupt, match="after update 2"), session.log:
            session._train()
        torch.rand(3)  # somebody draws in between
        train(tmp_path / "run", updates=UPDATES)
    assert differences(tmp_path / "run", tmp_path / "straight") == []
