"""`worldr1 export` as a user runs it: the files, the cards and what they tell people to do, and what is refused."""

import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from older_adapter import write_older_adapter
from safetensors import safe_open
from safetensors.torch import load_file

from worldr1.cli import main
from worldr1.diffusion.schedule import sigma_grid
from worldr1.train.adapter_file import AdapterInfo, BaseShape, LoraConfig, TrainedWith, save_adapter
from worldr1.train.lora import add_lora, lora_parameters, lora_state
from worldr1.video_io import read_mp4

Lines = pytest.CaptureFixture[str]
CONFIG = LoraConfig(rank=2, alpha=6.0)
TRAINING = TrainedWith(
    transport="flow", strength=0.7, parallax_strength=0.2, shift=5.0, steps=2, frames=5, height=32, width=48
)


@pytest.fixture(scope="module")
def lora(tiny_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model as training writes it."""
    transformer = WanTransformer3DModel.from_pretrained(tiny_wan_folder, subfolder="transformer")
    add_lora(transformer, CONFIG, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in lora_parameters(transformer).values():
            parameter.add_(0.1)
    info = AdapterInfo(
        config=CONFIG,
        base=tiny_wan_folder.name,
        guidance=1.0,
        shape=BaseShape.of_config(transformer.config),
        training=TRAINING,
        recipe_sha256="ab" * 32,
        version="0.1",
    )
    path = tmp_path_factory.mktemp("run") / "adapter.safetensors"
    save_adapter(path, lora_state(transformer), info)
    return path


def code_of(card: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    return block


def commands_of(card: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in card.splitlines() if line.startswith("    worldr1 ")]


def test_the_default_is_the_native_file_with_a_card(lora: Path, tmp_path: Path, capsys: Lines) -> None:
    out = tmp_path / "mine.safetensors"
    assert main(["export", str(lora), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "native: 16 layers of tiny-wan, scale 3", str(out), str(tmp_path / "mine.md"),
    ]  # fmt: skip
    tensors = load_file(out)
    assert float(tensors["diffusion_model.blocks.1.cross_attn.v.alpha"]) == 6.0
    assert len(tensors) == 3 * 16
    card = (tmp_path / "mine.md").read_text()
    for said in (
        "| base | tiny-wan (WanTransformer3DModel, 32 wide, 2 layers); it fits no other |",
        "rank 2, alpha 6, on to_q, to_k, to_v, to_out.0",
        "| clips | 5 frames of 48 x 32 |",
        "| sampling | 2 steps, shift 5 |",
        "| camera noise | transport flow, strength 0.7; 0.2 for paths that move the camera's centre |",
        "| guidance | 1 (none) |",
        f"| recipe | `recipe.toml` with sha256 {'ab' * 32} |",
        "put `mine.safetensors` into `models/loras`",
    ):
        assert said in card
    assert sorted(os.listdir(tmp_path)) == ["mine.md", "mine.safetensors"]


@pytest.mark.parametrize("form", ["native", "diffusers", "merged"])
def test_what_the_card_says_works(
    form: str, lora: Path, tiny_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    """Its commands and its Python, word for word but for the GPU and the places of the base and the prompt's length."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-wan").symlink_to(tiny_wan_folder)
    name, card = ("out", "out/README.md") if form == "merged" else ("out.safetensors", "out.md")
    assert main(["export", str(lora), "--format", form, "--out", name, "--model", "tiny-wan", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["format"], record["out"], record["card"]) == (form, name, card)
    assert (record["base"], record["rank"], record["alpha"], record["layers"]) == ("tiny-wan", 2, 6.0, 16)
    assert (record.get("dtype"), record.get("rounding")) == (("float32", 0.0) if form == "merged" else (None, None))
    text = Path(card).read_text()

    commands = {command[0]: command for command in commands_of(text)}
    assert main(commands["noise"]) == 0
    noise = load_file("noise.safetensors")["noise"]
    assert noise.shape == (8, 2, 4, 6)
    with safe_open("noise.safetensors", "pt") as file:
        assert (file.metadata()["strength"], file.metadata()["transport"]) == ("0.2", "flow")  # the prompt has parallax
    place: dict[str, Any] = {}
    code = code_of(text).replace('.to("cuda")', "").replace('"default": torch.bfloat16', '"default": torch.float32')
    exec(code, place)  # its guidance of 1 is none, its prompt is one of worldr1's
    assert place["video"].shape == (5, 32, 48, 3)
    assert torch.equal(place["latents"][0], noise)
    grid = torch.tensor(sigma_grid(2, 5.0).tolist())
    assert (place["pipe"].scheduler.sigmas.float() - grid).abs().max() < 1e-3  # the stock Euler's ends elsewhere
    assert ("merged" in text) == ("lora" not in text.split("---")[1])

    assert ("generate" in commands) == (form != "native")
    if form != "native":
        assert main([word.replace("FOLDER", "tiny-wan") for word in commands["generate"]]) == 0
        assert read_mp4(Path("video.mp4")).shape == (5, 3, 32, 48)


def test_the_card_of_an_older_adapter_says_what_is_not_known(tmp_path: Path) -> None:
    older = write_older_adapter(tmp_path / "older.safetensors")
    assert main(["export", str(older), "--model", "mini", "--out", str(tmp_path / "a.safetensors")]) == 0
    card = (tmp_path / "a.md").read_text()
    assert "| trained with | not recorded: the file is of an older worldr1 |" in card
    assert "None" not in card.replace("[None]", "") and "field `lora`" not in card


def test_the_packaged_adapter_merges_into_the_packaged_base(tmp_path: Path, capsys: Lines) -> None:
    out = tmp_path / "mini-r1-merged"
    assert main(["export", "mini-r1", "--format", "merged", "--model", "mini", "--out", str(out)]) == 0
    lost = re.search(r"rounding to bfloat16, the base's type, lost (\d+\.\d%) of the change", capsys.readouterr().out)
    assert lost is not None and 1.0 < float(lost[1].rstrip("%")) < 20.0
    assert f"Rounding to bfloat16 lost {lost[1]}" in (out / "README.md").read_text()
    WanPipeline.from_pretrained(out)


def test_nothing_is_overwritten_unasked(lora: Path, tiny_wan_folder: Path, tmp_path: Path, capsys: Lines) -> None:
    file, folder = tmp_path / "a.safetensors", tmp_path / "merged"
    export = ["export", str(lora), "--out"]
    merge = [*export, str(folder), "--format", "merged", "--model", str(tiny_wan_folder)]
    for command in ([*export, str(file)], merge):
        assert main(command) == 0
        before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.rglob("*") if path.is_file()}
        assert main(command) == 2
        assert "is there already: choose another --out, or give --overwrite" in capsys.readouterr().err
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() == digest for path, digest in before.items())
        assert main([*command, "--overwrite"]) == 0
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before.keys()
    file.unlink()
    assert main([*export, str(file)]) == 2, "the card alone is something to lose as well"
    (folder / "model_index.json").unlink()
    assert main([*merge, "--overwrite"]) == 2
    assert "holds something else than a model" in capsys.readouterr().err
    assert (folder / "vae").is_dir()


