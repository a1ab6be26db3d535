"""Judging videos of prompts by a 3D model that the reward never met, beside the rendered truth of the same prompts.

A judge uses none of the reward's networks: held-out frames are compared by PSNR and SSIM, and the words that a probe
reads come from outside as a callable. Its records are those of any evaluation, so all of `statistics` works on them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import requested_path
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import EvaluationConfig, Task, positions, yaw_deg
from worldr1.evaluate.metrics import multi_view_consistency
from worldr1.evaluate.metrics.camera_path import path_measures
from worldr1.evaluate.metrics.redrawing import HOLDOUT, compare_images, redraw_clips
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.mini.render import render
from worldr1.mini.scenes import Scenes
from worldr1.protocols import Reconstructor, Renderer
from worldr1.rewards.guard import Fault, call_each
from worldr1.rewards.reconstruction import ReconstructionConfig, Redrawn, at_size
from worldr1.rewards.trajectory import recovered_path
from worldr1.scene.gaussians import all_finite
from worldr1.scene.image_metrics import image_gradient
from worldr1.scene.residual_motion import residual_motion
from worldr1.types import Prompt, Reconstruction, Status

Source = Callable[[Sequence[Task]], Float[Tensor, "B T 3 H W"]]
"""Videos of some tasks: a model's, or the truth's."""


class Onlooker(Protocol):
    """Measures of its own for every video, for example which of the prompt's words it shows."""

    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        reconstructions: Sequence[Reconstruction | None],
    ) -> Sequence[Mapping[str, float]]:
        """reconstructions: what the judge lifted; None for a video without geometry. Not finite: left out."""
        ...


class _Video(NamedTuple):
    """A video on its way through the judge."""

    clip: Float[Tensor, "T 3 H W"]
    task: Task
    lifted: Reconstruction


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finding:
    """What the geometry of one video says."""

    measures: dict[str, float]
    rejected: str
    """Why its geometry does not count; "" if it does."""
    path: Float[Tensor, "T 4 4"] | None


class Looked(NamedTuple):
    """What a judge found in a video."""

    record: VideoRecord
    reconstruction: Reconstruction | None
    """What it lifted; None for a video without geometry."""


class Judge:
    """Judges videos with one 3D model."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        renderer: Renderer,
        *,
        config: ReconstructionConfig | None = None,
        onlooker: Onlooker | None = None,
    ) -> None:
        """config: how videos are drawn again; the reward's default if None."""
        self._reconstructor = reconstructor
        self.renderer = renderer
        self._config = config or ReconstructionConfig()
        self._onlooker = onlooker

    def __call__(self, videos: Float[Tensor, "B T 3 H W"], tasks: Sequence[Task]) -> list[VideoRecord]:
        """One record per video, as `look` makes them."""
        return [looked.record for looked in self.look(videos, tasks)]

    @torch.no_grad()
    def look(self, videos: Float[Tensor, "B T 3 H W"], tasks: Sequence[Task]) -> list[Looked]:
        """One record per video, without a reward, and the geometry behind it. videos: 0..1.

        measures: image_gradient and the onlooker's; with a usable geometry psnr_holdout_db, ssim_holdout, coverage,
        mvcs_scale_free, residual_motion, travel_depth_units, travel_deg, and for a requested path rotation_error_deg,
        translation_error and (if it translates) travel_ratio, recovered / requested. A rejected video keeps only its
        coverage: everything else said of a geometry that does not explain it would be noise.
        """
        lifted = call_each(self._lift, list(videos), "reconstruction")
        usable = {i: r for i, r in enumerate(lifted) if isinstance(r, Reconstruction) and r.status is Status.OK}
        chosen = [_Video(at_size(videos[i], found), tasks[i], found) for i, found in usable.items()]
        findings = dict(zip(usable, call_each(self._measure, chosen, "re-rendering"), strict=True))
        prompts, seen = [task.prompt for task in tasks], [{} for _ in tasks]
        if self._onlooker is not None:
            seen = self._onlooker(videos, prompts, [usable.get(i) for i in range(len(tasks))])
        gradients = image_gradient(videos).tolist()
        return [
            Looked(
                _record(task, findings.get(i, lifted[i]), {"image_gradient": gradients[i]} | dict(seen[i])),
                usable.get(i),
            )
            for i, task in enumerate(tasks)
        ]

    def _lift(self, videos: Sequence[Tensor]) -> list[Reconstruction]:
        found = self._reconstructor(torch.stack(list(videos)))
        for reconstruction in found:
            if reconstruction.status is Status.FAULT:
                raise RuntimeError(reconstruction.reason)
            if not all_finite(reconstruction.world_from_camera, reconstruction.depth, reconstruction.confidence):
                raise ValueError("the reconstruction has values that are not finite")
        return found

    def _measure(self, videos: Sequence[_Video]) -> list[_Finding]:
        """Draws all held-out frames in one pass."""
        redrawn = redraw_clips(
            [video.clip for video in videos], [video.lifted for video in videos], self.renderer, config=self._config
        )
        return [self._finding(video, drawn) for video, drawn in zip(videos, redrawn, strict=True)]

    def _finding(self, video: _Video, redrawn: Redrawn) -> _Finding:
        least = self._config.min_coverage
        path = recovered_path(video.lifted)
        if redrawn.coverage < least:
            reason = f"its geometry explains {redrawn.coverage:.0%} of its pixels, less than {least:.0%}"
            return _Finding(measures={"coverage": redrawn.coverage}, rejected=reason, path=path)
        moved = residual_motion(video.clip, video.lifted)
        measures = {
            **compare_images(redrawn, HOLDOUT, None),
            "coverage": redrawn.coverage,
            "mvcs_scale_free": multi_view_consistency(video.lifted).scale_free,
            "residual_motion": math.nan if moved is None else moved,
        }
        return _Finding(measures=measures | path_measures(path, video.task.path), rejected="", path=path)


