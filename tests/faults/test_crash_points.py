"""A kill at every single file operation, and in the middle of every write, leaves a run that goes on.

Not at random: a forked child does the work and kills itself before its first file operation, the next one before its
second, and so on until one gets through. Only the kernel sees the difference to a kill from outside.
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldr1.errors import InputError
from worldr1.train.checkpoint import CHECKPOINTS, TrainState, find_newest, list_checkpoints, save_checkpoint, set_aside
from worldr1.train.runlog import RunLog, check_is_run, read_metrics
from worldr1.train.stopping import JudgeConfig, Look
from worldr1.train.watch import BEST_FILE, Watch

RECIPE = "seed = 1\n"
OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
"""Audit events of the calls that change a folder; fsync has none and is wrapped."""
Work = Callable[[], object]
Sweep = Callable[[Callable[[Path], Work], Callable[[Path, bool], None]], int]


def _state(update: int) -> TrainState:
    tensors = {"w": torch.full((40,), float(update))}
    return TrainState(update=update, params=tensors, ema=tensors, optimizer=tensors, extra={"cursor": update})


def _die_at(work: Work, number: int) -> bool:
    """Forks; the child kills itself before its file operation of that number (from 0). Whether it was killed."""
    child = os.fork()
    if child == 0:
        count = -1

        def operation(event: str, *_: object) -> None:
            nonlocal count
            if event in OPERATIONS:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sync = os.fsync

        def fsync(descriptor: int) -> None:
            operation("open")
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(operation)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work itself failed"
    return os.WIFSIGNALED(status)


def _die_in_a_file(work: Work, size: int) -> bool:
    """Forks; the kernel kills the child in the write that would make a file longer than `size` bytes."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work itself failed"
    return os.WIFSIGNALED(status)


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.slow, id="every"), pytest.param(6, id="some")])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Sweep:
    """Kills at every operation (or every sixth) and at sizes up to the largest file; the number of kills."""
    stride = request.param

    def run_all(prepare: Callable[[Path], Work], check: Callable[[Path, bool], None]) -> int:
        kills = 0
        template = tmp_path / "prepared"
        template.mkdir()
        prepare(template)
        for die, numbers in ((_die_at, range(0, 600, stride)), (_die_in_a_file, range(0, 60_000, 30 * stride))):
            for number in numbers:
                run = tmp_path / f"{die.__name__}{number}"
                shutil.copytree(template, run)
                killed = die(prepare(run), number)
                check(run, killed)
                kills += killed
                if not killed:
                    break
            else:
                pytest.fail("it never gets through")
        print(f"{kills} kills")
        return kills * stride

    return run_all


def _rows(run: Path, num: int) -> None:
    with RunLog.create(run, recipe=RECIPE) as log:
        for update in range(num):
            log.write({"update": update, "reward": update / 2})


def test_a_checkpoint_is_there_or_is_not(sweep: Sweep) -> None:
    def prepare(run: Path) -> Work:
        for update in () if list_checkpoints(run) else (1, 2, 3):
            save_checkpoint(run, _state(update), recipe=RECIPE, score=float(update == 1), keep_last=2)
        return lambda: save_checkpoint(run, _state(4), recipe=RECIPE, keep_last=2)

    seen = set()

    def check(run: Path, killed: bool) -> None:
        newest = find_newest(run)
        assert newest is not None and not newest.problems
        assert newest.state.params["w"][0] == newest.state.update
        seen.add(newest.state.update)
        assert killed or newest.state.update == 4
        save_checkpoint(run, _state(4), recipe=RECIPE, keep_last=2)  # what was left behind is in nobody's way
        assert sorted(path.name for path in (run / CHECKPOINTS).iterdir()) == ["000001", "000003", "000004"]

    assert sweep(prepare, check) > 30
    assert seen == {3, 4}


