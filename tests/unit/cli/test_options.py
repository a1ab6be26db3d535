"""Repeated values, and options that nothing would read, are one sentence."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pytest

from worldr1.cli import main
from worldr1.cli.options import check_distinct, refuse_unread
from worldr1.errors import InputError


def test_different_values_pass() -> None:
    check_distinct([0, 1, -1], what="--seeds")
    check_distinct(["a", "b", Path("c")], what="the set")
    check_distinct([], what="--seeds")


@pytest.mark.parametrize(
    ("values", "said"),
    [([1, 2, 1], "1"), ([0, 0], "0"), (["a", "b/../a"], "b/../a"), ([Path("a"), Path("a").resolve()], ".*/a")],
)
def test_the_value_that_comes_again_is_named(values: Sequence[int | str | Path], said: str) -> None:
    with pytest.raises(InputError, match=f"^--seeds {said} is given twice: give different ones$"):
        check_distinct(values, what="--seeds")


def test_a_link_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(InputError, match="link is given twice"):
        check_distinct([tmp_path / "file", tmp_path / "link"], what="the video")


def test_only_what_was_given_is_refused_and_by_its_own_name() -> None:
    usual = Namespace(best_of=None, seed=0, prompt="")
    refuse_unread(Namespace(best_of=None, seed=0, prompt="x"), usual, ("best_of", "seed"), why="nothing reads it")
    with pytest.raises(InputError, match=r"^leave out --best-of: nothing reads it$"):
        refuse_unread(Namespace(best_of=2, seed=0, prompt=""), usual, ("seed", "best_of"), why="nothing reads it")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "base", "truth", "base"], "the evaluation base is given twice"),
        (["study", "new", "a", "./a", "--out", "s"], "the evaluation a is given twice"),
        (["prompts", "stats", "world", "world"], "the set world is given twice"),
        (["prompts", "check", "world", "world"], "the set world is given twice"),
        (["prompts", "check", "world", "--against", "a.txt", "b.txt", "./a.txt"], "--against a.txt is given twice"),
        (["prompts", "stats", "world", "--beside", "a.txt", "a.txt"], "--beside a.txt is given twice"),
    ],
)
def test_commands_refuse_what_is_given_twice(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: {said}: give different ones\n"
    assert printed.out == "" and list(tmp_path.iterdir()) == []


def test_sets_of_one_name_stay_apart_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / folder / "a.txt" for folder in ("one", "two")]
    for number, file in enumerate(files, start=1):
        file.parent.mkdir()
        file.write_text("A lake with two boats.\n" * number)
    assert main(["prompts", "stats", "dynamic", "--beside", *map(str, files)]) == 0
    out = capsys.readouterr().out
    assert f"| {files[0]} | 1 |" in out and f"| {files[1]} | 2 |" in out
