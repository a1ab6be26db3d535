"""CogVideoX text-to-video models (arXiv 2408.06072; the paper's baseline is CogVideoX1.5-5B), for generating only.

Sampling is the stock pipeline's: DDIM without noise on the v-prediction, on the scheduler's own timesteps. Latents are
[B, C, L, h, w] here as everywhere in worldr1 and [B, L, C, h, w] inside the network; between the steps they stay in
float32, where the pipeline rounds them to the network's dtype (in float32 there is no difference).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from jaxtyping import Float
from torch import Tensor, nn
from transformers import T5EncoderModel

from worldr1.backends.architectures import COGVIDEOX_1_5_5B, Architecture
from worldr1.backends.attention import AttentionChoice, Kernel, choose_kernel, kernel_for_calls
from worldr1.backends.folder_encoder import FolderEncoder
from worldr1.backends.gpu_memory import free_bytes
from worldr1.backends.model_folder import check_folder, load_part, load_scheduler
from worldr1.backends.prompts import EncoderSource, NegativePrompt, PromptEncoder, TextOptions
from worldr1.backends.random_weights import RandomEncoder, build_part, scale_output
from worldr1.backends.sizes import check_size
from worldr1.backends.wan.vae import DecodeMode
from worldr1.diffusion.guidance import combine
from worldr1.errors import InputError

WHOLE_ACTIVATIONS = 21.0
"""Peak memory of decoding two latent frames whole, in float32 activations of full resolution. Taken over from Wan's VAE
(`wan.vae.WHOLE_ACTIVATIONS`), not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CogVideoXParts:
    """The networks and the scheduler, on their device."""

    transformer: CogVideoXTransformer3DModel
    vae: AutoencoderKLCogVideoX
    scheduler: CogVideoXDDIMScheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class CogVideoXOptions:
    """How the model is used."""

    guidance: float = 6.0
    """Classifier-free guidance scale; 1 is none. Both halves go through the network as one batch, as stock does."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    decode: DecodeMode = "auto"
    """Whole, in stock's tiles, or in tiles only where the whole would not fit. One video at a time in any case."""
    decode_dtype: torch.dtype = torch.float32
    """bfloat16 decodes under autocast."""


