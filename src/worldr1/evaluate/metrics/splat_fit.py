"""Per-scene 3DGS optimisation: what is the best that one static set of Gaussians can do with a video?

The Gaussians lifted from the video's depth are the start; means, scales, orientations, opacities and colours are then
optimised by Adam on the training frames, as 3D Gaussian Splatting does (Kerbl et al. 2023: learning rates, and the loss
0.8 L1 + 0.2 (1 - SSIM)), with the reconstruction's cameras fixed and without adding or removing Gaussians. Two
protocols, always named: `fit_holdout` trains on the even frames and compares the odd ones, `fit_all` trains on all
frames and compares the same ones again, which measures how well a video can be memorised.

Needs a renderer that hands gradients on: gsplat on a GPU (`backends.gsplat`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.evaluate.metrics.redrawing import at_depth_size, compare_images
from worldr1.protocols import PerceptualDistance, Renderer
from worldr1.rewards.reconstruction import (
    BEHIND_GREY,
    ReconstructionConfig,
    Redrawn,
    compare_all_redrawn,
    redraw_jobs,
    split_frames,
)
from worldr1.rewards.rendering import RenderJob, render_jobs
from worldr1.scene.image_metrics import SSIM_WINDOW_PX, ssim
from worldr1.seeding import make_generator
from worldr1.types import Gaussians, Reconstruction

FIT_HOLDOUT, FIT_ALL = "fit_holdout", "fit_all"
MAX_PIXELS = 8_000_000
"""Of the videos whose scenes are optimised side by side; each can become a Gaussian (about 200 bytes with Adam's)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """Of the optimisation."""

    steps: int = 2000
    """One training frame each."""
    rate_means: float = 1.6e-4
    """Per step, in units of the median depth of frame 0; falls to a hundredth."""
    rate_log_scales: float = 5e-3
    rate_quats: float = 1e-3
    rate_opacity_logits: float = 5e-2
    rate_color_logits: float = 1e-2
    ssim_weight: float = 0.2
    seed: int = 0
    """Of the frames' order."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.ssim_weight <= 1:
            raise ConfigError("The 3DGS optimisation needs at least 1 step and an SSIM weight in [0, 1].")


class GaussianParameters(nn.Module):
    """Gaussians of S scenes as free numbers: means in units of a scene's own, log scales, logits of the other two.

    Raises InputError for a scene without Gaussians.
    """

    def __init__(self, starts: Sequence[Gaussians], units: Sequence[float]) -> None:
        super().__init__()
        self.counts = [len(start.means) for start in starts]
        if 0 in self.counts:
            raise InputError("There are no Gaussians to optimise; the reconstruction trusts no pixel.")

        def together(name: str) -> Tensor:
            return torch.cat([getattr(start, name).detach() for start in starts])

        means = together("means")
        self.units = torch.repeat_interleave(means.new_tensor(units), torch.tensor(self.counts, device=means.device))
        self.means = nn.Parameter(means / self.units[:, None])
        self.quats = nn.Parameter(together("quats"))
        self.log_scales = nn.Parameter(together("scales").clamp(min=1e-8).log())
        self.opacity_logits = nn.Parameter(together("opacities").clamp(0.01, 0.99).logit())
        self.color_logits = nn.Parameter(together("colors").clamp(0.01, 0.99).logit())

    def scenes(self) -> list[Gaussians]:
        """What a renderer draws; differentiable where gradients are on."""
        parts = (
            self.means * self.units[:, None],
            nn.functional.normalize(self.quats, dim=-1),
            self.log_scales.exp(),
            self.opacity_logits.sigmoid(),
            self.color_logits.sigmoid(),
        )
        return [
            Gaussians(means=m, quats=q, scales=s, opacities=o, colors=c)
            for m, q, s, o, c in zip(*(part.split(self.counts) for part in parts), strict=True)
        ]


def fit_scenes(
    videos: Sequence[Float[Tensor, "T 3 H W"]],
    reconstructions: Sequence[Reconstruction],
    renderer: Renderer,
    *,
    config: FitConfig,
    redrawing: ReconstructionConfig,
) -> list[tuple[Gaussians, Redrawn]]:
    """Of every video the optimised scene, and its target frames drawn from it; all side by side.

    videos: of one shape, at the size of their depth. A scene becomes what it becomes alone, up to rounding: Adam
    scales every number by itself, and all scenes see their frames in the same order.
    Raises InputError if the renderer hands no gradients on, or nothing can be lifted.
    """
    source, _ = split_frames(len(videos[0]), holdout=redrawing.holdout)
    height, width = videos[0].shape[-2:]
    drawing = {"height": height, "width": width, "background": videos[0].new_full((3,), BEHIND_GREY)}
    pictures = torch.stack(list(videos))
    poses = torch.stack([one.world_from_camera for one in reconstructions])
    intrinsics = torch.stack([one.intrinsics_px for one in reconstructions])
    lifted = redraw_jobs(videos, reconstructions, config=redrawing)
    with torch.enable_grad():
        parameters = GaussianParameters([job.gaussians for job in lifted], [r.median_depth for r in reconstructions])
        optimizer, schedule = _optimizer(parameters, config)
        for frame in _frames(source, config):
            one = slice(frame, frame + 1)  # a list would be sent to the GPU in every step
            scenes = zip(parameters.scenes(), poses[:, one], intrinsics[:, one], strict=True)
            jobs = [RenderJob(gaussians=g, world_from_camera=pose, intrinsics_px=k) for g, pose, k in scenes]
            drawn = torch.cat([view.colors for view in render_jobs(renderer, jobs, **drawing)])
            if not drawn.requires_grad:
                raise InputError(
                    "3DGS optimisation needs a renderer that hands gradients on: use gsplat on an NVIDIA GPU."
                )
            optimizer.zero_grad(set_to_none=True)
            _losses(drawn, pictures[:, frame].to(drawn), config.ssim_weight).sum().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        scenes = parameters.scenes()
        jobs = [replace(job, gaussians=scene) for job, scene in zip(lifted, scenes, strict=True)]
        views = render_jobs(renderer, jobs, **drawing)
        return list(zip(scenes, compare_all_redrawn(videos, views, config=redrawing), strict=True))


def fit_metrics(
    clips: Sequence[JudgedClip],
    renderer: Renderer,
    perceptual: PerceptualDistance | None,
    *,
    holdout: bool,
    config: FitConfig | None = None,
) -> list[dict[str, float]]:
    """psnr_fit_holdout_db (psnr_fit_all_db) and the other two of every clip; all have a reconstruction."""
    redrawing, suffix = ReconstructionConfig(holdout=holdout), FIT_HOLDOUT if holdout else FIT_ALL
    videos, lifted = at_depth_size(clips)
    found: list[dict[str, float]] = []
    for some in _side_by_side(videos):
        fitted = fit_scenes(videos[some], lifted[some], renderer, config=config or FitConfig(), redrawing=redrawing)
        with torch.no_grad():
            found += [compare_images(redrawn, suffix, perceptual) for _, redrawn in fitted]
    return found


def _side_by_side(videos: Sequence[Float[Tensor, "T 3 H W"]]) -> list[slice]:
    """As many videos as have `MAX_PIXELS` together, at least one."""
    pixels = max((video[:, 0].numel() for video in videos), default=1)
    num = max(1, MAX_PIXELS // pixels)
    return [slice(first, first + num) for first in range(0, len(videos), num)]


def _optimizer(
    parameters: GaussianParameters, config: FitConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    rates = {
        parameters.means: config.rate_means,
        parameters.quats: config.rate_quats,
        parameters.log_scales: config.rate_log_scales,
        parameters.opacity_logits: config.rate_opacity_logits,
        parameters.color_logits: config.rate_color_logits,
    }
    groups = [{"params": [x], "lr": rate} for x, rate in rates.items()]
    optimizer = torch.optim.Adam(groups, eps=1e-15, fused=parameters.means.is_cuda)

    def falling(step: int) -> float:
        return 0.01 ** (step / config.steps)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, [falling, *[lambda step: 1.0] * 4])


def _frames(source: list[int], config: FitConfig) -> Iterator[int]:
    """All training frames in random order, again and again."""
    generator, left = make_generator(config.seed, "splat-fit"), []
    for _ in range(config.steps):
        left = left or [source[i] for i in torch.randperm(len(source), generator=generator).tolist()]
        yield left.pop()


def _losses(
    drawn: Float[Tensor, "S 3 H W"], target: Float[Tensor, "S 3 H W"], ssim_weight: float
) -> Float[Tensor, " S"]:
    absolute = (drawn - target).abs().mean((1, 2, 3))
    if min(drawn.shape[-2:]) < SSIM_WINDOW_PX:
        return absolute
    return (1 - ssim_weight) * absolute + ssim_weight * (1 - ssim(drawn, target))
