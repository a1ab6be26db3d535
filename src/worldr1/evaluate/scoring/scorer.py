"""How 3D-consistent is a video? Any video, whoever made it: lifted to 3D, drawn again, measured.

A still video passes every consistency test, because each frame explains all others. So a shot whose camera does not
travel gets its path and no other figure, and a note that says why.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from worldr1.evaluate.fitting import ClipSize, fit, repeat
from worldr1.evaluate.metrics import multi_view_consistency
from worldr1.evaluate.metrics.consistency import consistency
from worldr1.evaluate.metrics.epipolar import epipolar_error
from worldr1.footage import Shot
from worldr1.protocols import PerceptualDistance, Reconstructor, Renderer
from worldr1.rewards.reconstruction import (
    BEHIND_GREY,
    ReconstructionConfig,
    Redrawn,
    at_size,
    compare_redrawn,
    redraw_jobs,
)
from worldr1.rewards.rendering import render_jobs
from worldr1.rewards.trajectory import (
    STILL_TRANSLATION,
    camera_travels,
    path_errors,
    recovered_path,
    requested_extent,
)
from worldr1.scene.image_metrics import mse, psnr_db, ssim
from worldr1.scene.residual_motion import residual_motion
from worldr1.types import Gaussians, Reconstruction, Status, Trajectory

STILL_TRAVEL = 0.03
"""Depth units under which a camera has not travelled; half of the shortest move goes 0.08."""
STILL_NOTE = "the camera does not travel: without parallax nothing can be said about 3D"
DISTRUSTED = 0.01
"""Confidence of pixels outside the mask: low enough to become no Gaussian, and not the sky's 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShotScore:
    """One row of `worldr1 score --json`: names are an interface. Without a value: None, as all figures of an invalid
    shot are, and all but the path's of one whose camera does not travel."""

    path: str
    shot: int = 0
    """From 0, in order."""
    num_shots: int = 1
    start_s: float = 0.0
    end_s: float = 0.0
    valid: bool
    """Whether the reconstruction is to be believed."""
    reason: str
    """Why it is not valid."""
    consistency: float | None = None
    """`consistency.Consistency.share`: the headline."""
    consistency_interval: tuple[float, float] | None = None
    """95 %."""
    psnr_holdout: float | None = None
    """dB, of the odd frames drawn from the even ones, over the covered pixels of all of them; at most 60."""
    ssim_holdout: float | None = None
    """Mean over the odd frames; uncovered pixels count as equal."""
    perceptual_holdout: float | None = None
    """Likewise; 0 is best. Its network is in the metric's id."""
    coverage: float | None = None
    """Share of the odd frames' pixels that the even frames' geometry reaches."""
    mvcs: float | None = None
    """`MultiViewConsistency.score`."""
    mvcs_scale_free: float | None = None
    epipolar_px: float | None = None
    """`epipolar.EpipolarError.error_px`; None where few points match or a homography explains them."""
    camera_travel: float | None = None
    """Largest distance from the first camera, in median depths of frame 0."""
    camera_rotation_deg: float | None = None
    """Largest rotation from the first camera."""
    residual_motion: float | None = None
    """`scene.residual_motion`: what changes beyond what the camera explains, in grey levels of 0..1."""
    translation_error: float | None = None
    """Of the requested path (`rewards.trajectory`): a share of its length. None without a request."""
    rotation_error_deg: float | None = None
    world_from_camera: list[list[list[float]]] | None = None
    """[T, 4, 4] recovered poses of the frames that were scored, in depth units."""
    times_s: tuple[float, ...] = ()
    """Of those frames."""
    reconstructor: str
    """Name of the 3D model behind the figures."""
    notes: tuple[str, ...] = ()
    """What was done to the shot, and what the figures cannot say about it."""


class Scored(NamedTuple):
    """A score and the pictures behind it."""

    score: ShotScore
    shot: Shot
    """As the reconstructor saw it."""
    reconstruction: Reconstruction | None = None
    redrawn: Redrawn | None = None
    """None if there is nothing to draw from."""
    gaussians: Gaussians | None = None
    """From the even frames, in the reconstruction's own scale."""
    requested: Trajectory | None = None