def judge_source(
    source: Source,
    tasks: Sequence[Task],
    judges: Mapping[str, Judge],
    *,
    config: EvaluationConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Evaluation]:
    """Every judge's evaluation of the same videos, by the judge's name. config: of the tasks; batch by batch.

    on_progress: called with (videos done, videos in all) after every batch.
    """
    begin = time.monotonic()
    records: dict[str, list[VideoRecord]] = {name: [] for name in judges}
    for first in range(0, len(tasks), config.batch):
        batch = tasks[first : first + config.batch]
        videos = source(batch)
        for name, judge in judges.items():
            records[name] += judge(videos, batch)
        on_progress(first + len(batch), len(tasks))
    return {
        name: Evaluation(
            records=tuple(found),
            seconds=time.monotonic() - begin,
            guidance=config.guidance,
            strength=config.noise.strength,
        )
        for name, found in records.items()
    }


class RenderedTruth:
    """The scenes that prompts were written from, rendered along the paths they ask for and passed through the VAE."""

    def __init__(
        self,
        scenes: Mapping[tuple[int, bool], Scenes],
        clip: tuple[int, int, int],
        through_vae: Callable[[Float[Tensor, "B T 3 H W"]], Float[Tensor, "B T 3 H W"]],
    ) -> None:
        """scenes: one by (prompt's id, dynamic). clip: frames, height, width. through_vae: encodes and decodes: what
        the best generated video could look like."""
        self._scenes, self._clip, self._through_vae = scenes, clip, through_vae

    @torch.no_grad()
    def __call__(self, tasks: Sequence[Task]) -> Float[Tensor, "B T 3 H W"]:
        """One video per task. Raises InputError for a prompt without camera words or a scene."""
        return self._through_vae(torch.cat([self._film(task) for task in tasks]))

    def _film(self, task: Task) -> Float[Tensor, "1 T 3 H W"]:
        frames, height, width = self._clip
        scene, path = self._scenes.get((task.prompt.id, task.prompt.dynamic)), requested_path(task.tokens, frames)
        if scene is None or path is None:
            raise InputError(f'There is no true video of "{task.prompt.text}": it needs a scene and camera words.')
        poses = path.world_from_camera.float()[None].to(scene.pitch_rad.device)
        return render(scene, poses, height=height, width=width).video


def _record(task: Task, finding: _Finding | Reconstruction | Fault, measures: Mapping[str, float]) -> VideoRecord:
    """finding: a Reconstruction only if it was rejected."""
    if isinstance(finding, Fault):
        return record_of(task, Status.FAULT, finding.reason, measures)
    if isinstance(finding, Reconstruction):
        return record_of(task, Status.REJECTED, finding.reason or "it cannot be reconstructed", measures)
    status = Status.REJECTED if finding.rejected else Status.OK
    return record_of(task, status, finding.rejected, {**measures, **finding.measures}, finding.path)


def record_of(
    task: Task,
    status: Status,
    reason: str,
    measures: Mapping[str, float],
    path: Float[Tensor, "T 4 4"] | None = None,
) -> VideoRecord:
    """The record of one judged video. path: the recovered one, in depth units."""
    return VideoRecord(
        prompt_id=task.prompt.id,
        prompt=task.prompt.text,
        dynamic=task.prompt.dynamic,
        tokens=task.tokens,
        seed=task.seed,
        status=status,
        reason=reason,
        reward=None,
        measures={name: value for name, value in measures.items() if math.isfinite(value)},
        requested_path=positions(task.requested),
        requested_yaw_deg=yaw_deg(task.requested),
        recovered_path=positions(path),
        recovered_yaw_deg=yaw_deg(path),
    )
