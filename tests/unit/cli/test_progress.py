"""Bars change nothing of the work, and say nothing where nobody looks."""

import pytest

from worldr1.cli.progress import tracked


def test_every_piece_comes_once_in_order_and_without_a_terminal_nothing_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(tracked(["a", "b", "c"], "reading")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take the capture for a terminal
    monkeypatch.setenv("TERM", "xterm")
    for _ in tracked(range(4), "reading"):
        pass
    out, err = capsys.readouterr()
    assert out == "" and "reading" in err and "100%" in err
