"""Train the trunk's branch that looks for named solids, on stills: the solids of the prompt against ones not there."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from worldr1.mini.networks.trunk import Trunk, TrunkQuality, named_ids
from worldr1.mini.prompts import COLOUR_NAMES, named_solids
from worldr1.mini.scenes import SOLID_TEXTURES, SOLIDS
from worldr1.pretrain.damage import blur
from worldr1.pretrain.vae import to_float

ABSENT_PER_PICTURE = 6
MAX_BLUR_PX = 1.0
"""Blurred pictures are seen too, lest missing and blurred be one."""
_STARTS = (0, len(SOLID_TEXTURES), len(SOLID_TEXTURES) + len(COLOUR_NAMES))
_SIZES = (len(SOLID_TEXTURES), len(COLOUR_NAMES), len(SOLIDS))


def draw_absent(named: Int[Tensor, "B K 3"], num: int, generator: torch.Generator) -> Int[Tensor, "B num 3"]:
    """Solids that each prompt does not name: one of its own with one to three attributes drawn anew (-1: drew its own).

    named: as `networks.trunk.named_ids`, on the generator's device.
    """
    batch, device = len(named), named.device
    counts = (named[..., 0] >= 0).sum(1).clamp(min=1)
    chosen = (torch.rand(batch, num, generator=generator, device=device) * counts[:, None]).long()
    solids = named.gather(1, chosen[..., None].expand(-1, -1, 3))
    sizes, starts = torch.tensor(_SIZES, device=device), torch.tensor(_STARTS, device=device)
    drawn = (torch.rand(solids.shape, generator=generator, device=device) * sizes).long() + starts
    change = torch.rand(solids.shape, generator=generator, device=device) < 0.4
    change.scatter_(2, torch.randint(3, (batch, num, 1), generator=generator, device=device), True)
    absent = torch.where(change & (solids >= 0), drawn, solids)
    own = (absent[:, :, None] == named[:, None]).all(-1).any(-1)
    return absent.masked_fill(own[..., None], -1)


class PresenceTask:
    """Cross-entropy of the branch on random pictures; every other part of the trunk stays as it is."""

    def __init__(
        self,
        trunk: Trunk,
        frames: Int[Tensor, "N 3 H W"],
        prompts: Sequence[str],
        *,
        batch: int,
        generator: torch.Generator,
    ) -> None:
        """frames: uint8, as decoded by the VAE, on the generator's device."""
        self.trunk, self.frames, self.batch, self.generator = trunk, frames, batch, generator
        self.named = named_ids(prompts).to(frames.device)
        trunk.requires_grad_(False)
        trunk.presence.requires_grad_(True)

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        device = self.generator.device
        rows = torch.randint(len(self.frames), (self.batch,), generator=self.generator, device=device)
        images, named = to_float(self.frames[rows]), self.named[rows]
        mirrored = torch.rand(self.batch, generator=self.generator, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        softness = (torch.rand(self.batch, generator=self.generator, device=device) - 0.5).clamp(min=0) * 2
        absent = draw_absent(named, ABSENT_PER_PICTURE, self.generator)
        logits = self.trunk.present(blur(images, softness * MAX_BLUR_PX), torch.cat([named, absent], 1))
        num_named = named.shape[1]
        right, wrong = named[..., 0] >= 0, absent[..., 0] >= 0
        found = F.softplus(-logits[:, :num_named])[right].mean()
        invented = F.softplus(logits[:, num_named:])[wrong].mean()
        return found + invented, {"found": found.detach(), "invented": invented.detach()}


def misname(prompt: str, generator: torch.Generator) -> tuple[str, float]:
    """A prompt that names a solid that is not there (one changed, or one added), and the share of its solids so."""

    def draw(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (1,), generator=generator))]

    solids = named_solids(prompt)
    free = [colour for colour in COLOUR_NAMES if f" {colour} " not in prompt]
    if not solids or not free:
        return prompt, 0.0
    chosen = solids[int(torch.randint(len(solids), (1,), generator=generator))]
    start, end = chosen.span
    colour = draw(free)
    if len(solids) < 3 and float(torch.rand(1, generator=generator)) < 0.5:
        first = solids[0].span[0] - len("A ")
        joint = " and" if len(solids) == 1 else ","
        extra = f"A {draw(SOLID_TEXTURES)} {colour} {draw(SOLIDS)}{joint} a"
        return prompt[:first] + extra + prompt[first + 1 :], 1 / (len(solids) + 1)
    solid = draw(SOLIDS)
    renamed = prompt[:start] + f"{chosen.texture} {colour} {solid}" + prompt[end:]
    # its motion sentence goes with it: a mover that the list does not name would give the wrong prompt away
    return renamed.replace(f"The {chosen.colour} {chosen.solid} ", f"The {colour} {solid} "), 1 / len(solids)


PAIRS_PER_PICTURE = 4


@torch.no_grad()
def prompt_preference(
    quality: TrunkQuality, frames: Int[Tensor, "N 3 H W"], prompts: Sequence[str], generator: torch.Generator
) -> dict[str, float]:
    """Does the quality score prefer a frame's own prompt to ones that name something missing? 0.5 is chance.

    frames: uint8. `generator` lives on the CPU.
    """
    right = torch.cat([quality(to_float(f), p) for f, p in _batches(frames, prompts)])
    drops = []
    for _ in range(PAIRS_PER_PICTURE):
        misnamed = [misname(prompt, generator) for prompt in prompts]
        wrong = torch.cat([quality(to_float(f), p) for f, p in _batches(frames, [text for text, _ in misnamed])])
        named = torch.tensor([share > 0 for _, share in misnamed], device=frames.device)
        drops.append((right - wrong)[named])
    drop = torch.cat(drops)
    return {
        "quality_prefers_true_prompt": float((drop > 0).float().mean()),
        "quality_drop_missing": float(drop.mean()),
        "quality_mean": float(right.mean()),
    }


def _batches(frames: Tensor, prompts: Sequence[str]) -> list[tuple[Tensor, Sequence[str]]]:
    size = 64
    return [(frames[i : i + size], prompts[i : i + size]) for i in range(0, len(prompts), size)]
