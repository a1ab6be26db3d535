"""The adapter file: what training writes, what users load, and what every tool finds out about it.

The tensors and the metadata key `lora_adapter_metadata` are what `diffusers.WanPipeline.load_lora_weights` reads; with
lora_alpha there, because without it diffusers assumes alpha = rank, and a LoRA of alpha = 2 rank loads at half strength
(research/stack.md 6.1, users.md 1). Everything of ours is JSON under the key `worldr1`, in exported files too; of a
folder that a LoRA was merged into it is in the header of every file of the transformer's weights. There it cannot be
parted from the weights that it is about, comes along from a hub, and is nothing that diffusers would look at: it warns
of unknown keys in model_index.json, and a file of its own is left behind by whoever copies a pipeline's parts.

Imports no model library: the ComfyUI node reads such files as well.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldr1.config import parse_config
from worldr1.errors import ConfigError, InputError
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.train.checkpoint import write_tensors

ADAPTER_FILE = "adapter.safetensors"
OWN_METADATA_KEY = "worldr1"
DIFFUSERS_METADATA_KEY = "lora_adapter_metadata"
"""`diffusers.loaders.lora_base.LORA_ADAPTER_METADATA_KEY`; written out, so that reading a file needs no diffusers."""
PREFIX = "transformer."
"""Of the tensors' names."""

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """The low-rank adapter: W + (alpha / rank) B A on every targeted linear layer."""

    rank: int = 32
    """Width of the bottleneck."""
    alpha: float = 64.0
    """Strength; the product B A is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Names of linear layers; these are the projections of self- and cross-attention (attn1, attn2) of every block."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank is {self.rank}: give at least 1.")

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def is_target(self, layer: str) -> bool:
        """Whether the linear layer of this name carries the adapter (peft's rule: a whole ending of the name)."""
        return any(layer == target or layer.endswith(f".{target}") for target in self.targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseShape:
    """A fingerprint of a base model's transformer: two that differ in it cannot share an adapter. None: not known."""

    class_name: str | None = None
    """Of diffusers."""
    layers: int | None = None
    """Transformer blocks."""
    width: int | None = None
    """Channels of a token: heads times channels of a head."""
    heads: int | None = None
    ffn: int | None = None
    """Hidden channels of the feed-forward layers."""
    text: int | None = None
    """Channels of the text embeddings."""
    in_channels: int | None = None
    """Of the latent."""

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "BaseShape":
        """From a transformer's configuration, as `config.json` and `transformer.config` have it."""
        heads, head = config.get("num_attention_heads"), config.get("attention_head_dim")
        return cls(
            class_name=config.get("_class_name"),
            layers=config.get("num_layers"),
            width=heads * head if heads and head else None,
            heads=heads,
            ffn=config.get("ffn_dim"),
            text=config.get("text_dim"),
            in_channels=config.get("in_channels"),
        )

    @classmethod
    def of_folder(cls, folder: Path) -> "BaseShape | None":
        """Of a pipeline folder, without loading it; None if its configuration cannot be read."""
        try:
            config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls.of_config(config) if isinstance(config, dict) else None

    @classmethod
    def of_tensors(cls, state: Mapping[str, Tensor]) -> "BaseShape":
        """What an adapter's tensors tell, which is all that older files tell about their base."""
        blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
        widths = {x.shape[1] for name, x in state.items() if name.endswith("attn1.to_q.lora_A.weight")}
        return cls(layers=len(blocks) or None, width=widths.pop() if len(widths) == 1 else None)

    def differences(self, other: "BaseShape") -> tuple[str, ...]:
        """Names of the fields that both know and that differ."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)]
        return tuple(name for name, mine, its in pairs if None not in (mine, its) and mine != its)

    def in_words(self, more: tuple[str, ...] = ()) -> str:
        """For example "1536 wide, 30 layers"; more: further fields to name."""
        words = [] if self.width is None else [f"{self.width} wide"]
        words += [] if self.layers is None else [f"{self.layers} layers"]
        words += [f"{name} {getattr(self, name)}" for name in more]
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedWith:
    """How the videos were made that an adapter was rewarded for: what sampling should use too."""

    transport: Literal["canvas", "flow"]
    """`noise.transport`."""
    strength: float
    """`noise.strength`."""
    parallax_strength: float | None = None
    """`noise.parallax_strength`."""
    shift: float
    """Of the sigma grid."""
    steps: int
    """Of sampling."""
    frames: int
    height: int
    """Pixels."""
    width: int
    """Pixels."""

    @property
    def noise(self) -> NoiseConfig:
        """For `rollout.start_noise`. Raises ConfigError for a strength that is none."""
        return NoiseConfig(strength=self.strength, parallax_strength=self.parallax_strength, transport=self.transport)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterInfo:
    """What an adapter file says about itself. The first three are in every file; None is what older ones lack."""

    config: LoraConfig
    base: str
    """Name of the base model that it was trained on (`base_name`)."""
    guidance: float
    """Guidance scale of its training; sampling should use the same. 1 is none."""
    shape: BaseShape | None = None
    """Of the base."""
    training: TrainedWith | None = None
    recipe_sha256: str | None = None
    """Of the run's `recipe.toml`, every key written out."""
    reward_model: str | None = None
    """The 3D model of its reward (`rewards.recipe.RewardConfig.reconstructor_name`), which must not judge it; "" if it
    had none; None also if nobody can say."""
    version: str | None = None
    """worldr1's, when it was written."""


def base_name(folder: str) -> str:
    """A model folder's name, without where it lies on this machine; of a hub cache's snapshot the repository's name."""
    path = Path(folder)
    if path.parent.name == "snapshots":
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.name or path.resolve().name


def check_base(
    path: str | Path, info: AdapterInfo, state: Mapping[str, Tensor], shape: BaseShape, *, model: str
) -> None:
    """Raises InputError, in one sentence, unless the adapter's base can be the model of this shape.

    path, info, state: of the adapter. model: folder or name of the model; "" if it has none.
    """
    trained = info.shape or BaseShape.of_tensors(state)
    if different := trained.differences(shape):
        named = f", {base_name(model)}," if model else ""
        told = () if {"width", "layers"} & set(different) else different  # these two say it all
        raise InputError(
            f"{path} was trained on {info.base} ({trained.in_words(told)}); this model{named} is "
            f"{shape.in_words(told)}: give the model that it was trained on."
        )


# -------------------------------------------------------------------------------------------------------------- writing


def own_metadata(info: AdapterInfo) -> dict[str, str]:
    """The metadata that every file of ours has, exported ones too."""
    own = {
        "version": info.version,
        "base": info.base,
        "guidance": info.guidance,
        "shape": info.shape and dataclasses.asdict(info.shape),
        "lora": dataclasses.asdict(info.config),
        "training": info.training and dataclasses.asdict(info.training),
        "recipe_sha256": info.recipe_sha256,
        "reward_model": info.reward_model,
    }
    return {"format": "pt", OWN_METADATA_KEY: json.dumps(own)}


def save_adapter(path: str | Path, state: Mapping[str, Tensor], info: AdapterInfo) -> None:
    """Writes an adapter file whole or not at all. state: from `train.lora.lora_state` (or its EMA)."""
    config = info.config
    adapter = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": list(config.targets),
        "lora_dropout": 0.0,
        "bias": "none",
    }
    diffusers = {DIFFUSERS_METADATA_KEY: json.dumps({PREFIX + key: value for key, value in adapter.items()})}
    write_tensors(path, {PREFIX + name: x for name, x in state.items()}, metadata=own_metadata(info) | diffusers)


# -------------------------------------------------------------------------------------------------------------- reading


def read_adapter(path: str | Path) -> tuple[AdapterInfo, dict[str, Tensor]]:
    """What an adapter file holds; tensors by their names in the transformer.

    Raises InputError if it is missing, damaged, of another program or in a form that only others read.
    """
    path = Path(path)
    metadata, state = _read(path)
    if any(name.startswith("diffusion_model.") for name in state):
        raise InputError(f"{path} has the original Wan names; give the adapter.safetensors that it was exported from.")
    return _adapter_info(metadata, path), {name.removeprefix(PREFIX): x for name, x in state.items()}


def read_info(path: str | Path) -> AdapterInfo:
    """What an adapter file of any form, exported ones too, says about itself. Raises InputError as `read_adapter`."""
    path = Path(path)
    return _adapter_info(_read(path, tensors=False)[0], path)


def read_training(path: str | Path) -> TrainedWith:
    """How the videos were made that a file of any form was trained on.

    Raises InputError as `read_adapter`, and if the file is older than that knowledge.
    """
    training = read_info(path).training
    if training is None:
        raise InputError(f"{path} does not say which noise it was trained with; leave it out and give the strength.")
    return training


def read_merged_info(folder: Path) -> AdapterInfo | None:
    """What the adapter said about itself that was merged into the transformer of a pipeline folder.

    None if none was; also for weights that cannot be read, of which loading says more. Raises InputError if what stands
    there is damaged.
    """
    for file in sorted((folder / "transformer").glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                metadata = weights.metadata() or {}
        except (OSError, SafetensorError):
            continue
        if OWN_METADATA_KEY in metadata:
            return _adapter_info(metadata, file, wrong=_DAMAGED_MERGED)
    return None


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"There is no adapter file {path}; give the adapter.safetensors of a run.")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else []
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error}); copy it again.") from error


