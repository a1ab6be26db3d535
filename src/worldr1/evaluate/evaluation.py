"""Sampling and scoring a fixed set of prompts, the same way before and after training.

A prompt's start noise is seeded by the prompt alone, so two evaluations with one seed are *paired*: each prompt starts
from the same noise, and whatever differs between its two videos is the model.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.records import Evaluation, MotionGroup, VideoRecord, motion_group
from worldr1.protocols import Reconstructor, VideoPolicy, VideoReward
from worldr1.rewards.guard import Fault, call_each
from worldr1.rewards.trajectory import recovered_path
from worldr1.rollout.sampler import SamplerConfig, sample_ode
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.seeding import derive_seed
from worldr1.types import Prompt, RewardResult, Status, Trajectory
from worldr1.video_io import write_mp4

Reward = Callable[[Tensor, Sequence[Prompt], Sequence[Trajectory | None], bool], list[RewardResult]]
"""`rewards.composite.CompositeReward`, or anything called like it."""

SHOWN_WEIGHT = {MotionGroup.MOVING: 2.0}
"""Moving clips show what 3D consistency is: they get two of the kept videos where the other groups get one."""
POSTER_FRAMES = 5
SHOWN_HEIGHT_PX = 256
"""Smaller videos are enlarged by a whole factor to at most this, so that a person can watch them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How videos are made and judged. Raises ConfigError for impossible numbers."""

    sampler: SamplerConfig
    noise: NoiseConfig
    clip: tuple[int, int, int]
    """Frames, height, width."""
    guidance: float
    """What the policy was built with; written into the records."""
    seed: int
    batch: int = 8
    """Videos sampled, decoded and scored together."""
    keep_videos: int = 0
    """Videos kept to be watched."""
    all_paths: bool = True
    """Record the camera's path of every video. False: of the kept ones, which saves a call of the 3D model for the
    others."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.keep_videos < 0:
            raise ConfigError("An evaluation needs a batch of at least 1 and keep_videos of at least 0.")


def path_finder(reward: VideoReward) -> Reconstructor | None:
    """The 3D model of a reward, for the camera paths that evaluations record; None if it has none."""
    return getattr(reward, "reconstructor", None)


class Evaluated(NamedTuple):
    """What `evaluate` returns."""

    evaluation: Evaluation
    videos: dict[int, Float[Tensor, "T 3 H W"]]
    """The kept ones, on the CPU, by the index of their record."""


class Task(NamedTuple):
    """One prompt's work."""

    prompt: Prompt
    tokens: tuple[str, ...]
    path: Trajectory | None
    """Requested; None without camera words."""
    seed: int
    """Of the start noise."""

    @property
    def requested(self) -> Tensor | None:
        """[T, 4, 4]."""
        return None if self.path is None else self.path.world_from_camera

    @property
    def group(self) -> MotionGroup:
        """The kind of request."""
        return motion_group(positions(self.requested), dynamic=self.prompt.dynamic)


@torch.no_grad()
def evaluate(
    policy: VideoPolicy,
    reward: Reward,
    reconstructor: Reconstructor | None,
    prompts: Sequence[Prompt],
    *,
    config: EvaluationConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    deal: Callable[[int], range] = range,
) -> Evaluated:
    """One video per prompt by the noise-free sampler, scored with the full reward (also for dynamic prompts).

    deal: of so many batches the numbers of those to make here, for several processes that share an evaluation. What is
    made of a batch does not depend on it: together they have the records and the videos of one.

    reconstructor: finds the recorded camera paths; the reward's own, or another as a judge; None: there are none.
    on_progress: called with (videos done, videos in all) after every batch. What is recorded of a prompt does not
    depend on the other prompts, except for how the policy's kernels round in another batch.
    Raises InputError for no prompts or two of one id, PromptError for camera words that are not understood.
    """
    begin = time.monotonic()
    tasks = plan_tasks(prompts, config)
    shown = set(spread([(task.tokens, task.group) for task in tasks], config.keep_videos))
    plans, records, videos = PlanCache(), [], {}
    firsts = range(0, len(tasks), config.batch)
    for first in (firsts[number] for number in deal(len(firsts))):
        batch = tasks[first : first + config.batch]
        clips = film(policy, batch, config, plans)
        results = reward(clips, [t.prompt for t in batch], [t.path for t in batch], False)
        lifted = [i for i in range(len(batch)) if config.all_paths or first + i in shown]
        found = [] if reconstructor is None else _recovered_paths(reconstructor, clips[lifted])
        paths = dict(zip(lifted, found, strict=reconstructor is not None))
        for index, task in enumerate(batch):
            number = first + index
            video = f"{number:03d}.mp4" if number in shown else None
            if video:
                videos[number] = clips[index].float().cpu()
            records.append(_record(task, results[index], paths.get(index), video))
        on_progress(len(records), len(tasks))
    evaluation = Evaluation(
        records=tuple(records),
        seconds=time.monotonic() - begin,
        guidance=config.guidance,
        strength=config.noise.strength,
    )
    return Evaluated(evaluation, videos)


