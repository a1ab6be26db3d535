"""Per-scene 3DGS optimisation: what is the best that one static set of Gaussians can do with a video?

The Gaussians lifted from the video's depth are the start; means, scales, orientations, opacities and colours are then
optimised by Adam on the training frames, as 3D Gaussian Splatting does (Kerbl et al. 2023: learning rates, and the loss
0.8 L1 + 0.2 (1 - SSIM)), with the reconstruction's cameras fixed and without adding or removing Gaussians. Two
protocols, always named: `fit_holdout` trains on the even frames and compares the odd ones, `fit_all` trains on all
frames and compares the same ones again, which measures how well a video can be memorised.

Needs a renderer that hands gradients on: gsplat on a GPU (`backends.gsplat`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    compare_redrawn,
    split_frames,
)
from worldr1.scene.gaussians import gaussians_from_depth
from worldr1.scene.image_metrics import SSIM_WINDOW_PX, ssim
from worldr1.seeding import make_generator
from worldr1.types import Gaussians, Reconstruction

FIT_HOLDOUT, FIT_ALL = "fit_holdout", "fit_all"


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
    """Gaussians as free numbers: log scales, logits of opacities and colours."""

    def __init__(self, start: Gaussians) -> None:
        super().__init__()
        if len(start.means) == 0:
            raise InputError("There are no Gaussians to optimise; the reconstruction trusts no pixel.")
        self.means = nn.Parameter(start.means.detach().clone())
        self.quats = nn.Parameter(nn.functional.normalize(start.quats.detach(), dim=-1))
        self.log_scales = nn.Parameter(start.scales.detach().clamp(min=1e-8).log())
        self.opacity_logits = nn.Parameter(start.opacities.detach().clamp(0.01, 0.99).logit())
        self.color_logits = nn.Parameter(start.colors.detach().clamp(0.01, 0.99).logit())

    def scene(self, *, detached: bool = False) -> Gaussians:
        """What a renderer draws; differentiable unless detached."""
        return Gaussians(
            means=self.means.detach() if detached else self.means,
            quats=self.quats.detach() if detached else self.quats,
            scales=self.log_scales.exp(),
            opacities=self.opacity_logits.sigmoid(),
            colors=self.color_logits.sigmoid(),
        )


def fit_scene(
    video: Float[Tensor, "T 3 H W"],
    reconstruction: Reconstruction,
    renderer: Renderer,
    *,
    holdout: bool,
    config: FitConfig | None = None,
    redrawing: ReconstructionConfig | None = None,
) -> tuple[Gaussians, Redrawn]:
    """The optimised scene, and the target frames drawn from it. video: at the depth's size.

    Raises InputError if the renderer hands no gradients on, or nothing can be lifted.
    """
    config, redrawing = config or FitConfig(), redrawing or ReconstructionConfig(holdout=holdout)
    source, target = split_frames(len(video), holdout=redrawing.holdout)
    poses, intrinsics = reconstruction.world_from_camera, reconstruction.intrinsics_px
    height, width = video.shape[-2:]
    background = video.new_full((3,), BEHIND_GREY)
    with torch.enable_grad():
        parameters = GaussianParameters(gaussians_from_depth(video, reconstruction, source, config=redrawing.lift))
        optimizer, schedule = _optimizer(parameters, config, reconstruction.median_depth)
        for frame in _frames(source, config):
            views = renderer(
                parameters.scene(),
                poses[frame : frame + 1],
                intrinsics[frame : frame + 1],
                height=height,
                width=width,
                background=background,
            )
            if not views.colors.requires_grad:
                raise InputError(
                    "3DGS optimisation needs a renderer that hands gradients on: use gsplat on an NVIDIA GPU."
                )
            loss = _loss(views.colors, video[frame : frame + 1].to(views.colors), config.ssim_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        scene = parameters.scene(detached=True)
        views = renderer(scene, poses[target], intrinsics[target], height=height, width=width, background=background)
        return scene, compare_redrawn(video, views, config=redrawing)


def fit_metrics(
    clips: Sequence[JudgedClip],
    renderer: Renderer,
    perceptual: PerceptualDistance | None,
    *,
    holdout: bool,
    config: FitConfig | None = None,
) -> list[dict[str, float]]:
    """psnr_fit_holdout_db (psnr_fit_all_db) and the other two of every clip; all have a reconstruction."""
    suffix, found = FIT_HOLDOUT if holdout else FIT_ALL, []
    for video, reconstruction in zip(*at_depth_size(clips), strict=True):
        _, redrawn = fit_scene(video, reconstruction, renderer, holdout=holdout, config=config)
        with torch.no_grad():
            found.append(compare_images(redrawn, suffix, perceptual))
    return found


def _optimizer(
    parameters: GaussianParameters, config: FitConfig, unit: float
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    rates = {
        parameters.means: config.rate_means * unit,
        parameters.quats: config.rate_quats,
        parameters.log_scales: config.rate_log_scales,
        parameters.opacity_logits: config.rate_opacity_logits,
        parameters.color_logits: config.rate_color_logits,
    }
    optimizer = torch.optim.Adam([{"params": [x], "lr": rate} for x, rate in rates.items()], eps=1e-15)

    def falling(step: int) -> float:
        return 0.01 ** (step / config.steps)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, [falling, *[lambda step: 1.0] * 4])


def _frames(source: list[int], config: FitConfig) -> Iterator[int]:
    """All training frames in random order, again and again."""
    generator, left = make_generator(config.seed, "splat-fit"), []
    for _ in range(config.steps):
        left = left or [source[i] for i in torch.randperm(len(source), generator=generator).tolist()]
        yield left.pop()


def _loss(drawn: Float[Tensor, "1 3 H W"], target: Float[Tensor, "1 3 H W"], ssim_weight: float) -> Tensor:
    absolute = (drawn - target).abs().mean()
    if min(drawn.shape[-2:]) < SSIM_WINDOW_PX:
        return absolute
    return (1 - ssim_weight) * absolute + ssim_weight * (1 - ssim(drawn, target).mean())
