"""HPSv2.1 (Wu et al. 2023, arXiv 2306.09341) as a `QualityModel`: CLIP ViT-H/14, the light alternative to HPSv3.

The score is 100 * cosine of image and text embedding, as the publication's tables have it; `hpsv2.score` returns a
hundredth of it. SDXL has 27 to 33 in the table of 2.1, by style.

The published file holds open_clip's names, which `our_names` turns into those of transformers' CLIPModel: open_clip
itself needs torchvision, and the package hpsv2 lacks its tokenizer's vocabulary and reads its weights again at every
call. Frames keep their aspect, as in that package: the longer side becomes 224 pixels (bicubic with antialiasing, as
torchvision does it from 0.17 on; floats, nothing is rounded to 8 bits) and black fills the square.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ftfy
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, PreTrainedTokenizerBase

from worldr1.backends.building import drawing
from worldr1.backends.frame_batches import check_frames, chunks, normalised, stacked_ids
from worldr1.backends.hub import go_offline_if_unreachable
from worldr1.backends.published_files import RANDOM, Need, fill, find_file, read_tensors
from worldr1.errors import ConfigError, InputError, first_line

HUB, FILE = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
BASE_HUB = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
CLIP_VIT_H_14: Mapping[str, Any] = {
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "hidden_act": "gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
    "projection_dim": 1024,
}
"""open_clip's ViT-H-14."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hpsv2Config:
    """Whose weights, and how they compute."""

    weights: str = ""
    """HPS_v2.1_compressed.pt (or the same tensors as .safetensors), or a folder that holds it; "": from the hub;
    "random": full size without files."""
    tokenizer: str = BASE_HUB
    """A folder with CLIP's tokenizer (tokenizer.json, or vocab.json and merges.txt), or a hub name; not used by random
    weights. OpenAI's CLIP models have the same."""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """float16 as in the package's autocast: bfloat16's steps are as large as differences between siblings."""
    batch: int = 32
    """Frames at once."""
    seed: int = 0
    """Of random weights."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError("HPSv2 needs a batch of at least one frame: set batch to 1 or more.")


class Hpsv2:
    """`protocols.QualityModel`: 100 * cosine of frame and prompt; `load_hpsv2` makes one. No gradients."""

    licence = "Apache-2.0 (HPSv2.1), on MIT (OpenCLIP ViT-H-14)"

    def __init__(self, network: CLIPModel, tokenizer: PreTrainedTokenizerBase | None, *, batch: int = 32) -> None:
        """tokenizer: None for random weights: every character is then a token."""
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.batch = batch

    @property
    def device(self) -> torch.device:
        """Where the network is now: it may be moved."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def __call__(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """Score of each frame for its own prompt, in their order, on the model's device; float32.

        frames: 0..1, on any device. Prompts are cut at 77 tokens. Raises InputError for another shape or another
        number of prompts.
        """
        check_frames(frames, prompts)
        # a group shares its prompt, and so do a video's frames
        texts = list(dict.fromkeys(prompts))
        words = torch.cat([self._texts(texts[part]) for part in chunks(len(texts), self.batch)])
        images = torch.cat([self._images(frames[part]) for part in chunks(len(frames), self.batch)])
        rows = {text: row for row, text in enumerate(texts)}
        return 100 * (images * words[[rows[text] for text in prompts]]).sum(-1)

    def _images(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        vision: Any = self.network.config.vision_config
        side = vision.image_size
        pixels = normalised(letterbox(frames.to(self.device).float(), side)).to(self.network.dtype)
        pooled = self.network.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.network.visual_projection(pooled).float(), dim=-1)

    def _texts(self, prompts: Sequence[str]) -> Float[Tensor, "P E"]:
        rows = [self._ids(prompt) for prompt in prompts]
        # nothing looks ahead: what stands behind a row's end does not matter
        ids, real = stacked_ids(rows, pad=0, device=self.device)
        hidden = self.network.text_model(input_ids=ids).last_hidden_state
        ends = real.sum(1) - 1
        read = hidden[torch.arange(len(rows), device=self.device), ends]
        return F.normalize(self.network.text_projection(read).float(), dim=-1)

    def _ids(self, prompt: str) -> list[int]:
        config: Any = self.network.config.text_config
        longest = config.max_position_embeddings
        if self.tokenizer is not None:
            # a prompt's own "<|endoftext|>" is text, as open_clip has it
            options: dict[str, Any] = {"truncation": True, "max_length": longest, "split_special_tokens": True}
            return self.tokenizer(cleaned(prompt), **options)["input_ids"]
        own = [ord(c) % config.bos_token_id for c in prompt[: longest - 2]]
        return [config.bos_token_id, *own, config.eos_token_id]


def cleaned(prompt: str) -> str:
    """A prompt as open_clip cleans it: encoding mended, HTML entities resolved, one space between words, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip().lower()


