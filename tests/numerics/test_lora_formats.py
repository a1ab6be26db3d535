"""Every exported form against stock diffusers: the same transformer output as with the adapter that training wrote."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldr1.backends.mini import mini_base
from worldr1.errors import InputError
from worldr1.shipped import shipped_adapter
from worldr1.train import adapter_file
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, read_adapter, read_info, read_merged_info, save_adapter
from worldr1.train.lora import add_lora, load_adapter, lora_parameters, lora_state
from worldr1.train.lora_formats import native_tensors, save_native
from worldr1.train.merging import merge_folder

BLOCKS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
OUTSIDE = ("time_embedder.linear_1", "time_embedder.linear_2", "text_embedder.linear_1", "text_embedder.linear_2")
CONFIG = LoraConfig(rank=4, alpha=6.0, targets=(*BLOCKS, *OUTSIDE, "time_proj", "proj_out"))
"""Every linear layer; alpha is not the rank, and their ratio no power of two."""
TOLERANCE = 1e-5
"""Outputs reach 8. Measured: native 1.4e-6, diffusers 1.0e-6, merged in float32 1.7e-6, own merge 1.3e-6."""


def output(transformer: Any) -> Tensor:
    """On fixed inputs; the tiny model's and the mini model's sizes."""
    generator, config = torch.Generator().manual_seed(1), transformer.config
    latents = torch.randn(1, config["in_channels"], 2, 4, 4, generator=generator)
    text = torch.randn(1, 6, config["text_dim"], generator=generator)
    with torch.no_grad():
        return transformer(latents, torch.tensor([500.0]), text, return_dict=False)[0]


def load_base(folder: Path) -> Any:
    return WanTransformer3DModel.from_pretrained(folder, subfolder="transformer", dtype=torch.float32)


@pytest.fixture(scope="module")
def base(tiny_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline with an output of about 1: diffusers initialises it to almost nothing."""
    folder = tmp_path_factory.mktemp("base") / "tiny-wan"
    shutil.copytree(tiny_wan_folder, folder)
    transformer = load_base(folder)
    with torch.no_grad():
        weight = transformer.proj_out.weight
        weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    transformer.save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training writes it, with values that matter."""
    transformer, generator = load_base(base), torch.Generator().manual_seed(7)
    add_lora(transformer, CONFIG, generator=generator)
    with torch.no_grad():
        for parameter in lora_parameters(transformer).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    path = tmp_path_factory.mktemp("lora") / "adapter.safetensors"
    save_adapter(path, lora_state(transformer), AdapterInfo(config=CONFIG, base="tiny-wan", guidance=1.0))
    return path


@pytest.fixture(scope="module")
def ours(base: Path, adapter: Path) -> Tensor:
    transformer = load_base(base)
    load_adapter(adapter, transformer)
    return output(transformer)


def through_stock(base: Path, lora: Path) -> Tensor:
    pipe = WanPipeline.from_pretrained(base)
    pipe.load_lora_weights(str(lora))
    return output(pipe.transformer)


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def test_the_adapter_matters_and_its_scale_too(base: Path, adapter: Path, ours: Tensor, tmp_path: Path) -> None:
    """Or the tests below would pass for files that hold nothing."""
    info, state = read_adapter(adapter)
    bare = load_base(base)
    add_lora(bare, LoraConfig(rank=4, alpha=4.0, targets=CONFIG.targets), generator=torch.Generator())
    with torch.no_grad():
        for name, parameter in lora_parameters(bare).items():
            parameter.copy_(state[name])
    assert difference(output(load_base(base)), ours) > 0.3
    assert difference(output(bare), ours) > 0.1  # at scale 1, as a file without alpha loads
    assert info.config.scale == 1.5


@pytest.mark.parametrize("form", ["native", "diffusers"])
def test_the_pipeline_reads_the_file_at_full_strength(
    form: str, base: Path, adapter: Path, ours: Tensor, tmp_path: Path
) -> None:
    info, state = read_adapter(adapter)
    path = tmp_path / "lora.safetensors"
    {"native": save_native, "diffusers": save_adapter}[form](path, state, info)
    assert difference(through_stock(base, path), ours) < TOLERANCE
    said = read_info(path)
    assert (said.config, said.base) == (CONFIG, "tiny-wan")


def native_name(layer: str) -> str:
    """Written here once more, and held against diffusers' own conversion below."""
    for ours, theirs in (
        ("attn1.", "self_attn."), ("attn2.", "cross_attn."), ("to_out.0", "o"), ("to_", ""), ("proj_out", "head.head"),
        ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("condition_embedder.time_proj", "time_projection.1"),
        ("condition_embedder.", ""), ("_embedder.linear_1", "_embedding.0"), ("_embedder.linear_2", "_embedding.2"),
        ("norm2", "norm3"), ("scale_shift_table", "modulation"),
    ):  # fmt: skip
        layer = layer.replace(ours, theirs)
    return "head.modulation" if layer == "modulation" else layer