class Scorer:
    """Scores shots one by one with one set of models."""

    def __init__(
        self,
        name: str,
        reconstructor: Reconstructor,
        renderer: Renderer,
        perceptual: PerceptualDistance,
        *,
        size: ClipSize | None = None,
        config: ReconstructionConfig | None = None,
    ) -> None:
        """name: of the reconstructor. size: the only one that it takes; None: it takes any."""
        self.name = name
        self._reconstructor = reconstructor
        self._renderer = renderer
        self._perceptual = perceptual
        self._size = size
        self._config = config or ReconstructionConfig()

    @torch.no_grad()
    def __call__(
        self, shot: Shot, *, path: str, requested: Trajectory | None = None, speed_known: bool = True
    ) -> Scored:
        """path: of the file, written into the score. requested: the path that was asked for, with as many frames as
        the shot has here (`framed`). speed_known: whether its translations are in depth units; if not, the path is
        made as long as the recovered one.

        A reconstruction that fails or is refused gives a score that is not valid and says why.
        """
        shot = self.framed(shot)
        found = self._lift(shot)
        row = ShotScore(
            path=path,
            shot=shot.index,
            num_shots=shot.num_shots,
            start_s=shot.start_s,
            end_s=shot.end_s,
            valid=False,
            reason=_failure(found),
            times_s=shot.times_s,
            reconstructor=self.name,
            notes=shot.notes,
        )
        if row.reason:
            return Scored(row, shot)
        row = replace(row, valid=True, **_path_figures(found, requested, speed_known))
        if found.reason:
            row = replace(row, notes=(*row.notes, found.reason))
        if (row.camera_travel or 0.0) < STILL_TRAVEL:
            return Scored(replace(row, notes=(*row.notes, STILL_NOTE)), shot, found, requested=requested)
        redrawn, gaussians = self._redraw(shot, found)
        least = self._config.min_coverage
        if redrawn.coverage < least:
            reason = f"its geometry explains {redrawn.coverage:.0%} of its pixels, less than {least:.0%}"
            invalid = ShotScore(**{f: getattr(row, f) for f in _IDENTITY}, valid=False, reason=reason)
            return Scored(invalid, shot, found, redrawn, gaussians, requested)
        return Scored(self._figures(row, shot, found, redrawn), shot, found, redrawn, gaussians, requested)

    def framed(self, shot: Shot) -> Shot:
        """The shot as the reconstructor takes it."""
        return shot if self._size is None else fit(shot, self._size)

    def _lift(self, shot: Shot) -> Reconstruction:
        """With the overlay's pixels distrusted."""
        if self._size is None:
            found = self._reconstructor(shot.video[None])[0]
        else:
            repeated = repeat(shot.video, self._size.num_frames)
            found = repeated.own(self._reconstructor(repeated.video[None])[0])
        if found.confidence.shape[-2:] != shot.mask.shape or bool(shot.mask.all()):
            return found
        return replace(found, confidence=torch.where(shot.mask, found.confidence, DISTRUSTED))

    def _redraw(self, shot: Shot, found: Reconstruction) -> tuple[Redrawn, Gaussians]:
        video = at_size(shot.video, found)
        jobs = redraw_jobs([video], [found], config=self._config)
        height, width = video.shape[-2:]
        background = video.new_full((3,), BEHIND_GREY)
        views = render_jobs(self._renderer, jobs, height=height, width=width, background=background)
        redrawn = compare_redrawn(video, views[0], config=self._config)
        return _on_the_scene(redrawn, shot.mask), jobs[0].gaussians

    def _figures(self, row: ShotScore, shot: Shot, found: Reconstruction, redrawn: Redrawn) -> ShotScore:
        video = at_size(shot.video, found)
        agreement, explained = multi_view_consistency(found), consistency(video, redrawn)
        epipolar = epipolar_error(shot.video, mask=shot.mask)
        return replace(
            row,
            consistency=None if explained is None else explained.share,
            consistency_interval=None if explained is None else (explained.low, explained.high),
            psnr_holdout=redrawn.psnr_db,
            ssim_holdout=float(ssim(redrawn.drawn, redrawn.target).mean()),
            perceptual_holdout=float(self._perceptual(redrawn.drawn, redrawn.target).mean()),
            coverage=redrawn.coverage,
            mvcs=agreement.score,
            mvcs_scale_free=agreement.scale_free,
            epipolar_px=None if epipolar is None or epipolar.degenerate else epipolar.error_px,
            residual_motion=residual_motion(video, found),
        )


_IDENTITY = ("path", "shot", "num_shots", "start_s", "end_s", "times_s", "reconstructor", "notes")


def _failure(found: Reconstruction) -> str:
    """Why a reconstruction cannot be used; empty if it can."""
    if found.status is Status.REJECTED:
        return found.reason
    if found.status is Status.FAULT:
        return f"our fault, not the video's: {found.reason}"
    parts = (found.world_from_camera, found.depth, found.confidence)
    if not all(bool(part.isfinite().all()) for part in parts):
        return "our fault, not the video's: the 3D model returned values that are not finite"
    return ""


def _path_figures(found: Reconstruction, requested: Trajectory | None, speed_known: bool) -> dict:
    """The fields of `ShotScore` that are about the camera alone."""
    recovered = recovered_path(found)
    travel = camera_travels(recovered[None])[0]
    figures = {
        "camera_travel": travel.depth_units,
        "camera_rotation_deg": travel.deg,
        "world_from_camera": recovered.tolist(),
    }
    if requested is None:
        return figures
    extent = requested_extent(requested)
    if not speed_known and extent > STILL_TRANSLATION:
        poses = requested.world_from_camera.clone()
        poses[:, :3, 3] *= travel.depth_units / extent
        requested = replace(requested, world_from_camera=poses)
    errors = path_errors(recovered[None], [requested])[0]
    return figures | {
        "translation_error": errors.translation_error,
        "rotation_error_deg": math.degrees(errors.rotation_error_rad),
    }


def _on_the_scene(redrawn: Redrawn, mask: Bool[Tensor, "H W"]) -> Redrawn:
    """Without the pixels of an overlay, which no scene explains: they count as not covered."""
    if bool(mask.all()):
        return redrawn
    scene = torch.nn.functional.interpolate(mask[None, None].float(), size=redrawn.covered.shape[-2:])[0, 0] > 0.5
    covered = redrawn.covered & scene
    drawn = torch.where(covered[:, None], redrawn.drawn, redrawn.target)
    # all frames as one tall image, so that every covered pixel weighs the same
    tall_drawn, tall_target = (x.movedim(0, 1).flatten(1, 2) for x in (drawn, redrawn.target))
    error = mse(tall_drawn, tall_target, covered.flatten(0, 1))
    share = float(covered[:, scene].float().mean()) if bool(scene.any()) else 0.0
    return replace(redrawn, drawn=drawn, covered=covered, coverage=share, psnr_db=float(psnr_db(error)))
