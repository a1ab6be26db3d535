"""The sizes that memory and arithmetic are counted from: of a Wan transformer, its LoRA, a clip, and one forward pass.

Plain numbers, read from a configuration: nothing is built.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worldr1.errors import InputError

Source = Literal["norm1", "attended1", "norm2", "attended2", "text", "norm3", "activated"]
"""Which tensor of a block a linear layer reads; layers that name the same one read the same tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """A linear layer of a transformer block."""

    name: str
    """Within the block, as diffusers names it."""
    inputs: int
    outputs: int
    source: Source

    @property
    def on_text(self) -> bool:
        """Its rows are the prompt's tokens and not the video's."""
        return self.source == "text"

    def targeted(self, targets: Sequence[str]) -> bool:
        """Whether peft puts a LoRA on it: a target is its name or the name's end after a dot."""
        return any(self.name == target or self.name.endswith(f".{target}") for target in targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformer:
    """Sizes of a `WanTransformer3DModel`."""

    layers: int
    heads: int
    head_dim: int
    ffn: int
    """Width of the feed-forward layer."""
    text_dim: int
    freq_dim: int
    in_channels: int
    out_channels: int
    patch: tuple[int, int, int]
    """Frames, rows and columns of the latent in one token."""
    cross_attn_norm: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Transformer":
        """From the arguments of the class. Raises InputError for a model that reads images (its blocks differ)."""
        if config.get("added_kv_proj_dim") is not None or config.get("image_dim") is not None:
            raise InputError("plan knows text-to-video models; this one also reads an image.")
        frames, rows, columns = config["patch_size"]
        return cls(
            layers=config["num_layers"],
            heads=config["num_attention_heads"],
            head_dim=config["attention_head_dim"],
            ffn=config["ffn_dim"],
            text_dim=config["text_dim"],
            freq_dim=config["freq_dim"],
            in_channels=config["in_channels"],
            out_channels=config["out_channels"],
            patch=(frames, rows, columns),
            cross_attn_norm=config["cross_attn_norm"],
        )

    @property
    def width(self) -> int:
        """Numbers per token, d."""
        return self.heads * self.head_dim

    @property
    def block_linears(self) -> tuple[Linear, ...]:
        """The ten linear layers of a block."""
        d, f = self.width, self.ffn

        def projections(name: str, reads: Source, keys: Source, attended: Source) -> list[Linear]:
            inputs: dict[str, Source] = {"to_q": reads, "to_k": keys, "to_v": keys, "to_out.0": attended}
            return [Linear(name=f"{name}.{part}", inputs=d, outputs=d, source=inputs[part]) for part in inputs]

        return (
            *projections("attn1", "norm1", "norm1", "attended1"),
            *projections("attn2", "norm2", "text", "attended2"),
            Linear(name="ffn.net.0.proj", inputs=d, outputs=f, source="norm3"),
            Linear(name="ffn.net.2", inputs=f, outputs=d, source="activated"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """The adapter that is trained."""

    rank: int
    targets: tuple[str, ...]
    number_bytes: int = 4
    """Bytes of one of its numbers, and of its arithmetic: 4 as worldr1 trains, 2 in the measurements of
    research/h200.md."""

    def layers(self, network: Transformer) -> tuple[Linear, ...]:
        """The linear layers of a block that carry it. Raises InputError if there is none in the blocks."""
        found = tuple(linear for linear in network.block_linears if linear.targeted(self.targets))
        if not found:
            raise InputError(f"plan finds none of lora.targets {list(self.targets)} in the model's blocks.")
        return found

    def parameters(self, network: Transformer) -> int:
        """Numbers that are trained."""
        return network.layers * sum(self.rank * (x.inputs + x.outputs) for x in self.layers(network))


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent:
    """A clip as the transformer sees it."""

    channels: int
    frames: int
    height: int
    width: int

    @property
    def numel(self) -> int:
        """Numbers in it."""
        return self.channels * self.frames * self.height * self.width

    def tokens(self, network: Transformer) -> int:
        """Tokens that the transformer makes of it."""
        return (self.frames * self.height * self.width) // math.prod(network.patch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """What goes through the transformer at once."""

    rows: int
    """Latents: the batch, times two if both halves of guidance go together."""
    tokens: int
    """Of one latent."""
    text_tokens: int
    """Of one prompt, padding included."""

    def rows_of(self, linear: Linear) -> int:
        """Rows that a block's linear layer is applied to."""
        return self.rows * (self.text_tokens if linear.on_text else self.tokens)
