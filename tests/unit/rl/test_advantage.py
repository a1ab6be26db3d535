import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldr1.errors import InputError
from worldr1.rl.advantage import group_advantages

NAN = math.nan


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_values_are_standardised_with_ddof_one():
    out = group_advantages(tensor([1.0, 2.0, 3.0]), torch.ones(1, 3, dtype=torch.bool), std_floor=0.01)
    assert out.values[0].tolist() == pytest.approx([-1, 0, 1])
    assert out.kept.tolist() == [True]


def test_absent_members_change_nothing_for_the_others():
    valid = torch.tensor([[True, False, True, True]])
    masked = group_advantages(tensor([1.0, NAN, 2.0, 6.0]), valid, std_floor=0.01).values[0]
    alone = group_advantages(tensor([1.0, 2.0, 6.0]), torch.ones(1, 3, dtype=torch.bool), std_floor=0.01).values[0]
    assert masked[[0, 2, 3]].tolist() == pytest.approx(alone.tolist())
    assert masked[1] == 0


def test_groups_with_fewer_than_two_valid_members_are_dropped():
    valid = torch.tensor([[False, False], [True, False], [True, True]])
    out = group_advantages(tensor([NAN, NAN], [5.0, NAN], [0.0, 1.0]), valid, std_floor=0.01)
    assert out.kept.tolist() == [False, False, True]
    assert out.values[:2].abs().max() == 0
    assert out.values[2].tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])


def test_the_floor_keeps_noise_small():
    valid = torch.ones(2, 2, dtype=torch.bool)
    out = group_advantages(tensor([1.0, 1.0], [1.0, 1.001]), valid, std_floor=0.05)
    assert out.values[0].tolist() == [0, 0]
    assert out.values[1].tolist() == pytest.approx([-0.01, 0.01])


def test_largest_advantage_of_eight_is_the_known_bound():
    rewards = tensor([1.0] + [0.0] * 7)
    out = group_advantages(rewards, torch.ones(1, 8, dtype=torch.bool), std_floor=1e-6)
    assert float(out.values.max()) == pytest.approx(7 / math.sqrt(8))


@settings(max_examples=60, deadline=None)
@given(
    rewards=st.lists(st.floats(-4, 4), min_size=2, max_size=12),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 10_000),
)
def test_equivariant_zero_mean_and_shift_invariant(rewards, shift, seed):
    g = torch.Generator().manual_seed(seed)
    valid = torch.rand(1, len(rewards), generator=g) < 0.7
    permutation = torch.randperm(len(rewards), generator=g)
    values = tensor(rewards)
    out = group_advantages(values, valid, std_floor=0.04)
    permuted = group_advantages(values[:, permutation], valid[:, permutation], std_floor=0.04)
    torch.testing.assert_close(permuted.values, out.values[:, permutation])
    torch.testing.assert_close(group_advantages(values + shift, valid, std_floor=0.04).values, out.values)
    assert float(out.values.sum()) == pytest.approx(0, abs=1e-9)
    assert bool((out.values[~valid] == 0).all())


@pytest.mark.parametrize(
    ("rewards", "valid", "floor"),
    [
        (tensor([1.0, NAN]), torch.tensor([[True, True]]), 0.01),
        (tensor([1.0, 2.0]), torch.tensor([[True, True]]), 0.0),
        (tensor([1.0, 2.0]), torch.tensor([True, True]), 0.01),
    ],
)
def test_bad_input_is_refused(rewards, valid, floor):
    with pytest.raises(InputError):
        group_advantages(rewards, valid, std_floor=floor)