_NO_ADAPTER = "is no adapter of worldr1 (its metadata are missing or damaged); give one that train wrote."
_DAMAGED_MERGED = "has a LoRA of worldr1 merged into it, but its metadata are damaged; export the folder again."


def _adapter_info(metadata: Mapping[str, str], path: Path, *, wrong: str = _NO_ADAPTER) -> AdapterInfo:
    try:
        own = json.loads(metadata[OWN_METADATA_KEY])
        return AdapterInfo(
            config=_parse(LoraConfig, own["lora"] if "lora" in own else _of_diffusers(metadata)),
            base=base_name(str(own["base"])),
            guidance=float(own["guidance"]),
            shape=_parse(BaseShape, own["shape"]) if own.get("shape") else None,
            training=_parse(TrainedWith, own["training"]) if own.get("training") else None,
            recipe_sha256=own.get("recipe_sha256"),
            reward_model=own.get("reward_model"),
            version=own.get("version"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} {wrong}") from error


def _of_diffusers(metadata: Mapping[str, str]) -> dict[str, Any]:
    """`LoraConfig` as files say it that have nothing of ours about it."""
    adapter = json.loads(metadata[DIFFUSERS_METADATA_KEY])
    names = {"rank": "r", "alpha": "lora_alpha", "targets": "target_modules"}
    return {own: adapter[PREFIX + name] for own, name in names.items()}


def _parse(cls: type[C], table: Mapping[str, Any]) -> C:
    """Keys that this version does not know are left out: a newer one may have written them."""
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return parse_config(cls, {key: table[key] for key in table if key in known}, where="metadata")
