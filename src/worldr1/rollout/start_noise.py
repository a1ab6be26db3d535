"""The latent that sampling starts from: fresh noise mixed with noise transported along the requested camera path."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import latent_poses
from worldr1.errors import ConfigError, InputError
from worldr1.noise.canvas import CanvasPlan, plan_canvas, sample_canvas
from worldr1.noise.flow import FlowPlan, plan_flow, sample_flow
from worldr1.noise.inject import mix
from worldr1.rewards.trajectory import has_parallax
from worldr1.seeding import derive_seed, make_generator
from worldr1.types import Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseConfig:
    """How the requested camera enters the start noise. Raises ConfigError for values out of range."""

    strength: float = 1.0
    """a in x = sqrt(1 - a^2) fresh + a transported; 0 is plain independent noise."""
    parallax_strength: float | None = None
    """a for paths that move the camera's centre; None: `strength`. Noise moves as a plane does, which is how all of a
    scene moves under a camera that only turns, and not under one that orbits: there strong transport flattens the
    video (docs/camera.md, "Does it make the camera obey?")."""
    transport: Literal["canvas", "flow"] = "canvas"
    """How noise follows the camera: `canvas` is the exact plane canvas, `flow` the paper's chain from frame to frame,
    which forgets what leaves the picture. Both are exactly white."""
    min_cells: int = 16
    """Canvas cells (flow: particles) in the smallest pixel footprint: more meets the covariances between frames
    better."""

    def __post_init__(self) -> None:
        for name in ("strength", "parallax_strength"):
            strength = getattr(self, name)
            if strength is not None and not 0.0 <= strength <= 1.0:
                raise ConfigError(f"noise {name} must lie between 0 and 1, got {strength}")
        if self.min_cells < 1:
            raise ConfigError(f"noise min_cells must be at least 1, got {self.min_cells}")

    def strength_for(self, trajectory: Trajectory) -> float:
        """a for one path."""
        if self.parallax_strength is None or not has_parallax(trajectory):
            return self.strength
        return self.parallax_strength


class PlanCache:
    """The plans of the most recently used paths, up to `max_mb` of memory (a single larger one is kept too).

    A plan takes 0.2 MB in mini and 10 to 50 MB at 480p.
    """

    def __init__(self, max_mb: float = 1024.0) -> None:
        self._max_mb = max_mb
        self._plans: OrderedDict[tuple[object, ...], CanvasPlan | FlowPlan] = OrderedDict()

    def plan(
        self,
        trajectory: Trajectory,
        *,
        height: int,
        width: int,
        min_cells: int,
        transport: Literal["canvas", "flow"] = "canvas",
    ) -> CanvasPlan | FlowPlan:
        """The plan of a path for latent frames of `height` x `width`.

        Raises as `plan_canvas` or `plan_flow` and `latent_poses` do.
        """
        path = trajectory.world_from_camera.numpy(force=True)
        key = (path.tobytes(), path.shape, trajectory.focal_per_width, height, width, min_cells, transport)
        if key not in self._plans:
            make_plan = plan_flow if transport == "flow" else plan_canvas
            self._plans[key] = make_plan(
                latent_poses(trajectory),
                focal_per_width=trajectory.focal_per_width,
                height=height,
                width=width,
                min_cells=min_cells,
            )
            while len(self._plans) > 1 and sum(plan.megabytes for plan in self._plans.values()) > self._max_mb:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]


def start_noise(
    trajectory: Trajectory | None,
    latent_shape: tuple[int, int, int, int],
    seeds: Sequence[int],
    config: NoiseConfig,
    plans: PlanCache,
) -> Float[Tensor, "B C L h w"]:
    """One start latent per seed, float32 on the CPU, N(0, I) within each frame (conventions section 6).

    trajectory: the requested path in video frames; None (no camera words) gives fresh noise, as strength 0 does, and
    that is bit for bit the fresh part of every other strength. latent_shape: (C, L, h, w).
    A sample depends on its seed alone: not on the batch, the device or the number of threads.
    Raises InputError for no seeds, a path whose frames do not match L, or one that the transport refuses.
    """
    if not seeds:
        raise InputError("give at least one seed")
    fresh = torch.stack([torch.randn(latent_shape, generator=make_generator(s, "start-noise-fresh")) for s in seeds])
    strength = 0.0 if trajectory is None else config.strength_for(trajectory)
    if trajectory is None or strength == 0.0:
        return fresh
    num_channels, num_frames, height, width = latent_shape
    plan = plans.plan(trajectory, height=height, width=width, min_cells=config.min_cells, transport=config.transport)
    if plan.latent_size[0] != num_frames:
        raise InputError(
            f"the camera's path has {trajectory.num_frames} frames, which is {plan.latent_size[0]} latent frames, "
            f"but the latent has {num_frames}"
        )
    seeds = [derive_seed(s, f"start-noise-{config.transport}") for s in seeds]
    if isinstance(plan, FlowPlan):
        transported = sample_flow(plan, num_channels=num_channels, seeds=seeds)
    else:
        transported = sample_canvas(plan, num_channels=num_channels, seeds=seeds)
    return mix(fresh, transported, strength)
