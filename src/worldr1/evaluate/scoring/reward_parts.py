"""What a training reward says about finished videos, part by part: the answer to "why does my reward not go up".

Videos of one prompt are one group, as in training: the advantage knows nothing but how a video differs from the others
of its group, so a part in which they do not differ teaches nothing, however high it is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.motion import parse_plan, scene_text
from worldr1.camera.trajectory import requested_path
from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ, CompositeReward, weight_of
from worldr1.rewards.meta_view import UNSEEN_GREY, meta_view_jobs, meta_view_side
from worldr1.rewards.own import OwnReward
from worldr1.rewards.reconstruction import BEHIND_GREY, Redrawn, at_size, compare_redrawn, redraw_jobs, split_frames
from worldr1.rewards.rendering import RenderJob, render_jobs
from worldr1.rewards.trajectory import has_parallax
from worldr1.rl.advantage import group_advantages
from worldr1.scene.residual_motion import residual_map
from worldr1.types import Prompt, Reconstruction, RenderedViews, RewardResult, Status, Trajectory

PARTS = {S_META: "S_meta", S_RECON: "S_recon", S_TRAJ: "S_traj", R_GEN: "R_gen", S_MOTION: "S_motion"}
"""Name -> how a person reads it; a part of a user's own is called by its name."""
REWARD = "reward"
DOMINANT_SHARE = 0.8
"""Share of a group's spread above which one part decides alone (the warning of `worldr1 train` has the same)."""


class PromptedVideo(NamedTuple):
    """A finished video, at the size that the reward's models know, and what it should show."""

    path: str
    video: Float[Tensor, "T 3 H W"]
    """0..1."""
    prompt: Prompt


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the reward's models were shown, and what they answered; None where a part does not exist or was not met."""

    frame_scores: tuple[float, ...]
    """Of the first K frames, in the quality model's own units; empty without R_gen."""
    reconstruction: Reconstruction | None = None
    redrawn: Redrawn | None = None
    target_frames: tuple[int, ...] = ()
    """Of the video: those that were redrawn."""
    residual: Float[Tensor, "N H W"] | None = None
    """What moved by itself in the last N frames (`scene.residual_motion.residual_map`)."""
    off_path: Float[Tensor, "3 H W"] | None = None
    """The critic's picture."""
    digits: Float[Tensor, "10"] | None = None
    """The critic's probabilities of 0..9."""
    critic_text: str = ""
    """The prompt as the critic reads it: without camera words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One video of a group."""

    path: str
    video: Float[Tensor, "T 3 H W"]
    result: RewardResult
    valid: bool
    """False for a fault: training leaves it out."""
    advantage: float
    """0 where not valid, or without a group."""
    pictures: Pictures | None
    """None if none were asked for, and for faults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardGroup:
    """The videos of one prompt."""

    prompt: Prompt
    tokens: tuple[str, ...]
    trajectory: Trajectory | None
    """Requested; None without camera words."""
    absent: dict[str, str]
    """Part that does not exist for this prompt -> why."""
    members: tuple[Member, ...]
    std_floor: float
    known: tuple[str, ...]
    """All parts that the reward can give, in the order of the tables."""
    std: dict[str, float] = field(default_factory=dict)
    """Standard deviation (n - 1) over the valid members, of "reward" and of every part; empty with fewer than two."""
    share: dict[str, float] = field(default_factory=dict)
    """Weight times std of every part, as a share of their sum; empty if nothing differs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that exist, in the order of the tables."""
        return tuple(name for name in self.known if name not in self.absent)

    @property
    def ours(self) -> bool:
        """Whether these are the composite reward's parts, of which there are pictures."""
        return set(PARTS) - {S_MOTION} <= set(self.known) <= set(PARTS)


def title_of(name: str) -> str:
    """A part as a person reads it."""
    return PARTS.get(name, name)


