"""Named random streams: the same ids give the same numbers on every machine, process and Python."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(run_seed: int, stream: str, *ids: int) -> int:
    """A 63-bit seed for one stream of one run.

    run_seed: the run's own seed. stream: what the numbers are for ("start-noise", "sde", ...).
    ids: integers that name the draw inside the stream (update, prompt id, member).
    """
    text = "/".join([str(int(run_seed)), stream, *(str(int(i)) for i in ids)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def make_generator(run_seed: int, stream: str, *ids: int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`."""
    return torch.Generator("cpu").manual_seed(derive_seed(run_seed, stream, *ids))


def seed_global_generators(run_seed: int, stream: str, *ids: int) -> None:
    """Seeds the generators of `random`, numpy and torch that belong to the process.

    Nothing of ours draws from them; somebody else's reward may, and would then differ after a resume.
    """
    seed = derive_seed(run_seed, stream, *ids)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
