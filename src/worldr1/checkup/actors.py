"""Whether a remote recipe's reward actors start, and whether they say what the same models say in this process."""

import math
from dataclasses import replace

from worldr1.build import ExperimentConfig, build_reward, release_reward
from worldr1.checkup.findings import Finding
from worldr1.cluster.ray_actors import where
from worldr1.protocols import VideoReward
from worldr1.testing import Example
from worldr1.types import Status

TOLERANCE = {"cpu": 1e-9, "cuda": 1e-2}
"""Of a reward, whose range is about 4: nothing on a CPU, where the numbers are the same to the bit; on GPUs, which may
be of two kinds, what their kernels round."""


def not_asked(config: ExperimentConfig, device: str) -> Finding:
    """The finding without its number."""
    return Finding(
        name="reward actors",
        value=math.nan,
        at_most=TOLERANCE["cuda" if device == "cuda" else "cpu"],
        detail=f"largest difference of a clean clip's reward there and here; {where(config.reward.remote, device)}",
        fix="read what the actors said above; the same worldr1, models and code of your own must be on every node "
        "(reward.remote.*)",
    )


def actors(config: ExperimentConfig, device: str, reward: VideoReward, clips: Example) -> Finding:
    """reward: the recipe's, in this process. clips: those to compare on."""
    otherwise = not_asked(config, device)
    here = reward(clips.videos, clips.prompts, clips.paths, False)
    remote = build_reward(config.reward, device, config.clip)
    try:
        there = remote(clips.videos, clips.prompts, clips.paths, False)
    finally:
        release_reward(remote)
    for name, results in (("here", here), ("there", there)):
        if fault := next((r for r in results if r.status is Status.FAULT), None):
            return replace(otherwise, broken=f"a fault {name}: {fault.reason}")
    differences = [abs(a.value - b.value) for a, b in zip(here, there, strict=True)]
    return replace(otherwise, value=max(differences))