def letterbox(frames: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B 3 side side"]:
    """The longer side at `side` pixels, black around the rest; bicubic may pass 0..1 a little, as in the package."""
    height, width = frames.shape[-2:]
    scale = side / max(height, width)
    rows, columns = (max(1, round(x * scale)) for x in (height, width))
    if (rows, columns) != (height, width):
        frames = F.interpolate(frames, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False)
    left, top = (side - columns) // 2, (side - rows) // 2
    return F.pad(frames, (left, side - columns - left, top, side - rows - top))


def load_hpsv2(config: Hpsv2Config, device: str | torch.device = "cpu") -> Hpsv2:
    """HPSv2.1 on `device` (2.0 GB in float16).

    Raises InputError if weights or tokenizer are missing, damaged or do not fit each other.
    """
    place = torch.device(device)
    if config.weights == RANDOM:
        return Hpsv2(_network(config, place), None, batch=config.batch)
    path = _weights_file(config)
    # the small files before the large one
    tokenizer = _tokenizer(config.tokenizer)
    tensors = our_names(read_tensors(path))
    network = _network(config, place)
    fill(network, tensors, path=path)
    return Hpsv2(network, tokenizer, batch=config.batch)


def hpsv2_needs(config: Hpsv2Config) -> tuple[Need, ...]:
    """Its tokenizer and its file."""
    if config.weights == RANDOM:
        return ()
    return partial(_tokenizer, config.tokenizer), partial(_weights_file, config)


def _weights_file(config: Hpsv2Config) -> Path:
    return find_file(config.weights, name=FILE, hub=HUB)


def our_names(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's tensors under CLIPModel's names: q, k and v apart, projections turned over.

    A name that is not known is left as it is, to be complained about.
    """
    found: dict[str, Tensor] = {}
    for name, x in published.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name.removeprefix("visual."))
        if match is None:
            found |= {_TURNED[name]: x.mT} if name in _TURNED else {_OTHERS.get(name, name): x}
            continue
        layer, inside = f"{tower}.encoder.layers.{match[1]}", match[2]
        if inside.startswith("attn.in_proj_"):
            kind, parts = inside.removeprefix("attn.in_proj_"), zip("qkv", x.chunk(3), strict=True)
            found |= {f"{layer}.self_attn.{which}_proj.{kind}": part for which, part in parts}
        else:
            stem, _, kind = inside.rpartition(".")
            found[f"{layer}.{_LAYER.get(stem, stem)}.{kind}"] = x
    return found


_TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OTHERS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}


def _network(config: Hpsv2Config, place: torch.device) -> CLIPModel:
    """With fresh weights."""
    with drawing(place, getattr(torch, config.dtype), config.seed):
        return CLIPModel(CLIPConfig(**CLIP_VIT_H_14))


def _tokenizer(source: str) -> CLIPTokenizer:
    """From a folder or the hub; raises InputError unless its last token is the model's end of text."""
    remedy = "give a folder with CLIP's tokenizer, for example that of openai/clip-vit-large-patch14"
    if not Path(source).is_dir():
        go_offline_if_unreachable()
    try:
        tokenizer = CLIPTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"HPSv2's tokenizer cannot be loaded from {source} ({first_line(error)}); {remedy}."
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes of no files at all
        raise InputError(f"HPSv2's tokenizer cannot be loaded from {source} (none of its files is there); {remedy}.")
    if tokenizer.eos_token_id != CLIP_VIT_H_14["text_config"]["eos_token_id"]:
        raise InputError(f"The tokenizer of {source} has its end of text at {tokenizer.eos_token_id}; {remedy}.")
    return tokenizer
