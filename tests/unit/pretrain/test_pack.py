"""Packing refuses what is not whole, and what it writes loads with stock classes."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline
from safetensors.torch import load_file, save_file

from worldr1.backends.mini import mini_index
from worldr1.errors import InputError
from worldr1.mini.networks.base import new_text_encoder, new_transformer, new_vae, train_tokenizer
from worldr1.pretrain import pack as module
from worldr1.pretrain.build import build
from worldr1.pretrain.loop import bf16_state
from worldr1.pretrain.pack import OPTIONAL_PARTS, PARTS, pack, unpack
from worldr1.pretrain.parts import BuildConfig


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained parts as the builders leave them."""
    folder = tmp_path_factory.mktemp("parts")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = train_tokenizer(["A plain red ball on a blue tiled floor."])
        tokenizer.save_pretrained(folder / "tokenizer")
        models = {"transformer": new_transformer(), "text_encoder": new_text_encoder(len(tokenizer))}
        vae = bf16_state(new_vae()) | {"latents_mean": torch.arange(48.0) / 10, "latents_std": 1 + torch.arange(48.0)}
    base = {f"{name}.{key}": x for name, model in models.items() for key, x in bf16_state(model).items()}
    save_file(vae, folder / "vae.safetensors")
    save_file(base, folder / "base.safetensors")
    for name in ("reconstructor", "trunk"):
        save_file({"weight": torch.full((3,), 2.0)}, folder / f"{name}.safetensors")
    (folder / "vae.metrics.json").write_text(json.dumps({"psnr_db": 25.5}))
    return folder


def test_packed_weights_load_with_stock_classes(parts: Path, tmp_path: Path) -> None:
    stale = tmp_path / "adapter" / "adapter.safetensors"
    stale.parent.mkdir()
    stale.touch()
    result = pack(parts, tmp_path)
    assert not stale.exists(), "an adapter of another base"
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert result["megabytes"] == pytest.approx(sum(f.stat().st_size for f in files) / 1e6, abs=0.01)
    pipe: Any = WanPipeline.from_pretrained(tmp_path / "base", dtype=torch.float32)
    assert pipe.vae.config["latents_mean"] == pytest.approx([i / 10 for i in range(48)])
    assert pipe.vae.config["latents_std"] == pytest.approx([1.0 + i for i in range(48)])
    base = load_file(parts / "base.safetensors")
    for name in ("transformer", "text_encoder"):
        loaded = getattr(pipe, name).state_dict()
        for key, value in base.items():
            if key.startswith(f"{name}."):
                assert torch.equal(loaded[key.removeprefix(f"{name}.")], value.float()), key
    index = mini_index(tmp_path)
    assert index["metrics"] == {"vae": {"psnr_db": 25.5}}
    assert index["sha256"] == {
        f.relative_to(tmp_path).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
    }
    assert len(index["sha256"]) == 5


def test_optional_parts_are_packed_if_they_are_there_and_never_left_behind(parts: Path, tmp_path: Path) -> None:
    some, weights, state = (tmp_path / name for name in ("some", "weights", "state"))
    shutil.copytree(parts, some)
    for number, part in enumerate(OPTIONAL_PARTS):
        save_file({"weight": torch.full((3,), float(number))}, some / f"{part}.safetensors")
        (some / f"{part}.metrics.json").write_text(json.dumps({"score": 0.5 + number}))
    pack(some, weights)
    index, card = mini_index(weights), (weights / "README.md").read_text()
    assert {"judge.safetensors", "probe.safetensors"} < index["sha256"].keys()
    assert index["metrics"] == {"vae": {"psnr_db": 25.5}, "judge": {"score": 0.5}, "probe": {"score": 1.5}}
    assert "| judge | a second 3D model" in card and "judge.safetensors |" in card

    unpack(weights, state)
    assert load_file(state / "probe.safetensors")["weight"].tolist() == [1.0, 1.0, 1.0]

    (some / "judge.safetensors").unlink()  # its metrics stay behind, as a failed build leaves them
    pack(some, weights)
    index, card = mini_index(weights), (weights / "README.md").read_text()
    assert "judge" not in index["metrics"] and "judge.safetensors" not in index["sha256"]
    assert not (weights / "judge.safetensors").exists(), "it judged other weights"
    assert "| judge |" not in card and "| probe |" in card, "an optional part is not said to be untrained"


@pytest.mark.parametrize("missing", [*(f"{part}.safetensors" for part in PARTS), "tokenizer"])
def test_a_missing_part_is_refused_before_anything_is_written(parts: Path, tmp_path: Path, missing: str) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for path in parts.iterdir():
        if path.name != missing:
            (some / path.name).symlink_to(path)
    weights = tmp_path / "weights"
    with pytest.raises(InputError, match=rf"lacks {missing}; build that part first"):
        pack(some, weights)
    assert not weights.exists()


def test_weights_too_large_to_ship_are_refused(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_MB", 5)
    with pytest.raises(InputError, match="too large to ship"):
        pack(parts, tmp_path)


def test_builders_say_what_is_missing(tmp_path: Path) -> None:
    config = BuildConfig(state=tmp_path / "state", out=tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="unknown part 'jury'; build one of corpus, vae"):
        build("jury", config)
    with pytest.raises(InputError, match="run `worldr1 mini build corpus` first"):
        build("vae", config)
