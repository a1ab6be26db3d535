"""Train the trunk on damage of known grade: the critic on off-path renders of the mini 3D model's own reconstructions,
the quality head on blurred frames and misnamed solids, the distance on damaged pairs.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from worldr1.mini.networks.base import MAX_TEXT_LENGTH
from worldr1.mini.networks.reconstructor import Reconstruct
from worldr1.mini.networks.trunk import MAX_DIGIT, Trunk, prompt_ids
from worldr1.mini.render import SKY_DEPTH
from worldr1.pretrain.corpus import Corpus, warp
from worldr1.pretrain.damage import add_noise, blur
from worldr1.pretrain.vae import through_vae, to_float
from worldr1.protocols import Renderer
from worldr1.rewards.meta_view import SIDES, UNSEEN_GREY, MetaViewConfig, meta_view_jobs
from worldr1.rewards.rendering import render_jobs
from worldr1.scene.gaussians import LiftConfig
from worldr1.types import Reconstruction


class Damage(IntEnum):
    """What spoils a reconstruction; each comes with a grade in 0..1 (0: nothing)."""

    NONE = 0
    FLOATERS = 1
    BILLBOARD = 2
    STRETCH = 3
    GHOSTING = 4
    WARPED_VIDEO = 5


MAX_WARP_PX = 5.0


def damage_geometry(
    reconstruction: Reconstruction, damage: Damage, grade: float, generator: torch.Generator
) -> Reconstruction:
    """The reconstruction with floaters, flattened depth, rubber-sheet edges or displaced cameras of that grade."""
    depth, device = reconstruction.depth, reconstruction.depth.device
    frames, height, width = depth.shape
    if damage == Damage.FLOATERS:
        coarse = torch.rand(frames, 1, 8, 12, generator=generator).to(device)
        chosen = (coarse < 0.03 + 0.22 * grade) & (grade > 0.02)
        factor = 1 - chosen * (0.2 + 0.45 * grade) * torch.rand(coarse.shape, generator=generator).to(device)
        depth = depth * F.interpolate(factor, (height, width), mode="nearest")[:, 0]
    elif damage == Damage.BILLBOARD:
        near = depth < 0.5 * SKY_DEPTH
        level = torch.where(near, depth, torch.nan).flatten(1).nanmedian(1).values[:, None, None]
        depth = torch.where(near, torch.lerp(depth, level.nan_to_num(1.0).expand_as(depth), grade), depth)
    elif damage == Damage.STRETCH:
        near = depth.clamp(max=3.0).log()[:, None].expand(-1, 3, -1, -1)
        smooth = blur(near, torch.full((frames,), 0.3 + 4.5 * grade, device=device))[:, 0]
        sheet = torch.lerp(depth.log(), smooth, min(1.0, 3 * grade)).exp()
        depth = torch.where(depth < 0.5 * SKY_DEPTH, sheet, depth)
    elif damage == Damage.GHOSTING:
        poses = reconstruction.world_from_camera.clone()
        poses[1:, :3, 3] += torch.randn(frames - 1, 3, generator=generator).to(poses) * 0.06 * grade
        return replace(reconstruction, world_from_camera=poses)
    return replace(reconstruction, depth=depth)


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticSet:
    """Off-path renders with the grade of their damage, on the CPU."""

    images: Int[Tensor, "N 3 H W"]
    """uint8."""
    grade: Float[Tensor, " N"]
    kind: Int[Tensor, " N"]
    clip: Int[Tensor, " N"]
    """Row of the corpus."""


@torch.no_grad()
def make_critic_set(
    corpus: Corpus,
    rows: Int[Tensor, " R"],
    *,
    vae: AutoencoderKLWan,
    reconstruct: Reconstruct,
    renderer: Renderer,
    views_per_clip: int,
    generator: torch.Generator,
    batch: int = 32,
) -> CriticSet:
    """Decode, damage, reconstruct and render each clip `views_per_clip` times, each with another damage and grade."""
    images, grades, kinds, clips = [], [], [], []
    for chunk in rows.split(batch):
        clean = through_vae(vae, to_float(corpus.video[chunk]))
        lifted = reconstruct(clean)
        for _ in range(views_per_clip):
            kind = torch.randint(len(Damage), (len(chunk),), generator=generator)
            grade = torch.rand(len(chunk), generator=generator) * (kind != Damage.NONE)
            video, scenes = _warped(clean, lifted, kind, grade, reconstruct, generator)
            spoiled = [
                damage_geometry(scene, Damage(int(k)), float(g), generator)
                for scene, k, g in zip(scenes, kind, grade, strict=True)
            ]
            images.append(_off_path_images(video, spoiled, renderer, generator).cpu())
            grades.append(grade)
            kinds.append(kind)
            clips.append(chunk.cpu())
    return CriticSet(images=torch.cat(images), grade=torch.cat(grades), kind=torch.cat(kinds), clip=torch.cat(clips))


def _warped(
    clean: Float[Tensor, "B T 3 H W"],
    lifted: list[Reconstruction],
    kind: Int[Tensor, " B"],
    grade: Float[Tensor, " B"],
    reconstruct: Reconstruct,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "B T 3 H W"], list[Reconstruction]]:
    """The clips, those of kind WARPED_VIDEO warped and lifted anew."""
    which = (kind == Damage.WARPED_VIDEO).nonzero()[:, 0]
    video, scenes = clean.clone(), list(lifted)
    if len(which):
        here = which.to(clean.device)
        video[here] = warp(clean[here], grade[which] * MAX_WARP_PX + 1e-3, generator)
        for row, scene in zip(which.tolist(), reconstruct(video[here]), strict=True):
            scenes[row] = scene
    return video, scenes


def _off_path_images(
    video: Float[Tensor, "B T 3 H W"], scenes: list[Reconstruction], renderer: Renderer, generator: torch.Generator
) -> Int[Tensor, "B 3 H W"]:
    sides = [SIDES[side] for side in torch.randint(2, (len(scenes),), generator=generator).tolist()]
    jobs = meta_view_jobs(list(video), scenes, sides, config=MetaViewConfig(), lift=LiftConfig())
    grey = torch.full((3,), UNSEEN_GREY, device=video.device)
    views = render_jobs(renderer, jobs, height=video.shape[-2], width=video.shape[-1], background=grey)
    return torch.stack([(view.colors[0].clamp(0, 1) * 255).round().to(torch.uint8) for view in views])


def digit_targets(grade: Float[Tensor, " B"]) -> Float[Tensor, "B 10"]:
    """9 (1 - grade) as a distribution on its two neighbouring digits."""
    value = MAX_DIGIT * (1 - grade)
    digits = torch.arange(MAX_DIGIT + 1, device=grade.device)
    return (1 - (value[:, None] - digits).abs()).clamp(min=0)


QUALITY_BLUR_PX = 2.5
BLUR_PENALTY = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class QualitySet:
    """VAE-decoded frames with their prompts."""

    frames: Int[Tensor, "N 3 H W"]
    """uint8."""
    ids: Int[Tensor, "N S"]


FIRST_FRAMES = 5
"""Quality frames are drawn from these: R_gen scores the first K frames."""


@torch.no_grad()
def make_quality_set(
    corpus: Corpus, *, vae: AutoencoderKLWan, tokenizer: PreTrainedTokenizerBase, generator: torch.Generator
) -> QualitySet:
    """One early decoded frame of each clip. Imperfect clips too: in their first frames everything is still right."""
    frames = []
    for video in corpus.video.split(64):
        decoded = through_vae(vae, to_float(video[:, :FIRST_FRAMES]))
        which = torch.randint(decoded.shape[1], (len(video),), generator=generator).to(decoded.device)
        chosen = decoded[torch.arange(len(video), device=decoded.device), which]
        frames.append((chosen * 255).round().to(torch.uint8))
    ids = prompt_ids(tokenizer, corpus.prompts, MAX_TEXT_LENGTH)
    return QualitySet(frames=torch.cat(frames), ids=ids.to(frames[0].device))


class TrunkTask:
    """The sum of the three heads' losses on random batches."""

    def __init__(
        self,
        trunk: Trunk,
        critic_set: CriticSet,
        critic_ids: Int[Tensor, "N S"],
        quality_set: QualitySet,
        *,
        batch: int,
        generator: torch.Generator,
    ) -> None:
        device = generator.device
        self.trunk, self.critic_ids, self.quality_set = trunk, critic_ids, quality_set
        self.images, self.grade = critic_set.images.to(device), critic_set.grade.to(device)
        self.batch, self.generator = batch, generator

    def _rand(self, num: int) -> Tensor:
        return torch.rand(num, generator=self.generator, device=self.generator.device)

    def _rows(self, num: int) -> Tensor:
        return torch.randint(num, (self.batch,), generator=self.generator, device=self.generator.device)

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        device = self.generator.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            critic, quality, distance = self._critic(), self._quality(), self._distance()
        log = {"critic": critic.detach(), "quality": quality.detach(), "distance": distance.detach()}
        return critic + 4 * quality + 4 * distance, log

    def _critic(self) -> Tensor:
        rows = self._rows(len(self.grade))
        images = to_float(self.images[rows])
        if float(self._rand(1)) < 0.5:
            images = images.flip(-1)
        images = images[:, torch.randperm(3, generator=self.generator, device=images.device)]
        logits, _ = self.trunk.read(images, self.critic_ids[rows])
        return F.cross_entropy(logits, digit_targets(self.grade[rows]))

    def _quality(self) -> Tensor:
        rows = self._rows(len(self.quality_set.ids))
        frames = to_float(self.quality_set.frames[rows])
        if float(self._rand(1)) < 0.5:
            frames = frames.flip(-1)
        grade = (self._rand(self.batch) - 0.3).clamp(min=0) / 0.7
        _, quality = self.trunk.read(blur(frames, grade * QUALITY_BLUR_PX), self.quality_set.ids[rows])
        return (quality - (1 - BLUR_PENALTY * grade)).square().mean()

    def _distance(self) -> Tensor:
        rows = self._rows(len(self.quality_set.ids))
        frames = to_float(self.quality_set.frames[rows])
        other, grade = damage_pair(frames, self.generator)
        return (self.trunk.distance(frames, other) - grade).square().mean()


