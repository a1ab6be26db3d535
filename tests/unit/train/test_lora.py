"""The LoRA: what it changes, that it can be switched off, and that its file means the same to diffusers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from safetensors.torch import save_file
from torch import Tensor

from worldr1.errors import InputError
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, read_adapter, save_adapter
from worldr1.train.lora import (
    add_lora,
    base_model,
    copy_merged,
    load_adapter,
    load_lora_state,
    lora_parameters,
    lora_state,
    merged_lora,
    prepare_trainable,
)

CONFIG = LoraConfig(rank=4, alpha=8.0)


@pytest.fixture
def transformer(tiny_wan_folder: Path) -> Any:
    return _load(tiny_wan_folder)


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return WanTransformer3DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype)


def _add(transformer: Any, seed: int = 0) -> None:
    add_lora(transformer, CONFIG, generator=torch.Generator().manual_seed(seed))


def _train_a_little(transformer: Any) -> None:
    """Gives every adapter parameter a value that matters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in lora_parameters(transformer).values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def _output(transformer: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 8, 2, 4, 4, generator=generator), torch.randn(1, 6, 32, generator=generator)
    dtype = transformer.dtype
    return transformer(latents.to(dtype), torch.tensor([500.0]), text.to(dtype), return_dict=False)[0]


def test_a_new_lora_changes_nothing_and_covers_every_projection(transformer: Any) -> None:
    before = _output(transformer)
    _add(transformer)
    assert torch.equal(_output(transformer), before)
    names = lora_parameters(transformer).keys()
    assert len(names) == 2 * 2 * 4 * 2  # blocks, attentions, projections, A and B
    assert "blocks.1.attn2.to_out.0.lora_B.weight" in names


def test_initial_values_follow_the_seed_alone(tiny_wan_folder: Path) -> None:
    global_stream = torch.random.get_rng_state()
    first, again, other = (_load(tiny_wan_folder) for _ in range(3))
    torch.random.set_rng_state(global_stream)
    _add(first, 0)
    _add(again, 0)
    _add(other, 1)
    assert torch.equal(torch.random.get_rng_state(), global_stream)
    a, b, c = lora_state(first), lora_state(again), lora_state(other)
    assert all(torch.equal(a[name], b[name]) for name in a)
    down = torch.cat([value.flatten() for name, value in a.items() if ".lora_A." in name])
    assert abs(down.std().item() * CONFIG.rank - 1) < 0.05
    assert not torch.equal(down, torch.cat([value.flatten() for name, value in c.items() if ".lora_A." in name]))
    assert all(value.eq(0).all() for name, value in a.items() if ".lora_B." in name)


def test_only_the_adapter_is_trained_and_in_float32_on_a_bfloat16_base(tiny_wan_folder: Path) -> None:
    transformer = _load(tiny_wan_folder, torch.bfloat16)
    trained = prepare_trainable(transformer, "lora", lora=CONFIG, generator=torch.Generator())
    assert {id(p) for p in transformer.parameters() if p.requires_grad} == {id(p) for p in trained.values()}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert transformer.get_parameter("proj_out.weight").dtype == torch.bfloat16
    _output(transformer).float().square().mean().backward()
    grads = [p.grad for name, p in trained.items() if ".lora_B." in name]
    assert all(g is not None and g.dtype == torch.float32 and g.abs().max() > 0 for g in grads)


def test_full_training_thaws_everything_under_its_own_names(transformer: Any) -> None:
    transformer.requires_grad_(False)
    trained = prepare_trainable(transformer, "full", lora=CONFIG, generator=torch.Generator())
    assert trained.keys() == dict(transformer.named_parameters()).keys()
    assert all(p.requires_grad for p in trained.values())


def test_switching_the_adapter_off_gives_the_base_exactly(transformer: Any) -> None:
    base = _output(transformer)
    _add(transformer)
    _train_a_little(transformer)
    trained = _output(transformer)
    assert (trained - base).abs().max() > 1e-2
    with pytest.raises(KeyError), base_model(transformer):
        assert torch.equal(_output(transformer), base)
        raise KeyError
    assert torch.equal(_output(transformer), trained)
    assert all(p.requires_grad for p in lora_parameters(transformer).values())


