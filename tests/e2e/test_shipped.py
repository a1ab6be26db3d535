"""The run that ships: what `mini ship` takes and refuses, and where its evaluations and its adapter turn up."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldr1.backends.mini import mini_index
from worldr1.errors import InputError
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.shipped import copy_evaluations, ship, shipped_adapter
from worldr1.train.lora import LoraConfig, save_adapter
from worldr1.types import Status


def evaluation(reward: float) -> Evaluation:
    record = VideoRecord(
        prompt_id=0, prompt="Camera push in. A.", dynamic=False, tokens=("push_in",), seed=1, status=Status.OK,
        reason="", reward=reward, video="000.mp4",
    )  # fmt: skip
    return Evaluation(records=(record,), seconds=1.0, guidance=1.0, strength=0.5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps({"metrics": {"vae": {"psnr_db": 25.5}}, "sha256": {}}))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name, reward in (("before", 1.0), ("after", 1.5)):
        evaluation(reward).save(folder / "previews" / name)
        (folder / "previews" / name / "000.mp4").write_bytes(b"film")
        (folder / "previews" / name / "000.png").write_bytes(b"strip")
    (folder / "recipe.toml").write_text("device = 'cuda'\n")
    save(folder / "final" / "adapter.safetensors", base="mini")
    return folder


def save(path: Path, *, base: str) -> None:
    path.parent.mkdir(exist_ok=True)
    state = {"blocks.0.attn1.to_q.lora_A.weight": torch.full((2, 8), 1 / 3)}
    save_adapter(path, state, LoraConfig(rank=2), base=base, guidance=1.0)


def test_a_shipped_run_turns_up_in_the_previews_of_others(run: Path, weights: Path, tmp_path: Path) -> None:
    assert copy_evaluations(tmp_path / "previews", weights) is None
    ship(run, weights)
    adapter = shipped_adapter(weights)
    (tensor,) = load_file(adapter).values()
    assert tensor.dtype == torch.bfloat16 and float(tensor[0, 0]) == pytest.approx(1 / 3, rel=0.01)
    index = mini_index(weights)
    assert index["metrics"] == {"vae": {"psnr_db": 25.5}} and list(index["sha256"]) == ["adapter/adapter.safetensors"]
    assert "adapter/adapter.safetensors" in (weights / "README.md").read_text()
    assert (adapter.parent / "recipe.toml").read_text() == "device = 'cuda'\n"

    shown = copy_evaluations(tmp_path / "previews", weights)
    assert shown is not None and shown.notes == ()
    assert (shown.before.records[0].reward, shown.after.records[0].reward) == (1.0, 1.5)
    copied = sorted(p.relative_to(tmp_path / "previews").as_posix() for p in (tmp_path / "previews").rglob("*.*"))
    assert copied == [f"shipped_{name}/{file}" for name in ("after", "before") for file in ("000.mp4", "records.json")]


def test_what_cannot_ship_is_refused_and_nothing_is_lost(run: Path, weights: Path) -> None:
    ship(run, weights)
    kept = shipped_adapter(weights).read_bytes()
    save(run / "final" / "adapter.safetensors", base="elsewhere")
    with pytest.raises(InputError, match="trained elsewhere, not the packaged model"):
        ship(run, weights)
    save(run / "final" / "adapter.safetensors", base="mini")
    shutil.rmtree(run / "previews" / "after")
    with pytest.raises(InputError, match="cannot ship: There is no evaluation after"):
        ship(run, weights)
    shutil.rmtree(run / "final")
    with pytest.raises(InputError, match="There is no adapter file"):
        ship(run, weights)
    assert shipped_adapter(weights).read_bytes() == kept


def test_without_a_packaged_adapter_the_sentence_says_so(weights: Path) -> None:
    with pytest.raises(InputError, match="no packaged adapter"):
        shipped_adapter(weights)
