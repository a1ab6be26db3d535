"""Gaussian scenes lifted from a video's depth, and what every renderer checks before it draws one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.pinhole import unproject
from worldr1.types import Gaussians, Reconstruction, RenderedViews


@dataclass(frozen=True, kw_only=True, slots=True)
class LiftConfig:
    """How pixels become Gaussians; defaults measured on a ray-cast room (tests/unit/scene/test_gaussians.py)."""

    stride_px: int = 1
    """One Gaussian every so many pixels, in both directions."""
    scale_px: float = 0.3
    """Standard deviation in source pixels, times `stride_px`. Renderers add 0.3 px^2 of their own, so that 0.3 covers
    the pixel grid; larger values blur and fatten outlines, the more so the more frames overlap."""
    opacity: float = 0.95
    """Opacity of the sky and at confidence 1; elsewhere it is multiplied by the confidence."""
    min_confidence: float = 0.2
    """Pixels whose confidence lies strictly between 0 and this are dropped. Exactly 0 says sky, which is kept."""
    max_depth_jump: float = 0.1
    """Relative step of z-depth from a pixel to the next (0.1: 10 %) above which `edge_pixels` sees an edge."""

    def __post_init__(self) -> None:
        if self.stride_px < 1:
            raise InputError(f"stride_px must be at least 1, not {self.stride_px}.")
        if self.scale_px <= 0:
            raise InputError(f"scale_px must be positive, not {self.scale_px}.")
        if not 0 < self.opacity <= 1:
            raise InputError(f"opacity must be in (0, 1], not {self.opacity}.")
        if not 0 <= self.min_confidence <= 1:
            raise InputError(f"min_confidence must be in [0, 1], not {self.min_confidence}.")
        if self.max_depth_jump <= 0:
            raise InputError(f"max_depth_jump must be positive, not {self.max_depth_jump}.")


MAX_PIXELS_PER_PASS = 16_000_000
"""Pixels that `lift_videos` works on at once; it holds about 50 bytes for each."""


def gaussians_from_depth(
    video: Float[Tensor, "T 3 H W"], reconstruction: Reconstruction, frames: Sequence[int], *, config: LiftConfig
) -> Gaussians:
    """`lift_videos` of one video."""
    return lift_videos([video], [reconstruction], frames, config=config)[0]


def lift_videos(
    videos: Sequence[Float[Tensor, "T 3 H W"]],
    reconstructions: Sequence[Reconstruction],
    frames: Sequence[int],
    *,
    config: LiftConfig,
) -> list[Gaussians]:
    """One round Gaussian per kept pixel of `frames`, in each reconstruction's world and scale; float32, video's device.

    The mean is the pixel's centre unprojected at its z-depth and estimated pose; the colour is the pixel's. Sky
    (confidence 0) becomes Gaussians at whatever far depth the reconstruction gives it: without them the sky would
    render as background. Dropped are `edge_pixels` and pixels of low, non-zero confidence.

    A reconstruction that has `gaussians` of its own gives those of `frames` instead, as they are, except at pixels of
    low, non-zero confidence. Edges, stride, scale and opacity are left to its network, which has learned them.

    All videos have one shape. Raises InputError if a video does not match its depth, a frame does not exist, a depth
    is not positive, or a reconstruction's own Gaussians are not one per pixel.
    """
    chosen = list(frames)
    scenes: dict[int, Gaussians] = {}
    for i, (video, reconstruction) in enumerate(zip(videos, reconstructions, strict=True)):
        if reconstruction.gaussians is not None:
            scenes[i] = _own_gaussians(video, reconstruction, reconstruction.gaussians, chosen, config)
    rest = [i for i in range(len(videos)) if i not in scenes]
    height, width = reconstructions[0].depth.shape[-2:]
    per_pass = max(1, MAX_PIXELS_PER_PASS // max(1, len(chosen) * height * width))
    for start in range(0, len(rest), per_pass):
        part = rest[start : start + per_pass]
        lifted = _lift_pass([videos[i] for i in part], [reconstructions[i] for i in part], chosen, config)
        scenes.update(zip(part, lifted, strict=True))
    return [scenes[i] for i in range(len(videos))]


def _own_gaussians(
    video: Tensor, reconstruction: Reconstruction, gaussians: Gaussians, frames: list[int], config: LiftConfig
) -> Gaussians:
    """The trusted ones of a reconstruction's own Gaussians of `frames`; float32, video's device."""
    _check_shapes(video, reconstruction, frames)
    num_frames, height, width = reconstruction.depth.shape
    if len(gaussians.means) != num_frames * height * width:
        raise InputError(
            f"A reconstruction of {num_frames} x {height} x {width} pixels must have as many Gaussians, one per pixel, "
            f"not {len(gaussians.means)}; leave `gaussians` None to lift its depth."
        )
    confidence = reconstruction.confidence[frames].to(video.device)
    kept = _trusted(confidence, config.min_confidence).flatten().nonzero()[:, 0]

    def of_frames(values: Tensor) -> Tensor:
        per_frame = values.unflatten(0, (num_frames, height * width))[frames]
        return per_frame.flatten(0, 1).to(video.device)[kept].float()

    return Gaussians(
        means=of_frames(gaussians.means),
        quats=of_frames(gaussians.quats),
        scales=of_frames(gaussians.scales),
        opacities=of_frames(gaussians.opacities),
        colors=of_frames(gaussians.colors),
    )


def _trusted(confidence: Float[Tensor, "*batch H W"], min_confidence: float) -> Bool[Tensor, "*batch H W"]:
    """Sky (exactly 0) and whatever reaches `min_confidence`."""
    return (confidence == 0) | (confidence >= min_confidence)


def _lift_pass(
    videos: Sequence[Tensor], reconstructions: Sequence[Reconstruction], frames: list[int], config: LiftConfig
) -> list[Gaussians]:
    """`lift_videos` in one go: many small scenes cost one scene's kernel launches, and one wait for the GPU."""
    for video, reconstruction in zip(videos, reconstructions, strict=True):
        _check_shapes(video, reconstruction, frames)
    device = videos[0].device
    depth = torch.stack([r.depth for r in reconstructions])[:, frames].to(device)
    confidence = torch.stack([r.confidence for r in reconstructions])[:, frames].to(device)
    intrinsics = torch.stack([r.intrinsics_px for r in reconstructions])[:, frames].to(depth)
    poses = torch.stack([r.world_from_camera for r in reconstructions])[:, frames].to(depth)
    colors = torch.stack(list(videos))[:, frames].movedim(2, -1)
    if not bool((torch.isfinite(depth) & (depth > 0)).all()):
        raise InputError("Depth must be positive and finite everywhere; give the sky a large finite depth.")

    keep = _grid(depth, config.stride_px) & ~edge_pixels(depth, config.max_depth_jump)
    keep &= _trusted(confidence, config.min_confidence)
    kept, counts = keep.flatten().nonzero()[:, 0], keep.flatten(1).sum(1).tolist()
    points = torch.einsum("stij,sthwj->sthwi", poses[..., :3, :3], unproject(depth, intrinsics))
    points = points + poses[:, :, None, None, :3, 3]
    focal = (intrinsics[..., 0, 0] * intrinsics[..., 1, 1]).sqrt()
    scales = config.scale_px * config.stride_px * depth / focal[..., None, None]
    opacities = config.opacity * torch.where(confidence == 0, 1.0, confidence)
    quats = torch.zeros(len(kept), 4, device=device)
    quats[:, 0] = 1
    parts = (
        points.flatten(0, 3)[kept].float(),
        quats,
        # round, not flattened along the ray: the difference is below 0.1 dB and a disc vanishes from the side
        scales.flatten()[kept].float()[:, None].repeat(1, 3),
        opacities.flatten()[kept].float(),
        colors.flatten(0, 3)[kept].float(),
    )
    return [
        Gaussians(means=m, quats=q, scales=s, opacities=o, colors=c)
        for m, q, s, o, c in zip(*(part.split(counts) for part in parts), strict=True)
    ]


