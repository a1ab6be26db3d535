import math

import pytest
import torch

from worldr1.errors import InputError
from worldr1.rollout.collector import collect, reward_metrics
from worldr1.types import Prompt, RewardResult, Rollout, Status


def rollout(members):
    empty = torch.zeros(members, 1, 1, 1, 1)
    return Rollout(
        prompt=Prompt(id=0, text=""),
        trajectory=None,
        seeds=tuple(range(members)),
        policy_version=0,
        step_indices=(2,),
        states=(empty,),
        next_states=(empty,),
        old_velocities=(empty,),
        latents=empty,
    )


def reward(value, status=Status.OK, **parts):
    return RewardResult(value=value, parts=parts, status=status)


FAULT = reward(math.nan, Status.FAULT)


def test_faults_leave_the_group_and_rejected_videos_stay():
    rewards = [reward(1.0), FAULT, reward(0.0, Status.REJECTED), reward(math.nan)]
    (group,) = collect([rollout(4)], [rewards], std_floor=0.01)
    assert group.valid.tolist() == [True, False, True, False]
    assert group.advantages.tolist() == pytest.approx([math.sqrt(0.5), 0, -math.sqrt(0.5), 0])
    assert group.kept and group.advantages.dtype == torch.float32


def test_a_group_left_with_one_member_is_not_kept():
    groups = collect([rollout(2), rollout(3)], [[reward(1.0), FAULT], [reward(1.0)] * 3], std_floor=0.01)
    assert [g.kept for g in groups] == [False, True]


def test_metrics_are_means_over_members_and_spreads_inside_groups():
    one = [reward(3.0, s_traj=0.2, r_gen=1.0), reward(1.0, s_traj=0.4, r_gen=1.0), FAULT]
    two = [reward(0.0, Status.REJECTED, r_gen=0.0), reward(0.0, r_gen=0.0), reward(6.0, r_gen=3.0)]
    metrics = reward_metrics(collect([rollout(3), rollout(3)], [one, two], std_floor=0.01))
    assert metrics == pytest.approx(
        {
            "reward": 2.0,
            "reward_std": (math.sqrt(2) + math.sqrt(12)) / 2,
            "s_traj": 0.3,
            "s_traj_std": 0.2 / math.sqrt(2),
            "r_gen": 1.0,
            "r_gen_std": math.sqrt(3) / 2,
            "fault_fraction": 1 / 6,
            "rejected_fraction": 1 / 6,
        }
    )


def test_nothing_but_faults_is_counted_without_means():
    metrics = reward_metrics(collect([rollout(2)], [[FAULT, FAULT]], std_floor=0.01))
    assert metrics == {"fault_fraction": 1.0, "rejected_fraction": 0.0}
    assert reward_metrics([]) == {}


def test_counts_must_match():
    with pytest.raises(InputError):
        collect([rollout(2)], [[reward(1.0)]], std_floor=0.01)
