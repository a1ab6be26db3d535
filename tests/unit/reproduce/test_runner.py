"""Jobs side by side: order, slots, the budget, failures, and signals. Jobs are one-liners of a fraction of a second."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from worldr1.reproduce.job import Job, State
from worldr1.reproduce.ledger import Attempt, Ledger, Outcome
from worldr1.reproduce.prices import Kind, Pace
from worldr1.reproduce.runner import Ended, Runner, Slot

PATIENCE_S = 60.0


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *words]


TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"


class Folder:
    """Makes jobs whose result is one file each, and a runner of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        self.ledger = Ledger(root / "ledger.jsonl", root / "under_way.json")

    def job(self, name: str, code: str = TOUCH, *, after: str = "", minutes: float = 1.0, **more: Any) -> Job:
        place = self.root / name

        def state() -> State:
            if place.exists():
                return State.DONE
            return State.READY if not after or (self.root / after).exists() else State.WAITING

        words = python(code, str(place))
        given = {"kind": Kind.TRAIN, "place": place, "state": state, "command": lambda: words} | more
        return Job(name=name, minutes=lambda: minutes, after=after, **given)

    def runner(self, jobs: Sequence[Job], slots: int = 1, **more: Any) -> Runner:
        given = {"pace": Pace(), "slots": [Slot({"SLOT": str(number)}) for number in range(slots)]} | more
        return Runner(root=self.root, jobs=jobs, ledger=self.ledger, say=self.said.append, **given)

    def run(self, jobs: Sequence[Job], slots: int = 1, **more: Any) -> Ended:
        return self.runner(jobs, slots, **more).run()

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (self.root / name).exists():
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def begun(folder: Folder) -> list[str]:
    return [line.split(": ")[1].split(",")[0] for line in folder.said if line.startswith("begun")]


def test_jobs_run_in_their_order_one_that_waits_is_passed_over_and_what_is_done_is_not_repeated(folder: Folder) -> None:
    (folder.root / "c").touch()
    jobs = [folder.job("b", after="a"), folder.job("c"), folder.job("a"), folder.job("d")]
    told: list[str] = []
    ended = folder.run(jobs, on_done=lambda job: told.append(job.name))
    assert ended == Ended(interrupted=False, failed={}, left=[])
    assert begun(folder) == ["a", "b", "d"] == told
    assert [(a.job, a.outcome, a.exit_code) for a in folder.ledger.read()] == [(n, Outcome.FINISHED, 0) for n in "abd"]
    assert not folder.ledger._under_way.exists()


def test_slots_work_at_the_same_time_each_with_its_own_environment(folder: Folder) -> None:
    # every job waits until all of them have begun: with a slot too few this would never end
    code = """
import os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
place.with_suffix(".begun").write_text(os.environ["SLOT"])
while len(list(place.parent.glob("*.begun"))) < 3:
    time.sleep(0.01)
place.touch()
"""
    assert folder.run([folder.job(name, code) for name in "abc"], slots=3).left == []
    assert {(folder.root / f"{name}.begun").read_text() for name in "abc"} == {"0", "1", "2"}


def test_two_jobs_never_fill_one_place_at_a_time(folder: Folder) -> None:
    code = """
import pathlib, sys, time
lock = pathlib.Path(sys.argv[1]).parent / "lock"
lock.touch(exist_ok=False)
time.sleep(0.2)
lock.unlink()
pathlib.Path(sys.argv[1]).touch()
"""
    place = folder.root / "judged"
    jobs = [folder.job(name, code, place=place) for name in "ab"]
    assert folder.run(jobs, slots=2) == Ended(interrupted=False, failed={}, left=[])
    assert [(a.job, a.outcome) for a in folder.ledger.read()] == [(name, Outcome.FINISHED) for name in "ab"]


