"""Does this recipe's reward tell a good clip from a damaged one? Asked on rendered clips, whose cameras are known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldr1.build import ClipConfig
from worldr1.checkup.findings import Finding, timed
from worldr1.evaluate.scoring.reward_parts import PromptedVideo, look
from worldr1.pretrain.corpus import warp
from worldr1.rewards.composite import S_META, S_RECON, CompositeReward
from worldr1.rewards.own import OwnReward
from worldr1.testing import Example, example_clips
from worldr1.types import RewardResult, Status

CLIPS, MAX_FRAMES = 2, 17
WARP, SOFTEN = 3 / 96, 4
"""Damage: displacement (rms) in picture widths; factor by which frames are shrunk and enlarged again."""
CLEAN, WARPED, BLURRED = "clean", "warped", "blurred"
MAX_ROTATION_DEG, MIN_DIGIT_MASS = 1.0, 0.5

Scores = Mapping[str, Sequence[RewardResult]]
"""Kind of clip -> its results."""


class Ask(NamedTuple):
    """A check's name, thresholds and remedy; its number comes later."""

    name: str
    at_least: float | None
    at_most: float | None
    detail: str
    fix: str

    def finding(self, value: float, *, broken: str = "", note: str = "") -> Finding:
        """With its number."""
        return Finding(
            name=self.name,
            value=value,
            at_least=self.at_least,
            at_most=self.at_most,
            detail=self.detail + note,
            fix=self.fix,
            broken=broken,
        )


CAMERA = Ask(
    "camera path", None, MAX_ROTATION_DEG,
    "rotation error of the 3D model's cameras on rendered clips, degrees, mean over frames",
    "the weights are not those of this 3D model, or damaged: fetch them again (reward.models.reconstructor); with "
    "random weights nothing can be found",
)  # fmt: skip
RECON = Ask(
    "S_recon", 0.0, None,
    "S_recon of clean clips minus that of the same ones warped",
    "look at the re-render: worldr1 score --rewards RECIPE VIDEO --out DIR; the 3D model or the perceptual model "
    "(reward.models.perceptual) does not see what it must",
)  # fmt: skip
CRITIC = Ask(
    "critic", 0.0, None,
    "S_meta of clean clips minus that of the same ones warped",
    "look at the critic's picture and digits (worldr1 score --rewards RECIPE VIDEO --out DIR); take another "
    "reward.models.critic, or leave it out (reward.weights.meta = 0)",
)  # fmt: skip
DIGITS = Ask(
    "digit mass", MIN_DIGIT_MASS, None,
    "probability that the critic's answer is a digit at all",
    "take an Instruct variant of the critic, not a thinking one: its answer begins with something else",
)  # fmt: skip
QUALITY = Ask(
    "quality", 0.0, None,
    "quality score of clean frames minus that of blurred ones, in the model's units",
    "the quality model prefers blur: its head or weights do not belong to it (reward.models.quality)",
)  # fmt: skip
OWN = Ask(
    "custom reward", 0.0, None,
    "largest minus smallest value among clean, warped and blurred clips",
    "a reward that gives every clip the same value teaches nothing; ask it the contract: worldr1.testing.check_reward",
)  # fmt: skip


class Clips(NamedTuple):
    """Clean clips and their damaged copies."""

    example: Example
    videos: dict[str, Float[Tensor, "B T 3 H W"]]


def make_clips(clip: ClipConfig, device: str) -> Clips:
    """Rendered at the recipe's size, at most `MAX_FRAMES` frames of it."""
    frames = min(clip.frames, MAX_FRAMES)
    example = example_clips(CLIPS, frames=frames, height=clip.height, width=clip.width, device=device)
    clean = example.videos
    small = F.interpolate(clean.flatten(0, 1), scale_factor=1 / SOFTEN, mode="area")
    soft = F.interpolate(small, size=clean.shape[-2:], mode="bilinear", align_corners=False)
    amplitude_px = torch.full((len(clean),), WARP * clip.width)
    bent = warp(clean, amplitude_px, torch.Generator().manual_seed(1))
    return Clips(example, {CLEAN: clean, WARPED: bent, BLURRED: soft.unflatten(0, clean.shape[:2]).clamp(0, 1)})


