"""FlashAttention-3 for Wan, with a stand-in for its package that computes on a CPU: numbers, gradients, refusals."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from worldr1.backends import flash_attention3
from worldr1.backends.attention import AttentionChoice, choose_kernel, problem_with, use_kernel
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.wan import WanPolicy
from worldr1.cli.model_options import ATTENTION
from worldr1.errors import InputError
from worldr1.train.lora import LoraConfig, prepare_trainable

CPU = torch.device("cpu")
LATENT = (16, 2, 4, 6)
TOKENS, HEADS, WIDTH = 12, 2, 16
Shapes = list[tuple[tuple[int, ...], tuple[int, ...]]]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[B, S, H, D], as the package computes it."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _install(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any] | None) -> None:
    module = ModuleType(flash_attention3.MODULE)
    if function is not None:
        vars(module)["flash_attn_func"] = function
    monkeypatch.setitem(sys.modules, flash_attention3.MODULE, module)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Shapes:
    """Of queries and keys that the stand-in was called with."""
    shapes: Shapes = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert k.shape == v.shape
        shapes.append((tuple(q.shape), tuple(k.shape)))
        return _attention(q, k, v)

    _install(monkeypatch, attend)
    return shapes


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU stands in for the GPU."""
    monkeypatch.setattr(flash_attention3, "on_hopper", lambda device: True)


def _step(policy: WanPolicy) -> list[Tensor]:
    """Velocity and gradients of a trained step of a LoRA that changes something."""
    generator = torch.Generator().manual_seed(1)
    parameters = prepare_trainable(policy.transformer, "lora", lora=LoraConfig(rank=4), generator=generator)
    for name, parameter in parameters.items():
        if ".lora_B." in name:
            parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    latents = torch.randn(2, *LATENT, generator=generator)
    velocity = policy.velocity(latents, 0.6, policy.encode(["a box", "a red ball"]))
    velocity.square().mean().backward()
    return [velocity.detach(), *(parameter.grad for parameter in parameters.values() if parameter.grad is not None)]


@pytest.mark.parametrize("way", ["plain", "checkpointed", "compiled"])
def test_it_gives_the_numbers_of_stock_attention_forward_and_backward(
    published_wan_folder: Path, asked: Shapes, way: str
) -> None:
    stock, policy = (WanPolicy.from_folder(published_wan_folder) for _ in range(2))
    use_kernel(policy.transformer, "flash3")
    if way == "checkpointed":
        policy.checkpoint_gradients(True, rows=2, latent_shape=LATENT)
    if way == "compiled":
        policy.compile(backend="eager", dynamic=None)
    expected = _step(stock)
    assert asked == []
    found = _step(policy)
    assert len(found) == len(expected) > 1
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    words = policy.encode(["a box"]).shape[1]
    queries = (2, TOKENS, HEADS, WIDTH)
    assert words != TOKENS and set(asked) == {(queries, queries), (queries, (2, words, HEADS, WIDTH))}


@pytest.mark.usefixtures("hopper")
def test_a_model_in_half_precision_is_asked_for_it_by_name(published_wan_folder: Path, asked: Shapes) -> None:
    stock, policy = (WanPolicy.from_folder(published_wan_folder, dtype=torch.bfloat16) for _ in range(2))
    policy.choose_attention("flash3")
    assert policy.kernel == "flash3" and len(asked) == 1  # the trial
    latents = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = policy.velocity(latents, 0.6, policy.encode(["a box"]))
        difference = difference - stock.velocity(latents, 0.6, stock.encode(["a box"]))
    assert float(difference.abs().max()) < 0.02
    assert len(asked) == 1 + 2 * policy.config["num_layers"]
    policy.choose_attention("auto")
    with torch.no_grad():
        policy.velocity(latents, 0.6, policy.encode(["a box"]))
    assert len(asked) == 1 + 2 * policy.config["num_layers"]


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_builds_that_give_the_softmax_sums_too_are_used(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    _install(monkeypatch, lambda q, k, v: (_attention(q, k, v), q.sum(-1)))
    assert choose_kernel("flash3", device=CPU, dtype=dtype, head_dim=WIDTH) == "flash3"


def test_a_mask_is_not_dropped(asked: Shapes) -> None:
    attend: Any = flash_attention3.load()
    x = torch.ones(1, 4, HEADS, WIDTH)
    with pytest.raises(ValueError, match="no mask"):
        attend(x, x, x, attn_mask=torch.ones(4, 4))
    assert asked == []


# ------------------------------------------------------------------------------------------------------------ refusals


def _refused(dtype: torch.dtype = torch.bfloat16) -> str:
    with pytest.raises(InputError) as error:
        choose_kernel("flash3", device=CPU, dtype=dtype, head_dim=WIDTH)
    assert str(error.value).startswith('The attention kernel "flash3" does not run on this CPU in ')
    assert str(error.value).endswith('; set model.attention = "auto".')
    return str(error.value)


@pytest.mark.parametrize("capability", [(8, 9), (10, 0), (12, 0)])
def test_cards_before_and_after_hopper_are_refused(
    monkeypatch: pytest.MonkeyPatch, asked: Shapes, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    given: dict[str, Any] = {"dtype": torch.bfloat16, "head_dim": WIDTH}
    assert "Hopper alone" in problem_with("flash3", device=torch.device("cuda"), **given)
    assert "Hopper alone" in _refused()
    assert asked == []


def test_hopper_is_told_by_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert flash_attention3.on_hopper(torch.device("cuda")) and not flash_attention3.on_hopper(CPU)


@pytest.mark.usefixtures("hopper")
def test_single_precision_is_refused(asked: Shapes) -> None:
    assert 'in float32 (FlashAttention-3 computes in half precision: set model.dtype = "bfloat16")' in _refused(
        torch.float32
    )
    assert asked == []


@pytest.mark.usefixtures("hopper")
def test_a_missing_package_says_how_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, flash_attention3.MODULE, None)
    message = _refused()
    assert "not installed: it is not on PyPI, build it from the folder hopper/ of" in message


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise ImportError('_C.abi3.so: undefined symbol: aoti_torch_x')", "undefined symbol"),
        ("raise OSError('libcudart.so.13: cannot open shared object file')", "libcudart"),
        ("import no_such_module_of_flash3", "No module named 'no_such_module_of_flash3'"),
        ("", "flash_attn_func"),
    ],
)
def test_a_package_that_is_broken_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, says: str
) -> None:
    (tmp_path / f"{flash_attention3.MODULE}.py").write_text(source, encoding="utf-8")
    monkeypatch.delitem(sys.modules, flash_attention3.MODULE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = _refused()
    sys.modules.pop(flash_attention3.MODULE, None)
    assert says in message and "not installed" not in message


@pytest.mark.usefixtures("hopper")
def test_a_build_without_a_backward_pass_or_this_head_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, lambda q, k, v: _attention(q, k, v).detach())
    assert "grad" in _refused()

    def small(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise RuntimeError("head dimension of this build is at most 8\nsource: flash_api.cpp")

    _install(monkeypatch, small)
    assert "(head dimension of this build is at most 8);" in _refused()


def test_cogvideox_says_that_it_is_for_wan(published_cogvideox_folder: Path) -> None:
    sampler = CogVideoXSampler.from_folder(published_cogvideox_folder)
    with pytest.raises(InputError, match=r'"flash3" is for Wan alone; set model\.attention = "auto"'):
        sampler.choose_attention("flash3")
    assert sampler.kernel == "torch"


def test_the_command_line_offers_every_choice() -> None:
    assert get_args(AttentionChoice) == ATTENTION
