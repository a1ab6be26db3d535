"""The Gaussian renderer for CUDA: gsplat's `rasterization`, many scenes in one call."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import inverse
from worldr1.scene.gaussians import check_render_inputs
from worldr1.scene.splat import EPS2D_PX2, NEAR
from worldr1.types import Gaussians, RenderedViews

FIELDS = ("means", "quats", "scales", "opacities", "colors")
MAX_PAIRS_PER_CALL = 16_000_000
"""Gaussians times views that one call may project: gsplat holds about 150 bytes for each. One view is never divided."""


class GsplatRenderer:
    """Renderer on a CUDA device; draws what `scene.splat_reference` defines, in float32, and hands gradients on.

    Making one imports gsplat, which compiles its kernels the first time on a machine (44 s on an H200 with 16 cores;
    keep the folder TORCH_EXTENSIONS_DIR to skip that). Raises InputError where CUDA, gsplat or nvcc is missing.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._rasterization = _load_gsplat()
        self.device = torch.device(device)

    def __call__(
        self,
        gaussians: Gaussians,
        world_from_camera: Float[Tensor, "V 4 4"],
        intrinsics_px: Float[Tensor, "V 3 3"],
        *,
        height: int,
        width: int,
        background: Float[Tensor, "3"],
    ) -> RenderedViews:
        """All views of one scene, on this renderer's device; raises InputError as `check_render_inputs` does."""
        cameras = (world_from_camera[None], intrinsics_px[None])
        return self.render_scenes([gaussians], *cameras, height=height, width=width, background=background)[0]

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
        """V views of each of S scenes, a few calls for all; scenes may differ in their number of Gaussians.

        Equal to rendering the scenes one by one. Memory is bounded by `MAX_PAIRS_PER_CALL`.
        """
        if not len(scenes) == len(world_from_camera) == len(intrinsics_px):
            raise InputError(f"{len(scenes)} scenes need as many sets of cameras, not {len(world_from_camera)}.")
        # together: one by one, the checks of many small scenes would cost more than the drawing
        together = Gaussians(**{name: torch.cat([getattr(scene, name) for scene in scenes]) for name in FIELDS})
        cameras = (world_from_camera.flatten(0, 1), intrinsics_px.flatten(0, 1))
        check_render_inputs(together, *cameras, height=height, width=width)
        num_views = world_from_camera.shape[1]
        largest = max((len(scene.means) for scene in scenes), default=0)
        per_scene = max(1, largest * num_views)  # each is padded to the largest of all
        together_per_call, views_per_call = max(1, MAX_PAIRS_PER_CALL // per_scene), max(1, num_views)
        if per_scene > MAX_PAIRS_PER_CALL:
            views_per_call = max(1, MAX_PAIRS_PER_CALL // largest)
        views: list[RenderedViews] = []
        for start in range(0, len(scenes), together_per_call):
            some = slice(start, start + together_per_call)
            cameras = (world_from_camera[some], intrinsics_px[some])
            views += self._render_together(scenes[some], *cameras, views_per_call, (width, height), background)
        return views

    def _render_together(
        self,
        scenes: Sequence[Gaussians],
        world_from_camera: Float[Tensor, "S V 4 4"],
        intrinsics_px: Float[Tensor, "S V 3 3"],
        views_per_call: int,
        size: tuple[int, int],
        background: Float[Tensor, "3"],
    ) -> list[RenderedViews]:
        """One call of gsplat for every `views_per_call` views; `size` is (width, height)."""
        on_device = {"device": self.device, "dtype": torch.float32}
        padded = dict(zip(FIELDS, (part.to(**on_device) for part in _padded(scenes)), strict=True))
        # inverted in float64 and rounded once
        viewmats = inverse(world_from_camera.double()).to(**on_device)
        intrinsics_px, background = intrinsics_px.to(**on_device), background.to(**on_device)
        calls = []
        for some_poses, some_intrinsics in zip(
            viewmats.split(views_per_call, 1), intrinsics_px.split(views_per_call, 1), strict=True
        ):
            images, alphas, _ = self._rasterization(
                **padded,
                viewmats=some_poses,
                Ks=some_intrinsics,
                width=size[0],
                height=size[1],
                near_plane=NEAR,
                eps2d=EPS2D_PX2,
                packed=False,
                backgrounds=background.expand(*some_poses.shape[:2], 3).contiguous(),
                render_mode="RGB+ED",
                rasterize_mode="classic",
            )
            calls.append((images, alphas))
        images, alphas = (torch.cat(parts, 1) for parts in zip(*calls, strict=True))
        pictures = images[..., :3].movedim(-1, -3)
        return [
            RenderedViews(colors=c, alphas=a, depths=d)
            for c, a, d in zip(pictures, alphas[..., 0], images[..., 3], strict=True)
        ]


def _load_gsplat() -> Callable[..., tuple[Tensor, Tensor, dict]]:
    """gsplat's `rasterization`, its kernels built or loaded; raises InputError that says what to install."""
    cpu = "or choose the CPU renderer (worldr1.scene.splat)."
    if not torch.cuda.is_available():
        raise InputError(f"The gsplat renderer needs an NVIDIA GPU that torch can see: use such a machine {cpu}")
    try:
        library, backend = import_module("gsplat"), import_module("gsplat.cuda._backend")
    except ImportError as error:
        raise InputError(f"gsplat cannot be imported ({error}): pip install 'worldr1[gpu]' {cpu}") from error
    if backend._C is None:
        raise InputError(f"gsplat compiles its kernels with nvcc, which is missing: install the CUDA toolkit {cpu}")
    return library.rasterization


def _padded(scenes: Sequence[Gaussians]) -> Iterator[Float[Tensor, "S N *width"]]:
    """Means, quats, scales, opacities and colours, zero-padded to one N >= 1: opacity 0 is never drawn."""
    largest = max(1, *(len(scene.means) for scene in scenes))
    # scattered, not copied row by row: hundreds of small scenes would be thousands of launches
    counts, device = torch.tensor([len(scene.means) for scene in scenes]), scenes[0].means.device
    gaps, total = torch.arange(len(scenes)) * largest - (counts.cumsum(0) - counts), int(counts.sum())
    places = torch.arange(total, device=device)
    places += torch.repeat_interleave(gaps.to(device), counts.to(device), output_size=total)
    for name in FIELDS:
        values = torch.cat([getattr(scene, name) for scene in scenes])
        batch = values.new_zeros(len(scenes) * largest, *values.shape[1:])
        yield batch.index_copy(0, places, values).unflatten(0, (len(scenes), largest))
