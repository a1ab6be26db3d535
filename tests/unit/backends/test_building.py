"""Modules are made on their device, in their dtype, from their own seed, and nobody else notices."""

import pytest
import torch
from torch import nn

from worldr1.backends.building import drawing


def make(seed: int) -> nn.Linear:
    """A layer in bfloat16."""
    with drawing(torch.device("cpu"), torch.bfloat16, seed):
        return nn.Linear(4, 4)


def test_the_seed_decides() -> None:
    torch.manual_seed(5)
    first = make(0).weight
    assert first.dtype is torch.bfloat16
    torch.manual_seed(6)
    assert torch.equal(make(0).weight, first)
    assert not torch.equal(make(1).weight, first)


@pytest.mark.parametrize("breaks", [False, True])
def test_the_global_state_is_left_alone(breaks: bool) -> None:
    torch.manual_seed(5)
    state, default = torch.random.get_rng_state(), torch.get_default_dtype()
    try:
        make(0)
        with drawing(torch.device("cpu"), torch.float16, 1):
            torch.rand(3)
            if breaks:
                raise KeyError
    except KeyError:
        assert breaks
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() is default
