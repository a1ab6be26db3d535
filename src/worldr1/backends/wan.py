"""Wan text-to-video models (2.1 and the mini one) behind `protocols.VideoPolicy`, made of stock diffusers parts.

The parts stay stock so that a folder trained here loads in any diffusers program; what differs from the pipeline is
only the VAE's chunking (faster, same result) and that one call gives one velocity (research/stack.md 6).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, patchify, unpatchify
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from worldr1.diffusion.guidance import combine
from worldr1.errors import InputError

Scheduler = FlowMatchEulerDiscreteScheduler | UniPCMultistepScheduler

MAX_CHUNK_POSITIONS = 2**15
"""Latent positions (B * frames * h * w) of one VAE call: bounds memory, about 3 GB per fp32 activation of Wan's VAE."""

MAX_TEXT_LENGTH = 512
"""Tokens of a Wan prompt, unless the tokenizer itself says less (the mini model's: 64)."""

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
"""Sub-folders that a model folder must have."""


# ------------------------------------------------------------------------------------------------------------- VAE


def _chunks(num_frames: int, frames_per_chunk: int) -> list[tuple[int, int]]:
    """Frame 0 alone (the causal VAE treats it apart), then runs of at most `frames_per_chunk`."""
    starts = range(1, num_frames, frames_per_chunk)
    return [(0, 1), *((start, min(start + frames_per_chunk, num_frames)) for start in starts)]


def _latent_statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per latent channel, shaped [1, C, 1, 1, 1]."""
    mean = torch.tensor(vae.config["latents_mean"], device=like.device, dtype=like.dtype)
    std = torch.tensor(vae.config["latents_std"], device=like.device, dtype=like.dtype)
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def decode_latents(
    vae: AutoencoderKLWan,
    latents: Float[Tensor, "B C L h w"],
    *,
    clamp: bool = True,
    max_positions: int = MAX_CHUNK_POSITIONS,
) -> Float[Tensor, "B T 3 H W"]:
    """Video in 0..1 (float32) of normalised latents; differentiable.

    The decoder runs on the first latent frame and then on as many at a time as `max_positions` allows, instead of one
    by one as stock does. Its convolutions are causal and hand their last two frames on, so the result is the same.
    clamp=False leaves values outside 0..1, which keeps their gradient in VAE training.
    """
    latents = latents.to(vae.dtype)
    mean, std = _latent_statistics(vae, latents)
    hidden = vae.post_quant_conv(latents * std + mean)
    batch, _, num_frames, height, width = hidden.shape
    frames_per_chunk = max(1, max_positions // (batch * height * width))
    cache: list[Any] = [None] * vae._cached_conv_counts["decoder"]
    pieces = [
        vae.decoder(hidden[:, :, start:stop], feat_cache=cache, feat_idx=[0], first_chunk=start == 0)
        for start, stop in _chunks(num_frames, frames_per_chunk)
    ]
    video = torch.cat(pieces, dim=2).float()
    if vae.config["patch_size"] is not None:
        video = unpatchify(video, patch_size=vae.config["patch_size"])
    video = video.transpose(1, 2) * 0.5 + 0.5
    return video.clamp(0.0, 1.0) if clamp else video


def encode_moments(
    vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"], *, max_positions: int = MAX_CHUNK_POSITIONS
) -> tuple[Float[Tensor, "B C L h w"], Float[Tensor, "B C L h w"]]:
    """Mean and log-variance of the VAE's posterior, not normalised (VAE training needs both); differentiable.

    video: 0..1, T = 4 k + 1. Chunked like `decode_latents`: frame 0, then multiples of the temporal stride.
    """
    pixels = (video.to(vae.dtype) * 2.0 - 1.0).transpose(1, 2)
    batch, _, num_frames, height, width = pixels.shape
    stride, space = vae.config["scale_factor_temporal"], vae.config["scale_factor_spatial"]
    positions_per_frame = batch * (height // space) * (width // space)
    frames_per_chunk = stride * max(1, max_positions // positions_per_frame)
    if vae.config["patch_size"] is not None:
        pixels = patchify(pixels, patch_size=vae.config["patch_size"])
    cache: list[Any] = [None] * vae._cached_conv_counts["encoder"]
    pieces = [
        vae.encoder(pixels[:, :, start:stop], feat_cache=cache, feat_idx=[0])
        for start, stop in _chunks(num_frames, frames_per_chunk)
    ]
    mean, log_variance = vae.quant_conv(torch.cat(pieces, dim=2)).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30.0, 20.0)


def encode_video(vae: AutoencoderKLWan, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B C L h w"]:
    """Normalised latents (float32) of a video in 0..1: the posterior's mean, so there is nothing random in it."""
    latents, _ = encode_moments(vae, video)
    mean, std = _latent_statistics(vae, latents)
    return (latents - mean) / std


# --------------------------------------------------------------------------------------------------- loading a folder


