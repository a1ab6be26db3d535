"""Wan2.1-1.3B at full size with random weights: sampling, decoding and a trained step on a short clip.

Whole updates, their seconds and memory are measured by benchmarks/full_update.py.
"""

import pytest
import torch
import torch.nn.functional as F

from worldr1.backends import flash_attention3
from worldr1.backends.architectures import WAN_1_3B
from worldr1.backends.attention import AttentionChoice, problem_with
from worldr1.backends.gpu_memory import free_bytes
from worldr1.backends.prompts import TextOptions
from worldr1.backends.wan import WanPolicy
from worldr1.rollout.sampler import SamplerConfig, sample_ode
from worldr1.seeding import make_generator
from worldr1.train.lora import LoraConfig, prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype

pytestmark = pytest.mark.gpu

CLIP = (17, 480, 832)
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def policy() -> WanPolicy:
    torch.cuda.reset_peak_memory_stats()
    return WanPolicy.from_architecture(WAN_1_3B, device=CUDA, dtype=torch.bfloat16, text=TextOptions(keep=False))


def test_it_is_built_in_bfloat16_without_a_float32_copy(policy: WanPolicy) -> None:
    assert policy.num_parameters == 1_418_996_800
    assert torch.cuda.max_memory_allocated() < 1.3 * torch.cuda.memory_allocated()
    assert torch.cuda.memory_allocated() < 5e9  # the transformer in bfloat16 and the VAE; no text encoder


@torch.no_grad()
def test_a_clip_is_sampled_and_decoded_and_the_text_encoder_leaves(policy: WanPolicy) -> None:
    policy.choose_attention("auto")
    words = policy.encode(["Camera push in. A red ball."])
    assert torch.cuda.memory_allocated() < 6e9
    start = torch.randn(1, *policy.latent_shape(*CLIP), generator=make_generator(0, "test")).to(CUDA)
    velocity = policy.velocity(start, 1.0, words)
    assert float(velocity.square().mean().sqrt()) == pytest.approx(1, abs=0.2)
    latents = sample_ode(policy, words, start, SamplerConfig(num_steps=2, first_index=0, last_index=0))
    video = policy.decode(latents)
    assert video.shape == (1, 17, 3, 480, 832) and bool(torch.isfinite(video).all())


def test_every_kernel_agrees(policy: WanPolicy) -> None:
    latents = torch.randn(1, *policy.latent_shape(5, 240, 416), generator=make_generator(0, "test")).to(CUDA)
    words = policy.encode(["Camera push in. A red ball."])
    kernels: list[AttentionChoice] = ["auto", "flash", "efficient"]
    if not problem_with("flash3", device=CUDA, dtype=torch.bfloat16, head_dim=128):  # a package that users build
        kernels.append("flash3")
    found = {}
    with torch.no_grad():
        for kernel in kernels:
            policy.choose_attention(kernel)
            found[kernel] = policy.velocity(latents, 0.6, words)
    for velocity in found.values():
        assert float((velocity - found["flash"]).norm() / found["flash"].norm()) < 0.03
    policy.choose_attention("auto")


@pytest.mark.parametrize("keys", [1000, 512])
def test_flash_attention3_and_its_gradient_agree_with_float32(keys: int) -> None:
    if reason := problem_with("flash3", device=CUDA, dtype=torch.bfloat16, head_dim=128):
        pytest.skip(reason)
    generator = make_generator(0, "test")
    shapes = [(2, length, 12, 128) for length in (1000, keys, keys, 1000)]
    q, k, v, toward = (torch.randn(shape, generator=generator).to(CUDA, torch.bfloat16) for shape in shapes)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    exact_inputs = [x.detach().float().requires_grad_() for x in inputs]
    out = flash_attention3.load()(q, k, v)
    q32, k32, v32 = (x.transpose(1, 2) for x in exact_inputs)
    exact = F.scaled_dot_product_attention(q32, k32, v32).transpose(1, 2)
    found = [out.detach(), *torch.autograd.grad(out, inputs, toward)]
    expected = [exact.detach(), *torch.autograd.grad(exact, exact_inputs, toward.float())]
    for a, b in zip(found, expected, strict=True):
        assert float((a.float() - b).norm() / b.norm()) < 0.02


def test_a_trained_step_keeps_what_is_predicted_and_checkpointing_changes_nothing(policy: WanPolicy) -> None:
    from worldr1.backends.wan.training_memory import StepShape, kept_bytes

    parameters = prepare_trainable(policy.transformer, "lora", lora=LoraConfig(), generator=make_generator(0, "lora"))
    compute_in_base_dtype(policy.transformer)
    shape = policy.latent_shape(*CLIP)
    latents = torch.randn(1, *shape, generator=make_generator(0, "test")).to(CUDA)
    words = policy.encode(["Camera push in. A red ball."])
    peaks, gradients = [], []
    for checkpointed in (False, True):
        policy.checkpoint_gradients(checkpointed, rows=1, latent_shape=shape)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        policy.velocity(latents, 0.6, words).square().mean().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        gradients.append(torch.cat([p.grad.flatten() for p in parameters.values() if p.grad is not None]))
        for parameter in parameters.values():
            parameter.grad = None
    step = StepShape(rows=1, tokens=policy.tokens_of(shape), lora_float32=False)
    assert peaks[0] == pytest.approx(kept_bytes(policy.config, policy.dtype, step), rel=0.25)
    assert peaks[1] < 0.3 * peaks[0] < free_bytes(CUDA)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99


def test_the_benchmarks_lora_is_made_where_the_model_is() -> None:
    """Its values are drawn by a generator of the CPU."""
    import full_size

    setting = full_size.Setting(
        architecture=full_size.TINY_WAN,
        device=CUDA,
        dtype=torch.bfloat16,
        clip=(9, 32, 48),
        repeats=1,
        compile_backend="eager",
    )
    case = full_size.with_lora(setting, base_products=True)
    found = {name: p for name, p in case.policy.transformer.named_parameters() if ".lora_B." in name}
    assert found and all(p.device.type == "cuda" and bool(p.any()) for p in found.values())
    case.trained_step()