def test_a_job_that_fails_twice_is_left_out_and_the_rest_goes_on(folder: Folder) -> None:
    code = "print('much', 'before'); print(); raise SystemExit('error: the sun is too hot\\n')"
    ended = folder.run([folder.job("a", code), folder.job("b", after="a"), folder.job("c", minutes=3)])
    assert ended.failed == {"a": "the sun is too hot"}
    assert [job.name for job in ended.left] == ["b"]
    attempts = folder.ledger.read()
    assert [(a.job, a.outcome, a.exit_code, a.error) for a in attempts] == [
        ("a", Outcome.FAILED, 1, "the sun is too hot"),
        ("a", Outcome.FAILED, 1, "the sun is too hot"),
        ("c", Outcome.FINISHED, 0, ""),
    ]
    assert (folder.root / "a.log").read_text().count("the sun is too hot") == 2
    assert any("the sun is too hot; it is tried once more" in line for line in folder.said)
    assert f"the sun is too hot; it is left out until the next start, see {folder.root / 'a.log'}" in folder.said[3]
    # the next start tries it again
    assert folder.run([folder.job("a")]) == Ended(interrupted=False, failed={}, left=[])


def test_what_bad_input_ends_is_not_tried_again(folder: Folder) -> None:
    """The product's exit code for it: a second attempt would meet the same."""
    code = "import sys; print('error: give an mp4 file.', file=sys.stderr); sys.exit(2)"
    ended = folder.run([folder.job("a", code), folder.job("b")])
    assert ended.failed == {"a": "give an mp4 file."}
    assert [(a.job, a.exit_code) for a in folder.ledger.read()] == [("a", 2), ("b", 0)]
    assert "failed: a: give an mp4 file; it is left out until the next start" in "\n".join(folder.said)
    assert folder.run([folder.job("a")]) == Ended(interrupted=False, failed={}, left=[])


def test_an_error_that_a_second_attempt_met_again_is_no_chance_for_others_of_the_kind(folder: Folder) -> None:
    code = "raise ImportError('no module named sun')"
    jobs = [folder.job(name, code, kind=Kind.JUDGE) for name in "abc"]
    jobs += [folder.job("d", code.replace("sun", "moon"), kind=Kind.JUDGE), folder.job("e", code, kind=Kind.FILMS)]
    ended = folder.run(jobs)
    assert list(ended.failed) == [*"abcde"]
    assert [a.job for a in folder.ledger.read()] == ["a", "a", "b", "c", "d", "d", "e", "e"]


def test_two_kills_of_one_job_say_nothing_of_another(folder: Folder) -> None:
    folder.run([folder.job(name, "import os; os.kill(os.getpid(), 9)") for name in "ab"])
    assert [a.job for a in folder.ledger.read()] == ["a", "a", "b", "b"]


def test_a_job_that_works_the_second_time_has_not_failed(folder: Folder) -> None:
    code = """
import pathlib, sys
place = pathlib.Path(sys.argv[1])
first = not place.with_suffix(".tried").exists()
place.with_suffix(".tried").touch()
sys.exit("no luck" if first else place.touch())
"""
    assert folder.run([folder.job("a", code)]) == Ended(interrupted=False, failed={}, left=[])
    assert [a.outcome for a in folder.ledger.read()] == [Outcome.FAILED, Outcome.FINISHED]


def test_ending_well_without_a_result_and_being_killed_are_failures(folder: Folder) -> None:
    ended = folder.run([folder.job("a", "pass"), folder.job("b", "import os; os.kill(os.getpid(), 9)")])
    assert ended.failed == {"a": "it ended well and has not left what it was to make", "b": "killed by SIGKILL"}
    assert [a.exit_code for a in folder.ledger.read()] == [0, 0, -9, -9]


def test_what_lies_in_the_way_is_reported_and_left_alone(folder: Folder) -> None:
    unusable = folder.job("a", state=lambda: State.UNUSABLE, problem=lambda: "a is damaged")
    ended = folder.run([unusable, folder.job("b")])
    assert ended.failed == {"a": "a is damaged"} and ended.left == []
    assert begun(folder) == ["b"] and "a is left out: a is damaged" in folder.said


