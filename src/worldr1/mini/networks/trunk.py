"""One small trunk with three heads: the critic (Qwen3-VL's role), the quality score (HPSv3's role) and the perceptual
distance (LPIPS's role).

The image becomes features at three scales; its coarsest tokens and the prompt's words attend to each other together
with one query token per language head. The distance compares the features themselves, as LPIPS does. Attention did not
learn to miss an object (docs/log.md), so the quality score also looks for every solid that the prompt names: its
texture, colour and kind must agree with the picture in one place.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from worldr1.mini.networks.reconstructor import Block
from worldr1.mini.prompts import COLOUR_NAMES, named_solids
from worldr1.mini.scenes import SOLID_TEXTURES, SOLIDS

Tokenizer = Callable[..., Mapping[str, Tensor]]
"""A tokenizer of `transformers`, which takes seconds to import and is not needed here."""
MAX_DIGIT = 9
ATTRIBUTES = (*SOLID_TEXTURES, *COLOUR_NAMES, *SOLIDS)
"""What a named solid is described by."""
MISSING_PENALTY = 0.7
"""What the quality score loses when none of the named solids can be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """Size of the network; height and width are those of the images it was trained on."""

    vocabulary_size: int = 512
    max_text_length: int = 64
    height: int = 64
    width: int = 96
    channels: tuple[int, int, int] = (32, 64, 96)
    """At strides 2, 4 and 8."""
    presence_channels: int = 64
    """Of the branch that looks for named solids."""
    layers: int = 3
    heads: int = 4


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GELU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.GELU()
    )


