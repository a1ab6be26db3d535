"""`reward.placement = "swap"`: a model lives in host memory and is on the GPU only while it is called."""

import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn

ALIGNMENT = 64
"""Bytes between the beginnings of two tensors in one buffer: what torch's own allocator keeps to."""


class Swapped:
    """A model called as before, whose weights are on `device` during the call and in host memory between calls.

    The host keeps its copy: weights are frozen, so nothing has to be copied back, and a call costs one transfer.
    """

    def __init__(self, model: Any, device: str | torch.device) -> None:
        """model: loaded anywhere; its networks are moved to host memory here. device: where it works."""
        self.model = model
        self.device = torch.device(device)
        for network in networks_of(model):
            network.to("cpu")
            if self.device.type == "cuda":
                weakref.finalize(self, _unlock, _page_lock(network, self.device)).atexit = False

    @property
    def licence(self) -> str:
        """The model's own."""
        return self.model.licence

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's answer."""
        with self._moved_in():
            return self.model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the model offers; a method that computes is called through the swap as well."""
        if name == "model":  # before __init__ has run
            raise AttributeError(name)
        found = getattr(self.model, name)
        if not callable(found) or isinstance(found, nn.Module):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            with self._moved_in():
                return found(*args, **kwargs)

        return called

    @contextmanager
    def _moved_in(self) -> Iterator[None]:
        tensors = tensors_of(self.model)
        host = [tensor.data for tensor in tensors]
        try:
            for tensor, copied in zip(tensors, self._fetch(host), strict=True):
                tensor.data = copied
            yield
        finally:
            for tensor, kept in zip(tensors, host, strict=True):
                tensor.data = kept

    def _fetch(self, host: Sequence[Tensor]) -> list[Tensor]:
        """The transfer, on its own so that benchmarks can time it."""
        return [kept.to(self.device, copy=True, non_blocking=True) for kept in host]


def networks_of(model: Any) -> list[nn.Module]:
    """The networks that a model consists of: itself, or those among its attributes; none for a server's client."""
    if isinstance(model, nn.Module):
        return [model]
    return [value for value in vars(model).values() if isinstance(value, nn.Module)]


def tensors_of(model: Any) -> list[Tensor]:
    """Parameters and buffers of all its networks, in an order that stays."""
    return [tensor for network in networks_of(model) for tensor in chain(network.parameters(), network.buffers())]


def _page_lock(network: nn.Module, device: torch.device) -> Tensor:
    """Moves a network's tensors into one page-locked buffer, from which a GPU copies several times faster.

    Locked where it lies: what torch allocates page-locked is rounded up to a power of two, up to twice the model.
    Where the system refuses (WSL has little to lend), the buffer stays pageable, with a warning.
    """
    tensors = tensors_of(network)
    *starts, end = accumulate((-(-t.nbytes // ALIGNMENT) * ALIGNMENT for t in tensors), initial=0)
    buffer = torch.empty(end, dtype=torch.uint8)
    for tensor, start in zip(tensors, starts, strict=True):
        part = buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        tensor.data = part.copy_(tensor.data)
    cuda: Any = torch.cuda.cudart()
    error = int(cuda.cudaHostRegister(buffer.data_ptr(), end, 0)) if end else 0
    if error:
        with suppress(RuntimeError):  # CUDA reports a refusal once more, after the next kernel: let that be this one
            torch.ones(1, device=device)
        warnings.warn(
            f"{end / 1e9:.1f} GB of host memory could not be page-locked (CUDA error {error}), so that "
            f"{type(network).__name__} is swapped in slowly; close other programs or use a smaller reward.profile.",
            stacklevel=2,
        )
    return buffer


def _unlock(buffer: Tensor) -> None:
    if buffer.is_pinned():
        cuda: Any = torch.cuda.cudart()
        cuda.cudaHostUnregister(buffer.data_ptr())
