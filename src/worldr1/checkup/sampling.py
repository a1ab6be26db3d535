"""Does our sampler, on this recipe's weights, make what stock diffusers makes?"""

import math
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from worldr1.backends.wan import WanPolicy
from worldr1.build import ExperimentConfig
from worldr1.checkup.findings import Finding
from worldr1.rollout.sampler import SamplerConfig, sample_ode

STEPS, FRAMES, SIDE_PX = 4, 9, 256
PROMPT = "Camera push in. A red ball on a wooden table under a blue sky."
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""Root mean square of the difference over the latents' own: of roundings, for each type of the base. Measured on mini
and a small random Wan, with guidance 1 and 5: below 1e-5 and 0.05; a wrong sigma grid, text or guidance makes 0.3."""


def nothing_sampled(config: ExperimentConfig) -> Finding:
    """The finding without its number."""
    return Finding(
        name="sampling",
        value=math.nan,
        at_most=TOLERANCE[config.model.dtype],
        detail="our latents against stock diffusers' WanPipeline",
        fix="fetch the model folder again; then model.dtype = float32 and model.attention = math tell rounding from a "
        "wrong model",
    )


@torch.no_grad()
def sampling(config: ExperimentConfig, policy: WanPolicy) -> Finding:
    """Difference from the stock pipeline, which shares the weights: text, guidance, sigma grid and velocity."""
    clip, otherwise = config.clip, nothing_sampled(config)
    size = (min(clip.frames, FRAMES), min(clip.height, SIDE_PX), min(clip.width, SIDE_PX))
    shape = policy.latent_shape(*size)
    start = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(policy.transformer.device)  # type: ignore[arg-type]
    sampler = SamplerConfig(num_steps=STEPS, shift=policy.shift, first_index=1, last_index=2, batch=1)
    ours = sample_ode(policy, policy.encode([PROMPT]), start, sampler).float()
    stock = _stock(policy, start, size).float()
    scale = float(stock.square().mean().sqrt())
    apart = ours - stock
    difference = float(apart.square().mean().sqrt()) / max(scale, 1e-12)
    note = ""
    if policy.shift != config.sampler.shift:
        note = f"; the recipe samples with shift {config.sampler.shift:g}, the model's own is {policy.shift:g}"
    largest = float(apart.abs().max())
    detail = (
        f"rms difference of our latents from WanPipeline's over their rms ({STEPS} steps, {size[0]} frames of "
        f"{size[1]} x {size[2]}, guidance {policy.guidance:g}, {config.model.dtype}; largest {largest:.2g}){note}"
    )
    return Finding(name=otherwise.name, value=difference, at_most=otherwise.at_most, detail=detail, fix=otherwise.fix)


def _stock(policy: WanPolicy, start: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Latents of the stock pipeline with Euler on our sigma grid (its own grids end elsewhere)."""
    pipe: Any = policy.pipeline()
    pipe.scheduler = _OurGrid(shift=policy.shift)
    pipe.set_progress_bar_config(disable=True)
    frames, height, width = size
    return pipe(
        [PROMPT],
        negative_prompt=policy.options.negative_prompt,
        latents=start,
        height=height,
        width=width,
        num_frames=frames,
        num_inference_steps=STEPS,
        guidance_scale=policy.guidance,
        max_sequence_length=policy.prompts.max_length,
        output_type="latent",
    ).frames


class _OurGrid(FlowMatchEulerDiscreteScheduler):
    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """Evenly spaced before the shift, down to 1 / N; then 0."""
        super().set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS).tolist(), device=device)
