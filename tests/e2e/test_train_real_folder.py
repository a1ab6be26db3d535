"""`worldr1 train` on a small random model in the published layout: text encoder freed, speed keys in force."""

from pathlib import Path

import pytest
import torch

from worldr1.backends.folder_encoder import FolderEncoder
from worldr1.cli import main
from worldr1.train import lora_products
from worldr1.train.runlog import read_metrics

Lines = pytest.CaptureFixture[str]


def test_a_run_encodes_its_prompts_once_and_says_how_it_computes(
    published_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    loads: list[int] = []
    load = FolderEncoder.encoder
    monkeypatch.setattr(FolderEncoder, "encoder", lambda self: (loads.append(1), load(self))[1])
    products: list[torch.dtype] = []
    forward = lora_products._InputDtypeLinear.forward
    monkeypatch.setattr(
        lora_products._InputDtypeLinear, "forward", lambda self, x: (products.append(x.dtype), forward(self, x))[1]
    )
    keys = {
        "model.folder": str(published_wan_folder),
        "model.text_cache": str(tmp_path / "cache"),
        "model.dtype": "bfloat16",
        "model.lora_products": "base",
        "model.gradient_checkpointing": "true",
        "model.guidance": "2.0",
        "model.attention": "math",
        "train.updates": "1",
        "reward.weights.meta": "0",
        "reward.weights.recon": "0",
    }
    run = tmp_path / "run"
    options = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    assert main(["train", "mini-smoke", "--out", str(run), *options]) == 0
    said = capsys.readouterr().err
    assert f"model {published_wan_folder}: " in said
    assert "in bfloat16, attention math, compile off, checkpointing on" in said
    (row,) = read_metrics(run)
    assert row["ratio_deviation"] == 0 and float(row["grad_norm"]) > 0 and row["fault_fraction"] == 0
    assert set(products) == {torch.bfloat16}
    assert len(loads) == 1
    assert "gradient finite and not 0, all prompts were encoded anew" in said
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 8 + 4 + 2 + 1  # with the negative prompt