def test_nothing_begins_that_the_budget_does_not_allow_and_a_shorter_job_still_may(folder: Folder) -> None:
    jobs = [folder.job("long", minutes=9), folder.job("short", minutes=2, kind=Kind.JUDGE)]
    jobs.append(folder.job("b", after="long"))
    ended = folder.run(jobs, budget_minutes=5.0)
    assert begun(folder) == ["short"]
    assert [job.name for job in ended.left] == ["long", "b"] and ended.failed == {}


def test_a_run_whose_judging_the_budget_does_not_allow_does_not_begin(folder: Folder) -> None:
    run = folder.job("run", minutes=3, then_minutes=lambda: 3.0)
    assert [job.name for job in folder.run([run], budget_minutes=5.0).left] == ["run"]
    assert folder.run([run], budget_minutes=7.0).left == []


def test_what_jobs_took_here_decides_what_still_fits(folder: Folder) -> None:
    pace = Pace()
    pace.add(Kind.TRAIN, taken=30, priced=10)
    assert [job.name for job in folder.run([folder.job("a", minutes=2)], budget_minutes=5, pace=pace).left] == ["a"]
    assert folder.run([folder.job("a", minutes=2)], budget_minutes=7, pace=pace).left == []
    # the job took no time at all, and so the next one is expected to be faster
    assert pace.factor(Kind.TRAIN) == pytest.approx((30 / 10 + 0) / 2, rel=0.01)


def test_a_slow_measurement_does_not_keep_a_training_from_its_budget(folder: Folder) -> None:
    """The first start on a GPU: 48 s of inference took 2.5 minutes, and a training of 5 was refused 16."""
    pace = Pace()
    pace.add(Kind.INFERENCE, taken=2.5, priced=0.8)
    train = folder.job("train", minutes=5.4, then_minutes=lambda: 1.4)
    assert folder.run([train], budget_minutes=16.5, pace=pace).left == []
    assert folder.said[0] == "begun: train, about 5.4 minutes"


def test_a_failed_job_says_nothing_of_the_pace(folder: Folder) -> None:
    pace = Pace()
    folder.run([folder.job("a", "raise SystemExit(1)")], pace=pace)
    assert pace.factor(Kind.TRAIN) == 1.0
    folder.run([folder.job("b")], pace=pace)
    assert pace.factor(Kind.TRAIN) < 0.1


def test_what_is_left_is_said_with_what_is_left_of_the_budget(folder: Folder) -> None:
    (folder.root / "d").touch()
    jobs = [folder.job("b", "raise SystemExit(2)"), folder.job("c", after="b", minutes=40), folder.job("a")]
    jobs += [folder.job("d"), folder.job("e", minutes=30, kind=Kind.JUDGE)]
    assert [job.name for job in folder.run(jobs, budget_minutes=20).left] == ["c", "e"]
    # e alone: nobody waits for what is done, and what waits for a failed job does not come
    said = "done: a in 0 s; 1 more, about 30.0 minutes, and 20.0 minutes of the budget left"
    assert said in folder.said


def interrupt_when(ready: Callable[[], None], number: signal.Signals, times: int = 1) -> threading.Thread:
    def wait_and_send() -> None:
        ready()
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


