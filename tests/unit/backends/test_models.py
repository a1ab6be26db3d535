"""From the model section of a recipe to a model: which class, what is refused, what is said at the start."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_models import TINY_COGVIDEOX, TINY_WAN

from worldr1.backends import model_folder, models
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.models import ModelConfig, check_dtype, compile_model, describe, kin, load_model
from worldr1.backends.wan import WanPolicy
from worldr1.build import build_generator, build_policy
from worldr1.config import load_recipe
from worldr1.errors import ConfigError, InputError
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, save_adapter
from worldr1.train.lora import add_lora, lora_parameters, lora_state


def test_folders_of_both_kinds_are_told_apart(published_wan_folder: Path, published_cogvideox_folder: Path) -> None:
    wan, cog = str(published_wan_folder), str(published_cogvideox_folder)
    assert isinstance(load_model(ModelConfig(folder=wan), "cpu"), WanPolicy)
    assert isinstance(load_model(ModelConfig(folder=cog), "cpu"), CogVideoXSampler)
    assert [kin(ModelConfig(folder=folder)).name for folder in (wan, cog)] == ["wan2.1-1.3b", "cogvideox1.5-5b"]
    assert kin(ModelConfig(folder="wan2.1-14b")).defaults.guidance == 5.0
    assert kin(ModelConfig(folder="zai-org/CogVideoX1.5-5B")).defaults.width == 1360


@pytest.mark.parametrize("weights", ["published", "random"])
@pytest.mark.parametrize("name", ["folder", "cogvideox1.5-5b", "zai-org/CogVideoX1.5-5B"])
def test_what_cogvideox_cannot_do_is_said_before_anything_is_fetched_or_loaded(
    name: str, weights: Any, published_cogvideox_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Any:
        raise AssertionError("fetched or loaded")

    monkeypatch.setattr(model_folder, "fetch_folder", never)
    monkeypatch.setattr("worldr1.build.load_model", never)
    if name == "folder":
        name, weights = str(published_cogvideox_folder), "published"
    model = ModelConfig(folder=name, weights=weights)
    with pytest.raises(InputError, match="is a CogVideoX model, which only generates"):
        build_policy(model, "cpu")
    with pytest.raises(InputError, match="leave out the LoRA"):
        build_generator(model, "cpu", lora=Path("adapter.safetensors"))


@pytest.mark.parametrize("architecture", [TINY_WAN, TINY_COGVIDEOX], ids=["wan", "cogvideox"])
def test_random_models_take_the_recipes_options(monkeypatch: pytest.MonkeyPatch, architecture: Any) -> None:
    monkeypatch.setattr(models, "named_architecture", lambda name: architecture)
    config = ModelConfig(folder="any", weights="random", dtype="bfloat16", guidance=3.0, attention="math", seed=4)
    model = load_model(replace(config, negative_prompt="blur", decode="tiled", decode_dtype="bfloat16"), "cpu")
    assert (model.guidance, model.kernel, model.dtype) == (3.0, "math", torch.bfloat16)
    options = model.options
    assert (options.negative_prompt, options.decode, options.decode_dtype) == ("blur", "tiled", torch.bfloat16)
    assert model.encode(["a box"]).dtype == torch.bfloat16
    other = load_model(replace(config, seed=5), "cpu").transformer
    assert not torch.equal(other.get_parameter("proj_out.weight"), model.transformer.get_parameter("proj_out.weight"))


def test_a_generator_carries_its_adapter_in_its_weights(published_wan_folder: Path, tmp_path: Path) -> None:
    config, lora = ModelConfig(folder=str(published_wan_folder)), LoraConfig(rank=2)
    transformer = build_policy(config, "cpu").transformer
    add_lora(transformer, lora, generator=torch.Generator().manual_seed(0))
    for parameter in lora_parameters(transformer).values():
        parameter.data.add_(0.1)
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, lora_state(transformer), AdapterInfo(config=lora, base=Path(config.folder).name, guidance=1.0))
    plain, policy, generator = (
        build_policy(config, "cpu"),
        build_policy(replace(config, dtype="bfloat16", lora_products="base"), "cpu", lora=path),
        build_generator(config, "cpu", lora=path),
    )
    adapted = [module for module in policy.transformer.modules() if isinstance(module, LoraLayer)]
    assert adapted and not any(module.cast_input_dtype_enabled for module in adapted)
    assert not any(isinstance(module, LoraLayer) for module in generator.transformer.modules())
    name = "blocks.0.attn1.to_q.weight"
    assert not torch.equal(generator.transformer.get_parameter(name), plain.transformer.get_parameter(name))


def test_one_line_says_how_it_computes(published_wan_folder: Path, published_cogvideox_folder: Path) -> None:
    config = ModelConfig(folder=str(published_wan_folder), dtype="bfloat16", attention="math", compile=True)
    policy = build_policy(config, "cpu")
    policy.checkpoint_gradients(True, rows=1, latent_shape=(16, 1, 2, 2))
    num = sum(parameter.numel() for parameter in policy.transformer.parameters()) / 1e6
    computes = "in bfloat16, attention math, compile on, checkpointing on"
    assert describe(policy, config) == f"model {published_wan_folder}: {num:.3g} M parameters {computes}"
    config = ModelConfig(folder=str(published_cogvideox_folder))
    assert describe(build_generator(config, "cpu"), config).endswith(
        "in float32, attention torch's choice, compile off"
    )


@pytest.mark.parametrize(("folder", "dynamic"), [("mini", True), ("wan2.1-1.3b", None)])
def test_real_models_are_compiled_for_the_sizes_that_come(folder: str, dynamic: bool | None) -> None:
    asked: list[Any] = []

    class Fake:
        def compile(self, **options: Any) -> None:
            asked.append(options)

    fake: Any = Fake()
    compile_model(fake, ModelConfig(folder=folder))
    compile_model(fake, ModelConfig(folder=folder, compile=True))
    assert asked == [{"dynamic": dynamic}]


def test_bfloat16_on_a_gpu_without_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(InputError, match=r'The GPU Tesla T4 has no bfloat16; set model\.dtype = "float32"'):
        check_dtype("bfloat16", "cuda")
    check_dtype("float32", "cuda")
    check_dtype("bfloat16", "cpu")


def test_where_text_embeddings_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDR1_CACHE", str(tmp_path))
    mini, real = ModelConfig(), ModelConfig(folder="wan2.1-1.3b")
    assert (mini.text.keep, mini.text.cache_folder) == (True, None)
    assert (real.text.keep, real.text.cache_folder) == (False, tmp_path / "text")
    own = replace(real, text_cache="~/here", text_encoder="resident").text
    assert (own.keep, own.cache_folder) == (True, Path.home() / "here")
    assert replace(real, text_cache=None, text_encoder="resident").text.cache_folder is None
    with pytest.raises(ConfigError, match="needs a folder for the embeddings"):
        replace(real, text_cache=None)


def test_the_keys_are_strict(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('gradient_checkpointing = "sometimes"\n')
    with pytest.raises(ConfigError, match=r"'gradient_checkpointing' must be one of 'auto' or true or false"):
        load_recipe(ModelConfig, str(path))
    keys = ("gradient_checkpointing = false", 'attention = "cudnn"', 'text_cache = "none"', 'text_encoder = "resident"')
    path.write_text("\n".join(keys))
    config = load_recipe(ModelConfig, str(path))
    assert (config.gradient_checkpointing, config.attention, config.text_cache) == (False, "cudnn", None)
