"""Are the transported frames white, and do they follow the plane? Checks, slopes and covariances per path."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import scipy.sparse
import torch
from footprints import ideal_covariance
from jaxtyping import Float
from noise_cases import CHANNELS, MIN_CELLS, WAN, name_of
from noise_checks import check_frames
from torch import Tensor

from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.noise.canvas import CanvasPlan, plan_canvas, plane_homographies, sample_canvas
from worldr1.noise.flow import FlowPlan, plan_flow, sample_flow, warp_noise
from worldr1.seeding import derive_seed
from worldr1.types import FOCAL_PER_WIDTH, intrinsics_px

SEEDS = (0, 1, 2, 3)
TRANSPORTS = ("canvas", "flow", "bridge", "fresh")
"""`bridge`: one warp_noise after the other along the plane's flow from latent frame to latent frame, as a user's own
flow is followed. `fresh`: independent frames, the control: what the same checks say of torch.randn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One path and transport: S seeds, L latent frames, K checks."""

    path: tuple[str, ...]
    transport: str
    value: Float[Tensor, "S L K"]
    z: Float[Tensor, "S L K"]
    slope: Float[Tensor, " S"]
    """<n_t, P> / <P, P> at the last frame, P = M n_0 with M from exact overlaps: 1 if all that can be carried is."""
    covariance: Float[Tensor, "L 2"] | None
    """Each frame's covariance with frame 0, as the plan has it: root mean square of its error against exact areas, and
    of the exact covariance itself, over all pairs of pixels where one of the two is not zero. None without a plan."""


def measure(
    path: tuple[str, ...],
    transport: str,
    seeds: Sequence[int],
    latent_size: tuple[int, int, int] = WAN.latent,
    channels: int = CHANNELS,
) -> Measured:
    """All numbers of one path and transport. Each (seed, path, transport) has noise of its own."""
    num_frames, height, width = latent_size
    poses = latent_poses(synthesize(path, 4 * (num_frames - 1) + 1))
    homographies = plane_homographies(poses, intrinsics_px(height, width))
    plan = _plan(transport, poses, height, width)
    ideal = ideal_covariance(homographies[-1], height, width)
    checks, slopes = [], []
    for seed in seeds:
        noise = _sample(plan, transport, homographies, (channels, *latent_size), _own_seed(seed, path, transport))
        checks.append(check_frames(noise))
        slopes.append(slope(noise, ideal))
    return Measured(
        path=path,
        transport=transport,
        value=torch.stack([c.value for c in checks]),
        z=torch.stack([c.z for c in checks]),
        slope=torch.tensor(slopes, dtype=torch.float64),
        covariance=None if plan is None else _covariance_errors(plan, homographies),
    )


def slope(noise: Float[Tensor, "C L h w"], ideal: scipy.sparse.csr_array) -> float:
    """Of the last frame on what exact transport makes of the first, over all channels."""
    first, last = (noise[:, t].flatten(1).T.double().numpy() for t in (0, -1))
    projected = ideal @ first
    return float((last * projected).sum() / (projected * projected).sum())


def _own_seed(seed: int, path: tuple[str, ...], transport: str) -> int:
    """Another for each path: two plans of like size would else share most of their numbers."""
    return derive_seed(seed, f"benchmark-{transport}-{name_of(path)}")


def _plan(transport: str, poses: Tensor, height: int, width: int) -> CanvasPlan | FlowPlan | None:
    if transport not in ("canvas", "flow"):
        return None
    make = plan_canvas if transport == "canvas" else plan_flow
    return make(poses, focal_per_width=FOCAL_PER_WIDTH, height=height, width=width, min_cells=MIN_CELLS)


def _sample(
    plan: CanvasPlan | FlowPlan | None,
    transport: str,
    homographies: Float[Tensor, "L 3 3"],
    shape: tuple[int, int, int, int],
    seed: int,
) -> Float[Tensor, "C L h w"]:
    if isinstance(plan, CanvasPlan):
        return sample_canvas(plan, num_channels=shape[0], seeds=[seed])[0]
    if isinstance(plan, FlowPlan):
        return sample_flow(plan, num_channels=shape[0], seeds=[seed])[0]
    generator = torch.Generator().manual_seed(seed)
    if transport == "fresh":
        return torch.randn(shape, generator=generator)
    frames = [torch.randn(1, shape[0], *shape[2:], generator=generator)]
    for before, after in pairwise(homographies):
        flow = plane_flow(after @ torch.linalg.inv(before), shape[2], shape[3])
        frames.append(warp_noise(frames[-1], flow, generator))
    return torch.cat(frames).transpose(0, 1)


def plane_flow(next_from_frame: Float[Tensor, "3 3"], height: int, width: int) -> Float[Tensor, "h w 2"]:
    """Where a homography takes the centres of the pixels, less where they are, in pixels."""
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack((column, row, torch.ones_like(row)), dim=2).double()
    moved = centres @ next_from_frame.T
    return moved[..., :2] / moved[..., 2:] - centres[..., :2]


def _matrix(plan: CanvasPlan | FlowPlan) -> scipy.sparse.csr_array:
    """S [L h w, numbers] with noise = S @ numbers."""
    if isinstance(plan, CanvasPlan):
        columns, num_columns = plan.cells, plan.num_cells
    else:
        columns, num_columns = plan.particles, plan.num_particles
    starts = torch.cat((plan.starts, plan.starts.new_tensor([len(columns)])))
    values = plan.scale.repeat_interleave(starts.diff()) if isinstance(plan, CanvasPlan) else plan.weights
    parts = (values.double().numpy(), columns.numpy(), starts.numpy())
    return scipy.sparse.csr_array(parts, shape=(len(plan.starts), num_columns))


def _covariance_errors(plan: CanvasPlan | FlowPlan, homographies: Float[Tensor, "L 3 3"]) -> Float[Tensor, "L 2"]:
    num_frames, height, width = plan.latent_size
    matrix, num_pixels = _matrix(plan), height * width
    first = matrix[:num_pixels].T
    found = []
    for t in range(num_frames):
        ideal = ideal_covariance(homographies[t], height, width)
        own = matrix[t * num_pixels : (t + 1) * num_pixels] @ first
        pairs = (abs(ideal) + abs(own)).nnz
        found.append([float((m.multiply(m).sum() / pairs) ** 0.5) for m in (own - ideal, ideal)])
    return torch.tensor(found, dtype=torch.float64)
