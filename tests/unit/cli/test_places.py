"""A place that cannot be written is refused before work begins, in one sentence, and nothing is left there."""

import os
from pathlib import Path

import pytest

from worldr1.cli import main
from worldr1.cli.places import check_file, make_folder
from worldr1.errors import InputError


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file named `file` and a folder named `folder`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_a_file_that_can_be_written_passes_and_is_not_touched(taken: Path) -> None:
    for overwrite in (True, False):
        check_file(Path("new"), overwrite=overwrite)
        check_file(Path("new.SVG"), suffix=".svg", overwrite=overwrite)
    check_file(Path("file"), overwrite=True)
    assert sorted(path.name for path in taken.iterdir()) == ["file", "folder"]
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone/x", "the folder gone does not exist: create it or choose another --plot"),
        ("file/x", "the folder file does not exist: create it or choose another --plot"),
        ("folder", "--plot folder is a folder: give a file name"),
        ("file", "--plot needs a name that ends in .svg, not 'file'"),
        ("new.png", "--plot needs a name that ends in .svg, not 'new.png'"),
    ],
)
@pytest.mark.usefixtures("taken")
def test_a_file_that_cannot_be_written_is_refused(path: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}$"):
        check_file(Path(path), option="--plot", suffix=".svg", overwrite=True)


def refuse_writing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may write everywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != place)


@pytest.mark.parametrize("closed", [".", "file"])
@pytest.mark.usefixtures("taken")
def test_permission_of_the_file_and_of_its_folder_is_asked_for(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_writing(closed, monkeypatch)
    with pytest.raises(InputError, match=r"^file cannot be written: choose another --out$"):
        check_file(Path("file"), overwrite=True)


@pytest.mark.usefixtures("taken")
def test_folders_are_made_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(Path("a/b"))
    make_folder(Path("a/b"))
    assert Path("a/b").is_dir()
    for path in ("file", "file/x"):
        with pytest.raises(InputError, match=rf"^--out {path} cannot be used as a folder \(.+\): choose another$"):
            make_folder(Path(path))
    refuse_writing("folder", monkeypatch)
    with pytest.raises(InputError, match=r"^--in folder cannot be used as a folder \(Permission denied\)"):
        make_folder(Path("folder"), option="--in")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "base", "truth", "--out", "folder"], "--out folder is a folder: give a file name"),
        (["compare", "base", "truth", "--out", "gone/x.html"], "the folder gone does not exist"),
        (["compare", "base", "truth", "--out", "x.pdf"], "--out needs a name that ends in .html, not 'x.pdf'"),
        (["noise", "--prompt", "Camera push in.", "--out", "n.txt"], "ends in .safetensors, not 'n.txt'"),
        (["study", "analyse", "folder", "--out", "x.pdf"], "--out needs a name that ends in .html, not 'x.pdf'"),
        (["study", "analyse", "folder", "--out", "gone/x.html"], "the folder gone does not exist"),
        (["doctor", "--recipe", "mini", "--out", "x.txt"], "--out needs a name that ends in .json, not 'x.txt'"),
        (["export", "mini-r1", "--out", "folder"], "--out folder is a folder: give a file name"),
        (["compare", "base", "truth", "--metric", "sharpness"], "There is no metric 'sharpness'; known are: "),
        (["doctor", "--recipe", "mini", "--out", "folder"], "--out folder is a folder: give a file name"),
        (["mini", "cost", "--out", "folder"], "--out folder is a folder: give a file name"),
        (["mini", "cost", "--out", "file/x.json"], "--out file cannot be used as a folder"),
        (["mini", "judge", "--run", "folder", "--out", "judged"], "folder holds no run: give the folder that train"),
        (["mini", "render", "--out", "file"], "--out file cannot be used as a folder (File exists)"),
        (["evaluate", "--export-suite", "file/x"], "--export-suite file/x cannot be used as a folder"),
        (["prompts", "stats", "--show", "-1"], "--show must be at least 0, got -1"),
        (
            ["mini", "build", "corpus", "--state", "s", "--out", "o", "--device", "cpu", "--clips", "0"],
            "above 0, got 0",
        ),
    ],
)
def test_commands_refuse_before_they_begin(
    arguments: list[str], said: str, taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert sorted(path.name for path in taken.iterdir()) == ["file", "folder"]