def score_groups(
    reward: CompositeReward | OwnReward,
    videos: Sequence[PromptedVideo],
    *,
    std_floor: float,
    with_pictures: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[RewardGroup]:
    """Scores the videos of each prompt as one group of the main phase, in the order in which the prompts come.

    std_floor: `train.std_floor`, for the advantages. with_pictures: run the models once more for what they saw (of the
    composite reward; a reward of the user's own has no pictures).
    on_progress: called with the number of videos done. Raises PromptError for camera words that are not understood and
    InputError if no part is left for a prompt; a model's failure is a result.
    """
    groups: dict[tuple[str, bool], list[PromptedVideo]] = {}
    for video in videos:
        groups.setdefault((video.prompt.text, video.prompt.dynamic), []).append(video)
    scored, done = [], 0
    for members in groups.values():
        scored.append(_score_group(reward, members, std_floor, with_pictures))
        on_progress(done := done + len(members))
    return scored


def spread_shares(weight: Mapping[str, float], std: Mapping[str, float]) -> dict[str, float]:
    """Each part's weight times its standard deviation inside a group, as a share of their sum: what it has to say in
    the advantage. Empty if nothing differs. weight: `VideoReward.part_weights`."""
    spread = {name: weight[name] * std[name] for name in weight if name in std}
    total = sum(spread.values())
    return {name: value / total for name, value in spread.items()} if total > 0 else {}


def absent_parts(reward: CompositeReward, prompt: Prompt, trajectory: Trajectory | None) -> dict[str, str]:
    """Every part that does not exist for a prompt, and why."""
    weight = weight_of(reward.config.weights)
    reasons = {}
    for name in weight.keys() - set(reward.part_names(prompt, trajectory)):
        if weight[name] == 0:
            reasons[name] = f"reward.weights.{name.partition('_')[2]} is 0"
        elif name == S_MOTION:
            reasons[name] = "the prompt is not a dynamic one: nothing is asked to move by itself"
        elif name == S_TRAJ and trajectory is None:
            reasons[name] = "the prompt has no camera words, so there is no path to follow"
        elif name == S_META and not has_parallax(trajectory):
            reasons[name] = "the requested camera stays in its place (fixed, pan): without parallax there is no 3D"
        else:
            reasons[name] = "3D parts are off for dynamic prompts"
    return {name: reasons[name] for name in PARTS if name in reasons}


def _absent_of_own(reward: OwnReward, results: Sequence[RewardResult]) -> dict[str, str]:
    """The same of a user's own reward, which alone knows why."""
    given = {name for result in results if result.status is not Status.FAULT for name in result.parts}
    left_out = [name for name in reward.part_weights if given and name not in given]
    return dict.fromkeys(left_out, "the reward does not give it for this prompt")


def _score_group(
    reward: CompositeReward | OwnReward, videos: Sequence[PromptedVideo], std_floor: float, with_pictures: bool
) -> RewardGroup:
    prompt, num = videos[0].prompt, len(videos)
    tokens = parse_plan(prompt.text).tokens
    path = requested_path(tokens, len(videos[0].video))
    results = reward(torch.stack([v.video for v in videos]), [prompt] * num, [path] * num, False)
    # a reward that is not finite is a fault, whatever its status says (as in rollout.collector)
    valid = [r.status is not Status.FAULT and math.isfinite(r.value) for r in results]
    values = torch.tensor([[r.value for r in results]], dtype=torch.float64)
    advantages = group_advantages(values, torch.tensor([valid]), std_floor=std_floor).values[0].tolist()
    std = _stds([r for r, usable in zip(results, valid, strict=True) if usable])
    if isinstance(reward, OwnReward):
        composite, weights, absent = None, reward.part_weights, _absent_of_own(reward, results)
    else:
        composite, weights, absent = reward, weight_of(reward.config.weights), absent_parts(reward, prompt, path)
    members = [
        Member(
            path=v.path,
            video=v.video,
            result=result,
            valid=usable,
            advantage=advantage,
            pictures=look(composite, v, path, result) if composite is not None and with_pictures and usable else None,
        )
        for v, result, usable, advantage in zip(videos, results, valid, advantages, strict=True)
    ]
    return RewardGroup(
        prompt=prompt,
        tokens=tokens,
        trajectory=path,
        absent=absent,
        members=tuple(members),
        std_floor=std_floor,
        known=tuple(weights),
        std=std,
        share=spread_shares(weights, std),
    )


def _stds(results: Sequence[RewardResult]) -> dict[str, float]:
    """As `rollout.collector.reward_metrics` logs them for one group."""
    if len(results) < 2:
        return {}
    parts = {name: stdev([r.parts[name] for r in results]) for name in results[0].parts}
    return {REWARD: stdev([r.value for r in results]), **parts}


# ------------------------------------------------------------------------------------------------------------ pictures


@torch.no_grad()
def look(
    reward: CompositeReward, video: PromptedVideo, trajectory: Trajectory | None, result: RewardResult
) -> Pictures:
    """Asks the reward's models once more about a video that was scored without a fault, and keeps what they saw.

    The same calls on the same tensors as in `CompositeReward`, so the pictures belong to the numbers of `result`.
    """
    scores = _frame_scores(reward, video) if R_GEN in result.parts else ()
    found = reward.reconstructor(video.video[None])[0] if result.parts.keys() - {R_GEN} else None
    if found is None or found.status is not Status.OK:
        return Pictures(frame_scores=scores)
    redrawn, frames = None, ()
    if S_RECON in result.parts:
        redrawn = _redraw(reward, video, found)
        frames = tuple(split_frames(len(video.video), holdout=reward.config.reconstruction.holdout)[1])
    off_path, digits, text = None, None, scene_text(video.prompt.text)
    if S_META in result.parts and result.status is Status.OK:  # of a rejected video the critic is not asked
        off_path = _off_path_view(reward, video, found, trajectory)
        digits = reward.critic(off_path[None], [text])[0].cpu()
    return Pictures(
        frame_scores=scores,
        reconstruction=found,
        redrawn=redrawn,
        target_frames=frames,
        residual=residual_map(at_size(video.video, found), found) if S_MOTION in result.parts else None,
        off_path=off_path,
        digits=digits,
        critic_text=text,
    )


def _frame_scores(reward: CompositeReward, video: PromptedVideo) -> tuple[float, ...]:
    frames = video.video[: reward.config.quality.num_frames]
    return tuple(reward.quality(frames, [video.prompt.text] * len(frames)).tolist())


def _redraw(reward: CompositeReward, video: PromptedVideo, found: Reconstruction) -> Redrawn:
    config, sized = reward.config.reconstruction, at_size(video.video, found)
    views = _render(reward, redraw_jobs([sized], [found], config=config)[0], sized, BEHIND_GREY)
    return compare_redrawn(sized, views, config=config)


def _off_path_view(
    reward: CompositeReward, video: PromptedVideo, found: Reconstruction, trajectory: Trajectory | None
) -> Float[Tensor, "3 H W"]:
    config, sized = reward.config, at_size(video.video, found)
    side, lift = meta_view_side(trajectory, config.meta_view), config.reconstruction.lift
    job = meta_view_jobs([video.video], [found], [side], config=config.meta_view, lift=lift)[0]
    return _render(reward, job, sized, UNSEEN_GREY).colors[0].to(video.video)


def _render(reward: CompositeReward, job: RenderJob, video: Float[Tensor, "T 3 H W"], grey: float) -> RenderedViews:
    height, width = video.shape[-2:]
    return render_jobs(reward.renderer, [job], height=height, width=width, background=video.new_full((3,), grey))[0]
