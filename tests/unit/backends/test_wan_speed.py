"""What may change a Wan model's speed and memory must not change its numbers: guidance batches, attention kernels,
gradient checkpointing, compiled trained steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from tiny_models import TINY_WAN
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from worldr1.backends import attention
from worldr1.backends.attention import choose_kernel, problem_with
from worldr1.backends.gpu_memory import free_bytes
from worldr1.backends.wan import WanPolicy
from worldr1.backends.wan import policy as wan_policy
from worldr1.backends.wan.training_memory import StepShape, kept_bytes, needs_checkpointing
from worldr1.errors import InputError
from worldr1.train.lora import LoraConfig, prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype

SHAPE = (16, 2, 4, 6)
CPU = torch.device("cpu")


def _inputs(policy: WanPolicy, rows: int = 2) -> tuple[Tensor, Tensor]:
    latents = torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(0))
    return latents, policy.encode(["a box", "a red ball"][:rows])


def _thaw(policy: WanPolicy, *, rank: int = 4) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    parameters = prepare_trainable(policy.transformer, "lora", lora=LoraConfig(rank=rank), generator=generator)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if ".lora_B." in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return parameters


def _step(policy: WanPolicy, parameters: dict[str, torch.nn.Parameter]) -> list[Tensor]:
    """Velocity and gradients of a trained step."""
    latents, text = _inputs(policy)
    velocity = policy.velocity(latents, 0.6, text)
    velocity.square().mean().backward()
    gradients = [parameter.grad for parameter in parameters.values()]
    assert all(gradient is not None for gradient in gradients)
    found = [velocity.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]
    for parameter in parameters.values():
        parameter.grad = None
    return found


def _assert_near(a: list[Tensor], b: list[Tensor], atol: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=atol)


# -------------------------------------------------------------------------------------------------------- guidance


def test_joint_guidance_equals_separate(published_wan_folder: Path) -> None:
    found: dict[str, list[Tensor]] = {}
    batches: dict[str, list[int]] = {}
    for mode in ("joint", "separate"):
        options: dict[str, Any] = {"guidance": 3.0, "negative_prompt": "the floor", "guidance_batch": mode}
        policy = WanPolicy.from_folder(published_wan_folder, **options)
        rows: list[int] = []
        transformer: Any = policy.transformer
        hook = transformer.proj_out.register_forward_hook(lambda _, x, out, rows=rows: rows.append(len(out)))
        latents, text = _inputs(policy)
        with torch.no_grad():
            plain = policy.velocity(latents, 0.6, text)
        batches[mode] = list(rows)
        hook.remove()
        found[mode] = [plain, *_step(policy, _thaw(policy))]
    assert batches == {"joint": [4], "separate": [2, 2]}
    difference = found["joint"][0] - found["separate"][0]
    assert float(difference.norm() / found["joint"][0].norm()) <= 1e-6
    _assert_near(found["joint"], found["separate"])


def test_guidance_is_joint_only_while_it_is_small(published_wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = WanPolicy.from_folder(published_wan_folder, guidance=2.0)
    tokens = 2 * 2 * 3
    monkeypatch.setattr(wan_policy, "JOINT_TOKENS", 2 * tokens)
    assert policy._joint(torch.Size((2, *SHAPE))) and not policy._joint(torch.Size((3, *SHAPE)))
    assert not policy._joint(torch.Size((1, 16, 21, 60, 104)))


# -------------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("kernel", ["math", "flash"])
def test_a_named_kernel_gives_the_same_numbers_forward_and_backward(published_wan_folder: Path, kernel: Any) -> None:
    plain, named = (WanPolicy.from_folder(published_wan_folder) for _ in range(2))
    named.choose_attention(kernel)
    assert (plain.kernel, named.kernel) == ("torch", kernel)
    for policy in (plain, named):
        policy.checkpoint_gradients(True, rows=2, latent_shape=SHAPE)  # its blocks run again outside of `velocity`
    _assert_near(_step(plain, _thaw(plain)), _step(named, _thaw(named)))


class _Attention(TorchDispatchMode):
    """Which fused attention operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "attention" in func._schema.name:
            self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def test_the_kernel_that_is_asked_for_is_the_one_that_runs(published_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(published_wan_folder)
    seen: dict[str, set[str]] = {}
    for kernel in ("math", "flash"):
        policy.choose_attention(kernel)
        latents, text = _inputs(policy)
        with torch.no_grad(), _Attention() as mode:
            policy.velocity(latents, 0.5, text)
        seen[kernel] = mode.names
    assert "_scaled_dot_product_flash_attention_for_cpu" in seen["flash"]
    assert not any("flash" in name for name in seen["math"])


def test_a_kernel_that_does_not_run_here_is_one_sentence(published_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(published_wan_folder)
    with pytest.raises(
        InputError, match=r'"cudnn" does not run on this CPU in float32 \(.*set model\.attention = "auto"'
    ):
        policy.choose_attention("cudnn")
    assert policy.kernel == "torch"


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "runs", "chosen"),
    [
        ("cuda", torch.bfloat16, (9, 0), True, "cudnn"),
        ("cuda", torch.bfloat16, (10, 0), True, "cudnn"),
        ("cuda", torch.bfloat16, (9, 0), False, "torch"),
        ("cuda", torch.bfloat16, (8, 9), True, "torch"),
        ("cuda", torch.float32, (9, 0), True, "torch"),
        ("cpu", torch.bfloat16, (9, 0), True, "torch"),
    ],
)
def test_auto_takes_cudnn_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    dtype: torch.dtype,
    capability: tuple[int, int],
    runs: bool,
    chosen: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention, "problem_with", lambda *a, **k: "" if runs else "no engine")
    assert choose_kernel("auto", device=torch.device(device), dtype=dtype, head_dim=128) == chosen


