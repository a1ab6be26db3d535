"""A swapped model on a GPU: its weights wait in page-locked memory, whose refusal costs speed and nothing else."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from worldr1.backends.swapping import Swapped, networks_of, tensors_of

pytestmark = pytest.mark.gpu


class Model:
    """Two networks of several types, one with buffers, behind a call."""

    licence = "test"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Sequential(nn.Linear(33, 7), nn.BatchNorm1d(7)).eval()
        self.second = nn.Linear(7, 5, dtype=torch.bfloat16)
        for tensor in tensors_of(self):
            if tensor.is_floating_point():
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator))

    def __call__(self, x: Tensor) -> Tensor:
        assert {t.device.type for t in tensors_of(self)} == {"cuda"}
        return self.second(self.first(x).to(torch.bfloat16))


def test_weights_wait_in_page_locked_memory_and_the_answer_is_the_same() -> None:
    model, x = Model(), torch.rand(3, 33, device="cuda")
    before = [t.clone() for t in tensors_of(model)]
    for network in networks_of(model):
        network.to("cuda")
    expected = model(x)
    swapped = Swapped(model, "cuda")
    for _ in range(2):
        assert torch.equal(swapped(x), expected)
        assert all(t.is_pinned() for t in tensors_of(model))
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(model), before, strict=True))
    del swapped
    gc.collect()
    assert not any(t.is_pinned() for t in tensors_of(model))
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(model), before, strict=True))


def test_memory_that_cannot_be_locked_is_said_and_spoils_no_later_call(monkeypatch: pytest.MonkeyPatch) -> None:
    cudart: Any = torch.cuda.cudart()

    class Refusing:
        """Asks for the same memory twice: a true refusal of CUDA's."""

        @staticmethod
        def cudaHostRegister(address: int, size: int, flags: int) -> int:
            assert int(cudart.cudaHostRegister(address, size, flags)) == 0
            refused = int(cudart.cudaHostRegister(address, size, flags))
            assert refused and int(cudart.cudaHostUnregister(address)) == 0
            return refused

    model, x = Model(), torch.rand(3, 33, device="cuda")
    monkeypatch.setattr(torch.cuda, "cudart", lambda: Refusing)
    with pytest.warns(UserWarning, match="could not be page-locked"):
        swapped = Swapped(model, "cuda")
    monkeypatch.undo()
    assert not any(t.is_pinned() for t in tensors_of(model))
    assert swapped(x).shape == (3, 5)
    torch.cuda.synchronize()
