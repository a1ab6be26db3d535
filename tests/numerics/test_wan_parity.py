"""Our sampling, text and VAE against the stock WanPipeline, on tiny random weights."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from torch import Tensor

from worldr1.backends.wan import WanPolicy, decode_latents, encode_moments, encode_video
from worldr1.diffusion.schedule import sigma_grid

PROMPTS = ["camera push in. a red ball on the floor", "a box"]
STEPS = 4
TEXT_LENGTH = 16


def _sample_as_stock(pipe: Any, noise: Tensor, guidance: float) -> Tensor:
    """Latents of the stock pipeline; only its sigmas are ours, because its own grid ends elsewhere."""
    set_timesteps = pipe.scheduler.set_timesteps
    before_shift = np.linspace(1, 1 / STEPS, STEPS)
    pipe.scheduler.set_timesteps = lambda steps, device=None: set_timesteps(sigmas=before_shift, device=device)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        PROMPTS,
        latents=noise,
        height=32,
        width=48,
        num_frames=9,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        max_sequence_length=TEXT_LENGTH,
        output_type="latent",
    ).frames


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@torch.no_grad()
def test_noise_free_sampling_equals_the_stock_pipeline(tiny_wan_folder: Path, guidance: float) -> None:
    policy = WanPolicy.from_folder(tiny_wan_folder, guidance=guidance, max_text_length=TEXT_LENGTH)
    noise = torch.randn(2, *policy.latent_shape(9, 32, 48), generator=torch.Generator().manual_seed(1))
    embeddings = policy.encode(PROMPTS)
    sigmas = sigma_grid(STEPS, policy.shift).tolist()
    latents = noise
    for sigma, sigma_next in pairwise(sigmas):
        latents = latents + (sigma_next - sigma) * policy.velocity(latents, sigma, embeddings)
    stock: Any = WanPipeline.from_pretrained(tiny_wan_folder)
    expected = _sample_as_stock(stock, noise, guidance)
    torch.testing.assert_close(latents, expected, atol=2e-6, rtol=0)
    mean, std = (torch.tensor(stock.vae.config[k]).view(1, -1, 1, 1, 1) for k in ("latents_mean", "latents_std"))
    decoded = stock.vae.decode(expected * std + mean).sample
    frames = torch.from_numpy(stock.video_processor.postprocess_video(decoded, output_type="np")).movedim(-1, 2)
    assert (policy.decode(latents) - frames).abs().max() <= 1e-5
    assert (policy.decode(latents) - policy.decode(noise)).abs().max() > 1e-2  # the comparison can fail


@torch.no_grad()
def test_text_embeddings_equal_the_stock_pipeline_bit_for_bit(tiny_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(tiny_wan_folder, max_text_length=TEXT_LENGTH)
    stock: Any = WanPipeline.from_pretrained(tiny_wan_folder)
    expected, negative = stock.encode_prompt(PROMPTS, "", max_sequence_length=TEXT_LENGTH)
    assert torch.equal(policy.encode(PROMPTS), expected)
    assert torch.equal(policy.encode(["", ""]), negative)
    num_tokens = 3  # "a box" and </s>
    assert not expected[1, :num_tokens].eq(0).all(-1).any()
    assert expected[1, num_tokens:].eq(0).all()


def test_the_policy_returns_a_stock_pipeline_of_the_same_modules(tiny_wan_folder: Path) -> None:
    policy = WanPolicy.from_folder(tiny_wan_folder, max_text_length=TEXT_LENGTH)
    pipe = policy.pipeline()
    assert type(pipe) is WanPipeline
    assert pipe.transformer is policy.transformer
    assert pipe.vae is policy.vae


VAES: dict[str, dict[str, Any]] = {
    "mini": {"dim_mult": [1, 2, 2], "patch_size": 2, "in_channels": 12, "out_channels": 12},
    "mini residual": {
        "dim_mult": [1, 2, 2],
        "patch_size": 2,
        "in_channels": 12,
        "out_channels": 12,
        "is_residual": True,
    },
    "wan 2.1": {"dim_mult": [1, 2, 2, 2], "temperal_downsample": [False, True, True]},
}


@pytest.fixture(params=list(VAES))
def vae(request: pytest.FixtureRequest) -> Any:
    """A small random VAE of each structure, with latent statistics that are not 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options: dict[str, Any] = {"temperal_downsample": [True, True]} | VAES[request.param]
        statistics: dict[str, Any] = {
            "latents_mean": [0.1 * i for i in range(6)],
            "latents_std": [1.0 + 0.2 * i for i in range(6)],
        }
        return AutoencoderKLWan(base_dim=8, z_dim=6, num_res_blocks=1, **statistics, **options).eval()


@pytest.mark.parametrize("max_positions", [2**15, 2 * 24 * 2, 1], ids=["two chunks", "some frames", "frame by frame"])
@torch.no_grad()
def test_chunked_vae_equals_stock(vae: Any, max_positions: int) -> None:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(2, 6, 4, 4, 6, generator=generator)
    mean, std = (torch.tensor(vae.config[k]).view(1, -1, 1, 1, 1) for k in ("latents_mean", "latents_std"))
    stock = vae.decode(latents * std + mean).sample.transpose(1, 2) * 0.5 + 0.5
    ours = decode_latents(vae, latents, max_positions=max_positions)
    assert stock.std() > 0.05
    assert (ours - stock).abs().max() <= 1e-5

    video = torch.rand(2, 13, 3, 32, 48, generator=generator)
    posterior = vae.encode(video.transpose(1, 2) * 2 - 1).latent_dist
    found_mean, found_logvar = encode_moments(vae, video, max_positions=max_positions)
    assert (found_mean - posterior.mean).abs().max() <= 1e-5
    assert (found_logvar - posterior.logvar).abs().max() <= 1e-5


@torch.no_grad()
def test_encode_video_normalises_what_decode_latents_expects(vae: Any) -> None:
    video = torch.rand(1, 5, 3, 16, 32, generator=torch.Generator().manual_seed(3))
    posterior = vae.encode(video.transpose(1, 2) * 2 - 1).latent_dist
    stock = vae.decode(posterior.mean).sample.transpose(1, 2) * 0.5 + 0.5
    assert (decode_latents(vae, encode_video(vae, video)) - stock).abs().max() <= 1e-5


def test_decoding_without_clamp_keeps_the_gradient_of_too_bright_pixels(vae: Any) -> None:
    with torch.no_grad():
        vae.decoder.conv_out.bias += 3.0  # the video is white everywhere
    latents = torch.randn(1, 6, 2, 2, 2, generator=torch.Generator().manual_seed(4), requires_grad=True)
    clamped, free = decode_latents(vae, latents), decode_latents(vae, latents, clamp=False)
    assert torch.equal(clamped, free.clamp(0, 1))
    assert torch.autograd.grad(clamped.sum(), latents)[0].abs().max() == 0
    assert torch.autograd.grad(free.sum(), latents)[0].abs().max() > 0