class CogVideoXSampler:
    """A CogVideoX model as a `protocols.VideoSampler`. It cannot be trained."""

    def __init__(self, parts: CogVideoXParts, prompts: PromptEncoder, options: CogVideoXOptions) -> None:
        """Takes the parts where they are (device, dtype)."""
        transformer = parts.transformer.eval().requires_grad_(False)
        self.transformer: nn.Module = transformer
        self.vae: AutoencoderKLCogVideoX = parts.vae.eval().requires_grad_(False)
        self.scheduler: Any = parts.scheduler
        self.prompts, self.options = prompts, options
        self.kernel: Kernel = "torch"
        self.compiled = False
        self.dtype: torch.dtype = transformer.dtype
        self.num_parameters = sum(parameter.numel() for parameter in transformer.parameters())
        self._device: torch.device = transformer.device
        self._config: Any = transformer.config
        self._space: int = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        self._time = int(self.vae.config["temporal_compression_ratio"])
        self._negative = NegativePrompt(prompts, options.negative_prompt, guided=options.guidance != 1.0)
        # knows how to lay out the rotary embeddings; built without the text encoder, which may be freed
        text: dict[str, Any] = {"tokenizer": None, "text_encoder": None}
        self._stock: Any = CogVideoXPipeline(vae=self.vae, transformer=transformer, scheduler=self.scheduler, **text)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        text: TextOptions | None = None,
        **options: Any,
    ) -> "CogVideoXSampler":
        """Loads a `save_pretrained` folder from disk; never downloads and never runs code from the folder.

        dtype: of transformer and text encoder; the VAE is float32. options: fields of `CogVideoXOptions`.
        Raises InputError if the folder is missing, incomplete, damaged or another kind of model.
        """
        folder, device = Path(path), torch.device(device)
        check_folder(folder, pipeline=CogVideoXPipeline.__name__)
        weights: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
        transformer = load_part(CogVideoXTransformer3DModel, folder, "transformer", torch_dtype=dtype, **weights)
        vae = load_part(AutoencoderKLCogVideoX, folder, "vae", torch_dtype=torch.float32, **weights)
        scheduler = load_scheduler(folder, (CogVideoXDDIMScheduler,))
        parts = CogVideoXParts(transformer=transformer.to(device), vae=vae.to(device), scheduler=scheduler)
        source = FolderEncoder(folder=folder, kind=T5EncoderModel, dtype=dtype, device=device)
        prompts = _prompt_encoder(source, text or TextOptions(), transformer, dtype, device)
        return cls(parts, prompts, CogVideoXOptions(**options))

    @classmethod
    def from_architecture(
        cls,
        architecture: Architecture = COGVIDEOX_1_5_5B,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        text: TextOptions | None = None,
        **options: Any,
    ) -> "CogVideoXSampler":
        """The published architecture with random weights, whose v-predictions are about 1; made on the device.

        options: fields of `CogVideoXOptions`.
        """
        device = torch.device(device)
        transformer = build_part(architecture.transformer, device=device, dtype=dtype, seed=seed)
        vae = build_part(architecture.vae, device=device, dtype=torch.float32, seed=seed)
        scheduler = CogVideoXDDIMScheduler(**architecture.scheduler.config)
        parts = CogVideoXParts(transformer=transformer, vae=vae, scheduler=scheduler)
        source = RandomEncoder(part=architecture.text_encoder, dtype=dtype, device=device, seed=seed)
        prompts = _prompt_encoder(source, text or TextOptions(), transformer, dtype, device)
        sampler = cls(parts, prompts, CogVideoXOptions(**options))
        generator = torch.Generator().manual_seed(seed)
        config = transformer.config
        latents = torch.randn(1, 2, config["in_channels"], 8, 8, generator=generator).to(device)
        words = torch.randn(1, config["max_text_seq_length"], config["text_embed_dim"], generator=generator)
        with torch.no_grad():
            predicted = sampler._predict(latents, torch.tensor(500, device=device), words.to(device))
            scale_output(transformer.proj_out, predicted)
        return sampler

    def choose_attention(self, choice: AttentionChoice) -> None:
        """Sets the attention kernel. Raises InputError for one that does not run here, and for "flash3"."""
        if choice == "flash3":
            raise InputError(
                'CogVideoX calls torch\'s own attention, so the kernel "flash3" is for Wan alone; '
                'set model.attention = "auto".'
            )
        self.kernel = choose_kernel(
            choice, device=self._device, dtype=self.dtype, head_dim=self._config["attention_head_dim"]
        )

    def compile(self, **options: Any) -> None:
        """Lets torch compile every block when it first runs. options: of `torch.compile`."""
        for block in self.transformer.get_submodule("transformer_blocks").children():
            block.compile(**options)
        self.compiled = True

    @property
    def guidance(self) -> float:
        """Classifier-free guidance scale; 1 is none."""
        return self.options.guidance

    def padding_frames(self, num_frames: int) -> int:
        """Video frames that are sampled before the first one and then dropped.

        CogVideoX1.5 patches two latent frames together; where their number is odd, one more comes in front.
        """
        patch = self._config["patch_size_t"] or 1
        return -((num_frames - 1) // self._time + 1) % patch * self._time

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, L, h, w) of a clip, its padding included.

        Raises InputError, which names the nearest valid size, unless num_frames = 4 k + 1 and height and width are
        positive multiples of 16 that the rotary embeddings reach.
        """
        multiple, time = self._space * self._config["patch_size"], self._time
        largest = [self._config[f"sample_{side}"] * self._space // multiple * multiple for side in ("height", "width")]
        bounds = largest if self._config["patch_size_t"] else [10**9] * 2
        rows, columns = (
            min(bound, max(1, round(side / multiple)) * multiple)
            for side, bound in zip((height, width), bounds, strict=True)
        )
        nearest = (max(0, round((num_frames - 1) / time)) * time + 1, rows, columns)
        check_size((num_frames, height, width), nearest, multiple=multiple, time=time)
        frames = (num_frames + self.padding_frames(num_frames) - 1) // time + 1
        return self._config["in_channels"], frames, height // self._space, width // self._space

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Text embeddings by the pipeline's own code."""
        return self._negative.encode_beside(prompts)

    @torch.no_grad()
    def sample(
        self,
        embeddings: Float[Tensor, "B S D"],
        start: Float[Tensor, "B C L h w"],
        *,
        num_steps: int,
        on_step: Callable[[], None] = lambda: None,
    ) -> Float[Tensor, "B C L h w"]:
        """Clean latents (float32, padding frames included) of start noise, by DDIM without noise.

        on_step: is called after every step.
        """
        self.scheduler.set_timesteps(num_steps, device=self._device)
        latents = start.float().transpose(1, 2) * self.scheduler.init_noise_sigma
        for timestep in self.scheduler.timesteps:
            predicted = self._guided(latents, timestep, embeddings)
            latents = self.scheduler.step(predicted, timestep, latents, return_dict=False)[0]
            on_step()
        return latents.transpose(1, 2).contiguous()

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C L h w"], *, padding_frames: int = 0) -> Float[Tensor, "B T 3 H W"]:
        """Video in 0..1, float32. padding_frames: as `padding_frames` says; they are dropped."""
        latents = latents[:, :, padding_frames // self._time :].to(self.vae.dtype) / self.vae.config["scaling_factor"]
        rounded = self.options.decode_dtype != torch.float32
        with torch.autocast(latents.device.type, self.options.decode_dtype if rounded else None, enabled=rounded):
            videos = [self._decode_one(one) for one in latents.split(1)]
        return (torch.cat(videos).transpose(1, 2) * 0.5 + 0.5).clamp(0.0, 1.0)

    def _decode_one(self, latents: Tensor) -> Tensor:
        """Pixels [1, 3, T, H, W] in -1..1."""
        vae: Any = self.vae
        tiled = self.options.decode == "tiled"
        if self.options.decode == "auto":
            tiled = self._whole_bytes(*latents.shape[-2:]) > free_bytes(latents.device)
        return (vae.tiled_decode(latents) if tiled else vae.decode(latents)).sample.float()

    def _whole_bytes(self, height: int, width: int) -> float:
        pixels = 2 * self._time * height * width * self._space**2
        return WHOLE_ACTIVATIONS * pixels * self.vae.config["block_out_channels"][0] * 4

    def _guided(self, latents: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        if self.guidance == 1.0:
            return self._predict(latents, timestep, embeddings)
        both = torch.cat([self._negative.embeddings.to(embeddings).expand(len(embeddings), -1, -1), embeddings])
        unconditional, conditional = self._predict(torch.cat([latents] * 2), timestep, both).chunk(2)
        return combine(conditional, unconditional, self.guidance)

    def _predict(self, latents: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        """The v-prediction, float32; latents [B, L, C, h, w]."""
        rotary = None
        if self._config["use_rotary_positional_embeddings"]:
            size = [side * self._space for side in latents.shape[-2:]]
            rotary = self._stock._prepare_rotary_positional_embeddings(*size, latents.shape[1], self._device)
        with kernel_for_calls(self.kernel):
            output = self.transformer(
                hidden_states=latents.to(self.dtype),
                encoder_hidden_states=embeddings.to(self.dtype),
                timestep=timestep.expand(len(latents)),
                image_rotary_emb=rotary,
                return_dict=False,
            )
        return output[0].float()


def _prompt_encoder(
    source: EncoderSource, options: TextOptions, transformer: Any, dtype: torch.dtype, device: torch.device
) -> PromptEncoder:
    limit = transformer.config["max_text_seq_length"]
    return PromptEncoder(source, CogVideoXPipeline, options=options, limit=limit, dtype=dtype, device=device)
