"""What an adapter file says about itself: written, read back, older files, damaged ones, other models."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from older_adapter import write_older_adapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from worldr1.backends.mini import mini_base
from worldr1.build import load_experiment
from worldr1.errors import ConfigError, InputError
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.shipped import shipped_adapter
from worldr1.train.adapter_file import (
    AdapterInfo,
    BaseShape,
    LoraConfig,
    TrainedWith,
    base_name,
    check_base,
    own_metadata,
    read_adapter,
    read_info,
    read_merged_info,
    read_training,
    save_adapter,
)
from worldr1.train.lora_formats import save_native

SMALL = BaseShape(
    class_name="WanTransformer3DModel", layers=30, width=1536, heads=12, ffn=8960, text=4096, in_channels=16
)
LARGE = dataclasses.replace(SMALL, layers=40, width=5120, heads=40, ffn=13824)
TRAINING = TrainedWith(
    transport="flow", strength=0.7, parallax_strength=0.3, shift=5.0, steps=20, frames=81, height=480, width=832
)
INFO = AdapterInfo(
    config=LoraConfig(rank=2, alpha=3.0, targets=("to_q", "ffn.net.2")),
    base="Wan2.1-T2V-1.3B",
    guidance=5.0,
    shape=SMALL,
    training=TRAINING,
    recipe_sha256="ab" * 32,
    reward_model="da3-base",
    version="9.9",
)
STATE = {f"blocks.0.attn1.to_q.lora_{x}.weight": torch.randn(2, 2) for x in "AB"}


def test_everything_comes_back_from_every_form(tmp_path: Path) -> None:
    for save in (save_adapter, save_native):
        save(tmp_path / "lora.safetensors", STATE, INFO)
        assert read_info(tmp_path / "lora.safetensors") == INFO
        assert read_training(tmp_path / "lora.safetensors") == TRAINING
    save_adapter(tmp_path / "lora.safetensors", STATE, INFO)
    info, state = read_adapter(tmp_path / "lora.safetensors")
    assert info == INFO
    assert state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)
    bare = AdapterInfo(config=LoraConfig(rank=2), base="mini", guidance=1.0)
    save_adapter(tmp_path / "lora.safetensors", STATE, bare)
    assert read_info(tmp_path / "lora.safetensors") == bare


def test_an_adapter_of_an_older_version_is_read(tmp_path: Path) -> None:
    older = write_older_adapter(tmp_path / "older.safetensors")
    info, state = read_adapter(older)
    assert info == AdapterInfo(config=LoraConfig(), base="mini", guidance=1.0)
    assert BaseShape.of_tensors(state) == BaseShape(layers=8, width=192)
    with pytest.raises(InputError, match="does not say which noise it was trained with; leave it out"):
        read_training(older)


def test_the_packaged_adapter_says_how_its_recipe_made_videos() -> None:
    recipe = load_experiment(str(shipped_adapter().with_name("recipe.toml")))
    told = read_training(shipped_adapter())
    assert told.noise == recipe.noise
    assert (told.steps, told.shift) == (recipe.sampler.num_steps, recipe.sampler.shift)
    assert (told.frames, told.height, told.width) == (recipe.clip.frames, recipe.clip.height, recipe.clip.width)


def test_the_noise_of_the_training_is_a_noise_config() -> None:
    assert TRAINING.noise == NoiseConfig(strength=0.7, parallax_strength=0.3, transport="flow")


def test_the_native_form_is_not_read_as_an_adapter(tmp_path: Path) -> None:
    save_native(tmp_path / "native.safetensors", STATE, INFO)
    with pytest.raises(
        InputError, match=r"original Wan names; give the adapter\.safetensors that it was exported from"
    ):
        read_adapter(tmp_path / "native.safetensors")


def rewrite(path: Path, change: dict[str, Any]) -> None:
    """Changes our own metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    own = json.loads(metadata["worldr1"]) | change
    save_file(load_file(path), path, metadata=metadata | {"worldr1": json.dumps(own)})


def test_keys_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_adapter(path, STATE, INFO)
    rewrite(path, {"new": 1, "training": dataclasses.asdict(TRAINING) | {"sampler": "heun"}})
    assert read_info(path) == INFO


