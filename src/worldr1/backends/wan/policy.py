"""A Wan text-to-video model as a `VideoPolicy`, made of stock diffusers parts.

The parts stay stock so that a folder trained here loads in any diffusers program; what differs from the pipeline is
only the VAE's chunking (faster, same result) and that one call gives one velocity (research/stack.md 6).
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline, prompt_clean
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from worldr1.backends.architectures import Architecture, PartConfig
from worldr1.backends.attention import AttentionChoice, Kernel, choose_kernel, use_kernel
from worldr1.backends.folder_encoder import FolderEncoder
from worldr1.backends.gpu_memory import free_bytes
from worldr1.backends.model_folder import check_folder, load_part, load_scheduler
from worldr1.backends.prompts import EncoderSource, Examine, NegativePrompt, PromptEncoder, TextOptions
from worldr1.backends.random_weights import RandomEncoder, build_part, scale_output
from worldr1.backends.sizes import check_size
from worldr1.backends.wan.training_memory import StepShape, needs_checkpointing
from worldr1.backends.wan.vae import DecodeMode, decode_videos
from worldr1.diffusion.guidance import combine

Scheduler = FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler
GuidanceBatch = Literal["auto", "joint", "separate"]

MAX_TEXT_LENGTH = 512
"""Tokens of a Wan prompt, unless the tokenizer itself says less (the mini model's: 64)."""

JOINT_TOKENS = 2**14
"""Up to so many tokens (rows times tokens of a latent) the two halves of guidance go through the network together. More
fill a GPU alone: at 32,760 tokens a batch of two takes 1.230 s, two calls 1.240 s (research/h200.md), and twice the
memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WanParts:
    """The networks and the scheduler, on their device."""

    transformer: WanTransformer3DModel
    vae: AutoencoderKLWan
    scheduler: Scheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class WanOptions:
    """How a Wan model is used."""

    guidance: float = 1.0
    """Classifier-free guidance scale inside every velocity; 1 means none, and half the cost."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    guidance_batch: GuidanceBatch = "auto"
    """The two halves of guidance as one batch of twice the size, or in two calls; "auto" by `JOINT_TOKENS`."""
    decode: DecodeMode = "auto"
    """As `vae.decode_videos` takes it."""
    decode_dtype: torch.dtype = torch.float32
    """bfloat16 decodes under autocast, which is faster on a GPU; the VAE's weights stay as they are."""


class WanPolicy:
    """A Wan model as a `VideoPolicy`. All parameters arrive frozen; `train.lora` thaws the ones to train."""

    transformer: nn.Module
    """May be replaced by its DDP or FSDP wrapper."""

    def __init__(self, parts: WanParts, prompts: PromptEncoder, options: WanOptions) -> None:
        """Takes the parts where they are (device, dtype)."""
        transformer = parts.transformer.eval().requires_grad_(False)
        self.transformer = transformer
        self.vae: AutoencoderKLWan = parts.vae.eval().requires_grad_(False)
        self.scheduler: Scheduler = parts.scheduler
        self.prompts, self.options = prompts, options
        self.kernel: Kernel = "torch"
        self.compiled = self.checkpointed = False
        self._compile_options: dict[str, Any] = {}
        # Asked once: a wrapped or LoRA-carrying transformer no longer answers with the base's dtype and config.
        self.dtype: torch.dtype = transformer.dtype
        self.num_parameters = sum(parameter.numel() for parameter in transformer.parameters())
        self._device: torch.device = self.vae.device  # a base that is to be sharded is not there yet
        self.config: Any = transformer.config
        patch_height = self.config["patch_size"][1]
        self._spatial_multiple = math.lcm(16, self.vae.config["scale_factor_spatial"] * patch_height)
        self._negative = NegativePrompt(prompts, options.negative_prompt, guided=options.guidance != 1.0)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        base_device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        max_text_length: int | None = None,
        text: TextOptions | None = None,
        **options: Any,
    ) -> "WanPolicy":
        """Loads a `save_pretrained` folder from disk; never downloads and never runs code from the folder.

        base_device: where the transformer is left, for `train.sharding.shard_base` to deal out; None: on `device`.

        dtype: of transformer and text encoder. Given at loading and not by `.to()`, so that the parts that diffusers
        keeps in fp32 (norms, time embedding) stay so (research/stack.md 6.5). The VAE is float32.
        max_text_length: as `TextOptions.max_length`. options: fields of `WanOptions`.
        Raises InputError if the folder is missing, incomplete, damaged or another kind of model.
        """
        folder, device = Path(path), torch.device(device)
        check_folder(folder)
        weights: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
        transformer = load_part(WanTransformer3DModel, folder, "transformer", torch_dtype=dtype, **weights)
        vae = load_part(AutoencoderKLWan, folder, "vae", torch_dtype=torch.float32, **weights)
        scheduler = load_scheduler(folder, (FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler))
        transformer = transformer.to(device if base_device is None else base_device)
        parts = WanParts(transformer=transformer, vae=vae.to(device), scheduler=scheduler)
        source = FolderEncoder(folder=folder, kind=UMT5EncoderModel, dtype=dtype, device=device)
        text = text or TextOptions()
        text = replace(text, max_length=max_text_length or text.max_length)
        return cls(parts, _prompt_encoder(source, text, dtype, device), WanOptions(**options))

    @classmethod
    def from_architecture(
        cls,
        architecture: Architecture,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        text: TextOptions | None = None,
        **options: Any,
    ) -> "WanPolicy":
        """The published architecture with random weights, whose velocities are about 1; made on the device.

        options: fields of `WanOptions`.
        """
        device = torch.device(device)
        transformer = build_part(architecture.transformer, device=device, dtype=dtype, seed=seed)
        vae = build_part(architecture.vae, device=device, dtype=torch.float32, seed=seed)
        schedulers = {kind.__name__: kind for kind in (FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler)}
        scheduler = schedulers[architecture.scheduler.class_name](**architecture.scheduler.config)
        parts = WanParts(transformer=transformer, vae=vae, scheduler=scheduler)
        source = RandomEncoder(part=architecture.text_encoder, dtype=dtype, device=device, seed=seed)
        policy = cls(parts, _prompt_encoder(source, text or TextOptions(), dtype, device), WanOptions(**options))
        generator = torch.Generator().manual_seed(seed)
        config = transformer.config
        latents = torch.randn(1, config["in_channels"], 2, 8, 8, generator=generator).to(device)
        words = torch.randn(1, 8, config["text_dim"], generator=generator).to(device)
        with torch.no_grad():
            scale_output(transformer.proj_out, policy._forward(latents, torch.tensor([500.0], device=device), words))
        return policy

    # ----------------------------------------------------------------------------------------------------------- speed

    def choose_attention(self, choice: AttentionChoice) -> None:
        """Sets the attention kernel. Raises InputError for one that does not run here."""
        self.kernel = choose_kernel(
            choice, device=self._device, dtype=self.dtype, head_dim=self.config["attention_head_dim"]
        )
        use_kernel(self.transformer, self.kernel)

    def compile(self, **options: Any) -> None:
        """Lets torch compile the transformer's blocks (one code for all of them) when they first run.

        Blocks alone, because they are nearly all of the launches and compile in a fraction of the network's time. Also
        the trained step's. A LoRA may be added before or after, and switched. The VAE is left out: compiling it gained
        nothing (docs/log.md). options: of `torch.compile`; dynamic=True (the default here) makes code for any batch
        size, None for the sizes that come first.
        """
        base: Any = self.transformer
        self._compile_options = {"dynamic": True} | options
        base.compile_repeated_blocks(**self._compile_options)
        self.compiled = True

    def rounded(self) -> "WanPolicy":
        """The same policy with a bfloat16 network of its own and no LoRA; `train.lora.copy_merged` sets its weights.

        What diffusers keeps in float32 when it loads a folder is so here too. VAE and prompts are shared; blocks are
        compiled as they are here. The attention kernel is this policy's if it computes in bfloat16 too, else "auto".
        """
        part = PartConfig(
            class_name=WanTransformer3DModel.__name__,
            config={name: value for name, value in self.config.items() if not name.startswith("_")},
        )
        other = copy.copy(self)
        other.dtype, other.checkpointed = torch.bfloat16, False
        other.transformer = build_part(part, device=self._device, dtype=other.dtype, seed=0)
        if self.dtype == other.dtype:
            use_kernel(other.transformer, self.kernel)
        else:
            other.choose_attention("auto")
        if self.compiled:
            other.compile(**self._compile_options)
        return other

    def checkpoint_gradients(
        self,
        choice: Literal["auto"] | bool,
        *,
        rows: int,
        latent_shape: tuple[int, int, int, int],
        lora_float32: bool = True,
    ) -> None:
        """Whether blocks are run again in the backward pass instead of keeping what they computed (a third slower).

        "auto": only if the predicted memory exceeds what the device has free (`training_memory`).
        rows: latents in one forward of the trained step. lora_float32: the LoRA's products are float32 in any case.
        """
        if choice == "auto":
            rows *= 1 if self.options.guidance == 1.0 else 2
            step = StepShape(
                rows=rows,
                tokens=self.tokens_of(latent_shape),
                lora_float32=lora_float32 and self.dtype != torch.float32,
            )
            choice = needs_checkpointing(self.config, self.dtype, step, free=free_bytes(self._device))
        base: Any = self.transformer
        base.enable_gradient_checkpointing() if choice else base.disable_gradient_checkpointing()
        self.checkpointed = choice

    # ------------------------------------------------------------------------------------------------- the model itself

    @property
    def guidance(self) -> float:
        """Classifier-free guidance scale inside every velocity; 1 is none."""
        return self.options.guidance

    @property
    def shift(self) -> float:
        """The time shift that the folder's scheduler asks for (3 for 480p Wan 2.1)."""
        config = self.scheduler.config
        return float(config["flow_shift"] if "flow_shift" in config else config["shift"])

    def pipeline(self) -> WanPipeline:
        """A stock pipeline of the same modules (nothing is copied; a freed text encoder is loaded again)."""
        tokenizer, text_encoder = self.prompts.parts()
        # Any: diffusers' annotations name one tokenizer and one scheduler class, its code takes all.
        parts: dict[str, Any] = {
            "tokenizer": tokenizer,
            "text_encoder": text_encoder,
            "vae": self.vae,
            "scheduler": self.scheduler,
            "transformer": self.transformer,
        }
        return WanPipeline(**parts)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, L, h, w) of a clip.

        Raises InputError, which names the nearest valid size, unless height and width are positive multiples of 16
        (of what VAE and patches need, if that is more), num_frames = 4 k + 1, and the rotary embeddings reach so far.
        """
        time, space = self.vae.config["scale_factor_temporal"], self.vae.config["scale_factor_spatial"]
        multiple, reach, patch = self._spatial_multiple, self.config["rope_max_seq_len"], self.config["patch_size"]
        rows, columns = (reach * space * size // multiple for size in patch[1:])
        nearest = (
            min(reach * patch[0] - 1, max(0, round((num_frames - 1) / time))) * time + 1,
            min(rows, max(1, round(height / multiple))) * multiple,
            min(columns, max(1, round(width / multiple))) * multiple,
        )
        check_size((num_frames, height, width), nearest, multiple=multiple, time=time)
        return self.vae.config["z_dim"], (num_frames - 1) // time + 1, height // space, width // space

    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Text embeddings by the pipeline's own code: cleaned, cut, and zero past the prompt's end."""
        return self._negative.encode_beside(prompts)

    def prepare_prompts(
        self,
        prompts: Sequence[str],
        *,
        on_progress: Callable[[int], None] = lambda done: None,
        examine: Examine = lambda prompt, stored, encoded: None,
    ) -> int:
        """Encodes and stores all prompts of a run, then frees the text encoder; how many (`PromptEncoder.prepare`)."""
        first = [] if self.guidance == 1.0 else [self.options.negative_prompt]
        show = lambda done: on_progress(done - len(first))  # noqa: E731
        return self.prompts.prepare([*first, *prompts], on_progress=show, examine=examine)

    def velocity(
        self,
        latents: Float[Tensor, "B C L h w"],
        sigma: float | Float[Tensor, " B"],
        embeddings: Float[Tensor, "B S D"],
    ) -> Float[Tensor, "B C L h w"]:
        """v = eps - x_0 at `sigma` in float32, guidance included; differentiable.

        With guidance the conditional and the unconditional half go through the network as one batch of 2 B, or one
        after the other (`WanOptions.guidance_batch`); the results agree up to rounding.
        """
        # float32 first, then times 1000: the same two roundings as the stock scheduler's timesteps.
        timestep = torch.as_tensor(sigma, dtype=torch.float32, device=latents.device) * 1000.0
        timestep = timestep.expand(latents.shape[0])
        if self.guidance == 1.0:
            return self._forward(latents, timestep, embeddings)
        negative = self._negative.embeddings.to(embeddings).expand(latents.shape[0], -1, -1)
        if self._joint(latents.shape):
            both = self._forward(
                torch.cat([latents, latents]), torch.cat([timestep, timestep]), torch.cat([embeddings, negative])
            )
            conditional, unconditional = both.chunk(2)
        else:
            conditional = self._forward(latents, timestep, embeddings)
            unconditional = self._forward(latents, timestep, negative)
        return combine(conditional, unconditional, self.guidance)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C L h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Video in 0..1, float32, as the pipeline decodes it (`vae.decode_videos`)."""
        return decode_videos(self.vae, latents, mode=self.options.decode, dtype=self.options.decode_dtype)

    def _forward(self, latents: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        output = self.transformer(
            hidden_states=latents.to(self.dtype),
            timestep=timestep,
            encoder_hidden_states=embeddings.to(self.dtype),
            return_dict=False,
        )
        return output[0].float()

    def _joint(self, shape: torch.Size) -> bool:
        if self.options.guidance_batch != "auto":
            return self.options.guidance_batch == "joint"
        rows, *latent_shape = shape
        return rows * self.tokens_of(latent_shape) <= JOINT_TOKENS

    def tokens_of(self, latent_shape: Sequence[int]) -> int:
        """Tokens of one latent [C, L, h, w]."""
        return math.prod(latent_shape[1:]) // math.prod(self.config["patch_size"])


def _prompt_encoder(
    source: EncoderSource, options: TextOptions, dtype: torch.dtype, device: torch.device
) -> PromptEncoder:
    return PromptEncoder(
        source,
        WanPipeline,
        options=options,
        limit=MAX_TEXT_LENGTH,
        dtype=dtype,
        device=device,
        clean=prompt_clean,
    )
