"""A swapped model: its weights are elsewhere between calls, and back after an error."""

import pytest
import torch
from torch import Tensor, nn

from worldr1.backends.swapping import ALIGNMENT, Swapped, networks_of, tensors_of


class Model:
    """A network with a buffer, behind a call; it tells where its weights were."""

    licence = "test"

    def __init__(self) -> None:
        self.network = nn.BatchNorm1d(2).eval()
        self.places: list[int] = []

    def __call__(self, x: Tensor, *, fail: bool = False) -> Tensor:
        self.places.append(self.network.weight.data_ptr())
        if fail:
            raise RuntimeError("out of memory")
        return self.network(x)

    def digit_mass(self, x: Tensor) -> Tensor:
        self.places.append(self.network.weight.data_ptr())
        return self.network(x).sum()


def test_weights_move_in_for_a_call_and_the_host_keeps_its_own() -> None:
    model = Model()
    swapped, x = Swapped(model, "cpu"), torch.rand(3, 2)
    home = [t.data_ptr() for t in (*model.network.parameters(), *model.network.buffers())]
    assert torch.equal(swapped(x), model.network(x))
    assert torch.equal(swapped.digit_mass(x), model.network(x).sum())
    with pytest.raises(RuntimeError, match="out of memory"):
        swapped(x, fail=True)
    assert len(model.places) == 3 and home[0] not in model.places
    assert [t.data_ptr() for t in (*model.network.parameters(), *model.network.buffers())] == home
    assert (swapped.licence, swapped.network) == ("test", model.network)
    with pytest.raises(AttributeError):
        swapped.no_such_thing  # noqa: B018


def test_every_tensor_of_every_network_moves() -> None:
    class Holder:
        licence = "test"

        def __init__(self) -> None:
            self.first, self.second = nn.Linear(2, 2), nn.BatchNorm1d(2).eval()

        def tensors(self) -> list[Tensor]:
            return [t for net in (self.first, self.second) for t in (*net.parameters(), *net.buffers())]

        def __call__(self, x: Tensor) -> list[int]:
            return [t.data_ptr() for t in self.tensors()]

    holder = Holder()
    home = [t.data_ptr() for t in holder.tensors()]
    assert len(home) == 7 and not set(Swapped(holder, "cpu")(torch.zeros(1))) & set(home)


def test_for_a_gpu_the_host_keeps_them_together_in_memory_that_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[tuple[int, int]] = []

    class Cuda:
        @staticmethod
        def cudaHostRegister(address: int, size: int, flags: int) -> int:
            locked.append((address, size))
            return 0

    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, dtype=torch.bfloat16)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(torch.cuda, "cudart", lambda: Cuda)
    Swapped(nn.Identity(), "cuda")
    assert locked == [], "a network without weights"
    swapped = Swapped(network, "cuda")
    ((start, size),) = locked
    assert all(torch.equal(value, before[name]) for name, value in swapped.model.state_dict().items())
    for tensor in tensors_of(network):
        assert tensor.data_ptr() % ALIGNMENT == start % ALIGNMENT
        assert start <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= start + size


def test_a_client_has_nothing_to_move() -> None:
    class Client:
        licence = "test"

        def __call__(self, x: int) -> int:
            return x + 1

    assert networks_of(Client()) == [] and Swapped(Client(), "cpu")(1) == 2
    layer = nn.Linear(1, 1)
    assert networks_of(layer) == [layer]