def original_checkpoint(transformer: Any) -> dict[str, Tensor]:
    """The weights under the names of the original Wan repository."""
    state = transformer.state_dict()
    original = {native_name(name): value.clone() for name, value in state.items()}
    back = convert_wan_transformer_to_diffusers(dict(original))
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    return original


def merge_by_native_names(weights: dict[str, Tensor], lora: Mapping[str, Tensor]) -> set[str]:
    """W + B A alpha / r from the names in the file alone, as ComfyUI does; returns the names that were used."""
    used = set()
    for name, up in lora.items():
        layer, is_up, _ = name.partition(".lora_B.weight")
        if not is_up:
            continue
        down = lora[f"{layer}.lora_A.weight"]
        alpha = float(lora[f"{layer}.alpha"]) if f"{layer}.alpha" in lora else len(down)
        weights[f"{layer.removeprefix('diffusion_model.')}.weight"] += alpha / len(down) * (up @ down)
        used |= {name, f"{layer}.lora_A.weight", f"{layer}.alpha"} & lora.keys()
    return used


def test_an_independent_merge_by_the_original_names_gives_the_same(
    base: Path, adapter: Path, ours: Tensor, tmp_path: Path
) -> None:
    info, state = read_adapter(adapter)
    save_native(tmp_path / "native.safetensors", state, info)
    lora, transformer = load_file(tmp_path / "native.safetensors"), load_base(base)
    weights = original_checkpoint(transformer)
    assert merge_by_native_names(weights, lora) == lora.keys()
    assert {"diffusion_model.blocks.1.self_attn.q.alpha", "diffusion_model.blocks.0.ffn.2.lora_A.weight"} <= lora.keys()
    assert "diffusion_model.blocks.1.cross_attn.o.lora_B.weight" in lora
    transformer.load_state_dict(convert_wan_transformer_to_diffusers(weights))
    assert difference(output(transformer), ours) < TOLERANCE


@pytest.mark.parametrize("without", ["alpha in the native file", "diffusers' metadata"])
def test_a_file_that_lost_its_alpha_is_noticed(
    without: str, base: Path, adapter: Path, ours: Tensor, tmp_path: Path
) -> None:
    """What the tolerance above is worth."""
    info, state = read_adapter(adapter)
    path = tmp_path / "lora.safetensors"
    if without.startswith("alpha"):
        tensors = native_tensors(state, info.config)
        save_file({name: x for name, x in tensors.items() if not name.endswith(".alpha")}, path)
    else:
        save_file({f"transformer.{name}": x for name, x in state.items()}, path)
    assert difference(through_stock(base, path), ours) > 0.05