def damage_pair(
    frames: Float[Tensor, "B 3 H W"], generator: torch.Generator
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, " B"]]:
    """Each frame blurred, warped, noisy, tinted or replaced by another; and how different that is, 0..1."""
    batch, device = frames.shape[0], frames.device
    grade = torch.rand(batch, generator=generator, device=device)
    kind = torch.randint(5, (batch,), generator=generator, device=device)
    on = [(kind == k).float() for k in range(5)]
    out = blur(frames, grade * on[0] * 3.0)
    cpu = torch.Generator("cpu").manual_seed(int(torch.randint(1 << 30, (1,), generator=generator, device=device)))
    still = torch.stack([out, out], 1)
    warped = warp(still, grade * 4.0 + 1e-3, cpu)[:, 1]
    out = torch.where((kind == 1)[:, None, None, None], warped, out)
    out = add_noise(out, grade * on[2] * 0.2, generator)
    tint = (torch.rand(batch, 3, 1, 1, generator=generator, device=device) - 0.5).sign() * 0.25
    out = (out + tint * (grade * on[3])[:, None, None, None]).clamp(0, 1)
    out = torch.where((kind == 4)[:, None, None, None], frames.roll(1, 0), out)
    return out, torch.where(kind == 4, torch.ones_like(grade), grade * 0.9)
