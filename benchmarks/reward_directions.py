"""Which way does a reward push? Correlation, inside groups, of its advantages with what the judge measures.

    python benchmarks/reward_directions.py [mini] [--groups 12] [--dynamic-groups 4] [--weights 1,1,1,1 1,4,1,0.5 ...]

Groups as training samples them (one start noise, one SDE step, G members), every part of the reward, and the judge that
no reward meets on the same videos. To first order a policy gradient moves each measure by its covariance with the
advantage: a weighting whose advantages correlate with less travel will make cameras travel less. Nothing is trained.
Weights are meta,recon,traj,gen; a trailing g is `reward.travel_gate`. Dynamic prompts are scored as in their phase, by
R_gen and S_motion, whose weights are the last two of five numbers. In brackets: standard error over groups. Eight
minutes for the defaults on one CPU core.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from machine import heading

from worldr1.assembly import training_prompts
from worldr1.build import ExperimentConfig, build_judge, build_policy, build_reward, choose_device, load_experiment
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.metrics.catalogue import MOVER_MOTION, WORDS
from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ, TRAVEL_SHARE, RewardWeights
from worldr1.rollout.sampler import GroupRequest, draw_step_indices, sample_groups
from worldr1.rollout.start_noise import PlanCache, start_noise
from worldr1.seeding import derive_seed, make_generator
from worldr1.types import Status

PARTS = (S_META, S_RECON, S_TRAJ, R_GEN, S_MOTION)
MEASURES = {
    "psnr_holdout_db": 1,
    "rotation_error_deg": -1,
    "translation_error": -1,
    "travel_ratio": 1,
    "image_gradient": 1,
    WORDS: 1,
    MOVER_MOTION: 1,
}
"""By the judge; -1: less is better, so its sign is turned in the table, where more is always better."""
DYNAMIC = ("0,0,0,1", "0,0,0,0,1", "0,0,0,0.3,1", "0,0,0,0.3,2")
"""What dynamic prompts are shown with."""
Group = list[dict[str, float]]
"""Parts and measures of every member."""


class Weighting(NamedTuple):
    """How the parts are added up."""

    text: str
    factors: tuple[float, ...]
    gate: bool

    @classmethod
    def parse(cls, text: str) -> "Weighting":
        """From "1,4,1,0.5" or "1,4,1,0.5g" or "0,0,0,1,1". Raises ValueError for anything but four or five numbers."""
        factors = tuple(float(number) for number in text.removesuffix("g").split(","))
        if len(factors) not in (len(PARTS) - 1, len(PARTS)):
            raise ValueError(f"{text} is no weighting: give meta,recon,traj,gen or meta,recon,traj,gen,motion")
        return cls(text, (*factors, 0.0)[: len(PARTS)], text.endswith("g"))

    def __call__(self, member: dict[str, float]) -> float:
        """The reward of a member; a part that its prompt does not have is left out."""
        share = member.get(TRAVEL_SHARE, 1.0) if self.gate else 1.0
        gates = {S_META: share, S_RECON: share}
        return sum(w * gates.get(p, 1.0) * member[p] for w, p in zip(self.factors, PARTS, strict=True) if p in member)


def sample(config: ExperimentConfig, num: int, *, dynamic: bool, device: str) -> list[Group]:
    """`num` groups of the base model, scored and judged; members that are not valid by either are left out."""
    policy, judge = build_policy(config.model, device), build_judge(device)
    every = replace(config.reward, weights=RewardWeights(motion=1.0), travel_gate=False)
    reward = build_reward(every, device, config.clip)
    sets, plans, groups = training_prompts(config.prompts), PlanCache(), []
    prompts = (sets.dynamic if dynamic else sets.main)[:num]
    shape = policy.latent_shape(config.clip.frames, config.clip.height, config.clip.width)
    for prompt in prompts:
        tokens = parse_plan(prompt.text).tokens
        path = requested_path(tokens, config.clip.frames)
        seeds = [derive_seed(0, "directions", prompt.id, dynamic, m) for m in range(config.train.group_size)]
        request = GroupRequest(
            prompt=prompt,
            trajectory=path,
            embeddings=policy.encode([prompt.text]),
            start=start_noise(path, shape, seeds[:1], config.noise, plans).to(device),
            step_indices=draw_step_indices(config.sampler, make_generator(0, "directions", prompt.id, dynamic)),
            seeds=tuple(seeds),
        )
        (rollout,) = sample_groups(policy, [request], config=config.sampler, policy_version=0)
        videos, size = policy.decode(rollout.latents), len(seeds)
        results = reward(videos, [prompt] * size, [path] * size, dynamic)
        records = judge(videos, [Task(prompt, tokens, path, seed) for seed in seeds])
        members = [
            r.parts | {TRAVEL_SHARE: r.measures.get(TRAVEL_SHARE, 1.0)} | dict(judged.measures)
            for r, judged in zip(results, records, strict=True)
            if r.status is Status.OK is judged.status
        ]
        groups.append(members)
    return groups


def correlation(
    groups: Sequence[Group], reward: Callable[[dict[str, float]], float], measure: str
) -> tuple[float, float]:
    """Mean over groups of the correlation of reward and measure, with its standard error; NaN without two groups."""
    found = []
    for group in groups:
        members = [member for member in group if math.isfinite(member.get(measure, math.nan))]
        pairs = torch.tensor([[reward(member), member[measure]] for member in members], dtype=torch.float64)
        if len(members) > 2 and bool((pairs.std(0) > 0).all()):
            found.append(float(torch.corrcoef(pairs.T)[0, 1]))
    if len(found) < 2:
        return math.nan, math.nan
    return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))


def table(groups: Sequence[Group], weightings: Sequence[Weighting]) -> str:
    """Markdown: one line a weighting, signs turned so that more is better."""
    names = [name for name in MEASURES if any(name in member for group in groups for member in group)]
    lines = [f"| meta,recon,traj,gen | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    for weighting in weightings:
        cells = [correlation(groups, weighting, name) for name in names]
        text = [f"{MEASURES[n] * mean:+.2f} ({error:.2f})" for n, (mean, error) in zip(names, cells, strict=True)]
        lines.append(f"| {weighting.text} | {' | '.join(text)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the command, the machine and a table for static and for dynamic prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="mini")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--groups", type=int, default=12)
    parser.add_argument("--dynamic-groups", type=int, default=4)
    default = [
        "1,1,1,1",
        "1,4,1,0.5",
        "1,4,3,0.5",
        "1,4,1,0.5g",
        "1,4,3,0.5g",
        "0,1,0,0",
        "1,0,0,0",
        "0,0,1,0",
        "0,0,0,1",
    ]
    parser.add_argument("--weights", nargs="+", default=default, metavar="W")
    args = parser.parse_args()
    config, device = load_experiment(args.recipe, tuple(args.set)), choose_device()
    weightings = [Weighting.parse(text) for text in args.weights]
    print(heading())
    for dynamic, num in ((False, args.groups), (True, args.dynamic_groups)):
        if num:
            groups = sample(config, num, dynamic=dynamic, device=device)
            kind = "dynamic" if dynamic else "static"
            shown = [Weighting.parse(text) for text in DYNAMIC] if dynamic else weightings
            print(
                f"\n{num} {kind} prompts, {config.train.group_size} videos each\n\n{table(groups, shown)}", flush=True
            )


if __name__ == "__main__":
    main()
