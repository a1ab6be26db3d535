"""The process that `reproduce` starts for films, where it cannot work."""

from pathlib import Path

import pytest
from run_folders import write_run

from worldr1.build import load_experiment
from worldr1.reproduce.filming import main
from worldr1.reproduce.jobs import FILMED
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import VARIANTS


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, half = Layout(tmp_path), VARIANTS["half"]
    run = write_run(layout.run(half, 0), load_experiment("mini"))
    (run / "recipe.toml").write_text("train = [")
    assert main([str(tmp_path), "half"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "recipe.toml" in told and told.count("\n") == 1
    assert not (layout.films(half) / FILMED).exists()
