"""How much memory is left on the device, for what is decided by it (decode, gradient checkpointing)."""

import torch


def free_bytes(device: torch.device) -> float:
    """Bytes that this process may still allocate on a CUDA device; infinite on any other.

    What torch's allocator holds and does not use counts as free; a limit of
    `torch.cuda.set_per_process_memory_fraction` counts as the card's size.
    """
    if device.type != "cuda":
        return float("inf")
    if device.index is None:  # "cuda" is the current one, which not every function of torch.cuda takes it for
        device = torch.device("cuda", torch.cuda.current_device())
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - allocated
    limit = torch.cuda.get_per_process_memory_fraction(device) * total
    return min(free + unused, limit - allocated)


def gib(num_bytes: float) -> str:
    """In words, for example "4.2 GiB"."""
    return f"{num_bytes / 2**30:.1f} GiB"