def configuration(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder; of all but the transformer's weights their bytes too."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    weights = {name for name in files if name.startswith("transformer/") and name.endswith(".safetensors")}
    return {name: None if name in weights else path.read_bytes() for name, path in files.items()}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_weights_are_a_pipeline_of_the_base_s_types(
    dtype: torch.dtype, shards: int, base: Path, adapter: Path, ours: Tensor, tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "merged"
    shutil.copytree(base, source)
    shutil.rmtree(source / "transformer")
    transformer = WanTransformer3DModel.from_pretrained(base, subfolder="transformer", dtype=dtype)
    size = sum(p.nbytes for p in transformer.parameters())
    transformer.save_pretrained(source / "transformer", max_shard_size=size // shards + 8000)
    files = sorted(file.name for file in (source / "transformer").glob("*.safetensors"))
    assert len(files) == shards
    info, state = read_adapter(adapter)
    seen: list[tuple[int, int]] = []
    merged = merge_folder(source, out, state, info, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(number + 1, shards) for number in range(shards)]
    assert merged.layers == len(state) // 2
    assert merged.dtype == ("float32" if dtype == torch.float32 else "bfloat16, float32")  # the time embedding's
    types: dict[str, torch.dtype] = {}
    for file in files:
        kept, made = load_file(source / "transformer" / file), load_file(out / "transformer" / file)
        assert {name: x.dtype for name, x in kept.items()} == {name: x.dtype for name, x in made.items()}
        types |= {name: x.dtype for name, x in kept.items()}
        for name in kept.keys() - {f"{name.partition('.lora_')[0]}.weight" for name in state}:
            assert torch.equal(kept[name], made[name])
        assert read_info(out / "transformer" / file) == info, "each says it: whichever is looked at"
    assert (read_merged_info(out), read_merged_info(source)) == (info, None)
    assert configuration(source) == configuration(out), "nothing that diffusers would wonder at"
    pipe = WanPipeline.from_pretrained(out, dtype=torch.float32)
    pipe.transformer.requires_grad_(False)
    if dtype == torch.float32:
        assert difference(output(pipe.transformer), ours) < TOLERANCE
        assert merged.rounding == 0.0
        return
    rounded = WanPipeline.from_pretrained(source, dtype=torch.float32)
    exact = {name: p.detach().clone() for name, p in rounded.transformer.named_parameters()}
    lost = changed = 0.0
    for name, value in pipe.transformer.named_parameters():
        layer = name.removesuffix(".weight")
        if f"{layer}.lora_A.weight" in state:
            change = 1.5 * (state[f"{layer}.lora_B.weight"] @ state[f"{layer}.lora_A.weight"])
            assert torch.equal(value, (exact[name] + change).to(types[name]).float())
            lost += float((value - exact[name] - change).square().sum())
            changed += float(change.square().sum())
    assert merged.rounding == pytest.approx((lost / changed) ** 0.5, rel=1e-3)
    assert 0 < merged.rounding < 0.02


@pytest.mark.parametrize("form", ["native", "diffusers", "merged"])
def test_the_packaged_adapter_in_every_form(form: str, tmp_path: Path) -> None:
    """An older file, in bfloat16, on a base that is bfloat16 on disk."""
    info, state = read_adapter(shipped_adapter())
    transformer = load_base(mini_base())
    load_adapter(shipped_adapter(), transformer)
    mine, bare = output(transformer), output(load_base(mini_base()))
    assert difference(mine, bare) > 0.02
    if form == "merged":
        merged = merge_folder(mini_base(), tmp_path / "mini", state, info)
        assert 0.02 < merged.rounding < 0.2
        loaded = output(WanPipeline.from_pretrained(tmp_path / "mini", dtype=torch.float32).transformer)
        assert difference(loaded, mine) < 0.2 * difference(mine, bare)  # what rounding the weights costs
        return
    path = tmp_path / "lora.safetensors"
    {"native": save_native, "diffusers": save_adapter}[form](path, state, info)
    pipe = WanPipeline.from_pretrained(mini_base(), dtype=torch.float32)
    pipe.load_lora_weights(str(path))
    assert difference(output(pipe.transformer), mine) < TOLERANCE


def test_what_does_not_fit_is_refused_before_anything_is_written(base: Path, adapter: Path, tmp_path: Path) -> None:
    info, state = read_adapter(adapter)
    name = "blocks.1.attn2.to_v"
    wide = state | {f"{name}.lora_A.weight": torch.zeros(4, 33)}
    with pytest.raises(InputError, match=rf"{name}.weight is \(32, 32\) there and \(32, 33\) in the adapter"):
        merge_folder(base, tmp_path / "out", wide, info)
    deep = state | {f"blocks.7.attn1.to_q.lora_{x}.weight": state[f"{name}.lora_{x}.weight"] for x in "AB"}
    with pytest.raises(InputError, match=r"blocks\.7\.attn1\.to_q\.weight is absent there"):
        merge_folder(base, tmp_path / "out", deep, info)
    with pytest.raises(InputError, match=rf"lacks {name}\.lora_B\.weight"):
        merge_folder(base, tmp_path / "out", {k: v for k, v in state.items() if k != f"{name}.lora_B.weight"}, info)
    with pytest.raises(InputError, match=r"blocks\.0\.attn1\.add_k_proj has no name in the original Wan"):
        native_tensors({f"blocks.0.attn1.add_k_proj.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"}, CONFIG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", r"transformer/diffusion_pytorch_model\.safetensors is missing"),
        ("cut", r"transformer/diffusion_pytorch_model\.safetensors is damaged"),
        ("quantised", r"proj_out\.weight of .* is F8_E4M3; give the base in float32"),
        ("half", "vae is missing"),
    ],
)
def test_a_base_that_cannot_be_merged_is_refused_by_name(
    damage: str, said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(base, source)
    file = source / "transformer" / "diffusion_pytorch_model.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "half":
        shutil.rmtree(source / "vae")
    else:
        weights = load_file(file)
        save_file(weights | {"proj_out.weight": weights["proj_out.weight"].to(torch.float8_e4m3fn)}, file)
    info, state = read_adapter(adapter)
    with pytest.raises(InputError, match=said):
        merge_folder(source, tmp_path / "out", state, info)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_failure_in_the_middle_leaves_nothing_and_keeps_what_was_there(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    info, state = read_adapter(adapter)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model_index.json").write_text("{}")
    with pytest.raises(OSError):
        merge_folder(base, tmp_path / "out", state, info, on_progress=fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model_index.json"]
    merge_folder(base, tmp_path / "out", state, info)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "vae").is_dir()


def test_the_metadata_keys_are_those_of_diffusers(adapter: Path) -> None:
    assert adapter_file.DIFFUSERS_METADATA_KEY == LORA_ADAPTER_METADATA_KEY
    with safe_open(adapter, "pt") as file:
        assert json.loads(file.metadata()[LORA_ADAPTER_METADATA_KEY])["transformer.lora_alpha"] == 6.0
