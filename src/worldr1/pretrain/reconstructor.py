"""Train the mini 3D model on clean, VAE-decoded and damaged clips with their exact geometry."""

import math
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from worldr1.geometry.pinhole import pixel_centres, project, unproject
from worldr1.geometry.se3 import geodesic_rad, inverse
from worldr1.mini.networks.reconstructor import Geometry, MiniReconstructor
from worldr1.mini.render import SKY
from worldr1.pretrain.corpus import Corpus
from worldr1.pretrain.damage import add_noise, blur
from worldr1.pretrain.vae import through_vae, to_float
from worldr1.types import intrinsics_px


@dataclass(frozen=True, slots=True)
class Truth:
    """Exact geometry of a batch of clips."""

    log_depth: Float[Tensor, "B T H W"]
    sky: Float[Tensor, "B T H W"]
    world_from_camera: Float[Tensor, "B T 4 4"]
    matches: Float[Tensor, "B T 4 h w"]
    """Displacement in cells of each cell of stride 4: x, y to frame 0, then x, y to the frame before."""
    matched: Float[Tensor, "B T 1 h w"]
    """1 where both are inside the picture."""


CELL = 4
"""Pixels per cell of the matching grid."""


def true_matches(
    depth: Float[Tensor, "B T H W"], world_from_camera: Float[Tensor, "B T 4 4"]
) -> tuple[Float[Tensor, "B T 4 h w"], Float[Tensor, "B T 1 h w"]]:
    """Exact displacements of a still scene's cells, and where they stay inside the picture (occlusion is ignored)."""
    height, width = depth.shape[-2:]
    start = CELL // 2
    k = intrinsics_px(height, width).to(depth)
    points = unproject(depth, k.expand(*depth.shape[:2], 3, 3))[:, :, start::CELL, start::CELL]
    pixels = pixel_centres(height, width).to(depth)[start::CELL, start::CELL]
    reference = torch.stack(
        [world_from_camera[:, :1].expand_as(world_from_camera), world_from_camera.roll(1, 1)], 2
    ).clone()
    reference[:, 0, 1] = world_from_camera[:, 0]
    relative = inverse(reference) @ world_from_camera[:, :, None]
    moved = torch.einsum("btrij,bthwj->btrhwi", relative[..., :3, :3], points)
    moved = moved + relative[..., None, None, :3, 3]
    found, _ = project(moved, k)
    size = found.new_tensor([width, height])
    inside = ((found >= 0) & (found < size)).all(-1).all(2, keepdim=True) & (moved[..., 2] > 1e-3).all(2, keepdim=True)
    shift = (found - pixels) / CELL
    return shift.permute(0, 1, 2, 5, 3, 4).flatten(2, 3), inside.float()