@pytest.mark.parametrize(
    "change",
    [
        {"training": dataclasses.asdict(TRAINING) | {"transport": "teleport"}},
        {"training": dataclasses.asdict(TRAINING) | {"steps": "many"}},
        {"training": ["canvas"]},
        {"shape": {"layers": "thirty"}},
        {"lora": {"rank": None}},
        {"guidance": "some"},
    ],
)
def test_damaged_metadata_are_one_sentence(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_adapter(path, STATE, INFO)
    rewrite(path, change)
    with pytest.raises(InputError, match=r"no adapter of worldr1 \(its metadata are missing or damaged\)"):
        read_info(path)


def merged(folder: Path, *files: str) -> Path:
    """A pipeline's weight files that say it, beside one that does not, as nothing but a leftover could be."""
    (folder / "transformer").mkdir(parents=True)
    save_file(STATE, folder / "transformer" / "a.safetensors", metadata={"format": "pt"})
    for file in files:
        save_file(STATE, folder / "transformer" / file, metadata=own_metadata(INFO))
    return folder


def test_a_merged_folder_says_what_was_merged_into_it(tmp_path: Path) -> None:
    assert read_merged_info(merged(tmp_path / "merged", "b.safetensors", "c.safetensors")) == INFO
    assert read_merged_info(merged(tmp_path / "base")) is None
    assert read_merged_info(tmp_path / "nowhere") is None
    broken = merged(tmp_path / "broken") / "transformer" / "b.safetensors"
    broken.write_bytes(b"version https://git-lfs")
    assert read_merged_info(tmp_path / "broken") is None, "loading says what it is"


@pytest.mark.parametrize("own", ["", "{", "[]", '{"base": "mini"}', '{"base": "mini", "guidance": 1, "lora": 7}'])
def test_a_merged_folder_with_damaged_words_is_one_sentence(own: str, tmp_path: Path) -> None:
    file = merged(tmp_path) / "transformer" / "b.safetensors"
    save_file(STATE, file, metadata={"format": "pt", "worldr1": own})
    with pytest.raises(InputError) as caught:
        read_merged_info(tmp_path)
    assert str(caught.value) == (
        f"{file} has a LoRA of worldr1 merged into it, but its metadata are damaged; export the folder again."
    )


def test_a_base_of_another_shape_is_named_with_both_sizes() -> None:
    check_base("a.safetensors", INFO, STATE, SMALL, model="models/small")
    with pytest.raises(InputError) as caught:
        check_base("a.safetensors", INFO, STATE, LARGE, model="models/Wan2.1-T2V-14B")
    assert str(caught.value) == (
        "a.safetensors was trained on Wan2.1-T2V-1.3B (1536 wide, 30 layers); this model, Wan2.1-T2V-14B, is "
        "5120 wide, 40 layers: give the model that it was trained on."
    )
    with pytest.raises(
        InputError, match=r"30 layers, in_channels 16\); this model is 1536 wide, 30 layers, in_channels 36"
    ):
        check_base("a.safetensors", INFO, STATE, dataclasses.replace(SMALL, in_channels=36), model="")
    with pytest.raises(InputError, match="class_name CogVideoXTransformer3DModel"):
        check_base("a.safetensors", INFO, STATE, BaseShape(class_name="CogVideoXTransformer3DModel"), model="")


def test_an_older_file_is_compared_by_its_tensors() -> None:
    info, state = read_adapter(shipped_adapter())
    shape = BaseShape.of_folder(mini_base())
    assert shape is not None and (shape.width, shape.layers, shape.text) == (192, 8, 128)
    check_base("mini-r1", info, state, shape, model="mini")
    with pytest.raises(
        InputError, match=r"trained on mini \(192 wide, 8 layers\); this model, x, is 1536 wide, 30 layers"
    ):
        check_base("mini-r1", info, state, SMALL, model="x")


def test_a_folder_without_a_readable_configuration_has_no_shape(tmp_path: Path) -> None:
    assert BaseShape.of_folder(tmp_path) is None
    (tmp_path / "transformer").mkdir()
    for text in ("{", "[1]"):
        (tmp_path / "transformer" / "config.json").write_text(text)
        assert BaseShape.of_folder(tmp_path) is None


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("mini", "mini"),
        ("/data/models/Wan2.1-T2V-1.3B-Diffusers/", "Wan2.1-T2V-1.3B-Diffusers"),
        ("hub/models--Wan-AI--Wan2.1-T2V-14B-Diffusers/snapshots/38ec498cb3208fb688890f8cc7e94ede2cbd7f68",
         "Wan-AI/Wan2.1-T2V-14B-Diffusers"),
        (".", Path.cwd().name),
    ],
)  # fmt: skip
def test_a_base_s_name_does_not_say_where_it_lies(folder: str, name: str) -> None:
    assert base_name(folder) == name


def test_a_target_is_a_whole_ending_of_a_layer_s_name() -> None:
    config = LoraConfig(targets=("proj", "net.2", "proj_out"))
    assert [config.is_target(n) for n in ("ffn.net.0.proj", "ffn.net.2", "proj_out", "time_proj", "ffn.net.12")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_lora_has_a_width() -> None:
    with pytest.raises(ConfigError, match=r"^rank is 0: give at least 1\.$"):
        LoraConfig(rank=0)
