"""`worldr1 mini cost`: what a LoRA costs at inference, and that a merged one is the base's own graph."""

import json
from pathlib import Path

import pytest

from worldr1.cli import main


def test_a_merged_lora_is_the_bases_graph_and_one_beside_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "measured" / "inference.json"
    words = ["--num", "1", "--rounds", "2", "--steps", "2", "--device", "cpu", "--out", str(out)]
    assert main(["mini", "cost", *words]) == 0
    found = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert found["same_graph"] is True
    assert found["modules_base"] == found["modules_merged"] < found["modules_lora"]
    assert found["parameters_base"] == found["parameters_merged"] < found["parameters_lora"]
    for name in ("base", "lora", "merged"):
        assert len(found[f"seconds_{name}"]) == 2 and min(found[f"seconds_{name}"]) > 0
    assert (found["adapter"], found["num_videos"], found["steps"]) == ("mini-r1", 1, 2)


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--device", "cpu", "--out", str(tmp_path / "a.json")]
    for words, sentence in ((["--rounds", "0"], "--rounds 0 measures nothing"), (["--lora", "no"], "no adapter file")):
        assert main(["mini", "cost", *words, *out]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()