SAVES = """
import pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
try:
    place.with_suffix(".begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    place.with_suffix(".checkpoint").touch()
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_tells_the_jobs_to_stop_and_waits_for_their_checkpoints(
    folder: Folder, number: signal.Signals
) -> None:
    thread = interrupt_when(lambda: folder.wait_for("a.begun"), number)
    ended = folder.run([folder.job("a", SAVES), folder.job("b")])
    thread.join()
    assert ended.interrupted and ended.failed == {} and [job.name for job in ended.left] == ["a", "b"]
    assert (folder.root / "a.checkpoint").exists() and begun(folder) == ["a"]
    assert [(a.outcome, a.exit_code) for a in folder.ledger.read()] == [(Outcome.STOPPED, 130)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # as it was


def test_a_second_signal_kills_a_job_that_does_not_stop(folder: Folder) -> None:
    code = SAVES.replace("signal, ", "").replace("try:", "import signal; signal.signal(2, signal.SIG_IGN)\ntry:")
    thread = interrupt_when(lambda: folder.wait_for("a.begun"), signal.SIGINT, times=2)
    begin = time.monotonic()
    assert folder.run([folder.job("a", code)]).interrupted
    thread.join()
    assert time.monotonic() - begin < 30
    assert [(a.outcome, a.exit_code) for a in folder.ledger.read()] == [(Outcome.STOPPED, -9)]


def test_a_job_that_does_not_stop_in_time_is_killed(folder: Folder) -> None:
    code = SAVES.replace("try:", "signal.signal(2, signal.SIG_IGN)\ntry:")
    thread = interrupt_when(lambda: folder.wait_for("a.begun"), signal.SIGTERM)
    assert folder.run([folder.job("a", code)], patience_s=0.3).interrupted
    thread.join()
    assert [a.exit_code for a in folder.ledger.read()] == [-9]


def test_jobs_are_told_to_stop_when_something_breaks_here(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(attempt: Attempt) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.ledger, "end", full)
    code = "import time; time.sleep(0.3)"
    with pytest.raises(OSError, match="No space left"):
        folder.run([folder.job("a", SAVES), folder.job("b", code)], slots=2)
    folder.wait_for("a.checkpoint")


ORPHAN = """
import pathlib, sys
sys.path[:0] = sys.argv[2:]
from test_runner import SAVES, Folder
folder = Folder(pathlib.Path(sys.argv[1]))
folder.run([folder.job("a", SAVES)])
"""


def test_after_a_sigkill_the_next_start_stops_what_lives_on_and_writes_it_down(folder: Folder) -> None:
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(folder.root), *paths])
    folder.wait_for("a.begun")
    parent.kill()
    parent.wait()
    assert folder.ledger.read() == [] and folder.ledger._under_way.is_file()
    folder.ledger.close_leftovers(folder.said.append)
    assert (folder.root / "a.checkpoint").exists()
    assert len(folder.said) == 1 and "(a), which a killed start has left behind" in folder.said[0]
    (attempt,) = folder.ledger.read()
    assert (attempt.job, attempt.outcome, attempt.seconds) == ("a", Outcome.KILLED, None)
    assert not folder.ledger._under_way.exists()
    folder.ledger.close_leftovers(folder.said.append)
    assert len(folder.ledger.read()) == 1


def test_a_process_that_has_only_the_number_of_a_lost_job_is_left_alone(folder: Folder) -> None:
    bystander = subprocess.Popen(python("import time; time.sleep(60)"), start_new_session=True)
    try:
        lost = Attempt(
            job="a", kind="train", start="", command=("another", "command"), host=os.uname().nodename, pid=bystander.pid
        )
        folder.ledger.begin(lost)
        Ledger(folder.root / "ledger.jsonl", folder.root / "under_way.json").close_leftovers(folder.said.append)
        assert bystander.poll() is None and folder.said == []
        assert [a.outcome for a in folder.ledger.read()] == [Outcome.KILLED]
    finally:
        bystander.kill()
        bystander.wait()


def test_a_line_that_a_kill_cut_short_costs_no_other(folder: Folder) -> None:
    folder.run([folder.job("a")])
    path = folder.root / "ledger.jsonl"
    path.write_text(path.read_text() + '{"job": "b", "ki')
    folder.run([folder.job("c")])
    assert [a.job for a in folder.ledger.read()] == ["a", "c"]


def test_lines_of_other_versions_are_read(folder: Folder) -> None:
    old = '{"job": "a", "kind": "measure", "start": "", "outcome": "finished", "predicted_minutes": 1, "seconds": 9}'
    (folder.root / "ledger.jsonl").write_text(old + '\n{"job": "b"}\n')
    (attempt,) = folder.ledger.read()
    assert (attempt.job, attempt.seconds, attempt.priced_minutes) == ("a", 9, 0.0)