def test_replacing_a_checkpoint_loses_at_most_itself(sweep: Sweep) -> None:
    def prepare(run: Path) -> Work:
        for update in () if list_checkpoints(run) else (1, 2):
            save_checkpoint(run, _state(update), recipe=RECIPE)
        return lambda: save_checkpoint(run, _state(2), recipe="seed = 2\n")

    def check(run: Path, killed: bool) -> None:
        newest = find_newest(run)
        assert newest is not None and not newest.problems and newest.state.update in (1, 2)
        assert killed or newest.recipe == "seed = 2\n"

    assert sweep(prepare, check) > 30


def test_a_run_folder_is_none_or_whole(sweep: Sweep) -> None:
    recipe = "seed = 1\n" * 200  # longer than the other files, so that a size ends within it

    def check(run: Path, killed: bool) -> None:
        try:
            check_is_run(run)
        except InputError:
            assert killed
            RunLog.create(run, recipe=recipe).close()  # so the same command starts it
        assert (run / "recipe.toml").read_text() == recipe
        assert json.loads((run / "environment.json").read_text())["num_threads"] == torch.get_num_threads()
        RunLog.resume(run, update=0).close()

    assert sweep(lambda run: lambda: RunLog.create(run, recipe=recipe).close(), check) > 3


def test_a_metrics_line_is_there_or_is_not(sweep: Sweep) -> None:
    def prepare(run: Path) -> Work:
        if not read_metrics(run):
            _rows(run, 2)
        return lambda: RunLog(run, None).write({"update": 2, "reward": 1.0, "phase": "main"})  # type: ignore[arg-type]

    def check(run: Path, killed: bool) -> None:
        assert [row["update"] for row in read_metrics(run)] in ([0, 1], [0, 1, 2])
        with RunLog.resume(run, update=2) as log:
            log.write({"update": 2, "reward": 1.0})
        assert [row["update"] for row in read_metrics(run)] == [0, 1, 2]

    assert sweep(prepare, check) > 1


def test_a_resume_may_be_killed_too(sweep: Sweep) -> None:
    def prepare(run: Path) -> Work:
        if not read_metrics(run):
            _rows(run, 4)
            for update in (1, 2, 3, 4):
                save_checkpoint(run, _state(update), recipe=RECIPE, keep_last=4)
            for update in (3, 4):
                (run / CHECKPOINTS / f"00000{update}" / "ema.safetensors").write_bytes(b"?")
        return lambda: _resume(run).close()

    def _resume(run: Path) -> RunLog:
        newest = find_newest(run)
        assert newest is not None and newest.state.update == 2
        set_aside(newest)
        return RunLog.resume(run, update=2, recipe="seed = 2\n")

    def check(run: Path, killed: bool) -> None:
        assert (run / "recipe.toml").read_text() in (RECIPE, "seed = 2\n")
        _resume(run).close()
        assert [row["update"] for row in read_metrics(run)] == [0, 1]
        names = {path.name for path in (run / CHECKPOINTS).iterdir()}
        assert names == {"000001", "000002", "damaged-000003", "damaged-000004"}

    assert sweep(prepare, check) > 10


def test_the_weights_of_a_look_that_is_written_down_are_there(sweep: Sweep) -> None:
    config = JudgeConfig(every=1)

    def look(update: int) -> Look:
        return Look(update=update, reward=float(update), scores={"words": 0.5})

    def weights(update: int) -> dict[str, torch.Tensor]:
        return {"w": torch.full((40,), float(update))}

    def prepare(run: Path) -> Work:
        if not (run / BEST_FILE).is_file():
            Watch(config, run, updates_done=0).add(look(0), weights(0))
        watch = Watch(config, run, updates_done=1)
        return lambda: watch.add(look(1), weights(1))

    def check(run: Path, killed: bool) -> None:
        watch = Watch(config, run, updates_done=1)
        if watch.is_due(1):
            assert killed
            watch.add(look(1), weights(1))
        averages = weights(9)
        assert watch.restore_best(averages).update == 1
        assert averages["w"].eq(1.0).all(), f"{BEST_FILE} is of another look"

    assert sweep(prepare, check) > 5