def geometry_loss(geometry: Geometry, truth: Truth) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-depth L1, its own error estimate (Laplace), sky, rotation (radians) and translation (depth units)."""
    ground = 1 - truth.sky
    error = (geometry.log_depth - truth.log_depth).abs() * ground
    depth = error.sum() / ground.sum()
    scale = geometry.log_error
    expected = ((error.detach() * torch.exp(-scale) + scale) * ground).sum() / ground.sum()
    sky = F.binary_cross_entropy_with_logits(geometry.sky_logit, truth.sky)
    pose, target = geometry.world_from_camera, truth.world_from_camera
    rotation = geodesic_rad(pose[:, 1:, :3, :3], target[:, 1:, :3, :3]).mean()
    translation = (pose[:, 1:, :3, 3] - target[:, 1:, :3, 3]).norm(dim=-1).mean()
    matching = (geometry.matches[:, :, [0, 1, 3, 4]] - truth.matches).abs()
    matching = (matching * truth.matched).sum() / (4 * truth.matched.sum())
    loss = depth + 0.05 * expected + 0.2 * sky + 12 * rotation + 4 * translation + 0.2 * matching
    log = {
        "log_depth": depth.detach(),
        "matching": matching.detach(),
        "rotation_deg": rotation.detach() * 180 / math.pi,
        "translation": translation.detach(),
    }
    return loss, log


class ReconstructorTask:
    """Batches of clips: mirrored and colour-permuted at random; most decoded by the VAE, a share damaged."""

    def __init__(
        self,
        network: torch.nn.Module,
        corpus: Corpus,
        *,
        batch: int,
        generator: torch.Generator,
        decoded: Int[Tensor, "M T 3 H W"] | None,
    ) -> None:
        """decoded: the first M clips of the corpus as the VAE decodes them (uint8); drawn half of the time."""
        self.network, self.corpus, self.batch = network, corpus, batch
        self.generator, self.decoded = generator, decoded

    def __call__(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss."""
        device, generator = self.generator.device, self.generator
        index = torch.randint(len(self.corpus.prompts), (self.batch,), generator=generator, device=device)
        video, depth = to_float(self._clips(index)), self.corpus.depth[index].float()
        sky, poses = (self.corpus.surface[index] == SKY).float(), self.corpus.world_from_camera[index]
        if float(torch.rand((), generator=generator, device=device)) < 0.5:
            video, depth, sky = video.flip(-1), depth.flip(-1), sky.flip(-1)
            mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1], device=device))
            poses = mirror @ poses @ mirror
        video = video[:, :, torch.randperm(3, generator=generator, device=device)]
        video = self._degrade(video)
        with torch.autocast(device.type, torch.bfloat16):
            geometry = self.network(video)
        return geometry_loss(geometry, Truth(depth.log(), sky, poses, *true_matches(depth, poses)))

    def _clips(self, index: Tensor) -> Tensor:
        """Clips of the corpus; 70 % of those of which there is a decoded version in that version."""
        if self.decoded is None:
            return self.corpus.video[index]
        use = torch.rand(self.batch, generator=self.generator, device=index.device) < 0.7
        use &= index < len(self.decoded)
        clips = self.decoded[index.clamp(max=len(self.decoded) - 1)]
        return torch.where(use[:, None, None, None, None], clips, self.corpus.video[index])

    def _degrade(self, video: Tensor) -> Tensor:
        draw = torch.rand(self.batch, 3, generator=self.generator, device=video.device)
        damaged = (draw[:, 1] < 0.3).float()
        video = blur(video, damaged * draw[:, 2] * 1.2)
        return add_noise(video, damaged * draw[:, 0] * 0.06, self.generator)


@torch.no_grad()
def pose_errors(
    network: MiniReconstructor, corpus: Corpus, vae: AutoencoderKLWan | None, *, batch: int = 32
) -> dict[str, Float[Tensor, " N"]]:
    """Per clip: rotation error (degrees), translation error (share of the path; NaN without one), log-depth error."""
    results: dict[str, list[Tensor]] = {"rotation_deg": [], "translation_share": [], "log_depth": []}
    for start in range(0, len(corpus.prompts), batch):
        part = slice(start, start + batch)
        video = to_float(corpus.video[part])
        geometry = network(video if vae is None else through_vae(vae, video))
        target = corpus.world_from_camera[part]
        pose = geometry.world_from_camera
        ground = (corpus.surface[part] != SKY).float()
        reach = target[..., :3, 3].norm(dim=-1).amax(1)
        shift = (pose[:, 1:, :3, 3] - target[:, 1:, :3, 3]).norm(dim=-1).mean(1)
        rotation = geodesic_rad(pose[:, 1:, :3, :3], target[:, 1:, :3, :3]).mean(1)
        error = (geometry.log_depth - corpus.depth[part].float().log()).abs() * ground
        results["rotation_deg"].append(rotation * 180 / math.pi)
        results["translation_share"].append(torch.where(reach > 0, shift / reach, torch.nan))
        results["log_depth"].append(error.sum((1, 2, 3)) / ground.sum((1, 2, 3)))
    return {name: torch.cat(values) for name, values in results.items()}
