"""How 3D-consistent is a video? Any video, whoever made it: lifted to 3D, drawn again, measured.

A still video passes every consistency test, because each frame explains all others. So `camera_travel` stands beside
the figures, and a camera that does not travel is named in the notes.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError, WorldR1Error
from worldr1.evaluate.metrics import multi_view_consistency, residual_motion
from worldr1.protocols import PerceptualDistance, Reconstructor, Renderer
from worldr1.rewards.reconstruction import BEHIND_GREY, ReconstructionConfig, Redrawn, compare_redrawn, redraw_jobs
from worldr1.rewards.rendering import render_jobs
from worldr1.rewards.trajectory import camera_travel, recovered_path, trajectory_errors
from worldr1.scene.image_metrics import ssim
from worldr1.types import Reconstruction, Status

MIN_FRAMES = 5
"""Three frames to build the scene from, two to test it with."""
STILL_TRAVEL = 0.03
"""Depth units under which a camera has not travelled; half of the shortest move goes 0.08."""
STILL_NOTE = "the camera stays in its place: without parallax the figures say little about 3D"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig:
    """The clip that the reconstructor wants, and how it is drawn again."""

    num_frames: int
    """A longer video is thinned to these many frames, evenly; a shorter one is shown to the reconstructor with frames
    repeated, evenly too: the mini model, trained at one length, finds half the path in a clip of half as many."""
    height: int
    width: int
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoScore:
    """One row of `worldr1 score --json`: names are an interface. Without a value: None, as all figures of an invalid
    video are."""

    path: str
    valid: bool
    reason: str
    """Why it is not valid."""
    psnr_holdout: float | None = None
    """dB, of the odd frames drawn from the even ones, over the covered pixels of all of them; at most 60."""
    ssim_holdout: float | None = None
    """Mean over the odd frames; uncovered pixels count as equal."""
    perceptual_holdout: float | None = None
    """Likewise; 0 is best. Its network is the mini trunk."""
    coverage: float | None = None
    """Share of the odd frames' pixels that the even frames' geometry reaches."""
    mvcs: float | None = None
    """`MultiViewConsistency.score`."""
    mvcs_scale_free: float | None = None
    epipolar_px: float | None = None
    """Sampson error of matched points. Always None: it needs the `sfm` reconstructor, which does not exist yet."""
    camera_travel: float | None = None
    """Largest distance from the first camera, in median depths of frame 0."""
    camera_rotation_deg: float | None = None
    """Largest rotation from the first camera."""
    residual_motion: float | None = None
    """`metrics.residual_motion`: what changes beyond what the camera explains, in grey levels of 0..1."""
    translation_error: float | None = None
    """Of the requested path (`rewards.trajectory`): a share of its length. None without a request."""
    rotation_error_deg: float | None = None
    world_from_camera: list[list[list[float]]] | None = None
    """[T, 4, 4] recovered poses of the frames that were scored, in depth units."""
    reconstructor: str
    """Name of the 3D model behind the figures."""
    notes: tuple[str, ...] = ()
    """What was done to the video, and what the figures cannot say about it."""


class Prepared(NamedTuple):
    """A video as the reconstructor wants it."""

    video: Float[Tensor, "T 3 H W"]
    notes: tuple[str, ...]


class Scored(NamedTuple):
    """A score and the pictures behind it."""

    score: VideoScore
    redrawn: Redrawn | None
    """None if there is nothing to draw from."""


def prepare(video: Float[Tensor, "T 3 H W"], config: ScoringConfig) -> Prepared:
    """Thins a longer video evenly to `num_frames`, crops it about its centre to the aspect ratio and resizes it.

    Raises InputError for fewer than `MIN_FRAMES` frames.
    """
    given, _, height, width = video.shape
    if given < MIN_FRAMES:
        raise InputError(f"a video of {given} frames is too short to be scored; give at least {MIN_FRAMES}.")
    notes = []
    if given > config.num_frames:
        video = video[_evenly(given, config.num_frames)]
        notes.append(f"{config.num_frames} of its {given} frames were scored, evenly spaced")
    elif given < config.num_frames:
        notes.append(f"its {given} frames were repeated to make the {config.num_frames} that the 3D model knows")
    aspect = config.width / config.height
    crop_height, crop_width = min(height, round(width / aspect)), min(width, round(height * aspect))
    if (crop_height, crop_width) != (height, width):
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        video = video[..., top : top + crop_height, left : left + crop_width]
        notes.append(f"cropped from {width} x {height} to the central {crop_width} x {crop_height}")
    if (crop_height, crop_width) != (config.height, config.width):
        video = _resize(video, config.height, config.width)
        notes.append(f"resized from {crop_width} x {crop_height} to {config.width} x {config.height}")
    return Prepared(video, tuple(notes))


class Scorer:
    """Scores prepared videos one by one with one set of models."""

    def __init__(
        self,
        name: str,
        reconstructor: Reconstructor,
        renderer: Renderer,
        perceptual: PerceptualDistance,
        config: ScoringConfig,
    ) -> None:
        self.name = name
        self._reconstructor = reconstructor
        self._renderer = renderer
        self._perceptual = perceptual
        self.config = config

    @torch.no_grad()
    def __call__(self, prepared: Prepared, *, path: str, tokens: tuple[str, ...] = ()) -> Scored:
        """path: written into the score. tokens: the camera moves that were asked for, if any.

        Raises WorldR1Error if the reconstructor fails (a video that cannot be reconstructed is a score instead).
        """
        found = self._lift(prepared.video)
        if found.status is Status.REJECTED:
            return Scored(self._invalid(prepared, path, found.reason), None)
        _check(found)
        redrawn = self._redraw(prepared.video, found)
        least = self.config.reconstruction.min_coverage
        if redrawn.coverage < least:
            reason = f"its geometry explains {redrawn.coverage:.0%} of its pixels, less than {least:.0%}"
            return Scored(self._invalid(prepared, path, reason), redrawn)
        return Scored(self._valid(prepared, path, tokens, found, redrawn), redrawn)

    def _lift(self, video: Float[Tensor, "T 3 H W"]) -> Reconstruction:
        """The reconstruction of the video's own frames."""
        shown = _evenly(len(video), max(len(video), self.config.num_frames))
        found = self._reconstructor(video[shown][None])[0]
        first = torch.searchsorted(shown, torch.arange(len(video)))
        return replace(
            found,
            world_from_camera=found.world_from_camera[first],
            depth=found.depth[first],
            intrinsics_px=found.intrinsics_px[first],
            confidence=found.confidence[first],
        )

    def _redraw(self, video: Float[Tensor, "T 3 H W"], reconstruction: Reconstruction) -> Redrawn:
        config = self.config.reconstruction
        jobs = redraw_jobs([video], [reconstruction], config=config)
        height, width = video.shape[-2:]
        background = video.new_full((3,), BEHIND_GREY)
        views = render_jobs(self._renderer, jobs, height=height, width=width, background=background)
        return compare_redrawn(video, views[0], config=config)

    def _invalid(self, prepared: Prepared, path: str, reason: str) -> VideoScore:
        return VideoScore(path=path, valid=False, reason=reason, reconstructor=self.name, notes=prepared.notes)

    def _valid(
        self, prepared: Prepared, path: str, tokens: tuple[str, ...], found: Reconstruction, redrawn: Redrawn
    ) -> VideoScore:
        travel, agreement = camera_travel(found), multi_view_consistency(found)
        translation_error = rotation_error_deg = None
        if tokens:
            errors = trajectory_errors(found, synthesize(tokens, len(prepared.video)))
            translation_error, rotation_error_deg = errors.translation_error, math.degrees(errors.rotation_error_rad)
        still = (STILL_NOTE,) if travel.depth_units < STILL_TRAVEL else ()
        return VideoScore(
            path=path,
            valid=True,
            reason="",
            psnr_holdout=redrawn.psnr_db,
            ssim_holdout=float(ssim(redrawn.drawn, redrawn.target).mean()),
            perceptual_holdout=float(self._perceptual(redrawn.drawn, redrawn.target).mean()),
            coverage=redrawn.coverage,
            mvcs=agreement.score,
            mvcs_scale_free=agreement.scale_free,
            camera_travel=travel.depth_units,
            camera_rotation_deg=travel.deg,
            residual_motion=residual_motion(prepared.video, found),
            translation_error=translation_error,
            rotation_error_deg=rotation_error_deg,
            world_from_camera=recovered_path(found).tolist(),
            reconstructor=self.name,
            notes=prepared.notes + still,
        )


def _evenly(available: int, wanted: int) -> Int[Tensor, " wanted"]:
    """Indices of frames, first to last; some left out or repeated."""
    return torch.linspace(0, available - 1, wanted).round().long()


def _check(reconstruction: Reconstruction) -> None:
    """Raises WorldR1Error for a reconstruction that failed."""
    if reconstruction.status is Status.FAULT:
        raise WorldR1Error(f"The 3D model failed: {reconstruction.reason}")
    parts = (reconstruction.world_from_camera, reconstruction.depth, reconstruction.confidence)
    if not all(bool(part.isfinite().all()) for part in parts):
        raise WorldR1Error("The 3D model failed: it returned values that are not finite.")


def _resize(video: Float[Tensor, "T 3 H W"], height: int, width: int) -> Float[Tensor, "T 3 h w"]:
    """Antialiased. A whole factor is averaged in squares, which undoes `write_mp4(upscale=...)` without any blur."""
    factor = video.shape[-1] // width
    if tuple(video.shape[-2:]) == (height * factor, width * factor):
        return F.avg_pool2d(video, factor)
    return F.interpolate(video, size=(height, width), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