def spread(requests: Sequence[tuple[tuple[str, ...], MotionGroup]], num: int) -> list[int]:
    """Indices of `num` requests (tokens, group) to show: all groups (moving clips twice as often), many moves.

    A function of the requests alone, so that the evaluations before and after show the same prompts.
    """
    left = list(range(len(requests)))
    groups: Counter[MotionGroup] = Counter()
    moves: Counter[str] = Counter()

    def familiarity(index: int) -> tuple[float, int, int]:
        tokens, group = requests[index]
        return groups[group] / SHOWN_WEIGHT.get(group, 1.0), sum(moves[token] for token in tokens), index

    while left and len(requests) - len(left) < num:
        newest = min(left, key=familiarity)
        left.remove(newest)
        tokens, group = requests[newest]
        groups[group] += 1
        moves.update(tokens)
    return sorted(set(range(len(requests))) - set(left))


def save_evaluation(evaluation: Evaluation, videos: Mapping[int, Float[Tensor, "T 3 H W"]], folder: str | Path) -> Path:
    """Writes records.json, and NNN.mp4 with a strip of five frames NNN.png for every kept video; returns `folder`.

    videos: by the index of their record, as `evaluate` returns them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for index, video in videos.items():
        name = evaluation.records[index].video
        if name is None:
            raise InputError(f"Record {index} has no video name; save the videos that evaluate returned with it.")
        write_mp4(folder / name, video, upscale=max(1, SHOWN_HEIGHT_PX // video.shape[-2]))
        _poster(video).save((folder / name).with_suffix(".png"))
    evaluation.save(folder)  # last: a folder with records is complete
    return folder


def plan_tasks(prompts: Sequence[Prompt], config: EvaluationConfig) -> list[Task]:
    """What to film for each prompt, in order. Raises InputError and PromptError as `evaluate` does."""
    if not prompts:
        raise InputError("Give at least one prompt to evaluate.")
    if len({(prompt.id, prompt.dynamic) for prompt in prompts}) < len(prompts):
        raise InputError("Two prompts have one id; number the static and the dynamic prompts apart, each from 0.")
    tasks = []
    for prompt in prompts:
        tokens = parse_plan(prompt.text).tokens
        path = requested_path(tokens, config.clip[0])
        seed = derive_seed(config.seed, "evaluation", prompt.id, int(prompt.dynamic))
        tasks.append(Task(prompt, tokens, path, seed))
    return tasks


def film(
    policy: VideoPolicy, tasks: Sequence[Task], config: EvaluationConfig, plans: PlanCache
) -> Float[Tensor, "B T 3 H W"]:
    """Samples one video per task by the noise-free sampler, each from its own seed's start noise, and decodes them."""
    shape = policy.latent_shape(*config.clip)
    embeddings = policy.encode([task.prompt.text for task in tasks])
    start = torch.cat([start_noise(task.path, shape, [task.seed], config.noise, plans) for task in tasks])
    return policy.decode(sample_ode(policy, embeddings, start.to(embeddings.device), config.sampler))


def _recovered_paths(
    reconstructor: Reconstructor, videos: Float[Tensor, "B T 3 H W"]
) -> list[Float[Tensor, "T 4 4"] | None]:
    """Camera paths in depth units; None where there is nothing to reconstruct or the 3D model failed."""

    def lift(clips: Sequence[Tensor]) -> list[Tensor | None]:
        found = reconstructor(torch.stack(list(clips)))
        paths = [recovered_path(r) if r.status is Status.OK else None for r in found]
        if not all(path is None or bool(torch.isfinite(path).all()) for path in paths):
            raise ValueError("the path has values that are not finite")
        return paths

    return [None if isinstance(path, Fault) else path for path in call_each(lift, list(videos), "camera path")]


def _record(
    task: Task, result: RewardResult, recovered: Float[Tensor, "T 4 4"] | None, video: str | None
) -> VideoRecord:
    usable = result.status is not Status.FAULT and math.isfinite(result.value)
    return VideoRecord(
        prompt_id=task.prompt.id,
        prompt=task.prompt.text,
        dynamic=task.prompt.dynamic,
        tokens=task.tokens,
        seed=task.seed,
        # a reward that is not finite is a fault, whatever its status says (as in rollout.collector)
        status=result.status if usable else Status.FAULT,
        reason=result.reason,
        reward=result.value if usable else None,
        parts=dict(result.parts) if usable else {},
        measures={name: value for name, value in result.measures.items() if math.isfinite(value)},
        requested_path=positions(task.requested),
        requested_yaw_deg=yaw_deg(task.requested),
        recovered_path=positions(recovered),
        recovered_yaw_deg=yaw_deg(recovered),
        video=video,
    )


def positions(world_from_camera: Float[Tensor, "T 4 4"] | None) -> list[list[float]] | None:
    """[x, y, z] of every frame, as records keep a path."""
    if world_from_camera is None:
        return None
    return [[round(x, 5) for x in position] for position in world_from_camera[:, :3, 3].tolist()]


def yaw_deg(world_from_camera: Float[Tensor, "T 4 4"] | None) -> list[float] | None:
    """Angle of the forward axis from z towards x, in every frame."""
    if world_from_camera is None:
        return None
    yaw = torch.rad2deg(torch.atan2(world_from_camera[:, 0, 2], world_from_camera[:, 2, 2]))
    return [round(x, 3) for x in yaw.tolist()]


def _poster(video: Float[Tensor, "T 3 H W"]) -> Image.Image:
    """Five frames, evenly spaced from first to last, side by side."""
    chosen = torch.linspace(0, len(video) - 1, POSTER_FRAMES).round().long()
    strip_HW3 = torch.cat(list(video[chosen].permute(0, 2, 3, 1)), dim=1)
    return Image.fromarray((strip_HW3.clamp(0, 1) * 255).round().to(torch.uint8).numpy(force=True))
