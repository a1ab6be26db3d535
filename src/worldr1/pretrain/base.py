"""Pre-train the mini Wan transformer and its text encoder by flow matching on the corpus's latents."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldr1.backends.wan import decode_latents
from worldr1.diffusion.schedule import sigma_grid
from worldr1.mini.networks.base import LATENT_CHANNELS, MAX_TEXT_LENGTH, SHIFT
from worldr1.mini.networks.trunk import prompt_ids
from worldr1.noise.canvas import plan_canvas, sample_canvas_batch
from worldr1.pretrain.corpus import plan_paths
from worldr1.types import FOCAL_PER_WIDTH

PROMPT_DROPOUT = 0.1
POOL_CHANNELS = 4096
"""Canvas channel maps kept for each camera plan; an example draws each of its channels (and signs) from them."""


class TransportedNoise:
    """A pool of plane-canvas noise for every plan of the corpus, on the training device.

    Drawing each channel's map and sign at random from 4,096 makes repeats of a whole example impossible in practice
    and costs a gather instead of a canvas.
    """

    def __init__(self, latent_frames: int, height: int, width: int, generator: torch.Generator) -> None:
        stride = 4
        pool = []
        for path in plan_paths().double():
            plan = plan_canvas(
                path[::stride][:latent_frames], focal_per_width=FOCAL_PER_WIDTH, height=height, width=width
            )
            maps = sample_canvas_batch(plan.to(generator.device), POOL_CHANNELS, 1, generator)[0]
            pool.append(maps.bfloat16())
        self.pool = torch.stack(pool)
        self.generator = generator

    def draw(self, plan: Int[Tensor, " B"], num_channels: int) -> Float[Tensor, "B C L h w"]:
        """Transported noise along each plan (indices into PLANS, none negative)."""
        shape, device = (plan.shape[0], num_channels), plan.device
        channel = torch.randint(POOL_CHANNELS, shape, generator=self.generator, device=device)
        sign = torch.randint(2, shape, generator=self.generator, device=device) * 2.0 - 1
        return self.pool[plan[:, None], channel].float() * sign[..., None, None, None]


def tokenize(
    tokenizer: Any, prompts: Sequence[str], device: str | torch.device
) -> tuple[Int[Tensor, "N S"], Int[Tensor, "N S"]]:
    """Ids and mask, padded to MAX_TEXT_LENGTH as the pipeline pads them."""
    ids = prompt_ids(tokenizer, prompts, MAX_TEXT_LENGTH).to(device)
    return ids, (ids != tokenizer.pad_token_id).long()


class BaseModel(nn.Module):
    """Transformer and text encoder, trained together."""

    def __init__(self, transformer: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder

    def embed(self, ids: Int[Tensor, "B S"], mask: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Embeddings, zero past the prompt's end (as `WanPipeline.encode_prompt`)."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden * mask[..., None]


class BaseTask:
    """Flow-matching loss on random latents of the corpus."""

    def __init__(
        self,
        model: BaseModel,
        latents: Float[Tensor, "N C L h w"],
        plan: Int[Tensor, " N"],
        text: tuple[Int[Tensor, "N S"], Int[Tensor, "N S"]],
        empty: tuple[Int[Tensor, "1 S"], Int[Tensor, "1 S"]],
        *,
        noise: TransportedNoise,
        transported_share: float,
        batch: int,
    ) -> None:
        self.model, self.latents, self.plan, self.text, self.empty = model, latents, plan, text, empty
        self.noise, self.batch, self.generator = noise, batch, noise.generator
        self.transported_share = transported_share
        self.forward = torch.compile(model.transformer) if latents.is_cuda else model.transformer

    def _rand(self) -> Tensor:
        return torch.rand(self.batch, generator=self.generator, device=self.latents.device)

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        device = self.latents.device
        index = torch.randint(self.latents.shape[0], (self.batch,), generator=self.generator, device=device)
        clean, plan = self.latents[index].float(), self.plan[index]
        ids, mask = (part[index] for part in self.text)
        dropped = (self._rand() < PROMPT_DROPOUT)[:, None]
        ids, mask = torch.where(dropped, self.empty[0], ids), torch.where(dropped, self.empty[1], mask)
        noise = torch.randn(clean.shape, generator=self.generator, device=device)
        transported = (self._rand() < self.transported_share) & (plan >= 0)
        strength = (self._rand() * transported)[:, None, None, None, None]
        moved = self.noise.draw(plan.clamp(min=0), clean.shape[1])
        noise = (1 - strength**2).sqrt() * noise + strength * moved
        logits = torch.randn(self.batch, generator=self.generator, device=device) * 1.2 + 0.3
        u = logits.sigmoid()
        sigma = 2 * u / (1 + u)
        s = sigma[:, None, None, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            velocity = self.forward(
                hidden_states=(1 - s) * clean + s * noise,
                timestep=sigma * 1000,
                encoder_hidden_states=self.model.embed(ids, mask),
                return_dict=False,
            )[0]
        loss = (velocity.float() - (noise - clean)).square().mean()
        return loss, {"loss": loss.detach()}


@torch.no_grad()
def sample(
    model: BaseModel, embeddings: Float[Tensor, "B S D"], noise: Float[Tensor, "B C L h w"], *, num_steps: int = 20
) -> Float[Tensor, "B C L h w"]:
    """Plain Euler sampling, for pictures and metrics while training."""
    grid = sigma_grid(num_steps, SHIFT).tolist()
    x = noise
    for sigma, sigma_next in pairwise(grid):
        timestep = torch.full((x.shape[0],), sigma * 1000, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            velocity = model.transformer(
                hidden_states=x, timestep=timestep, encoder_hidden_states=embeddings, return_dict=False
            )[0]
        x = x + (sigma_next - sigma) * velocity.float()
    return x


@torch.no_grad()
def generate(
    model: BaseModel, vae: AutoencoderKLWan, tokenizer: Any, prompts: Sequence[str], generator: torch.Generator
) -> Int[Tensor, "B T 3 H W"]:
    """One uint8 clip per prompt, from white noise; `generator` lives on the model's device."""
    device = generator.device
    embeddings = model.embed(*tokenize(tokenizer, prompts, device))
    noise = torch.randn((len(prompts), LATENT_CHANNELS, 5, 8, 12), generator=generator, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        video = torch.cat([decode_latents(vae, part) for part in sample(model, embeddings, noise).split(32)])
    return (video.clamp(0, 1) * 255).round().to(torch.uint8)
