"""The videos of a suite, each from a file: whoever made it, it is judged as it lies there, and so as it is watched."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.fitting import ClipSize, evenly, fit
from worldr1.evaluate.judging.judge import Judge, Looked, record_of
from worldr1.evaluate.metrics import MEASURED_BY_DEFAULT, MEASURED_BY_FITTING, JudgedClip, measure
from worldr1.evaluate.metrics.splat_fit import FitConfig
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.suites.suite import Suite, SuitePrompt
from worldr1.footage import FootageConfig, Shot, read_shots
from worldr1.protocols import PerceptualDistance, Renderer
from worldr1.seeding import derive_seed
from worldr1.types import Reconstruction, Status, Trajectory

OPTIMISED_AT_ONCE = 32
"""Videos whose scenes are optimised side by side, which costs a GPU hardly more than one of small clips; what a killed
evaluation loses of judging is less than so many."""
MIN_FRAMES = 5
"""Three frames to build the scene from, two to test it with."""


class SuiteVideo(NamedTuple):
    """One video that a suite asks for."""

    prompt: SuitePrompt
    sample: int
    """Which of the videos of this prompt, from 0."""
    seed: int
    """Of its start noise; 0 for a video made elsewhere."""
    poses: Trajectory | None = None
    """The path that it was asked for where that is not the prompt's, in depth units, a pose per frame."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.prompt.id:03d}-{self.sample}.mp4"

    @property
    def key(self) -> tuple[int, bool, int]:
        """As `VideoRecord.key`."""
        return self.prompt.id, self.prompt.dynamic, self.sample

    def path(self, num_frames: int) -> Trajectory:
        """What is asked of the camera in so many frames, which lie evenly in the clip."""
        if self.poses is None:
            return synthesize(self.prompt.camera, num_frames)
        kept = evenly(self.poses.num_frames, num_frames)
        return replace(self.poses, world_from_camera=self.poses.world_from_camera[kept])


def suite_videos(suite: Suite, *, samples: int, seed: int, limit: int | None = None) -> list[SuiteVideo]:
    """The videos to make, prompt by prompt; limit: of the first prompts only.

    A seed depends on the prompt and the sample alone, so two models' videos are paired; sample 0 starts from the noise
    that `evaluation.plan_tasks` gives the prompt.
    """
    return [
        SuiteVideo(
            prompt,
            sample,
            derive_seed(seed, "evaluation", prompt.id, int(prompt.dynamic), *((sample,) if sample else ())),
        )
        for prompt in suite.prompts[:limit]
        for sample in range(samples)
    ]


class Fitting(NamedTuple):
    """What optimises the Gaussians of a video (`metrics.splat_fit`)."""

    renderer: Renderer
    """Hands gradients on."""
    device: str
    config: FitConfig


class Judged(NamedTuple):
    """A record and what is behind it."""

    record: VideoRecord
    clip: Float[Tensor, "T 3 H W"]
    """As the judge saw it."""
    reconstruction: Reconstruction | None
    notes: tuple[str, ...]
    """What was done to the file's pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileJudge:
    """A judge, and what a file must become for it."""

    name: str
    """As `--judge` knows it."""
    judge: Judge
    licence: str
    device: str
    frames: int
    """A longer video is thinned to so many, evenly."""
    perceptual: PerceptualDistance | None = None
    """None: no perceptual distances are measured."""
    fitting: Fitting | None = None
    """None: nothing is optimised."""
    size: ClipSize | None = None
    """The only one that its 3D model takes; None: any, made at most 416 pixels long."""

    def frame(self, file: Path) -> list[Shot]:
        """The file's shots as the judge takes them, as `worldr1 score` does. Raises InputError for what is no video."""
        shots = read_shots(file, FootageConfig(num_frames=self.frames, min_frames=MIN_FRAMES))
        return shots if self.size is None else [fit(shot, self.size) for shot in shots]

    @property
    def at_once(self) -> int:
        """So many files should be given together."""
        return 1 if self.fitting is None else OPTIMISED_AT_ONCE

    def __call__(self, files: Sequence[Path], videos: Sequence[SuiteVideo]) -> list[Judged]:
        """Judges files. One that cuts is rejected: it is not the one scene that was asked for.

        Raises InputError for what is no video.
        """
        looked = [self._look(file, video) for file, video in zip(files, videos, strict=True)]
        fitted = self._fitted([clip for _, clip in looked])
        return [
            found._replace(record=replace(found.record, measures=found.record.measures | more))
            for (found, _), more in zip(looked, fitted, strict=True)
        ]

    def _look(self, file: Path, video: SuiteVideo) -> tuple[Judged, JudgedClip]:
        """All but what is optimised, and the clip that may be."""
        shots = self.frame(file)
        clip = shots[0].video
        task = Task(video.prompt.prompt, video.prompt.camera, video.path(len(clip)), video.seed)
        if len(shots) > 1:
            reason = f"it cuts: it has {len(shots)} shots where one scene was asked for"
            looked = Looked(record_of(task, Status.REJECTED, reason, {}), None)
        else:
            (looked,) = self.judge.look(clip[None].to(self.device), [task])
        judged = self._judged(shots[0], task, looked)
        names = [name for name in MEASURED_BY_DEFAULT if name not in looked.record.measures]
        (more,) = measure([judged], renderer=self.judge.renderer, perceptual=self.perceptual, names=names)
        record = replace(
            looked.record,
            measures=looked.record.measures | more,
            video=video.name,
            sample=video.sample,
            scene_type=video.prompt.scene_type,
            long_horizon=video.prompt.long_horizon,
        )
        return Judged(record, clip, looked.reconstruction, shots[0].notes), judged

    def _judged(self, shot: Shot, task: Task, looked: Looked) -> JudgedClip:
        """Without a valid geometry the pictures alone are measured."""
        return JudgedClip(
            video=shot.video.to(self.device),
            fps=(len(shot.times_s) - 1) / (shot.times_s[-1] - shot.times_s[0]),
            prompt=task.prompt,
            requested=task.path,
            reconstruction=looked.reconstruction if looked.record.status is Status.OK else None,
        )

    def _fitted(self, judged: Sequence[JudgedClip]) -> list[dict[str, float]]:
        """What optimisation gives of each; nothing of one without a valid geometry."""
        found: list[dict[str, float]] = [{} for _ in judged]
        rows = [row for row, clip in enumerate(judged) if clip.reconstruction is not None]
        if self.fitting is None or not rows:
            return found
        renderer, device, config = self.fitting
        clips = [replace(judged[row], video=judged[row].video.to(device)) for row in rows]  # the geometry follows it
        perceptual = None if self.perceptual is None else CarriedDistance(self.perceptual, self.device)
        more = measure(clips, renderer=renderer, perceptual=perceptual, names=MEASURED_BY_FITTING, fit=config)
        for row, values in zip(rows, more, strict=True):
            found[row] = values
        return found


class CarriedDistance:
    """A `PerceptualDistance` of pictures on any device: they are carried to its network's."""

    def __init__(self, distance: PerceptualDistance, device: str) -> None:
        self.licence, self._distance, self._device = distance.licence, distance, device

    def __call__(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """On the network's device."""
        return self._distance(a.to(self._device), b.to(self._device))


def lacks(record: VideoRecord, names: Collection[str]) -> bool:
    """Whether a valid video was judged without these measures: it is judged again for them."""
    return record.status is Status.OK and not set(names) <= record.measures.keys()


def missing(videos: Sequence[SuiteVideo], folder: Path) -> list[SuiteVideo]:
    """Those whose file is not in the folder yet."""
    return [video for video in videos if not (folder / video.name).is_file()]
