"""A LoRA that computes in its base's dtype, and one that becomes part of its base."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from worldr1.backends.wan import WanPolicy
from worldr1.train.lora import LoraConfig, base_model, lora_state, prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype, merge_for_good


def _adapted(folder: Path, dtype: torch.dtype) -> tuple[WanPolicy, dict[str, torch.nn.Parameter]]:
    policy = WanPolicy.from_folder(folder, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    parameters = prepare_trainable(policy.transformer, "lora", lora=LoraConfig(rank=4), generator=generator)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if ".lora_B." in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return policy, parameters


def _velocity(policy: WanPolicy) -> Tensor:
    latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    return policy.velocity(latents, 0.6, policy.encode(["a box"]))


def test_products_in_bfloat16_keep_float32_parameters_and_gradients(published_wan_folder: Path) -> None:
    exact, parameters = _adapted(published_wan_folder, torch.bfloat16)
    rounded, rounded_parameters = _adapted(published_wan_folder, torch.bfloat16)
    compute_in_base_dtype(rounded.transformer)
    layers = [m for m in rounded.transformer.modules() if isinstance(m, LoraLayer)]
    seen: list[torch.dtype] = []
    for layer in layers:
        matrices: Any = layer.lora_A
        matrices["default"].register_forward_hook(lambda _, x, y: seen.extend((x[0].dtype, y.dtype)))
    a, b = _velocity(exact), _velocity(rounded)
    assert set(seen) == {torch.bfloat16} and len(seen) == 2 * len(layers)
    for velocity in (a, b):
        velocity.square().mean().backward()
    a, b = a.detach(), b.detach()
    assert {p.dtype for p in rounded_parameters.values()} == {torch.float32}
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in rounded_parameters.values())
    assert 0 < float((a - b).norm() / a.norm()) < 0.02
    base = float((a - _base(exact)).norm() / a.norm())
    assert base > 0.05, "the adapter does something"
    gradients = [
        torch.cat([p.grad.flatten() for p in trained.values() if p.grad is not None])
        for trained in (parameters, rounded_parameters)
    ]
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99
    assert lora_state(rounded.transformer).keys() == lora_state(exact.transformer).keys()


@torch.no_grad()
def _base(policy: WanPolicy) -> Tensor:
    with base_model(policy.transformer):
        return _velocity(policy)


def test_in_float32_nothing_changes(published_wan_folder: Path) -> None:
    policy, _ = _adapted(published_wan_folder, torch.float32)
    before = _velocity(policy)
    compute_in_base_dtype(policy.transformer)
    assert torch.equal(_velocity(policy), before)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@torch.no_grad()
def test_a_merged_adapter_is_the_bases_own_graph(published_wan_folder: Path, dtype: torch.dtype, off: float) -> None:
    policy, _ = _adapted(published_wan_folder, dtype)
    plain = WanPolicy.from_folder(published_wan_folder, dtype=dtype)
    with_lora, base = _velocity(policy), _velocity(plain)
    merge_for_good(policy.transformer)
    merged = _velocity(policy)
    assert not any(isinstance(module, LoraLayer) for module in policy.transformer.modules())
    graph = {name: type(module) for name, module in policy.transformer.named_modules()}
    assert graph == {name: type(module) for name, module in plain.transformer.named_modules()}
    assert {n: p.dtype for n, p in policy.transformer.named_parameters()} == {
        n: p.dtype for n, p in plain.transformer.named_parameters()
    }
    assert float((merged - with_lora).norm() / with_lora.norm()) < off
    assert float((merged - base).norm() / base.norm()) > 0.05
