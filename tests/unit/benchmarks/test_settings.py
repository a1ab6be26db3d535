"""Settings side by side: how the file is read, and what the table says of runs that were judged or failed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import settings as bench

TARGET = {"value": 0.583, "low": 0.449, "high": 0.75, "percent": True, "decimals": 2, "verdict": "missed"}


def finished(folder: Path, **changes: Any) -> None:
    """A run that was trained and judged."""
    (folder / "judge").mkdir(parents=True)
    targets = [{"name": name, **TARGET, **changes.get(name, {})} for name in bench.COLUMNS]
    (folder / "judge" / "judging.json").write_text(json.dumps({"judges": {"judge": targets}}))
    rows = [{"update": number, "seconds": 1.0 + number, "kl_sum": 0.1 * number} for number in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("recipe.toml", "report.html", "judge/table.md"):
        (folder / name).touch()


def test_a_line_is_a_name_and_overrides() -> None:
    text = "# tried\nbase\n\nstrong reward.weights.recon=4 train.lr=6e-4\n"
    assert bench.read_settings(text) == [("base", []), ("strong", ["reward.weights.recon=4", "train.lr=6e-4"])]
    with pytest.raises(ValueError, match="one name"):
        bench.read_settings("a x=1\na x=2")


def test_finished_runs_are_not_done_again_and_their_targets_stand_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path / "out" / "done", travel={"verdict": "met", "percent": False}, words={"value": None})
    commands: list[list[str]] = []

    def refuse(command: list[str], **options: Any) -> None:
        commands.append(command)
        raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(subprocess, "run", refuse)
    (tmp_path / "settings.txt").write_text("done a=1\nnew train.lr=1e-3\n")
    bench.main([str(tmp_path / "settings.txt"), "--out", str(tmp_path / "out"), "--minutes", "2"])
    commands = [command for command in commands if "worldr1" in command]  # git is asked too
    assert [command[3:5] for command in commands] == [["train", "mini-gpu"]]
    assert "train.max_minutes=2.0" in commands[0] and "train.lr=1e-3" in commands[0]
    printed = capsys.readouterr()
    assert printed.err == "new: exit code 2\n"
    (line,) = [line for line in printed.out.splitlines() if line.startswith("| done")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "+58 % [+45, +75]"
    assert cells[4] == "-" and cells[6] == "**+0.58 [+0.45, +0.75]**"
    assert cells[-3:] == ["3", "2.00", "0.20"]
    assert "| new | failed: see new.log |" in printed.out
