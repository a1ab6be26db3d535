"""HPSv3 (Ma et al. 2025, arXiv 2508.03789) as a `QualityModel`: Qwen2-VL-7B with a small head that says a preference.

What is published, read in the package hpsv3 1.0.0 (MIT), which itself needs transformers 4.45.2 and is not imported:

- The file HPSv3.safetensors of `MizzenAI/HPSv3` is whole: vision tower, language model, head (names `visual.*`,
  `model.*`, `rm_head.*`) and an `lm_head` that nothing uses and that is not loaded here. Of Qwen/Qwen2-VL-7B-Instruct
  only the tokenizer's files are needed. Its embedding was cut to the tokenizer's 151,657 tokens and grew by one,
  `<|Reward|>`, at whose place the head reads the last hidden state.
- The head, 3584-1024-16-2 with ReLU between, computes in float32 and answers mu and sigma of a Gaussian over
  preference; the score is mu, without any further scaling.
- **Positions count on over the image.** The model was trained on top of transformers 4.45.2, whose forward pass left
  Qwen2-VL's three-dimensional positions out unless they were handed over, and the package hands none over. Today's
  transformers computes them by itself (or refuses), and so would change every score: here they are 0, 1, 2, ... on
  all three axes.
- Images are resized to at most 256 patches of 28 x 28 pixels by PIL, in 8 bits (`frame_batches.resize_like_pil`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Qwen2VLConfig, Qwen2VLModel

from worldr1.backends.building import drawing
from worldr1.backends.frame_batches import check_frames, chunks, normalised, resize_like_pil, stacked_ids
from worldr1.backends.hpsv3_prompt import (
    IMAGE,
    REWARD,
    PromptTokens,
    StandInTokens,
    prompt_needs,
    published_prompt_tokens,
)
from worldr1.backends.published_files import RANDOM, Need, fill, find_file, read_tensors
from worldr1.errors import ConfigError, InputError

HUB, FILE = "MizzenAI/HPSv3", "HPSv3.safetensors"
BASE_HUB = "Qwen/Qwen2-VL-7B-Instruct"
QWEN2_VL_7B: Mapping[str, Any] = {
    "text_config": {
        "vocab_size": 151658,  # the tokenizer's tokens and <|Reward|>; the base itself has 152064 rows
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "num_heads": 16,
        "mlp_ratio": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "image_token_id": 151655,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "tie_word_embeddings": False,
}
"""Of the base's config.json; what is left out has the default of transformers' class."""
HEAD_WIDTHS = (1024, 16, 2)
CELL_PX = 28
"""Two patches of 14 pixels a side become one token."""
MAX_PIXELS = 256 * CELL_PX * CELL_PX
MAX_ASPECT = 200
"""Of the longer side to the shorter one, as Qwen2-VL's own preprocessing has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hpsv3Config:
    """Whose weights, and how they compute."""

    weights: str = ""
    """HPSv3.safetensors or a folder that holds it; "": from the hub; "random": full size without files."""
    tokenizer: str = BASE_HUB
    """A folder with the tokenizer's files of Qwen2-VL-7B-Instruct, or a hub name; not used by random weights."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Of vision tower and language model, bfloat16 as published; the head is always float32."""
    batch: int = 8
    """Frames at once."""
    seed: int = 0
    """Of random weights."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError("HPSv3 needs a batch of at least one frame: set batch to 1 or more.")


class RewardNetwork(nn.Module):
    """Qwen2-VL without its language head, with HPSv3's; the dtype is the default one, the head's float32."""

    def __init__(self, config: Qwen2VLConfig) -> None:
        super().__init__()
        self.backbone = Qwen2VLModel(config)
        hidden: int = self.backbone.language_model.config.hidden_size
        first, second, last = HEAD_WIDTHS
        # numbered as published: 0, 3 and 5 have weights
        self.head = nn.Sequential(
            nn.Linear(hidden, first),
            nn.ReLU(),
            nn.Dropout(0.05),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, last),
        ).float()

    def forward(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        reward_places: Int[Tensor, " B"],
        patches: Float[Tensor, "N C"],
        grids: Int[Tensor, "B 3"],
    ) -> Float[Tensor, "B 2"]:
        """mu and sigma of each row, float32.

        input_ids: padded on the right. reward_places: of `<|Reward|>` in each row. patches, grids: `patchify`.
        """
        rows, length = input_ids.shape
        positions = torch.arange(length, device=input_ids.device).expand(3, rows, length)
        hidden = self.backbone(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=positions,
            pixel_values=patches,
            image_grid_thw=grids,
            use_cache=False,
        ).last_hidden_state
        read = hidden[torch.arange(rows, device=hidden.device), reward_places]
        return self.head(read.float())


class Hpsv3:
    """`protocols.QualityModel`: mu of each frame; `load_hpsv3` makes one. No gradients."""

    licence = "MIT (HPSv3), on Apache-2.0 (Qwen2-VL-7B)"

    def __init__(self, network: RewardNetwork, prompt_tokens: PromptTokens, *, batch: int = 8) -> None:
        self.network = network.eval().requires_grad_(False)
        self.prompt_tokens = prompt_tokens
        self.batch = batch

    @property
    def device(self) -> torch.device:
        """Where the network is now: it may be moved."""
        return next(self.network.parameters()).device

    def __call__(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """Score of each frame for its own prompt, in their order, on the model's device; float32.

        frames: 0..1, on any device. Raises InputError for another shape, another number of prompts, or a prompt that
        holds one of the model's own special tokens.
        """
        return self.preferences(frames, prompts)[:, 0]

    @torch.no_grad()
    def preferences(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, "B 2"]:
        """mu and sigma of each frame. Raises InputError as above."""
        check_frames(frames, prompts)
        return torch.cat([self._some(frames[part], prompts[part]) for part in chunks(len(frames), self.batch)])

    def _some(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, "B 2"]:
        height, width = processed_size(*frames.shape[-2:])
        patches = patchify(normalised(resize_like_pil(frames.to(self.device), height, width)))
        grid = torch.tensor([[1, height // 14, width // 14]], device=self.device)
        image_tokens = (height // CELL_PX) * (width // CELL_PX)
        rows = {text: self.prompt_tokens(text, image_tokens) for text in dict.fromkeys(prompts)}
        ids, real = stacked_ids([rows[text].ids for text in prompts], pad=0, device=self.device)
        places = torch.tensor([rows[text].reward_place for text in prompts], device=self.device)
        return self.network(ids, real, places, patches, grid.expand(len(frames), 3))


def processed_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that the network sees: multiples of 28, of about the frame's aspect, at most `MAX_PIXELS`.

    The package's rule with its minimum equal to its maximum, so that small frames grow to no less than `MAX_PIXELS`
    and may pass it. Raises InputError for a frame more than 200 times longer than wide.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(f"Frames of {width} x {height} pixels are too narrow for HPSv3: crop them.")
    rows, columns = (max(CELL_PX, round(side / CELL_PX) * CELL_PX) for side in (height, width))
    scale = math.sqrt(height * width / MAX_PIXELS)
    if rows * columns > MAX_PIXELS:
        rows, columns = (math.floor(side / scale / CELL_PX) * CELL_PX for side in (height, width))
    elif rows * columns < MAX_PIXELS:
        rows, columns = (math.ceil(side / scale / CELL_PX) * CELL_PX for side in (height, width))
    return max(rows, CELL_PX), max(columns, CELL_PX)


def patchify(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "N 1176"]:
    """Qwen2-VL's patches, (3, 2, 14, 14) each with the frame twice in time; by image, cell and place in the cell."""
    batch, _, height, width = images.shape
    cells = images.reshape(batch, 3, height // CELL_PX, 2, 14, width // CELL_PX, 2, 14)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]
    return cells.expand(*cells.shape[:6], 2, *cells.shape[7:]).reshape(-1, 3 * 2 * 14 * 14)


def load_hpsv3(config: Hpsv3Config, device: str | torch.device = "cpu") -> Hpsv3:
    """HPSv3 on `device`, its weights copied there one by one (15.5 GB in bfloat16).

    Raises InputError if weights, tokenizer or the package with the prompt's text are missing, damaged or do not fit
    each other.
    """
    place = torch.device(device)
    ids = {IMAGE: QWEN2_VL_7B["image_token_id"], REWARD: QWEN2_VL_7B["text_config"]["vocab_size"] - 1}
    if config.weights == RANDOM:
        stand_in = StandInTokens(image_id=ids[IMAGE], reward_id=ids[REWARD])
        return Hpsv3(_network(config, place), stand_in, batch=config.batch)
    path = _weights_file(config)
    # the small files before the large ones
    tokens = published_prompt_tokens(config.tokenizer)
    tokens.check(ids)
    tensors = our_names(read_tensors(path))
    network = _network(config, place)
    fill(network, tensors, path=path)
    return Hpsv3(network, tokens, batch=config.batch)


def hpsv3_needs(config: Hpsv3Config) -> tuple[Need, ...]:
    """Package, tokenizer and file."""
    return () if config.weights == RANDOM else (*prompt_needs(config.tokenizer), partial(_weights_file, config))


def _weights_file(config: Hpsv3Config) -> Path:
    return find_file(config.weights, name=FILE, hub=HUB)


def _network(config: Hpsv3Config, place: torch.device) -> RewardNetwork:
    """With fresh weights."""
    with drawing(place, getattr(torch, config.dtype), config.seed):
        return RewardNetwork(Qwen2VLConfig(**QWEN2_VL_7B))


def our_names(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of `RewardNetwork`; `lm_head`, which has no use here, is left out.

    Files saved by newer versions of transformers (`model.visual.*`, `model.language_model.*`) are understood too.
    """
    renamed = (
        ("model.visual.", "backbone.visual."),
        ("model.language_model.", "backbone.language_model."),
        ("visual.", "backbone.visual."),
        ("model.", "backbone.language_model."),
        ("rm_head.", "head."),
    )
    found = {}
    for name, x in published.items():
        if name != "lm_head.weight":
            old, new = next((pair for pair in renamed if name.startswith(pair[0])), ("", ""))
            found[new + name.removeprefix(old)] = x
    return found