def test_the_base_of_a_fully_trained_network_is_its_saved_copy(transformer: Any) -> None:
    base, copy = _output(transformer), {name: p.detach().clone() for name, p in transformer.named_parameters()}
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(1.1)
    trained = _output(transformer)
    with base_model(transformer, copy):
        assert torch.equal(_output(transformer), base)
    assert torch.equal(_output(transformer), trained)
    assert not torch.equal(trained, base)
    with pytest.raises(ValueError, match="base_state"), base_model(transformer):
        pass


def test_state_round_trip(tiny_wan_folder: Path) -> None:
    first, second = _load(tiny_wan_folder), _load(tiny_wan_folder)
    _add(first)
    _train_a_little(first)
    _add(second, 5)
    state = lora_state(first)
    load_lora_state(second, state)
    assert torch.equal(_output(second), _output(first))
    with torch.no_grad():
        next(iter(lora_parameters(first).values())).zero_()
    assert not all(value.eq(0).all() for value in state.values())
    assert torch.equal(lora_state(second)[next(iter(state))], next(iter(state.values())))  # a copy, not a view


def test_a_damaged_state_changes_nothing(transformer: Any) -> None:
    _add(transformer)
    before = lora_state(transformer)
    wrong = {name: value + 1 for name, value in before.items()}
    name = "blocks.1.attn2.to_v.lora_A.weight"
    with pytest.raises(InputError, match=rf"{name} is absent in the weights"):
        load_lora_state(transformer, {k: v for k, v in wrong.items() if k != name})
    with pytest.raises(InputError, match=r"is \(3, 3\) in the weights and \(4, 32\) in the model"):
        load_lora_state(transformer, wrong | {name: torch.zeros(3, 3)})
    assert all(torch.equal(value, before[key]) for key, value in lora_state(transformer).items())


def test_the_pipeline_loads_the_file_with_the_same_strength(tiny_wan_folder: Path, tmp_path: Path) -> None:
    trained = _load(tiny_wan_folder)
    _add(trained)
    _train_a_little(trained)
    path = tmp_path / "run" / "adapter.safetensors"
    save_adapter(path, lora_state(trained), AdapterInfo(config=CONFIG, base="tiny-wan", guidance=5.0))
    pipe = WanPipeline.from_pretrained(tiny_wan_folder)
    pipe.load_lora_weights(str(path))
    assert (_output(pipe.transformer) - _output(trained)).abs().max() == 0

    ours = _load(tiny_wan_folder)
    info = load_adapter(path, ours)
    assert info.config == CONFIG
    assert (info.base, info.guidance) == ("tiny-wan", 5.0)
    assert torch.equal(_output(ours), _output(trained))
    assert [p.name for p in path.parent.iterdir()] == ["adapter.safetensors"]


def test_an_adapter_of_another_base_is_refused_and_leaves_the_model_as_it_is(transformer: Any, tmp_path: Path) -> None:
    wide: Any = WanTransformer3DModel.from_config({**transformer.config, "attention_head_dim": 32})
    deep: Any = WanTransformer3DModel.from_config({**transformer.config, "num_layers": 3})
    base = _output(transformer)
    for other, words in ((wide, "64 wide, 2 layers"), (deep, "32 wide, 3 layers")):
        _add(other)
        path = tmp_path / "adapter.safetensors"
        save_adapter(path, lora_state(other), AdapterInfo(config=CONFIG, base="another", guidance=1.0))
        said = rf"trained on another \({words}\); this model, tiny, is 32 wide, 2 layers: give"
        with pytest.raises(InputError, match=said):
            load_adapter(path, transformer, model="models/tiny")
        assert not lora_parameters(transformer)
        assert torch.equal(_output(transformer), base)


