"""The records that pass between the stages; letters and frames as in docs/conventions.md.

prompt -> CameraPlan -> Trajectory -> start noise -> Rollout -> RewardResult -> advantages -> update
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

CONVENTIONS_VERSION = 1
FOCAL_PER_WIDTH = 1.2
"""fx / W of every camera that worldr1 makes (horizontal field of view 45.2 degrees)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One camera move found in a prompt."""

    token: str
    """One of `camera.motion.TOKENS`."""
    span: tuple[int, int]
    """Characters of the prompt that say so: prompt[start:end]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraPlan:
    """What a prompt asks of the camera: moves in order. No segments: the prompt has no camera words."""

    segments: tuple[Segment, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The moves' tokens in order."""
        return tuple(s.token for s in self.segments)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """A requested camera path."""

    world_from_camera: Float[Tensor, "T 4 4"]
    """float64, OpenCV, frame 0 is the identity, translations in depth units (conventions section 1)."""
    focal_per_width: float = FOCAL_PER_WIDTH
    """fx / W = fy / W; the principal point is the centre."""

    @property
    def num_frames(self) -> int:
        """T."""
        return self.world_from_camera.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One line of a prompt set."""

    id: int
    text: str
    dynamic: bool = False
    """Belongs to the dynamic subset (something in the scene moves)."""


class Status(StrEnum):
    """Whether a reward may be used, and if not, whose fault that is."""

    OK = "ok"
    FAULT = "fault"
    """Ours (crash, timeout, NaN): the sample leaves the group's statistics."""
    REJECTED = "rejected"
    """The video's (nothing to reconstruct): the part takes its lowest value and the sample counts."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One video lifted to 3D, in the reconstructor's own scale. Frame 0's camera is the identity."""

    world_from_camera: Float[Tensor, "T 4 4"]
    depth: Float[Tensor, "T H W"]
    """z-depth."""
    intrinsics_px: Float[Tensor, "T 3 3"]
    confidence: Float[Tensor, "T H W"]
    """0..1; low where the geometry is not to be trusted, 0 on sky."""
    status: Status = Status.OK
    reason: str = ""
    """Of a status that is not OK; else a remark on what was assumed, or nothing."""
    gaussians: "Gaussians | None" = None
    """The reconstructor's own scene, if it makes one: one Gaussian per pixel of every frame, N = T * H * W, ordered
    frame, row, column, so that a selection of frames selects its Gaussians."""

    @cached_property
    def median_depth(self) -> float:
        """Median z-depth of frame 0 where confidence > 0.2 (all pixels if there are none): the depth unit."""
        keep = self.confidence[0] > 0.2
        depth = self.depth[0][keep] if bool(keep.any()) else self.depth[0]
        return float(depth.median())


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaussians:
    """A 3D Gaussian scene without view dependence."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    """w, x, y, z; need not be normalised."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations along the local axes, in world units."""
    opacities: Float[Tensor, " N"]
    colors: Float[Tensor, "N 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedViews:
    """What a renderer returns for V cameras."""

    colors: Float[Tensor, "V 3 H W"]
    """Composited over the background."""
    alphas: Float[Tensor, "V H W"]
    depths: Float[Tensor, "V H W"]
    """Alpha-weighted mean z-depth; 0 where alpha is 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardResult:
    """The reward of one video.

    Example: RewardResult(value=2.1, parts={"s_meta": 0.7, "s_recon": 0.8, "s_traj": 0.5, "r_gen": 0.1}).
    """

    value: float
    """Weighted sum of the parts that exist for this prompt; NaN if status is FAULT."""
    parts: dict[str, float]
    """Name -> value; a part that is undefined for the prompt is missing (for the whole group)."""
    status: Status = Status.OK
    reason: str = ""
    measures: dict[str, float] = field(default_factory=dict)
    """Logged, never rewarded: psnr_holdout, rotation_error_deg, translation_error, travel, median_depth, ..."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One group of G videos of one prompt that branched at one SDE step.

    With `share_prefix` the state before the branch is one for the group (leading dimension 1), else one per member (G).
    """

    prompt: Prompt
    trajectory: Trajectory | None
    """None: the prompt has no camera words."""
    seeds: tuple[int, ...]
    """One per member: the SDE noise's seed."""
    policy_version: int
    """Updates done before this rollout."""
    step_indices: tuple[int, ...]
    """Indices of the SDE steps, in order."""
    states: tuple[Float[Tensor, "#G C L h w"], ...]
    """Latent before each SDE step."""
    next_states: tuple[Float[Tensor, "G C L h w"], ...]
    """Latent after each SDE step (the action)."""
    old_velocities: tuple[Float[Tensor, "#G C L h w"], ...]
    """The rollout policy's velocity at `states`."""
    latents: Float[Tensor, "G C L h w"]
    """The final, clean latents."""

    def to(self, device: torch.device | str) -> "Rollout":
        """The same rollout with its tensors on `device`; those that are there already are not copied."""
        return replace(
            self,
            states=tuple(state.to(device) for state in self.states),
            next_states=tuple(state.to(device) for state in self.next_states),
            old_velocities=tuple(velocity.to(device) for velocity in self.old_velocities),
            latents=self.latents.to(device),
        )


def intrinsics_px(height: int, width: int, focal_per_width: float = FOCAL_PER_WIDTH) -> Float[Tensor, "3 3"]:
    """Pinhole matrix in pixels (float64) of a centred camera with square pixels."""
    focal = focal_per_width * width
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
