"""Where modules are made: on their device, in their dtype, from a seed of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawing(device: torch.device, dtype: torch.dtype, seed: int) -> Iterator[None]:
    """Inside, modules are made on `device` in `dtype` from `seed`.

    No float32 copy of them ever exists, and the global random state and default dtype are left as they were.
    """
    before = torch.get_default_dtype()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), device:
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
