"""The reward of a video: R = (S_meta + S_recon + S_traj) + lambda_gen R_gen (paper Eq. 8 and 9), made honest.

A fifth part of ours, S_motion, may be added for dynamic prompts (`rewards.motion`).

Every result says whether it may be used (DESIGN section 5). A *fault* is ours (a model crashed or returned NaN): the
value is NaN and the sample leaves its group's statistics. A *rejection* is the video's (nothing to reconstruct, too
little of it explained): the 3D parts take their lowest value and the sample counts, or the policy would drift to
where it cannot be judged. A part that is undefined for a prompt is absent, and whether it is depends only on what was
*requested*, so all members of a group have the same parts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.camera.motion import scene_text
from worldr1.errors import InputError
from worldr1.protocols import Critic, PerceptualDistance, QualityModel, Reconstructor, Renderer
from worldr1.rewards.answers import check_digits, check_distances, check_reconstructions, check_scores
from worldr1.rewards.depth_units import depth_units
from worldr1.rewards.guard import Fault, Result, call_each, fault_result
from worldr1.rewards.meta_view import UNSEEN_GREY, expected_digit_score, meta_view_jobs, meta_view_side
from worldr1.rewards.motion import motion_score
from worldr1.rewards.quality import quality_reward
from worldr1.rewards.recipe import RewardConfig, RewardWeights
from worldr1.rewards.reconstruction import (
    BEHIND_GREY,
    Redrawn,
    at_size,
    compare_all_redrawn,
    reconstruction_score,
    redraw_jobs,
)
from worldr1.rewards.rendering import render_jobs
from worldr1.rewards.trajectory import (
    TrajectoryErrors,
    Travel,
    camera_travels,
    has_parallax,
    path_errors,
    recovered_paths,
    travel_share,
)
from worldr1.scene.gaussians import all_finite
from worldr1.scene.image_metrics import image_gradient
from worldr1.scene.residual_motion import residual_motion
from worldr1.types import Prompt, Reconstruction, RewardResult, Status, Trajectory

S_META, S_RECON, S_TRAJ, R_GEN, S_MOTION = "s_meta", "s_recon", "s_traj", "r_gen", "s_motion"
"""Names of the parts in `RewardResult.parts`."""
TRAVEL_SHARE = "travel_share"
"""Name of the measure that the gate uses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What one stage found out about one sample."""

    parts: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    rejected: str = ""
    """Reason, if the stage rejects the video."""
    reconstruction: Reconstruction | None = None


@dataclass(kw_only=True, slots=True)
class _Sample:
    """One video on its way through the stages."""

    video: Float[Tensor, "T 3 H W"]
    prompt: Prompt
    trajectory: Trajectory | None
    part_names: tuple[str, ...]
    parts: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    fault: str = ""
    rejected: str = ""
    lifted: Reconstruction | None = None

    @property
    def reconstruction(self) -> Reconstruction:
        """The accepted reconstruction; only asked for after the first stage."""
        if self.lifted is None:
            raise RuntimeError("the sample has no reconstruction")
        return self.lifted

    def take(self, outcome: _Outcome | Fault) -> None:
        """Adds a stage's outcome."""
        if isinstance(outcome, Fault):
            self.fault = outcome.reason
            return
        self.parts |= outcome.parts
        self.measures |= {name: value for name, value in outcome.measures.items() if math.isfinite(value)}
        self.rejected = self.rejected or outcome.rejected
        self.lifted = outcome.reconstruction or self.lifted


