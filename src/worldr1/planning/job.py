"""A recipe with its model's sizes beside it: everything that memory and seconds are counted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldr1.backends.architectures import ARCHITECTURES, PartConfig, find_architecture
from worldr1.backends.model_folder import check_folder, read_json
from worldr1.build import MINI, ExperimentConfig
from worldr1.errors import InputError
from worldr1.planning.activations import Numbers
from worldr1.planning.decoder import Decoder
from worldr1.planning.reward_cost import Clip
from worldr1.planning.shapes import Latent, Lora, Pass, Transformer
from worldr1.planning.work import Work

ROTARY_REACH = 1024
"""`WanTransformer3DModel`'s own `rope_max_seq_len`: latent frames, rows and columns of patches that it can number."""
WAN_PARTS = {"transformer": "WanTransformer3DModel", "vae": "AutoencoderKLWan", "text_encoder": "UMT5EncoderModel"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A Wan pipeline's networks, described."""

    transformer: PartConfig
    vae: PartConfig
    text_encoder: PartConfig
    text_tokens: int
    """Of a padded prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is planned."""

    config: ExperimentConfig
    parts: Parts
    network: Transformer
    decoder: Decoder
    latent: Latent
    lora: Lora
    numbers: Numbers
    work: Work
    clip: Clip

    @classmethod
    def of(cls, config: ExperimentConfig) -> "Job":
        """Of a recipe. Raises InputError for what plan does not know, and for clips that the model cannot make."""
        if config.train.trainable != "lora":
            raise InputError('plan knows recipes that train a LoRA: set train.trainable = "lora".')
        parts = find_parts(config.model.folder)
        network, decoder = Transformer.of(parts.transformer.config), Decoder.of(parts.vae.config)
        base_bytes = 2 if config.model.dtype == "bfloat16" else 4
        lora_bytes = base_bytes if config.model.lora_products == "base" else 4
        reach = parts.transformer.config.get("rope_max_seq_len", ROTARY_REACH)
        clip = Clip(frames=config.clip.frames, height=config.clip.height, width=config.clip.width)
        return cls(
            config=config,
            parts=parts,
            network=network,
            decoder=decoder,
            latent=_latent(clip, decoder, time=parts.vae.config["scale_factor_temporal"], reach=reach),
            lora=Lora(rank=config.lora.rank, targets=config.lora.targets, number_bytes=lora_bytes),
            numbers=Numbers(base_bytes=base_bytes),
            work=Work.of(config),
            clip=clip,
        )

    @property
    def tokens(self) -> int:
        """Of one latent."""
        return self.latent.tokens(self.network)

    def passing(self, rows: int) -> Pass:
        """A pass of so many rows."""
        return Pass(rows=rows, tokens=self.tokens, text_tokens=self.parts.text_tokens)


def find_parts(name: str) -> Parts:
    """A model by short name, hub name or folder; nothing is fetched.

    Raises InputError for anything but Wan 2.1, and for a folder that `train` would not load either.
    """
    if (architecture := find_architecture(name)) is not None:
        if architecture.kind != "wan":
            raise InputError(f"{name} only generates, there is nothing to train: plan knows recipes of Wan 2.1 models.")
        return Parts(
            transformer=architecture.transformer,
            vae=architecture.vae,
            text_encoder=architecture.text_encoder,
            text_tokens=architecture.max_text_length,
        )
    folder = Path(name).expanduser()
    if name == MINI or not folder.is_dir():
        known = ", ".join(a.name for a in ARCHITECTURES.values() if a.kind == "wan")
        raise InputError(f"plan finds no model {name}: set model.folder to {known}, or to a folder of such a model.")
    check_folder(folder)
    described = {
        part: PartConfig(class_name=kind, config=_read(folder / part, kind)) for part, kind in WAN_PARTS.items()
    }
    return Parts(**described, text_tokens=512)


def _read(folder: Path, kind: str) -> Mapping[str, Any]:
    """A part's published configuration, without what libraries note about themselves."""
    path = folder / "config.json"
    found = read_json(path)
    name = found.get("_class_name") or (found.get("architectures") or ["nothing"])[0]
    if name != kind:
        raise InputError(f"{folder} holds {name}, not a {kind}: plan knows recipes of Wan 2.1 models.")
    return {key: value for key, value in found.items() if not key.startswith("_")}


def _latent(clip: Clip, decoder: Decoder, *, time: int, reach: int) -> Latent:
    multiple = 2 * decoder.space
    longest, largest = (reach - 1) * time + 1, reach * multiple
    uneven = (clip.frames - 1) % time or clip.height % multiple or clip.width % multiple
    too_large = clip.frames > longest or max(clip.height, clip.width) > largest
    if min(clip.frames, clip.height, clip.width) < 1 or uneven or too_large:
        raise InputError(
            f"A clip of {clip.frames} frames of {clip.height} x {clip.width} does not fit the model: height and width "
            f"must be multiples of {multiple} up to {largest}, frames {time} k + 1 up to {longest}."
        )
    return Latent(
        channels=decoder.latent_channels,
        frames=1 + (clip.frames - 1) // time,
        height=clip.height // decoder.space,
        width=clip.width // decoder.space,
    )
