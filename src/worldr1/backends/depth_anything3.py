"""Depth Anything 3 (arXiv 2511.10647) as a `Reconstructor`: cameras, depth, confidence, and GIANT's own Gaussians.

What the network says and what we make of it (read in the code of depth-anything-3 0.1.1):

- Its world is the camera of a reference frame that it picks itself (from three frames on): poses and Gaussians are
  expressed relative to frame 0 here. Its scale is arbitrary, one for cameras, depth and Gaussians.
- Depth is z-depth. `depth_conf` c = 1 + exp(x) > 1 grows with trust; our confidence is 1 - 1/c: 0.2 at c = 1.25, 0.5 at
  c = 2, strictly between 0 and 1 because these models know no sky.
- Gaussians: one per pixel, at depth + offset along the *normalised* ray (not along z: the head has learned the
  difference), the pixel moved by an offset too. Of its spherical harmonics only the constant band is kept, because our
  Gaussians have no view dependence; the others are damped to 2.5 % and less by the adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from worldr1.backends.depth_anything3_network import RAW_CHANNELS, load_network, network_needs, published_model
from worldr1.backends.published_files import Need
from worldr1.errors import InputError
from worldr1.geometry.pinhole import pixel_centres
from worldr1.geometry.se3 import inverse, make_pose, relative_to_first
from worldr1.mini.networks.reconstructor import MIN_CONTRAST
from worldr1.scene.gaussians import all_finite
from worldr1.types import Gaussians, Reconstruction, Status

PATCH_PX = 14
"""Height and width of what the network sees are multiples of this."""
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, per channel, which the network was trained with."""
MIN_FOV_DEG, MAX_FOV_DEG = 1.0, 170.0
"""Fields of view outside are no camera's: the head ends in a ReLU, so that random weights often say exactly 0."""
TRUSTED_CONFIDENCE, MIN_TRUSTED_SHARE = 0.2, 0.05
"""A video is rejected if fewer than this share of its pixels reach this confidence."""
MIN_CONFIDENCE = 1e-3
"""Confidence exactly 0 would say sky."""
MIN_SCALE, MAX_SCALE, PIXELS_PER_SCALE = 1e-5, 30.0, 0.1
"""The adapter's bounds of a Gaussian's scale, in units of a tenth of a pixel's width plus height."""
CONSTANT_HARMONIC = 0.28209479177387814
"""Y_00 = 1 / (2 sqrt(pi)); colours are 0.5 + Y_00 * coefficient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthAnything3Config:
    """Which network, whose weights, what size."""

    model: str = "da3-giant-1.1"
    """da3-giant-1.1 (own Gaussians), da3-large-1.1, da3-base or da3-small (Gaussians are lifted from depth)."""
    weights: str = ""
    """A folder with config.json and model.safetensors, or a hub name; "": the model's own hub name; "random": none."""
    process_res_px: int = 504
    """The longer side of what the network sees; both sides are rounded to multiples of 14."""
    seed: int = 0
    """Of random weights."""

    def __post_init__(self) -> None:
        published_model(self.model)
        if self.process_res_px < PATCH_PX:
            raise InputError(f"process_res_px must be at least {PATCH_PX}, not {self.process_res_px}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cameras:
    """Cameras that replace the network's, for random weights only: theirs are degenerate."""

    world_from_camera: Float[Tensor, "T 4 4"]
    """In any world; results are relative to frame 0 all the same."""
    intrinsics_px: Float[Tensor, "T 3 3"]
    """In pixels of the processed size."""


class Network(Protocol):
    """The package's network, or a stand-in with the same answers."""

    def __call__(self, x: Float[Tensor, "1 T 3 H W"], *, infer_gs: bool) -> Mapping[str, Any]:
        """depth, depth_conf [1, T, H, W]; extrinsics [1, T, 3, 4] (camera from world); intrinsics [1, T, 3, 3];
        with a Gaussian head also gaussians: raw [1, T, H, W, 37] and opacities [1, T, H, W]."""
        ...


class DepthAnything3:
    """`protocols.Reconstructor` on a Depth Anything 3 network; `load_depth_anything3` makes one.

    Works one video at a time, in bfloat16 autocast if told so (the network keeps its heads in float32). Depth,
    confidence and Gaussians come on the network's device, at the processed size; poses in float64 on the CPU.
    """

    def __init__(
        self,
        network: Network,
        *,
        licence: str,
        device: str | torch.device = "cpu",
        process_res_px: int = 504,
        autocast: bool = False,
        cameras: Cameras | None = None,
    ) -> None:
        self.network = network
        self.licence = licence
        self.device = torch.device(device)
        self.process_res_px = process_res_px
        self.autocast = autocast
        self.cameras = cameras

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """Lift every video.

        REJECTED: a blank video, or one that the network trusts almost nowhere. FAULT: an answer that is not finite, or
        a camera that cannot be (random or damaged weights). Raises InputError for another shape, or injected cameras
        of another number of frames.
        """
        if videos.ndim != 5 or videos.shape[2] != 3 or 0 in videos.shape[1:]:
            raise InputError(f"Videos must be [B, T, 3, H, W] with at least one frame, not {tuple(videos.shape)}.")
        if self.cameras is not None and len(self.cameras.world_from_camera) != videos.shape[1]:
            raise InputError(
                f"{len(self.cameras.world_from_camera)} injected cameras do not fit videos of {videos.shape[1]} frames."
            )
        return [self._lift(video) for video in videos]

    @torch.no_grad()
    def _lift(self, video: Float[Tensor, "T 3 H W"]) -> Reconstruction:
        """One video."""
        images = prepare(video.to(self.device), self.process_res_px)
        num_frames, _, *size = images.shape
        nothing = _nothing(num_frames, size, self.device)
        if float(video.flatten(1).std(-1).mean()) <= MIN_CONTRAST:
            return replace(nothing, status=Status.REJECTED, reason="the video has no texture to reconstruct from")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            answer = self.network(images[None], infer_gs=True)
        depth, trust = answer["depth"][0].float(), answer["depth_conf"][0].float()
        cameras = self.cameras or _own_cameras(answer)
        head = answer.get("gaussians")
        problem = _problem(depth, trust, cameras, size) or ("" if head is None else _gaussians_problem(head))
        if problem:
            return replace(nothing, status=Status.FAULT, reason=problem)
        return _judged(
            Reconstruction(
                world_from_camera=relative_to_first(cameras.world_from_camera.double().cpu()),
                depth=depth,
                intrinsics_px=cameras.intrinsics_px.to(depth),
                confidence=(1 - 1 / trust).clamp(min=MIN_CONFIDENCE),
                gaussians=None
                if head is None
                else place_gaussians(head["raw"][0], head["opacities"][0], depth, cameras),
            )
        )


def load_depth_anything3(
    config: DepthAnything3Config, device: str | torch.device = "cpu", *, cameras: Cameras | None = None
) -> DepthAnything3:
    """A reconstructor with published or random weights; bfloat16 autocast on a GPU, float32 on a CPU.

    cameras: for random weights only. Raises InputError if the package or the weights are missing, damaged or of
    another model, or if cameras are given together with real weights.
    """
    if cameras is not None and config.weights != "random":
        raise InputError('Injected cameras are for weights="random"; leave `cameras` out.')
    model, place = published_model(config.model), torch.device(device)
    return DepthAnything3(
        load_network(model, config.weights, device=place, seed=config.seed),
        licence=model.licence,
        device=place,
        process_res_px=config.process_res_px,
        autocast=place.type == "cuda",
        cameras=cameras,
    )


def depth_anything3_needs(config: DepthAnything3Config) -> tuple[Need, ...]:
    """The package and the weights."""
    return network_needs(published_model(config.model), config.weights)


def processed_size(height: int, width: int, process_res_px: int) -> tuple[int, int]:
    """Height and width that the network sees: the longer side at `process_res_px`, each the nearest multiple of 14."""
    scale = process_res_px / max(height, width)
    rows, columns = (max(1, (round(side * scale) + PATCH_PX // 2) // PATCH_PX) for side in (height, width))
    return rows * PATCH_PX, columns * PATCH_PX


def prepare(video: Float[Tensor, "T 3 H W"], process_res_px: int) -> Float[Tensor, "T 3 h w"]:
    """What the network sees: resized (as `rewards.reconstruction.at_size` does) and normalised."""
    height, width = video.shape[-2:]
    size = processed_size(height, width, process_res_px)
    sized = F.interpolate(video.float(), size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    mean, std = (sized.new_tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (sized - mean) / std


def place_gaussians(
    raw: Float[Tensor, "T H W 37"],
    opacities: Float[Tensor, "T H W"],
    depth: Float[Tensor, "T H W"],
    cameras: Cameras,
) -> Gaussians:
    """The scene that the Gaussian head means, relative to frame 0; ordered frame, row, column.

    raw: per pixel offset (px), scale logits, quaternion, harmonics (3 x 9), offset of depth. A Gaussian whose distance
    comes out behind its camera gets opacity 0.
    """
    offset_px, size_logits, turns, harmonics, farther = raw.split(RAW_CHANNELS, dim=-1)
    intrinsics = cameras.intrinsics_px.to(depth)[:, None, None]
    focal = torch.diagonal(intrinsics, dim1=-2, dim2=-1)[..., :2]
    pixels = pixel_centres(*depth.shape[1:], dtype=depth.dtype, device=depth.device) + offset_px
    slopes = (pixels - intrinsics[..., :2, 2]) / focal
    distance = depth[..., None] + farther
    points = F.normalize(F.pad(slopes, (0, 1), value=1.0), dim=-1) * distance
    poses = relative_to_first(cameras.world_from_camera.double()).to(depth)
    means = torch.einsum("tij,thwj->thwi", poses[:, :3, :3], points) + poses[:, None, None, :3, 3]
    pixel = PIXELS_PER_SCALE * (1 / focal).sum(-1, keepdim=True)
    scales = (MIN_SCALE + (MAX_SCALE - MIN_SCALE) * size_logits.sigmoid()) * pixel * distance.abs()
    colors = (0.5 + CONSTANT_HARMONIC * harmonics[..., :: harmonics.shape[-1] // 3]).clamp(0, 1)
    return Gaussians(
        means=means.flatten(0, 2),
        quats=_turned(turns, cameras.world_from_camera).flatten(0, 2),
        scales=scales.flatten(0, 2),
        opacities=(opacities * (distance[..., 0] > 0)).flatten(),
        colors=colors.flatten(0, 2),
    )


def _turned(turns: Float[Tensor, "T H W 4"], world_from_camera: Float[Tensor, "T 4 4"]) -> Float[Tensor, "T H W 4"]:
    """The head's quaternions as rotations (w, x, y, z) relative to frame 0.

    The published code shifts the components by two places before it turns them into the world, and hands them to the
    renderer shifted by one more. The network was trained through that, so both shifts belong to what it means.
    """
    xyzw = Rotation.from_matrix(world_from_camera[:, :3, :3].double().cpu().numpy()).as_quat()
    cameras = torch.from_numpy(xyzw).roll(1, -1).to(turns)[:, None, None]
    first_from_world = cameras[:1] * cameras.new_tensor((1.0, -1.0, -1.0, -1.0))
    in_world = _product(cameras, F.normalize(turns, dim=-1).roll(2, -1)).roll(-1, -1)
    return _product(first_from_world, in_world)


def _product(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Hamilton's product of quaternions (w, x, y, z): first b's rotation, then a's."""
    (aw, av), (bw, bv) = ((q[..., :1], q[..., 1:]) for q in (a, b))
    av, bv = torch.broadcast_tensors(av, bv)
    return torch.cat((aw * bw - (av * bv).sum(-1, keepdim=True), aw * bv + bw * av + torch.linalg.cross(av, bv)), -1)


def _own_cameras(answer: Mapping[str, Any]) -> Cameras:
    """The network's cameras, from camera-from-world to world-from-camera."""
    extrinsics = answer["extrinsics"][0].double()
    camera_from_world = make_pose(extrinsics[:, :3, :3], extrinsics[:, :3, 3])
    return Cameras(world_from_camera=inverse(camera_from_world), intrinsics_px=answer["intrinsics"][0].double())


def _problem(depth: Tensor, trust: Tensor, cameras: Cameras, size: list[int]) -> str:
    """Why the answer is not one; empty if it is."""
    if not all_finite(depth, trust, cameras.world_from_camera, cameras.intrinsics_px):
        return "Depth Anything 3 answered with numbers that are not finite"
    if not bool((depth > 0).all()):
        return "Depth Anything 3 answered with depths that are not positive"
    focal = torch.diagonal(cameras.intrinsics_px, dim1=-2, dim2=-1)[:, :2].double()
    fov = torch.rad2deg(2 * torch.atan2(focal.new_tensor((size[1] / 2, size[0] / 2)), focal))
    if bool(((fov < MIN_FOV_DEG) | (fov > MAX_FOV_DEG)).any()):
        low, high = float(fov.min()), float(fov.max())
        return f"Depth Anything 3 says fields of view of {low:.1f} to {high:.1f} degrees: its weights look random"
    return ""


def _gaussians_problem(head: Mapping[str, Tensor]) -> str:
    """Why the Gaussian head's answer is not one; empty if it is."""
    if all_finite(head["raw"], head["opacities"]):
        return ""
    return "Depth Anything 3's Gaussian head answered with numbers that are not finite"


def _judged(found: Reconstruction) -> Reconstruction:
    """REJECTED if the network itself trusts almost nothing of it."""
    share = float((found.confidence >= TRUSTED_CONFIDENCE).float().mean())
    if share >= MIN_TRUSTED_SHARE:
        return found
    reason = f"Depth Anything 3 trusts its geometry at only {share:.1%} of the pixels"
    return replace(found, status=Status.REJECTED, reason=reason)


def _nothing(num_frames: int, size: list[int], device: torch.device) -> Reconstruction:
    """Finite placeholders that no one may use: a flat wall, trusted nowhere."""
    return Reconstruction(
        world_from_camera=torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1),
        depth=torch.ones(num_frames, *size, device=device),
        intrinsics_px=torch.eye(3, device=device).repeat(num_frames, 1, 1),
        confidence=torch.zeros(num_frames, *size, device=device),
    )