class CompositeReward:
    """Scores videos with the four parts, and S_motion if it is asked for.

    Example: reward = CompositeReward(reconstructor, renderer, critic, quality, perceptual, RewardConfig())
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        renderer: Renderer,
        critic: Critic,
        quality: QualityModel,
        perceptual: PerceptualDistance,
        config: RewardConfig,
    ) -> None:
        self.reconstructor = reconstructor
        self.renderer = renderer
        self.critic = critic
        self.quality = quality
        self.perceptual = perceptual
        self.config = config

    @property
    def licence(self) -> str:
        """Of its models, each once."""
        models = (self.reconstructor, self.critic, self.quality, self.perceptual)
        return "; ".join(dict.fromkeys(model.licence for model in models))

    @property
    def part_weights(self) -> Mapping[str, float]:
        """Part -> its factor in the sum; 0 for a part that is left out."""
        return weight_of(self.config.weights)

    def part_names(
        self, prompt: Prompt, trajectory: Trajectory | None, *, phase_dynamic: bool = False
    ) -> tuple[str, ...]:
        """The parts that exist for a prompt; the same for every video of its group.

        S_traj needs camera words; S_meta needs a path that is expected to have parallax (not `fixed`, not a pan).
        """
        weights, config = self.config.weights, self.config
        with_3d = not (phase_dynamic or (config.dynamic_rule == "prompt" and prompt.dynamic))
        exists = {
            S_META: with_3d and weights.meta > 0 and has_parallax(trajectory),
            S_RECON: with_3d and weights.recon > 0,
            S_TRAJ: with_3d and weights.traj > 0 and trajectory is not None,
            R_GEN: weights.gen > 0,
            S_MOTION: prompt.dynamic and weights.motion > 0,
        }
        return tuple(name for name, there in exists.items() if there)

    @torch.no_grad()
    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
    ) -> list[RewardResult]:
        """One result per video, in order.

        videos: 0..1. trajectories: the *requested* paths, None for a prompt without camera words. phase_dynamic: only
        R_gen and S_motion count. measures: image_gradient, quality (q, before its scaling); with R_3D or S_motion also
        median_depth, travel_depth_units, travel_deg, rotation_error_deg, translation_error, travel_share (of a request
        that goes somewhere); with S_recon psnr_holdout_db (psnr_db without holdout) and coverage; with S_motion
        residual_motion.
        Raises InputError if the arguments do not fit together; a model's failure is a result, not an exception.
        """
        self._check(videos, prompts, trajectories)
        names = _for_rows(lambda prompt, path: self._names(prompt, path, phase_dynamic), prompts, trajectories)
        samples = [
            _Sample(video=video, prompt=prompt, trajectory=path, part_names=part_names)
            for video, prompt, path, part_names in zip(videos, prompts, trajectories, names, strict=True)
        ]
        for start in range(0, len(samples), self.config.batch):
            self._score(samples[start : start + self.config.batch])
        return [self._result(sample) for sample in samples]

    def _names(self, prompt: Prompt, trajectory: Trajectory | None, phase_dynamic: bool) -> tuple[str, ...]:
        names = self.part_names(prompt, trajectory, phase_dynamic=phase_dynamic)
        if not names:
            raise InputError(
                f'No reward part is left for the prompt "{prompt.text}": give weights.gen or another part a weight.'
            )
        return names

    def _check(self, videos: Tensor, prompts: Sequence[Prompt], trajectories: Sequence[Trajectory | None]) -> None:
        if videos.ndim != 5 or videos.shape[2] != 3:
            raise InputError(f"Videos must be [B, T, 3, H, W], not {list(videos.shape)}.")
        num_videos, num_frames = videos.shape[:2]
        if not len(prompts) == len(trajectories) == num_videos:
            raise InputError(
                f"Give one prompt and one path per video: {num_videos} videos, {len(prompts)} prompts, "
                f"{len(trajectories)} paths."
            )
        needed = max(2, self.config.quality.num_frames)
        if num_frames < needed:
            raise InputError(f"Videos of {num_frames} frames are too short for this reward: give at least {needed}.")
        if any(path is not None and path.num_frames != num_frames for path in trajectories):
            raise InputError(f"A requested path does not have the videos' {num_frames} frames: plan it anew.")

    def _score(self, samples: Sequence[_Sample]) -> None:
        """Takes the samples through all stages."""
        in_3d = [s for s in samples if set(s.part_names) - {R_GEN}]
        self._stage("input", self._measure_input, samples)
        self._stage("reconstruction", self._lift, in_3d)
        self._stage("camera path", self._follow, in_3d)
        self._stage("motion", self._move, [s for s in in_3d if S_MOTION in s.part_names])
        self._stage("re-rendering", self._redraw, [s for s in in_3d if S_RECON in s.part_names])
        self._stage("off-path view", self._criticise, [s for s in in_3d if S_META in s.part_names])
        # a rejected video still has images to score
        self._stage("quality", self._rate, [s for s in samples if R_GEN in s.part_names], rejected_too=True)

    def _stage(
        self,
        what: str,
        stage: Callable[[Sequence[_Sample]], list[_Outcome]],
        samples: Sequence[_Sample],
        *,
        rejected_too: bool = False,
    ) -> None:
        """Runs one stage on the samples that can still take it."""
        able = [s for s in samples if not s.fault and (rejected_too or not s.rejected)]
        for sample, outcome in zip(able, call_each(stage, able, what), strict=True):
            sample.take(outcome)

    def _measure_input(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        videos = torch.stack([s.video for s in samples])
        if not all_finite(videos):
            raise ValueError("the video has pixels that are not finite")
        return [_Outcome(measures={"image_gradient": gradient}) for gradient in image_gradient(videos).tolist()]

    def _lift(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        videos = torch.stack([s.video for s in samples])
        reconstructions = self.reconstructor(videos)
        check_reconstructions(reconstructions, videos)
        outcomes = [_accept(r) for r in reconstructions]
        kept = [outcome.reconstruction for outcome in outcomes if outcome.reconstruction is not None]
        fields = ("world_from_camera", "depth", "intrinsics_px", "confidence")
        if kept and not all_finite(*(torch.stack([getattr(r, name) for r in kept]) for name in fields)):
            raise ValueError("the reconstruction has values that are not finite")
        return outcomes

    def _follow(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        lifted = [s.reconstruction for s in samples]
        paths, units = recovered_paths(lifted), depth_units(lifted).tolist()
        asked = [index for index, s in enumerate(samples) if s.trajectory is not None]
        requests = [s.trajectory for s in samples if s.trajectory is not None]
        errors: dict[int, TrajectoryErrors] = {}
        if asked:
            errors = dict(zip(asked, path_errors(paths[asked], requests, config=self.config.trajectory), strict=True))
        travels = camera_travels(paths)
        outcomes = [_followed(u, t, errors.get(i)) for i, (u, t) in enumerate(zip(units, travels, strict=True))]
        for index, request in zip(asked, requests, strict=True):
            if (share := travel_share(travels[index], request)) is not None:
                outcomes[index].measures[TRAVEL_SHARE] = share
        return outcomes

    def _move(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        found = [residual_motion(at_size(s.video, s.reconstruction), s.reconstruction) for s in samples]
        return [self._judge_motion(residual) for residual in found]

    def _judge_motion(self, residual: float | None) -> _Outcome:
        if residual is None:
            return _Outcome(rejected="no pixel of it can be followed from frame to frame")
        score = motion_score(residual, self.config.motion)
        return _Outcome(parts={S_MOTION: score}, measures={"residual_motion": residual})

    def _redraw(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        config = self.config.reconstruction
        videos = [at_size(s.video, s.reconstruction) for s in samples]
        jobs = redraw_jobs(videos, [s.reconstruction for s in samples], config=config)
        height, width = videos[0].shape[-2:]
        background = videos[0].new_full((3,), BEHIND_GREY)
        views = render_jobs(self.renderer, jobs, height=height, width=width, background=background)
        redrawn = compare_all_redrawn(videos, views, config=config)
        return [self._judge_redrawn(r, d) for r, d in zip(redrawn, self._distances(redrawn), strict=True)]

    def _distances(self, redrawn: Sequence[Redrawn]) -> list[float]:
        """Mean perceptual distance of each video's target frames."""
        drawn = torch.cat([r.drawn for r in redrawn])
        distances = self.perceptual(drawn, torch.cat([r.target for r in redrawn]))
        check_distances(distances, len(drawn))
        return distances.cpu().double().reshape(len(redrawn), -1).mean(1).tolist()

    def _judge_redrawn(self, redrawn: Redrawn, distance: float) -> _Outcome:
        least = self.config.reconstruction.min_coverage
        reason = f"its geometry explains {redrawn.coverage:.0%} of its pixels, less than {least:.0%}"
        name = "psnr_holdout_db" if self.config.reconstruction.holdout else "psnr_db"
        return _Outcome(
            parts={S_RECON: reconstruction_score(distance)},
            measures={name: redrawn.psnr_db, "coverage": redrawn.coverage},
            rejected=reason if redrawn.coverage < least else "",
        )

    def _criticise(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        config = self.config
        jobs = meta_view_jobs(
            [s.video for s in samples],
            [s.reconstruction for s in samples],
            _for_rows(lambda path: meta_view_side(path, config.meta_view), [s.trajectory for s in samples]),
            config=config.meta_view,
            lift=config.reconstruction.lift,
        )
        height, width = samples[0].reconstruction.depth.shape[-2:]
        background = samples[0].video.new_full((3,), UNSEEN_GREY)
        views = render_jobs(self.renderer, jobs, height=height, width=width, background=background)
        images = torch.cat([v.colors for v in views]).to(samples[0].video)
        # without camera words: the critic must not prefer one camera motion to another
        texts = _for_rows(lambda prompt: scene_text(prompt.text), [s.prompt for s in samples])
        digits = self.critic(images, texts)
        check_digits(digits, len(images))
        scores = expected_digit_score(digits)
        return [_Outcome(parts={S_META: score}) for score in scores.tolist()]

    def _rate(self, samples: Sequence[_Sample]) -> list[_Outcome]:
        num_frames = self.config.quality.num_frames
        frames = torch.cat([s.video[:num_frames] for s in samples])
        scores = self.quality(frames, [s.prompt.text for s in samples for _ in range(num_frames)])
        check_scores(scores, len(frames))
        means = scores.double().cpu().reshape(len(samples), num_frames).mean(dim=1).tolist()
        return [
            _Outcome(parts={R_GEN: quality_reward(mean, self.config.quality)}, measures={"quality": mean})
            for mean in means
        ]

    def _result(self, sample: _Sample) -> RewardResult:
        if sample.fault:
            return fault_result(sample.part_names, sample.fault, sample.measures)
        in_3d = (S_META, S_RECON, S_TRAJ, S_MOTION)
        floor = dict.fromkeys(in_3d, self.config.rejected_value) if sample.rejected else {}
        gate = sample.measures.get(TRAVEL_SHARE, 1.0) if self.config.travel_gate else 1.0
        gated = {name: gate * value for name, value in sample.parts.items() if name in (S_META, S_RECON)}
        found = sample.parts | gated | floor
        parts = {name: found[name] for name in sample.part_names}
        weight = self.part_weights
        return RewardResult(
            value=sum(weight[name] * value for name, value in parts.items()),
            parts=parts,
            status=Status.REJECTED if sample.rejected else Status.OK,
            reason=sample.rejected,
            measures=sample.measures,
        )


def weight_of(weights: RewardWeights) -> dict[str, float]:
    """Part -> its factor; S_motion only if it has one."""
    factors = {S_META: weights.meta, S_RECON: weights.recon, S_TRAJ: weights.traj, R_GEN: weights.gen}
    return factors | ({S_MOTION: weights.motion} if weights.motion > 0 else {})


def _for_rows(function: Callable[..., Result], *columns: Sequence[object]) -> list[Result]:
    """function of every row; asked once for the same objects, because a group shares its prompt and its path."""
    known: dict[tuple[int, ...], Result] = {}
    rows = list(zip(*columns, strict=True))
    for row in rows:
        if (key := tuple(map(id, row))) not in known:
            known[key] = function(*row)
    return [known[tuple(map(id, row))] for row in rows]


def _followed(depth_unit: float, travel: Travel, errors: TrajectoryErrors | None) -> _Outcome:
    """What is known of a camera; errors: against the requested path, if one was requested."""
    measures = {"median_depth": depth_unit, "travel_depth_units": travel.depth_units, "travel_deg": travel.deg}
    if errors is None:
        return _Outcome(measures=measures)
    measures["rotation_error_deg"] = math.degrees(errors.rotation_error_rad)
    measures["translation_error"] = errors.translation_error
    return _Outcome(parts={S_TRAJ: errors.score}, measures=measures)


def _accept(reconstruction: Reconstruction) -> _Outcome:
    """The reconstruction, or why its video is rejected; raises RuntimeError if the reconstructor failed."""
    if reconstruction.status is Status.FAULT:
        raise RuntimeError(reconstruction.reason)
    if reconstruction.status is Status.REJECTED:
        return _Outcome(rejected=reconstruction.reason or "it cannot be reconstructed")
    return _Outcome(reconstruction=reconstruction)