def test_a_lora_of_another_model_is_refused_in_one_sentence(
    lora: Path, tiny_wan_folder: Path, tmp_path: Path, capsys: Lines
) -> None:
    for form in ("native", "diffusers", "merged"):
        command = ["export", str(lora), "--format", form, "--model", "mini", "--out", str(tmp_path / "x.safetensors")]
        assert main(command) == 2
        assert capsys.readouterr().err == (
            f"error: {lora} was trained on tiny-wan (32 wide, 2 layers); this model, mini, is 192 wide, 8 layers: give "
            "the model that it was trained on.\n"
        )
    command = ["export", str(lora), "--model", "wan2.1-14b", "--out", str(tmp_path / "x.safetensors")]
    assert main(command) == 2  # by its name alone: 70 GB are not fetched first
    assert "this model, wan2.1-14b, is 5120 wide, 40 layers" in capsys.readouterr().err
    assert main([*command[:2], "--model", "cogvideox1.5-5b", "--out", command[-1]]) == 2
    assert "cogvideox1.5-5b takes no LoRA: they are made for Wan alone" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.safetensors"], "There is no adapter file missing.safetensors"),
        (["--out", "."], "--out . is a folder: give a file name"),
        (["--out", "a.pt"], "a name that ends in .safetensors, not 'a.pt'"),
        (["--out", "no/such/a.safetensors"], "no/such does not exist"),
        (["--out", "lora.safetensors", "--overwrite"], "is the LoRA itself"),
        (["--out", "folder.safetensors"], "folder.safetensors is a folder"),
        (["--format", "merged"], "needs the base: give --model DIR, the pipeline folder of tiny-wan"),
        (["--format", "merged", "--model", "no/such"], "no model folder no/such"),
        (["--format", "merged", "--model", "folder.safetensors"], "is incomplete: transformer"),
        (["--format", "merged", "--model", "base", "--out", "base/merged"], "lie in one another"),
        (["--format", "merged", "--model", "base", "--out", "base"], "lie in one another"),
        (["--format", "merged", "--model", "base", "--out", "."], "lie in one another"),
        (["--format", "merged", "--model", "base", "--out", "lora.safetensors"], "lora.safetensors is a file"),
    ],
)
def test_export_refuses_in_one_sentence(
    arguments: list[str],
    said: str,
    lora: Path,
    tiny_wan_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Lines,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    shutil.copytree(tiny_wan_folder, tmp_path / "base")
    Path("lora.safetensors").write_bytes(lora.read_bytes())
    source = [] if arguments[0].startswith("missing") else ["lora.safetensors"]
    place = [] if "--out" in arguments else ["--out", "out.safetensors"]
    assert main(["export", *source, *arguments, *place]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert sorted(os.listdir(tmp_path)) == ["base", "folder.safetensors", "lora.safetensors"]
    assert Path("lora.safetensors").read_bytes() == lora.read_bytes()


def test_a_cogvideox_layer_has_no_native_name(lora: Path, tmp_path: Path, capsys: Lines) -> None:
    state = {f"transformer_blocks.0.attn1.to_q.lora_{x}.weight": torch.zeros(2, 2) for x in "AB"}
    info = AdapterInfo(config=dataclasses.replace(CONFIG, targets=("to_q",)), base="cog", guidance=6.0)
    save_adapter(tmp_path / "a.safetensors", state, info)
    assert main(["export", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "b.safetensors")]) == 2
    assert (
        "transformer_blocks.0.attn1.to_q has no name in the original Wan model; use --format" in capsys.readouterr().err
    )
    assert os.listdir(tmp_path) == ["a.safetensors"]
