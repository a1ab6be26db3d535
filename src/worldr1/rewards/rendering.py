"""Rendering many scenes at once where the renderer can, one after the other where it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.protocols import Renderer
from worldr1.scene.gaussians import all_finite
from worldr1.types import Gaussians, RenderedViews


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderJob:
    """One scene and the V cameras that look at it."""

    gaussians: Gaussians
    world_from_camera: Float[Tensor, "V 4 4"]
    intrinsics_px: Float[Tensor, "V 3 3"]


@runtime_checkable
class SceneBatchRenderer(Protocol):
    """A renderer that can also draw S scenes, each from its own V cameras, in one call (gsplat on a GPU)."""

    def render_scenes(
        self,
        scenes: Sequence[Gaussians],
        world_from_camera: Float[Tensor, "S V 4 4"],
        intrinsics_px: Float[Tensor, "S V 3 3"],
        *,
        height: int,
        width: int,
        background: Float[Tensor, "3"],
    ) -> list[RenderedViews]:
        """The same as calling the renderer for each scene."""
        ...


def render_jobs(
    renderer: Renderer, jobs: Sequence[RenderJob], *, height: int, width: int, background: Float[Tensor, "3"]
) -> list[RenderedViews]:
    """Views of every job, in order; all jobs have the same number of cameras.

    A scene without Gaussians is all background (not every renderer takes one).
    Raises ValueError if the renderer returns values that are not finite.
    """
    filled = [job for job in jobs if len(job.gaussians.means) > 0]
    drawn = iter(_draw(renderer, filled, height, width, background) if filled else [])
    views = [
        next(drawn) if len(job.gaussians.means) > 0 else _empty(len(job.intrinsics_px), height, width, background)
        for job in jobs
    ]
    if views and not all_finite(torch.stack([v.colors for v in views]), torch.stack([v.alphas for v in views])):
        raise ValueError("the renderer returned values that are not finite")
    return views


def _draw(
    renderer: Renderer, jobs: Sequence[RenderJob], height: int, width: int, background: Float[Tensor, "3"]
) -> list[RenderedViews]:
    if isinstance(renderer, SceneBatchRenderer):
        return renderer.render_scenes(
            [job.gaussians for job in jobs],
            torch.stack([job.world_from_camera for job in jobs]),
            torch.stack([job.intrinsics_px for job in jobs]),
            height=height,
            width=width,
            background=background,
        )
    return [
        renderer(
            job.gaussians, job.world_from_camera, job.intrinsics_px, height=height, width=width, background=background
        )
        for job in jobs
    ]


def _empty(num_views: int, height: int, width: int, background: Float[Tensor, "3"]) -> RenderedViews:
    zeros = background.new_zeros(num_views, height, width)
    colors = background[None, :, None, None].expand(num_views, 3, height, width)
    return RenderedViews(colors=colors, alphas=zeros, depths=zeros)