def test_an_adapter_whose_tensors_do_not_fit_is_refused_and_leaves_the_model_as_it_is(
    transformer: Any, tmp_path: Path
) -> None:
    other: Any = WanTransformer3DModel.from_config({**transformer.config, "text_dim": 48})
    base = _output(transformer)
    config = LoraConfig(rank=4, targets=("text_embedder.linear_1",))  # the blocks are the same
    add_lora(other, config, generator=torch.Generator())
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, lora_state(other), AdapterInfo(config=config, base="another", guidance=1.0))
    with pytest.raises(
        InputError, match=r"another base than this model: condition_embedder.* is \(4, 48\) in the weights"
    ):
        load_adapter(path, transformer)
    assert not lora_parameters(transformer)
    assert torch.equal(_output(transformer), base)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter file"):
        read_adapter(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(InputError, match="damaged or no safetensors"):
        read_adapter(tmp_path / "text.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no adapter of worldr1"):
        read_adapter(tmp_path / "other.safetensors")


def test_targets_that_do_not_exist_are_refused(transformer: Any) -> None:
    with pytest.raises(InputError, match="no_such_layer"):
        add_lora(transformer, LoraConfig(targets=("no_such_layer",)), generator=torch.Generator())


def test_a_merged_lora_gives_the_same_output_by_the_base_s_own_layers(transformer: Any) -> None:
    _add(transformer)
    _train_a_little(transformer)
    before = {name: parameter.detach().clone() for name, parameter in transformer.named_parameters()}
    separate = _output(transformer)
    with base_model(transformer):
        base = _output(transformer)
    ran: list[str] = []
    for name, module in transformer.named_modules():
        if ".lora_B" in name:
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    with merged_lora(transformer):
        merged = _output(transformer)
    assert (separate - base).abs().max() > 0.01  # or the adapter would not matter
    assert not ran
    torch.testing.assert_close(merged, separate, rtol=0, atol=1e-5)
    assert all(torch.equal(parameter, before[name]) for name, parameter in transformer.named_parameters())
    torch.testing.assert_close(_output(transformer), separate, rtol=0, atol=0)
    assert all(p.requires_grad for p in lora_parameters(transformer).values())


def test_merging_leaves_a_bfloat16_base_and_a_network_without_lora_alone(tiny_wan_folder: Path) -> None:
    bare, rounded = _load(tiny_wan_folder), _load(tiny_wan_folder, torch.bfloat16)
    _add(rounded)
    _train_a_little(rounded)
    for network in (bare, rounded):
        before = _output(network)
        with merged_lora(network):
            torch.testing.assert_close(_output(network), before, rtol=0, atol=0)


@pytest.mark.parametrize("base_dtype", [torch.float32, torch.bfloat16])
def test_a_merged_copy_has_the_same_output_and_is_rounded_once(tiny_wan_folder: Path, base_dtype: torch.dtype) -> None:
    trained, exact, rounded = (_load(tiny_wan_folder, d) for d in (base_dtype, torch.float32, torch.bfloat16))
    _add(trained)
    _train_a_little(trained)
    names = [name for name, _ in trained.named_parameters()]
    copy_merged(trained, exact)
    copy_merged(trained, rounded)
    assert [name for name, _ in trained.named_parameters()] == names
    tolerance = 1e-5 if base_dtype == torch.float32 else 0.05
    torch.testing.assert_close(_output(exact), _output(trained).float(), rtol=0, atol=tolerance)
    for (name, sum_), (_, once) in zip(exact.named_parameters(), rounded.named_parameters(), strict=True):
        assert torch.equal(sum_.to(once.dtype), once), name
    assert any(once.dtype == torch.float32 for once in rounded.parameters())  # diffusers keeps some so
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
    assert (_output(exact) - _output(trained)).abs().max() > 0.01
    copy_merged(trained, exact)  # it follows
    torch.testing.assert_close(_output(exact), _output(trained).float(), rtol=0, atol=2 * tolerance)


def test_a_copy_of_a_network_without_lora(transformer: Any, tiny_wan_folder: Path) -> None:
    other = _load(tiny_wan_folder)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(1.5)
    copy_merged(transformer, other)
    assert torch.equal(_output(other), _output(transformer))


def test_an_error_inside_gives_the_lora_back(transformer: Any) -> None:
    _add(transformer)
    _train_a_little(transformer)
    before = _output(transformer)
    with pytest.raises(KeyError), merged_lora(transformer):
        raise KeyError
    torch.testing.assert_close(_output(transformer), before, rtol=0, atol=0)
