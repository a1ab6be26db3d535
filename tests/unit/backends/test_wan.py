"""WanPolicy: folders that are not a model, sizes that do not fit, dtypes, guidance, gradients."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldr1.backends.model_folder import PARTS
from worldr1.backends.wan import WanPolicy
from worldr1.errors import InputError
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.lora import base_model, merged_lora, prepare_trainable


@pytest.fixture
def policy(tiny_wan_folder: Path) -> WanPolicy:
    return WanPolicy.from_folder(tiny_wan_folder, max_text_length=16)


@pytest.fixture
def broken(tiny_wan_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model folder, to be damaged."""
    return Path(shutil.copytree(tiny_wan_folder, tmp_path / "broken"))


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model folder"):
        WanPolicy.from_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("part", [*PARTS, "model_index.json"])
def test_an_incomplete_folder_names_what_is_missing(broken: Path, part: str) -> None:
    path = broken / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"incomplete: {part} is missing"):
        WanPolicy.from_folder(broken)


@pytest.mark.parametrize(
    "file",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
        "model_index.json",
    ],
)
def test_a_truncated_or_absent_file_names_its_place(broken: Path, file: str) -> None:
    path = broken / file
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=path.parent.name):
        WanPolicy.from_folder(broken)
    path.unlink()
    with pytest.raises(InputError, match="again"):
        WanPolicy.from_folder(broken)


def test_absent_weights_are_not_filled_with_random_numbers(broken: Path) -> None:
    path = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["proj_out.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights \(proj_out.weight\)"):
        WanPolicy.from_folder(broken)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("_class_name", "CogVideoXPipeline", "CogVideoXPipeline"), ("boundary_ratio", 0.875, "Wan 2.2")],
)
def test_another_kind_of_model_is_refused(broken: Path, key: str, value: object, says: str) -> None:
    path = broken / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=says):
        WanPolicy.from_folder(broken)


def test_latent_shape_of_a_mini_clip(policy: WanPolicy) -> None:
    assert policy.latent_shape(17, 64, 96) == (8, 5, 8, 12)
    assert policy.latent_shape(1, 16, 16) == (8, 1, 2, 2)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((16, 64, 96), "17 frames of 64 x 96"),
        ((17, 60, 100), "17 frames of 64 x 96"),
        ((17, 3, 96), "17 frames of 16 x 96"),
        ((0, 64, 96), "1 frames of 64 x 96"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest(
    policy: WanPolicy, size: tuple[int, int, int], nearest: str
) -> None:
    with pytest.raises(InputError, match=f"nearest that does is {nearest}"):
        policy.latent_shape(*size)


def test_everything_arrives_frozen_and_velocity_is_differentiable_in_what_is_thawed(policy: WanPolicy) -> None:
    parts = (policy.transformer, policy.vae, policy.pipeline().text_encoder)
    assert not any(p.requires_grad for part in parts for p in part.parameters())
    weight = policy.transformer.get_parameter("proj_out.weight").requires_grad_(True)
    latents, embeddings = torch.randn(1, 8, 2, 4, 4), policy.encode(["a box"])
    policy.velocity(latents, 0.5, embeddings).square().mean().backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_latent_may_have_a_sigma_of_its_own(tiny_wan_folder: Path, guidance: float) -> None:
    policy = WanPolicy.from_folder(tiny_wan_folder, max_text_length=16, guidance=guidance)
    latents = torch.randn(3, *policy.latent_shape(5, 32, 48), generator=torch.Generator().manual_seed(0))
    text, sigmas = policy.encode(["a red ball", "camera push in", "the floor"]), [0.9, 0.2, 0.5]
    together = policy.velocity(latents, torch.tensor(sigmas), text)
    for row, sigma in enumerate(sigmas):
        alone = policy.velocity(latents[row : row + 1], sigma, text[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(together, policy.velocity(latents, 0.9, text), atol=1e-3)


def test_guidance_moves_the_velocity_away_from_the_negative_prompt(tiny_wan_folder: Path) -> None:
    plain = WanPolicy.from_folder(tiny_wan_folder, max_text_length=16)
    guided = WanPolicy.from_folder(tiny_wan_folder, max_text_length=16, guidance=3.0, negative_prompt="a floor")
    latents = torch.randn(2, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    cond, uncond = plain.encode(["a box", "a red ball"]), plain.encode(["a floor"] * 2)
    v_cond, v_uncond = plain.velocity(latents, 0.7, cond), plain.velocity(latents, 0.7, uncond)
    expected = v_uncond + 3.0 * (v_cond - v_uncond)
    assert (v_cond - v_uncond).abs().max() > 1e-3
    torch.testing.assert_close(guided.velocity(latents, 0.7, cond), expected, atol=1e-5, rtol=0)


def test_bfloat16_keeps_the_sensitive_parts_and_the_results_in_float32(tiny_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(tiny_wan_folder, max_text_length=16, dtype=torch.bfloat16)
    assert policy.transformer.get_parameter("proj_out.weight").dtype == torch.bfloat16
    assert policy.transformer.get_parameter("scale_shift_table").dtype == torch.float32
    assert policy.vae.dtype == torch.float32
    latents = torch.randn(1, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    velocity = policy.velocity(latents, 0.5, policy.encode(["a box"]))
    assert velocity.dtype == torch.float32
    full = WanPolicy.from_folder(tiny_wan_folder, max_text_length=16)
    torch.testing.assert_close(velocity, full.velocity(latents, 0.5, full.encode(["a box"])), atol=0.03, rtol=0.03)


def test_compiled_blocks_give_the_same_velocity_gradient_and_base(tiny_wan_folder: Path) -> None:
    policies = [WanPolicy.from_folder(tiny_wan_folder) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(3, 8, 2, 4, 4, generator=generator), torch.randn(3, 5, 32, generator=generator)
    found = []
    for policy, compiled in zip(policies, (False, True), strict=True):
        parameters = prepare_trainable(
            policy.transformer, "lora", lora=LoraConfig(rank=2), generator=torch.Generator().manual_seed(1)
        )
        for name, parameter in parameters.items():
            if ".lora_B." in name:
                parameter.data.fill_(0.03)
        if compiled:
            policy.compile(backend="eager")
        velocity = policy.velocity(latents, 0.6, text)
        velocity.square().mean().backward()
        gradients = [parameter.grad for parameter in parameters.values()]
        with torch.no_grad(), base_model(policy.transformer):
            base = policy.velocity(latents[:2], 0.6, text[:2])
        with torch.no_grad(), merged_lora(policy.transformer):
            merged = policy.velocity(latents[:2], 0.6, text[:2])
        assert not torch.allclose(base, merged, atol=1e-4)
        found.append([velocity.detach(), base, merged, *gradients])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
    compiled = [m for m in policies[1].transformer.modules() if m._compiled_call_impl is not None]
    assert len(compiled) == 2  # both blocks


def test_decoding_in_bfloat16_is_float32_up_to_its_rounding(tiny_wan_folder: Path) -> None:
    exact, rounded = (WanPolicy.from_folder(tiny_wan_folder, decode_dtype=d) for d in (torch.float32, torch.bfloat16))
    latents = torch.randn(2, 8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    a, b = exact.decode(latents), rounded.decode(latents)
    assert b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.02