def test_kernels_are_tried_on_this_machine() -> None:
    assert problem_with("math", device=CPU, dtype=torch.float32, head_dim=16) == ""
    assert problem_with("cudnn", device=CPU, dtype=torch.float32, head_dim=16)


@pytest.mark.parametrize("gradients_off", [torch.no_grad, torch.inference_mode])
def test_a_kernel_is_tried_with_a_gradient_though_the_caller_has_them_off(gradients_off: Any) -> None:
    with gradients_off():
        assert problem_with("math", device=CPU, dtype=torch.float32, head_dim=16) == ""


# ---------------------------------------------------------------------------------------------- gradient checkpointing


def test_checkpointing_keeps_less_and_changes_nothing(published_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(published_wan_folder)
    parameters, steps, kept = _thaw(policy), [], []
    for choice in (False, True):
        policy.checkpoint_gradients(choice, rows=2, latent_shape=SHAPE)
        assert policy.checkpointed is choice
        kept.append(_kept(policy, *_inputs(policy)))
        steps.append(_step(policy, parameters))
    _assert_near(steps[0], steps[1], 1e-7)
    assert kept[1] < 0.25 * kept[0]


def _kept(policy: WanPolicy, latents: Tensor, text: Tensor) -> int:
    """Bytes of distinct tensors that a forward keeps for its backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in policy.transformer.parameters()}
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in own:
            storages[pointer] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.velocity(latents, 0.6, text)
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@pytest.mark.parametrize(("dtype", "base_products"), [("float32", False), ("bfloat16", False), ("bfloat16", True)])
def test_the_prediction_is_what_a_step_keeps(dtype: str, base_products: bool) -> None:
    changes = {"num_attention_heads": 4, "attention_head_dim": 32, "ffn_dim": 512}
    transformer = replace(TINY_WAN.transformer, config={**TINY_WAN.transformer.config, **changes})
    policy = WanPolicy.from_architecture(replace(TINY_WAN, transformer=transformer), dtype=getattr(torch, dtype))
    _thaw(policy, rank=1)
    if base_products:
        compute_in_base_dtype(policy.transformer)
    tokens, width = 4 * 16 * 16, 4 * 32
    step = StepShape(rows=1, tokens=tokens, lora_float32=dtype == "bfloat16" and not base_products)
    predicted = kept_bytes(policy.config, policy.dtype, step)
    predicted += 2 * tokens * 16 * 4  # sines and cosines, once for all blocks and heads
    if dtype == "bfloat16":  # the CPU has no fused RMS norm: it keeps its three inputs in float32
        predicted += 2 * 3 * 2 * tokens * width
    kept = _kept(policy, torch.randn(1, 16, 4, 32, 32), torch.randn(1, 4, 32))
    assert kept == pytest.approx(predicted, rel=0.03)


def test_the_prediction_for_wan_is_what_was_measured() -> None:
    config = {"num_attention_heads": 12, "attention_head_dim": 128, "num_layers": 30, "ffn_dim": 8960}
    step = StepShape(rows=1, tokens=32_760, lora_float32=False)
    gib = kept_bytes(config, torch.bfloat16, step) / 2**30
    assert gib == pytest.approx(68.7 - 4.2, rel=0.02)  # research/h200.md: a trained step's peak less a forward's
    assert not needs_checkpointing(config, torch.bfloat16, step, free=80 * 2**30)
    assert needs_checkpointing(config, torch.bfloat16, step, free=70 * 2**30)


def test_free_memory_of_cuda_is_that_of_the_current_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(value: Any) -> Any:
        return lambda device: (asked.append(device.index), value)[1]

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    for name, value in (
        ("mem_get_info", (30, 100)),
        ("memory_allocated", 40),
        ("memory_reserved", 50),
        ("get_per_process_memory_fraction", 0.6),
    ):
        monkeypatch.setattr(torch.cuda, name, answer(value))
    assert free_bytes(torch.device("cuda")) == 20  # of the 60 it may have; the card would give 30, the allocator 10
    assert asked == [1] * 4  # torch refuses some of these calls for a device without an index


def test_auto_checkpoints_when_memory_asks_for_it(published_wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = WanPolicy.from_folder(published_wan_folder, guidance=3.0)
    assert free_bytes(CPU) == float("inf")
    policy.checkpoint_gradients("auto", rows=1, latent_shape=SHAPE)
    assert not policy.checkpointed
    need = 1.1 * kept_bytes(policy.config, torch.float32, StepShape(rows=2, tokens=12, lora_float32=False))
    for free, checkpointed in ((need + 1, False), (need - 1, True)):
        monkeypatch.setattr(wan_policy, "free_bytes", lambda device, free=free: free)
        policy.checkpoint_gradients("auto", rows=1, latent_shape=SHAPE)
        assert policy.checkpointed is checkpointed
        assert policy.transformer.gradient_checkpointing is checkpointed


# ------------------------------------------------------------------------------------------------------------ compiled


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_trained_step_runs_compiled(published_wan_folder: Path, checkpointed: bool) -> None:
    plain, compiled = (WanPolicy.from_folder(published_wan_folder) for _ in range(2))
    compiled.choose_attention("math")
    compiled.checkpoint_gradients(checkpointed, rows=2, latent_shape=SHAPE)
    compiled.compile(backend="eager", dynamic=None)
    assert compiled.compiled and not plain.compiled
    _assert_near(_step(plain, _thaw(plain)), _step(compiled, _thaw(compiled)))


def test_the_rounded_network_is_compiled_as_the_policys_own(
    published_wan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = WanPolicy.from_folder(published_wan_folder)
    asked: list[dict[str, object]] = []
    kind = type(policy.transformer)
    monkeypatch.setattr(kind, "compile_repeated_blocks", lambda self, **options: asked.append(options))
    assert not policy.rounded().compiled and asked == []
    policy.compile(dynamic=None, backend="eager")
    assert policy.rounded().compiled
    assert asked == [{"dynamic": None, "backend": "eager"}] * 2


@pytest.mark.parametrize(("dtype", "kept"), [(torch.bfloat16, True), (torch.float32, False)])
def test_the_rounded_network_keeps_a_kernel_that_was_chosen_for_bfloat16(
    published_wan_folder: Path, dtype: torch.dtype, kept: bool
) -> None:
    policy = WanPolicy.from_folder(published_wan_folder, dtype=dtype)
    policy.choose_attention("math")
    processors: list[Any] = [getattr(module, "processor", None) for module in policy.rounded().transformer.modules()]
    used = {one._attention_backend for one in processors if hasattr(one, "_attention_backend")}
    assert used == {AttentionBackendName._NATIVE_MATH if kept else None}
