"""Train the mini Wan VAE on the corpus."""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Float, Int
from torch import Tensor

from worldr1.backends.wan import decode_latents, encode_moments, encode_video
from worldr1.pretrain.corpus import Corpus
from worldr1.scene.image_metrics import psnr_db

KL_WEIGHT = 1e-4
SQUARED_WEIGHT = 15.0
"""At 25 dB half of the loss; with 2 the L1 terms rule, and the same network ends more than 1 dB lower (docs/log.md)."""


def to_float(video: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """uint8 -> 0..1."""
    return video.float() / 255


def vae_loss(
    vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"], generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error + L1 + L1 of image gradients (keeps edges) + a small KL."""
    mean, log_variance = encode_moments(vae, video)
    log_variance = log_variance.clamp(-20, 10)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    output = decode_latents(vae, mean + torch.exp(0.5 * log_variance) * noise, clamp=False)
    error = output - video
    edges = sum((error.diff(dim=d)).abs().mean() for d in (-1, -2))
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    squared = error.square().mean()
    loss = SQUARED_WEIGHT * squared + 0.5 * error.abs().mean() + 0.5 * edges + KL_WEIGHT * kl
    return loss, {"psnr": psnr_db(squared.detach()), "kl": kl.detach()}


class VaeTask:
    """Batches of random clips from the corpus."""

    def __init__(self, vae: AutoencoderKLWan, corpus: Corpus, *, batch: int, generator: torch.Generator) -> None:
        self.vae, self.corpus, self.batch, self.generator = vae, corpus, batch, generator

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        index = torch.randint(
            len(self.corpus.prompts), (self.batch,), generator=self.generator, device=self.generator.device
        )
        with torch.autocast(self.generator.device.type, torch.bfloat16):
            return vae_loss(self.vae, to_float(self.corpus.video[index]), self.generator)


@torch.no_grad()
def latent_statistics(latents: Sequence[Float[Tensor, "B C L h w"]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel over a corpus."""
    stacked = torch.cat(list(latents)).float()
    return stacked.mean((0, 2, 3, 4)).tolist(), stacked.std((0, 2, 3, 4)).tolist()


@torch.no_grad()
def encode_corpus(vae: AutoencoderKLWan, corpus: Corpus, *, batch: int = 64) -> Float[Tensor, "N C L h w"]:
    """Normalised posterior means (bfloat16) of every clip."""
    pieces = []
    for video in corpus.video.split(batch):
        with torch.autocast(video.device.type, torch.bfloat16, enabled=video.is_cuda):
            pieces.append(encode_video(vae, to_float(video)).bfloat16())
    return torch.cat(pieces)


@torch.no_grad()
def through_vae(vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T 3 H W"]:
    """Encode and decode: what any generated video looks like at best."""
    with torch.autocast(video.device.type, torch.bfloat16, enabled=video.is_cuda):
        return decode_latents(vae, encode_video(vae, video))


@torch.no_grad()
def decode_corpus(
    vae: AutoencoderKLWan, video: Int[Tensor, "N T 3 H W"], *, batch: int = 64
) -> Int[Tensor, "N T 3 H W"]:
    """Every clip through the VAE, as uint8."""
    return torch.cat([(through_vae(vae, to_float(v)) * 255).round().to(torch.uint8) for v in video.split(batch)])
