"""Exponential moving average of the trained parameters: what is evaluated and shipped."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from worldr1.errors import CheckpointError

_COUNT = "num_updates"


@contextmanager
def swapped(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, `parameters` hold `values`; afterwards exactly what they held before, also after an exception."""
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(values[name])
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])


class Ema:
    """ema <- d ema + (1 - d) parameter with d = min(decay, (1 + n) / (10 + n)) after n updates.

    The rising decay lets a short run forget its start (the schedule of flow_grpo, research/rl.md 1.4). Averages are
    float32 on the parameters' device.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        """Starts at `parameters`. decay: 0 copies the parameters each time, 1 - 1/n averages over about n updates."""
        self.decay = decay
        self.num_updates = 0
        self.values: dict[str, Tensor] = {
            name: parameter.detach().to(torch.float32, copy=True) for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Takes in the parameters after one update."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        # all at once: one call each would be a launch each
        now = [parameter.float() for parameter in parameters.values()]
        torch._foreach_lerp_([self.values[name] for name in parameters], now, 1.0 - decay)
        self.num_updates += 1

    @contextmanager
    def swap(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, `parameters` hold the averages."""
        with swapped(parameters, self.values):
            yield

    def state_dict(self) -> dict[str, Tensor]:
        """Copies on the CPU of the averages by name, and the number of updates under `num_updates`."""
        averages = {name: value.to("cpu", copy=True) for name, value in self.values.items()}
        return averages | {_COUNT: torch.tensor(self.num_updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up a saved average; raises CheckpointError if it is one of other parameters."""
        if state.keys() != self.values.keys() | {_COUNT}:
            raise CheckpointError("The saved average is of other parameters; resume with the recipe it was saved with.")
        self.num_updates = int(state[_COUNT])
        for name, value in self.values.items():
            value.copy_(state[name])