def edge_pixels(depth: Float[Tensor, "*batch H W"], max_depth_jump: float) -> Bool[Tensor, "*batch H W"]:
    """The pixels at depth edges that should not become Gaussians.

    Flying pixels: on a row or column, one neighbour nearer and the opposite one farther, both by more than
    `max_depth_jump` (relative z-depth). They hang between two surfaces.
    Rims: the near side of a step to a neighbour that is not itself flying. Their colour is part background, and a
    Gaussian there spills over the outline; when several frames overlap the spills add up to an opaque fringe.
    """
    flying = torch.zeros_like(depth, dtype=torch.bool)
    for axis in (-2, -1):
        num = depth.shape[axis] - 2
        if num < 1:
            continue
        before, here, after = (depth.narrow(axis, start, num) for start in range(3))
        near, far = torch.minimum(before, after), torch.maximum(before, after)
        flying.narrow(axis, 1, num).logical_or_(_jumps(near, here, max_depth_jump) & _jumps(here, far, max_depth_jump))
    edge = flying.clone()
    for axis in (-2, -1):
        num = depth.shape[axis] - 1
        for here, there in ((0, 1), (1, 0)):
            step = _jumps(depth.narrow(axis, here, num), depth.narrow(axis, there, num), max_depth_jump)
            edge.narrow(axis, here, num).logical_or_(step & ~flying.narrow(axis, there, num))
    return edge


