"""What the numbers of a group of videos say, in words and as data."""

import math
from dataclasses import asdict
from statistics import fmean
from typing import Any

from worldr1.evaluate.scoring.reward_parts import DOMINANT_SHARE, REWARD, Member, RewardGroup, title_of
from worldr1.evaluate.statistics.values import finite
from worldr1.rewards.composite import R_GEN, S_TRAJ
from worldr1.rewards.trajectory import has_parallax, requested_extent
from worldr1.types import Status

SATURATED = 0.95
"""|R_gen| above which tanh is flat: a change of the score moves it by less than a tenth of what it does at 0."""
LOST_PATH = 0.05
"""S_traj below which it is flat: the slope of exp(-x) is exp(-x)."""


def findings(group: RewardGroup) -> list[str]:
    """What the numbers say, in the order in which a person should look, and what to do: whole sentences."""
    num_valid = sum(member.valid for member in group.members)
    said = [_trouble(member) for member in group.members if member.result.status is not Status.OK]
    if num_valid < 2:
        return [
            *said,
            "One video alone is no group: give more videos of this prompt to see their spread and advantages.",
        ]
    if (spread := group.std[REWARD]) < group.std_floor:
        said.append(
            f"The videos score alike (std {spread:.3f}, below train.std_floor {group.std_floor:g}), so this prompt "
            "hardly teaches: they need to differ more (sampler.kernel, sampler.level, sampler.first_index)."
        )
    for name, share in group.share.items():
        if share > DOMINANT_SHARE and len(group.share) > 1:
            factor = f"reward.weights.{name.partition('_')[2]}" if group.ours else "its factor"
            said.append(
                f"{title_of(name)} holds {share:.0%} of the spread, so it decides nearly alone which video is better: "
                f"lower {factor} if that is not wanted."
            )
    return said + _flat_parts(group) + _still(group)


def _trouble(member: Member) -> str:
    """A fault or a rejection in plain words."""
    if member.result.status is Status.FAULT:
        return (
            f"{member.path}: a model of the reward failed ({member.result.reason}). That is a fault of ours, not the "
            "video's; training leaves the video out of its group. Look at the model's memory and inputs."
        )
    return (
        f"{member.path}: rejected, {member.result.reason}. Its 3D parts take reward.rejected_value, and it counts. "
        "Watch the video: it has no texture, or its frames do not show one scene."
    )


def _flat_parts(group: RewardGroup) -> list[str]:
    """Parts that cannot tell these videos apart because of where their values lie."""
    said = []
    values = {name: _values(group, name) for name in group.names}
    if (gen := values.get(R_GEN)) and min(map(abs, gen)) > SATURATED:
        said.append(
            f"R_gen is at its end ({fmean(gen):+.2f} on average), where tanh is flat: reward.quality.base_mean and "
            "base_std are not those of this model. Set them to the mean and spread of `quality` on its own samples."
        )
    if (traj := values.get(S_TRAJ)) and max(traj) < LOST_PATH:
        said.append(
            f"S_traj is below {LOST_PATH:g} for every video, where it is flat too: the cameras go another way "
            "altogether. Compare `worldr1 camera --prompt` with the paths."
        )
    return said


def _still(group: RewardGroup) -> list[str]:
    """Cameras that go less than half of the requested way: what reconstructs best is a camera that does not move."""
    if group.trajectory is None or not has_parallax(group.trajectory):
        return []
    extent = requested_extent(group.trajectory)
    travels = [member.result.measures.get("travel_depth_units", math.inf) for member in group.members]
    slow = sum(travel < extent / 2 for travel in travels)
    if not slow:
        return []
    return [
        f"The camera of {slow} of {len(travels)} videos goes less than half of the requested way ({extent:.2f} depth "
        "units): a still video re-renders well and shows no 3D."
    ]


def _values(group: RewardGroup, name: str) -> list[float]:
    return [member.result.parts[name] for member in group.members if member.valid and name in member.result.parts]


def as_json(group: RewardGroup) -> dict[str, Any]:
    """The group as strict JSON data, without pictures: what is not finite is None. Names are an interface."""
    return {
        "prompt": group.prompt.text,
        "dynamic": group.prompt.dynamic,
        "tokens": list(group.tokens),
        "absent": group.absent,
        "std_floor": group.std_floor,
        "std": group.std,
        "share": group.share,
        "findings": findings(group),
        "videos": [_member_json(member) for member in group.members],
    }


def _member_json(member: Member) -> dict[str, Any]:
    result = asdict(member.result)
    return {
        "path": member.path,
        "reward": finite(result.pop("value")),
        "parts": {name: finite(value) for name, value in result.pop("parts").items()},
        "advantage": member.advantage,
        **result,  # status, reason, measures
    }