class Trunk(nn.Module):
    """See the module's docstring; the heads are `read` (critic and quality) and `distance`."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.channels
        self.stages = nn.ModuleList([_stage(12, first, 1), _stage(first, second, 2), _stage(second, third, 2)])
        self.place = nn.Parameter(torch.randn(1, (config.height // 8) * (config.width // 8), third) * 0.02)
        self.words = nn.Embedding(config.vocabulary_size, third)
        self.order = nn.Parameter(torch.randn(1, config.max_text_length, third) * 0.02)
        self.queries = nn.Parameter(torch.randn(1, 2, third) * 0.02)
        self.blocks = nn.ModuleList(Block(third, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(third)
        self.critic = nn.Linear(third, MAX_DIGIT + 1)
        self.quality = nn.Linear(third, 1)
        self.channel_weights = nn.ParameterList([nn.Parameter(torch.zeros(c)) for c in config.channels])
        self.presence = Presence(second, config.presence_channels)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """Feature maps at strides 2, 4 and 8."""
        x, maps = F.pixel_unshuffle(images * 2 - 1, 2), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def read(
        self, images: Float[Tensor, "B 3 H W"], ids: Int[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B 10"], Float[Tensor, " B"]]:
        """Digit logits and quality of images with their prompts' token ids (0 pads)."""
        return self.answers(self.features(images)[-1], ids)

    def answers(
        self, coarsest: Float[Tensor, "B c h w"], ids: Int[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B 10"], Float[Tensor, " B"]]:
        """`read` of images whose `features` are there already: the last of them."""
        tokens = coarsest.flatten(2).transpose(1, 2) + self.place
        present = (ids != 0)[..., None]
        words = (self.words(ids) + self.order[:, : ids.shape[1]]) * present
        x = torch.cat([self.queries.expand(len(ids), -1, -1).to(tokens), tokens, words.to(tokens)], 1)
        for block in self.blocks:
            x = block(x)
        answers = self.norm(x[:, :2])
        return self.critic(answers[:, 0]).float(), self.quality(answers[:, 1])[:, 0].float()

    def present(self, images: Float[Tensor, "B 3 H W"], named: Int[Tensor, "B K 3"]) -> Float[Tensor, "B K"]:
        """Logits that each named solid (`named_ids`) is in the picture."""
        return self.presence(self.features(images)[1], named)

    def distance(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """1 - exp(-weighted squared difference of unit features): 0 for equal images, towards 1 for unrelated ones."""
        total = a.new_zeros(a.shape[0])
        for x, y, weight in zip(self.features(a), self.features(b), self.channel_weights, strict=True):
            x, y = (F.normalize(f.float(), dim=1, eps=1e-3) for f in (x, y))
            weighted = (x - y).square() * F.softplus(weight)[None, :, None, None]
            total = total + weighted.sum(1).mean((1, 2))
        return 1 - torch.exp(-total)


class Presence(nn.Module):
    """Does any place of the picture look like this solid?"""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.attributes = nn.Embedding(len(ATTRIBUTES), channels)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Float[Tensor, "B c h w"], named: Int[Tensor, "B K 3"]) -> Float[Tensor, "B K"]:
        """log mean exp, a smooth maximum, over places of the three attributes' summed agreement with the place."""
        places = self.look(features).flatten(2).float()
        wanted = self.attributes(named.clamp(min=0)).sum(2).float()
        agreement = torch.einsum("bkc,bcn->bkn", wanted, places) / places.shape[1] ** 0.5
        return agreement.logsumexp(-1) - math.log(places.shape[-1]) + self.bias


def named_ids(prompts: Sequence[str]) -> Int[Tensor, "B K 3"]:
    """Texture, colour and kind (indices into ATTRIBUTES) of every solid that each prompt names; -1 pads."""
    number = {word: index for index, word in enumerate(ATTRIBUTES)}
    solids = [[(s.texture, s.colour, s.solid) for s in named_solids(prompt)] for prompt in prompts]
    ids = torch.full((len(prompts), max([1, *map(len, solids)]), 3), -1)
    for row, named in enumerate(solids):
        for slot, words in enumerate(named):
            ids[row, slot] = torch.tensor([number[word] for word in words])
    return ids


class _Head:
    licence = "Apache-2.0 (worldr1 mini weights)"

    def __init__(self, trunk: Trunk, tokenizer: Tokenizer) -> None:
        self.trunk = trunk.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @torch.no_grad()
    def _read(self, coarsest: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The answers for images whose coarsest features these are."""
        texts, rows = _distinct(prompts)
        ids = prompt_ids(self.tokenizer, texts, self.trunk.config.max_text_length)[rows]
        return self.trunk.answers(coarsest, ids.to(coarsest.device))


class TrunkCritic(_Head):
    """`protocols.Critic`: the distribution over digits."""

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, "B 10"]:
        """Probability of each digit."""
        return self._read(self.trunk.features(images)[-1], prompts)[0].softmax(-1)


class TrunkQuality(_Head):
    """`protocols.QualityModel`: about 0.8 for a sharp frame that shows all its prompt names, less otherwise."""

    @torch.no_grad()
    def __call__(self, frames: Float[Tensor, "B 3 H W"], prompts: Sequence[str]) -> Float[Tensor, " B"]:
        """Score of each frame: sharpness - MISSING_PENALTY * (mean probability that a named solid is missing)."""
        maps = self.trunk.features(frames)
        texts, rows = _distinct(prompts)
        named = named_ids(texts)[rows].to(frames.device)
        missing = (-self.trunk.presence(maps[1], named)).sigmoid()
        there = (named[..., 0] >= 0).to(missing)
        share = (missing * there).sum(1) / there.sum(1).clamp(min=1)
        return self._read(maps[-1], prompts)[1] - MISSING_PENALTY * share


def _distinct(prompts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Every text once (a group shares its prompt, and so do a video's frames), and which of them each prompt is."""
    number = {text: index for index, text in enumerate(dict.fromkeys(prompts))}
    return list(number), [number[text] for text in prompts]


class TrunkDistance:
    """`protocols.PerceptualDistance`."""

    licence = _Head.licence

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk.eval().requires_grad_(False)

    def __call__(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Distance of each pair."""
        with torch.no_grad():
            return self.trunk.distance(a, b)


def prompt_ids(tokenizer: Tokenizer, prompts: Sequence[str], length: int) -> Int[Tensor, "B S"]:
    """Token ids, cut at `length` and padded with 0 to it."""
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return batch["input_ids"]