def json_of(path: Path) -> dict[str, Any]:
    """The JSON object in a model file; InputError if it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The model file {path} cannot be read ({error}); fetch or build the model again.") from error


def check_folder(folder: Path) -> None:
    """Raises InputError unless `folder` is a complete one-transformer Wan model."""
    if not folder.is_dir():
        raise InputError(f"There is no model folder {folder}; give the folder that save_pretrained wrote.")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or not (folder / "model_index.json").is_file():
        what = ", ".join(missing) or "model_index.json"
        raise InputError(f"The model folder {folder} is incomplete: {what} is missing; fetch or build the model again.")
    index = json_of(folder / "model_index.json")
    if index.get("_class_name") != "WanPipeline":
        raise InputError(f"{folder} holds a {index.get('_class_name')}; give a WanPipeline folder (text to video).")
    if index.get("boundary_ratio") is not None or index.get("expand_timesteps"):
        raise InputError(f"{folder} is a Wan 2.2 model (two transformers or per-token time); give a Wan 2.1 one.")


def _load_part(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """`kind.from_pretrained` from disk only; InputError for a damaged part, also for absent weights.

    The libraries fail in many ways on a damaged file, and fill weights that are absent with random numbers.
    """
    try:
        loaded = kind.from_pretrained(folder, subfolder=part, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder / part} cannot be loaded ({reason}); fetch or build the model again.") from error
    if not options.get("output_loading_info"):
        return loaded
    model, info = loaded
    if info["missing_keys"]:
        absent = sorted(info["missing_keys"])
        raise InputError(f"{folder / part} lacks {len(absent)} weights ({absent[0]}); fetch or build the model again.")
    return model


def _load_scheduler(folder: Path) -> Any:
    """The scheduler, only for its shift and for `pipeline()`: sampling uses our own sigma grid."""
    classes = {c.__name__: c for c in (FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler)}
    name = json_of(folder / "scheduler" / "scheduler_config.json").get("_class_name", "nothing")
    if name not in classes:
        raise InputError(f"{folder / 'scheduler'} is a {name}; the known flow schedulers are {', '.join(classes)}.")
    return _load_part(classes[name], folder, "scheduler")


# ------------------------------------------------------------------------------------------------------------ policy


class WanPolicy:
    """A Wan model as a `VideoPolicy`. All parameters arrive frozen; `train.lora` thaws the ones to train."""

    transformer: nn.Module
    """May be replaced by its DDP or FSDP wrapper."""

    def __init__(
        self,
        pipeline: WanPipeline,
        *,
        guidance: float = 1.0,
        negative_prompt: str = "",
        max_text_length: int | None = None,
        decode_dtype: torch.dtype = torch.float32,
    ) -> None:
        """Takes the parts of a stock pipeline where they are (device, dtype).

        guidance: classifier-free guidance scale inside every velocity; 1 means none, and half the cost.
        max_text_length: tokens to which prompts are padded or cut; must be what the model was trained with.
        None: what the tokenizer says, at most MAX_TEXT_LENGTH (512 for Wan).
        decode_dtype: bfloat16 decodes under autocast, which is faster on a GPU; the VAE's weights stay as they are.
        """
        self.transformer = pipeline.transformer.eval().requires_grad_(False)
        self.vae: AutoencoderKLWan = pipeline.vae.eval().requires_grad_(False)
        self.text_encoder: UMT5EncoderModel = pipeline.text_encoder.eval().requires_grad_(False)
        self.tokenizer: PreTrainedTokenizerBase = pipeline.tokenizer
        self.scheduler: Scheduler = pipeline.scheduler
        self.guidance = guidance
        self.max_text_length = max_text_length or min(MAX_TEXT_LENGTH, pipeline.tokenizer.model_max_length)
        # Asked once: a wrapped or LoRA-carrying transformer no longer answers with the base's dtype and config.
        self._dtype: torch.dtype = pipeline.transformer.dtype
        self._decode_dtype = decode_dtype
        self._device: torch.device = pipeline.transformer.device
        patch_height = pipeline.transformer.config["patch_size"][1]
        self._spatial_multiple = math.lcm(16, self.vae.config["scale_factor_spatial"] * patch_height)
        self._negative: Tensor | None = None if guidance == 1.0 else self.encode([negative_prompt])

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        vae_dtype: torch.dtype = torch.float32,
        guidance: float = 1.0,
        negative_prompt: str = "",
        max_text_length: int | None = None,
        decode_dtype: torch.dtype = torch.float32,
    ) -> "WanPolicy":
        """Loads a `save_pretrained` folder from disk; never downloads and never runs code from the folder.

        dtype: of transformer and text encoder. Given at loading and not by `.to()`, so that the parts that diffusers
        keeps in fp32 (norms, time embedding) stay so (research/stack.md 6.5).
        Raises InputError if the folder is missing, incomplete, damaged or another kind of model.
        """
        folder = Path(path)
        check_folder(folder)
        weights: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True}
        pipeline = WanPipeline(
            transformer=_load_part(WanTransformer3DModel, folder, "transformer", torch_dtype=dtype, **weights),
            vae=_load_part(AutoencoderKLWan, folder, "vae", torch_dtype=vae_dtype, **weights),
            text_encoder=_load_part(UMT5EncoderModel, folder, "text_encoder", dtype=dtype, **weights),
            tokenizer=_load_part(AutoTokenizer, folder, "tokenizer", trust_remote_code=False),
            scheduler=_load_scheduler(folder),
        ).to(device)
        return cls(
            pipeline,
            guidance=guidance,
            negative_prompt=negative_prompt,
            max_text_length=max_text_length,
            decode_dtype=decode_dtype,
        )

    def compile(self, **options: Any) -> None:
        """Lets torch compile the transformer's blocks (one code for all of them, any batch size) when they first run.

        Blocks alone, because they are nearly all of the launches and compile in a fraction of the network's time. A
        LoRA may be added before or after, and switched. The VAE is left out: compiling it gained nothing (docs/log.md).
        options: of `torch.compile`, e.g. its backend.
        """
        base: Any = self.transformer
        base.compile_repeated_blocks(**({"dynamic": True} | options))

    @property
    def shift(self) -> float:
        """The time shift that the folder's scheduler asks for (3 for 480p Wan 2.1)."""
        config = self.scheduler.config
        return float(config["flow_shift"] if "flow_shift" in config else config["shift"])

    def pipeline(self) -> WanPipeline:
        """A stock pipeline of the same modules (nothing is copied)."""
        return self._assemble(self.transformer)

    def _assemble(self, transformer: nn.Module | None) -> WanPipeline:
        # Any: diffusers' annotations name one tokenizer and one scheduler class, its code takes all.
        parts: dict[str, Any] = {
            "tokenizer": self.tokenizer,
            "text_encoder": self.text_encoder,
            "vae": self.vae,
            "scheduler": self.scheduler,
            "transformer": transformer,
        }
        return WanPipeline(**parts)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, L, h, w) of a clip.

        Raises InputError, which names the nearest valid size, unless height and width are positive multiples of 16
        (of what VAE and patches need, if that is more) and num_frames = 4 k + 1.
        """
        time, space = self.vae.config["scale_factor_temporal"], self.vae.config["scale_factor_spatial"]
        multiple = self._spatial_multiple
        nearest = (
            max(0, round((num_frames - 1) / time)) * time + 1,
            max(1, round(height / multiple)) * multiple,
            max(1, round(width / multiple)) * multiple,
        )
        if nearest != (num_frames, height, width):
            raise InputError(
                f"A clip of {num_frames} frames of {height} x {width} does not fit the model (height and width: "
                f"multiples of {multiple}; frames: {time} k + 1); the nearest that does is {nearest[0]} frames of "
                f"{nearest[1]} x {nearest[2]}."
            )
        return self.vae.config["z_dim"], (num_frames - 1) // time + 1, height // space, width // space

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "P S D"]:
        """Text embeddings by the pipeline's own code: cleaned, cut, and zero past the prompt's end."""
        embeddings, _ = self._assemble(None).encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_text_length,
            device=self._device,
            dtype=self._dtype,
        )
        return embeddings

    def velocity(
        self,
        latents: Float[Tensor, "B C L h w"],
        sigma: float | Float[Tensor, " B"],
        embeddings: Float[Tensor, "B S D"],
    ) -> Float[Tensor, "B C L h w"]:
        """v = eps - x_0 at `sigma` in float32, guidance included; differentiable.

        With guidance the conditional and the unconditional half go through the network as one batch of 2 B.
        """
        # float32 first, then times 1000: the same two roundings as the stock scheduler's timesteps.
        timestep = torch.as_tensor(sigma, dtype=torch.float32, device=latents.device) * 1000.0
        timestep = timestep.expand(latents.shape[0])
        embeddings = embeddings.to(self._dtype)
        if self._negative is None:
            return self._forward(latents, timestep, embeddings)
        negative = self._negative.expand(latents.shape[0], -1, -1)
        both = self._forward(
            torch.cat([latents, latents]), torch.cat([timestep, timestep]), torch.cat([embeddings, negative])
        )
        conditional, unconditional = both.chunk(2)
        return combine(conditional, unconditional, self.guidance)

    def _forward(self, latents: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        output = self.transformer(
            hidden_states=latents.to(self._dtype),
            timestep=timestep,
            encoder_hidden_states=embeddings,
            return_dict=False,
        )
        return output[0].float()

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C L h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Video in 0..1, float32, as the pipeline decodes it (`decode_latents`)."""
        rounded = self._decode_dtype != torch.float32
        with torch.autocast(latents.device.type, self._decode_dtype if rounded else None, enabled=rounded):
            return decode_latents(self.vae, latents)