def judging(reward: CompositeReward | OwnReward, clips: Clips) -> list[Finding]:
    """Every check that the reward's parts allow. A fault or a rejected clean clip fails the checks that rest on it."""
    scored: dict[str, list[RewardResult]] = {}

    def score() -> Finding:
        _, prompts, paths = clips.example
        for kind, videos in clips.videos.items():
            scored[kind] = reward(videos, prompts, paths, False)
        return OWN.finding(0.0)

    seconds = timed(score).seconds
    found = [_own(scored)] if isinstance(reward, OwnReward) else list(_parts(reward, clips, scored))
    return [replace(finding, seconds=finding.seconds + seconds / len(found)) for finding in found]


def _own(scored: Scores) -> Finding:
    results = [result for kind in scored.values() for result in kind]
    broken = next((f"{r.status}: {r.reason}" for r in results if r.status is Status.FAULT), "")
    values = [r.value for r in results]
    means = ", ".join(f"{kind} {fmean(r.value for r in found):.3f}" for kind, found in scored.items())
    return OWN.finding(math.nan if broken else max(values) - min(values), broken=broken, note=f" ({means})")


def _parts(reward: CompositeReward, clips: Clips, scored: Scores) -> Iterator[Finding]:
    config, clean = reward.config, scored[CLEAN]
    trouble = next((f"a clean clip is {r.status}: {r.reason}" for r in clean if r.status is not Status.OK), "")
    if "reconstructor" in config.needed:
        angles = [r.measures["rotation_error_deg"] for r in clean if "rotation_error_deg" in r.measures]
        yield CAMERA.finding(fmean(angles) if angles else math.nan, broken="" if angles else trouble or "no path")
    if config.weights.recon > 0:
        yield _difference(RECON, scored, WARPED, lambda r: r.parts[S_RECON], trouble)
    if config.weights.meta > 0:
        yield _difference(CRITIC, scored, WARPED, lambda r: r.parts[S_META], trouble)
        if not trouble and callable(judge := getattr(reward.critic, "judge", None)):
            yield timed(lambda: DIGITS.finding(_digit_mass(reward, clips, judge)))
    if config.weights.gen > 0:
        yield _difference(QUALITY, scored, BLURRED, lambda r: r.measures.get("quality", math.nan), "")


def _difference(ask: Ask, scored: Scores, damage: str, number: Any, trouble: str) -> Finding:
    """Clean minus damaged; a damaged clip that is rejected has its floor, which is what training would see."""
    faults = [r for kind in (CLEAN, damage) for r in scored[kind] if r.status is Status.FAULT]
    if trouble or faults:
        return ask.finding(math.nan, broken=trouble or f"{faults[0].status}: {faults[0].reason}")
    clean, damaged = (fmean(number(r) for r in scored[kind]) for kind in (CLEAN, damage))
    return ask.finding(clean - damaged, note=f" ({clean:.3f} and {damaged:.3f})")


def _digit_mass(reward: CompositeReward, clips: Clips, judge: Any) -> float:
    """The least over the clean clips' off-path views; judge: as `backends.critics` have it, answers with a mass [B]."""
    (videos, prompts, paths), masses = clips.example, []
    for video, prompt, path in zip(videos, prompts, paths, strict=True):
        result = reward(video[None], [prompt], [path], False)[0]
        seen = look(reward, PromptedVideo("clean", video, prompt), path, result)
        if seen.off_path is not None:
            masses.append(float(judge(seen.off_path[None], [seen.critic_text]).mass[0]))
    return min(masses, default=math.nan)
