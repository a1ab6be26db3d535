"""Our sampling and decoding against stock pipelines, on small models in the published layout whose velocity is about 1.

Largest differences seen (float32, one CPU core, four steps): Wan latents 4.8e-7 without guidance and 4.1e-6 with a
guidance of 5 (one batch of two instead of two calls); CogVideoX latents 0, pictures 2.1e-6 (decoded one by one).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.wan import WanPolicy
from worldr1.errors import InputError
from worldr1.rollout.sampler import SamplerConfig, sample_ode

PROMPTS = ["camera push in. a red ball on the floor", "a box"]
NEGATIVE = "the floor"
STEPS = 4
CLIP = (9, 32, 48)


def _noise(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(len(PROMPTS), *shape, generator=torch.Generator().manual_seed(1))


def _call(pipe: Any, latents: Tensor, guidance: float, length: int, output: str) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        PROMPTS,
        negative_prompt=[NEGATIVE] * len(PROMPTS),
        latents=latents,
        num_frames=CLIP[0],
        height=CLIP[1],
        width=CLIP[2],
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        max_sequence_length=length,
        output_type=output,
    ).frames


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@torch.no_grad()
def test_wan_sampling_equals_the_stock_pipeline(published_wan_folder: Path, guidance: float) -> None:
    policy = WanPolicy.from_folder(published_wan_folder, guidance=guidance, negative_prompt=NEGATIVE)
    assert policy.shift == 3.0  # of UniPC's flow_shift
    noise, embeddings = _noise(policy.latent_shape(*CLIP)), policy.encode(PROMPTS)
    first = WanPolicy.from_folder(published_wan_folder).velocity(noise, 0.9, embeddings)
    assert 0.5 < float(first.square().mean().sqrt()) < 2
    config = SamplerConfig(num_steps=STEPS, shift=policy.shift, first_index=0, last_index=0)
    ours = sample_ode(policy, embeddings, noise, config)

    stock: Any = WanPipeline.from_pretrained(published_wan_folder)
    euler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock.scheduler = euler
    set_timesteps: Callable[..., None] = euler.set_timesteps
    before_shift = np.linspace(1, 1 / STEPS, STEPS)
    euler.set_timesteps = lambda steps, device=None: set_timesteps(sigmas=before_shift, device=device)
    expected = _call(stock, noise, guidance, policy.prompts.max_length, "latent")
    assert float(expected.std()) > 0.5
    assert float((ours - expected).abs().max()) <= 1e-5
    assert float((ours - noise).abs().mean()) > 0.1


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@torch.no_grad()
def test_cogvideox_equals_the_stock_pipeline(published_cogvideox_folder: Path, guidance: float) -> None:
    model = CogVideoXSampler.from_folder(published_cogvideox_folder, guidance=guidance, negative_prompt=NEGATIVE)
    noise, embeddings = _noise(model.latent_shape(*CLIP)), model.encode(PROMPTS)
    assert noise.shape[2] == 4 and model.padding_frames(CLIP[0]) == 4  # 3 latent frames and one before them
    ours = model.sample(embeddings, noise, num_steps=STEPS)
    videos = model.decode(ours, padding_frames=model.padding_frames(CLIP[0]))

    stock: Any = CogVideoXPipeline.from_pretrained(published_cogvideox_folder)
    inside = noise.transpose(1, 2)  # [B, L, C, h, w]
    expected = _call(stock, inside, guidance, model.prompts.max_length, "latent").transpose(1, 2)
    assert float(expected.std()) > 0.5
    assert float((ours - expected).abs().max()) <= 1e-6
    pictures = torch.from_numpy(_call(stock, inside, guidance, model.prompts.max_length, "np")).movedim(-1, 2)
    assert videos.shape == pictures.shape == (2, 9, 3, 32, 48)
    assert float((videos - pictures).abs().max()) <= 1e-5
    assert float(pictures.std()) > 0.05


@torch.no_grad()
def test_cogvideox_depends_on_guidance_prompt_and_noise(published_cogvideox_folder: Path) -> None:
    model = CogVideoXSampler.from_folder(published_cogvideox_folder, guidance=1.0)
    guided = CogVideoXSampler.from_folder(published_cogvideox_folder, guidance=6.0, negative_prompt=NEGATIVE)
    noise, embeddings = _noise(model.latent_shape(*CLIP)), model.encode(PROMPTS)
    plain = model.sample(embeddings, noise, num_steps=2)
    assert float((guided.sample(embeddings, noise, num_steps=2) - plain).abs().max()) > 1e-3
    assert float((model.sample(embeddings.flip(0), noise, num_steps=2) - plain).abs().max()) > 1e-3
    assert float((model.sample(embeddings, noise.flip(0), num_steps=2) - plain).abs().max()) > 0.1


def test_sizes_that_cogvideox_cannot_make_name_the_nearest(published_cogvideox_folder: Path) -> None:
    model = CogVideoXSampler.from_folder(published_cogvideox_folder)
    assert model.latent_shape(81, 768, 1360) == (16, 22, 96, 170)
    assert [model.padding_frames(n) for n in (1, 5, 77, 81, 85)] == [4, 0, 0, 4, 0]
    for clip, nearest in (
        ((80, 768, 1360), "81 frames of 768 x 1360"),
        ((81, 770, 1360), "81 frames of 768 x 1360"),
        ((81, 768, 4096), "81 frames of 768 x 2400"),  # the rotary embeddings end there
        ((0, 0, 0), "1 frames of 16 x 16"),
    ):
        with pytest.raises(InputError, match=f"nearest that does is {nearest}"):
            model.latent_shape(*clip)
