"""`worldr1 reproduce` as a user runs it, on the CPU and as small as it can be."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_folders import write_run

from worldr1.build import load_experiment
from worldr1.cli import main
from worldr1.config import dump_toml
from worldr1.reproduce.findings_file import load_findings
from worldr1.reproduce.jobs import FILMED
from worldr1.reproduce.ledger import Ledger, Outcome
from worldr1.reproduce.plan import Plan
from worldr1.reproduce.variants import VARIANTS
from worldr1.shipped import shipped_adapter
from worldr1.train.checkpoint import list_checkpoints
from worldr1.train.run_lock import RunLock
from worldr1.train.runlog import read_metrics

SETTINGS = (
    "sampler.num_steps=2", "sampler.first_index=0", "sampler.last_index=0", "train.group_size=2", "prompts.main=4",
    "prompts.dynamic=2",
)  # fmt: skip
SMALL = [
    *("--device", "cpu", "--updates", "1", "--groups", "1", "--prompts", "1", "--dynamic-prompts", "0"),
    *(word for setting in SETTINGS for word in ("--set", setting)),
]
PATIENCE_S = 300.0


def test_two_variants_one_of_them_copied_from_elsewhere_end_as_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small, out = ["--seeds", "1", *SMALL, "--out", "out"], tmp_path / "out"
    # the budget allows nothing: what is left has its price, and the folder its plan
    assert main(["reproduce", "no-gen", *small, "--budget", "0.01"]) == 0
    told = capsys.readouterr()
    assert [line.split("  ")[0].strip() for line in told.out.splitlines()[4:]] == [
        "train half, seed 0", "judge half, seed 0", "films of half",
        "train no-gen, seed 0", "judge no-gen, seed 0", "films of no-gen", "all, side by side",
    ]  # fmt: skip
    assert "6 jobs to do, 0 done already" in told.err and "begun" not in told.err

    for name in ("half", "no-gen"):  # two minutes of work, which tests/unit/reproduce/test_films.py has done
        (out / "films" / name).mkdir(parents=True)
        (out / "films" / name / FILMED).touch()
    plan = Plan.load(out / "plan.json")
    copied = load_experiment(plan.recipe, (*plan.overrides(VARIANTS["no-gen"], 0), "train.keep_last=5"))
    write_run(out / "runs" / "no-gen" / "seed-0", copied)
    shutil.copyfile(shipped_adapter(), out / "runs" / "no-gen" / "seed-0" / "final" / "adapter.safetensors")
    assert main(["reproduce", "no-gen", "--seeds", "1", "--out", "out"]) == 0  # the plan is the folder's
    told = capsys.readouterr()
    results = [out / name for name in ("findings.json", "reproduction.html", "reproduction.md")]
    assert told.out.splitlines() == [str(path) for path in results] and all(path.is_file() for path in results)
    assert "3 jobs to do, 3 done already" in told.err
    found = {finding.claim: finding for finding in load_findings(out / "findings.json")}
    assert (found["no-gen"].num_runs, found["no-gen"].variants) == (2, ("half", "no-gen"))
    assert found["no-gen"].measured and not found["no-meta"].measured
    assert "r_gen" in found["no-gen"].reason.lower(), "the copied run has no evaluation of its own: said, not made up"
    assert "not planned as the published ones" in results[2].read_text()
    attempts = Ledger(out / "ledger.jsonl", out / "under_way.json").read()
    assert [(a.job, a.outcome) for a in attempts] == [
        (job, Outcome.FINISHED) for job in ("train half, seed 0", "judge half, seed 0", "judge no-gen, seed 0")
    ]
    assert all(a.seconds and a.commit and a.device and (out / a.log).is_file() for a in attempts)
    trained = load_experiment(str(out / "runs" / "half" / "seed-0" / "recipe.toml"))
    assert dump_toml(trained) == dump_toml(load_experiment("mini", plan.overrides(VARIANTS["half"], 0)))
    # base and truth are the same for both: judged once
    assert "judged alike before" not in (out / "judged" / "half.log").read_text()
    assert (out / "judged" / "no-gen.log").read_text().count("judged alike before") == 2

    assert main(["reproduce", "no-gen", "--seeds", "1", "--out", "out"]) == 0  # nothing is left to do
    assert "0 jobs to do, 6 done already" in capsys.readouterr().err
    assert main(["reproduce", "--out", "out", "--seeds", "1"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["no-gen"].split("half, no-gen")[1].split() == ["0", "2", "of", "2", "runs,", "2", "of", "2", "judged"]


def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    cases = [
        (["no-phas"], "did you mean 'no-phase'"),
        (["--updates", "3"], "nothing is run without a claim"),
        (["--budget", "9", "--out", "new"], "nothing is run without a claim"),
        (["no-gen", "--all"], "--all stands for every claim"),
        (["no-gen", "--out", "file"], "--out file is a file: give a folder"),
        (["no-gen", "--seeds", "0"], "--seeds 0 is not possible"),
        (["no-gen", "--budget", "-1"], "give minutes above 0"),
        (["no-gen", "--side-by-side", "0"], "--side-by-side 0 is not possible"),
        (["no-gen", "--device", "cpu", "--updates", "0"], "--updates 0 is no training"),
        (["no-gen", "--device", "cpu", "--set", "train.lrr=1"], "did you mean 'train.lr'"),
        (["no-gen", "--device", "cpu", "--set", "prompts.main=0"], "A phase has no prompts"),
    ]
    for words, sentence in cases:
        assert main(["reproduce", *words]) == 2, words
        told = capsys.readouterr()
        assert sentence in told.err and told.err.count("\n") == 1 and told.out == "", words
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_has_one_plan_and_one_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, nothing = str(tmp_path / "out"), ["--budget", "0.01", "--device", "cpu"]
    assert main(["reproduce", "no-gen", "--updates", "4", *nothing, "--out", out]) == 0
    capsys.readouterr()
    assert main(["reproduce", "no-gen", "--updates", "6", *nothing, "--out", out]) == 2
    assert "another plan (full_updates 4 -> 6; half_updates 2 -> 3)" in capsys.readouterr().err
    lock = RunLock(tmp_path / "out")
    assert main(["reproduce", "no-gen", *nothing, "--out", out]) == 2
    assert "is in use by process" in capsys.readouterr().err
    lock.close()


@pytest.mark.slow
def test_ctrl_c_and_a_kill_cost_no_finished_update(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["reproduce", "no-gen", "--seeds", "1", *SMALL, "--updates", "12", "--out", str(out)]
    run = out / "runs" / "half" / "seed-0"

    def start_until(updates: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "worldr1", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + PATIENCE_S
        while len(read_metrics(run)) < updates and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return process

    process = start_until(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("stopped with 0 of 6 jobs done; the same command goes on")
    done = int(list_checkpoints(run)[-1].name)
    assert done == len(read_metrics(run)) >= 1

    process = start_until(done + 1)
    process.kill()  # its job lives on
    process.communicate()
    words += ["--budget", "0.01"]
    process = start_until(99)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "(train half, seed 0), which a killed start has left behind" in err
    assert len(read_metrics(run)) == int(list_checkpoints(run)[-1].name) >= done + 1
    attempts = Ledger(out / "ledger.jsonl", out / "under_way.json").read()
    assert [a.outcome for a in attempts] == [Outcome.STOPPED, Outcome.KILLED]
    assert attempts[1].command[-2:] == ("--resume", str(run))
