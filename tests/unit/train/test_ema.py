"""The moving average: schedule, swapping, state."""

import pytest
import torch

from worldr1.errors import CheckpointError
from worldr1.train.ema import Ema


def test_decay_rises_to_its_limit() -> None:
    parameters = {"w": torch.nn.Parameter(torch.zeros(1))}
    ema = Ema(parameters, decay=0.2)
    expected, value = [], 0.0
    for n, decay in enumerate([0.1, 2 / 11, 0.2, 0.2]):
        with torch.no_grad():
            parameters["w"].fill_(n + 1.0)
        ema.update(parameters)
        value = decay * value + (1 - decay) * (n + 1.0)
        expected.append(value)
        assert ema.values["w"].item() == pytest.approx(value, rel=1e-6)
    assert ema.num_updates == 4


def test_swap_puts_the_average_in_and_the_parameters_back_exactly() -> None:
    parameter = torch.nn.Parameter(torch.full((3,), 0.1))
    ema = Ema({"w": parameter}, decay=0.9)
    with torch.no_grad():
        parameter.fill_(0.7)
    before = parameter.detach().clone()
    with pytest.raises(KeyError), ema.swap({"w": parameter}):
        assert torch.equal(parameter, torch.full((3,), 0.1))
        raise KeyError
    assert torch.equal(parameter, before)


def test_state_round_trip_continues_bit_for_bit() -> None:
    parameters = {"a": torch.randn(4, generator=torch.Generator().manual_seed(0)), "b": torch.ones(2)}
    ema = Ema(parameters, decay=0.9)
    ema.update({name: value + 1 for name, value in parameters.items()})
    state = ema.state_dict()
    resumed = Ema({name: torch.zeros_like(value) for name, value in parameters.items()}, decay=0.9)
    resumed.load_state_dict(state)
    for average in (ema, resumed):
        average.update({name: value * 3 for name, value in parameters.items()})
    assert all(torch.equal(ema.values[name], resumed.values[name]) for name in parameters)
    assert not torch.equal(state["a"], ema.values["a"])  # the state is a copy
    with pytest.raises(CheckpointError, match="other parameters"):
        Ema({"c": torch.zeros(1)}, decay=0.9).load_state_dict(state)