def visible_coverage(views: RenderedViews, min_alpha: float = 0.5) -> Float[Tensor, " V"]:
    """Share of each view's pixels that the scene covers with alpha above `min_alpha`."""
    return (views.alphas > min_alpha).float().mean(dim=(-2, -1))


def check_render_inputs(
    gaussians: Gaussians,
    world_from_camera: Float[Tensor, "V 4 4"],
    intrinsics_px: Float[Tensor, "V 3 3"],
    *,
    height: int,
    width: int,
) -> None:
    """Raises InputError unless the shapes agree and every number is one that a renderer can draw."""
    num, views = gaussians.means.shape[0], world_from_camera.shape[0]
    parts = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
    shapes = tuple(tuple(part.shape) for part in parts)
    if shapes != ((num, 3), (num, 4), (num, 3), (num,), (num, 3)):
        raise InputError(
            f"means, quats, scales, opacities, colors must be [N, 3], [N, 4], [N, 3], [N], [N, 3], not {shapes}."
        )
    if tuple(world_from_camera.shape) != (views, 4, 4) or tuple(intrinsics_px.shape) != (views, 3, 3):
        raise InputError(
            f"Cameras must be [V, 4, 4] and [V, 3, 3], not {tuple(world_from_camera.shape)} "
            f"and {tuple(intrinsics_px.shape)}."
        )
    if height < 1 or width < 1:
        raise InputError(f"The image size must be positive, not {height} x {width}.")
    if not all_finite(*parts, world_from_camera, intrinsics_px):
        raise InputError("Gaussians and cameras must be finite; mask NaN and infinite depths before lifting them.")
    low, high = gaussians.opacities >= 0, gaussians.opacities <= 1
    in_range, turned = (low & high & (gaussians.scales >= 0).all(-1)).all(), (gaussians.quats != 0).any(-1).all()
    if bool(in_range & turned):
        return
    if not bool(in_range):
        raise InputError("Opacities must be in [0, 1] and scales must not be negative.")
    raise InputError("A quaternion of zeros has no direction; use (1, 0, 0, 0) for none.")


def all_finite(*tensors: Tensor) -> bool:
    """Whether no value is NaN or infinite; the host waits for the GPU once, not once per tensor."""
    flags = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def _check_shapes(video: Tensor, reconstruction: Reconstruction, frames: Sequence[int]) -> None:
    """Raises InputError for what `lift_videos` cannot lift."""
    num, height, width = reconstruction.depth.shape
    if tuple(video.shape) != (num, 3, height, width):
        raise InputError(
            f"A video of shape {tuple(video.shape)} does not match depth of shape {(num, height, width)}; "
            "resize it to [T, 3, H, W] of the depth first."
        )
    if len(frames) == 0 or min(frames) < 0 or max(frames) >= num:
        raise InputError(f"frames must name at least one of 0..{num - 1}, not {list(frames)}.")


def _grid(depth: Float[Tensor, "*batch H W"], stride_px: int) -> Bool[Tensor, "*batch H W"]:
    """True at the middle pixel of every stride_px x stride_px cell."""
    grid = torch.zeros_like(depth, dtype=torch.bool)
    grid[..., stride_px // 2 :: stride_px, stride_px // 2 :: stride_px] = True
    return grid


def _jumps(near: Tensor, far: Tensor, max_depth_jump: float) -> Bool[Tensor, "..."]:
    """Where `far` is more than `max_depth_jump` (relative) behind `near`."""
    return far > near * (1.0 + max_depth_jump)
