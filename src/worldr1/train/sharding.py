"""A frozen base whose weights are dealt to the ranks (FSDP2), for a base that does not fit one GPU.

Every block's weights are gathered when it computes and let go after, so each forward and each backward is something
that all ranks do at once. What each rank trains stays whole and replicated, outside of FSDP: gradients, optimizer,
averages and checkpoints know nothing of it. Ranks have different numbers of forwards to make, though: groups branch at
different steps, shares of an evaluation are uneven, and what was a fault is not trained on. So

- without gradient, each forward is announced, and a rank that has none left to make passes a small latent through
  instead, until all are done (at the ends of `Ranks.together`);
- with gradient, all ranks make as many passes as the one with most (`Algorithm.backward`'s idle groups).

Interrupts wait for the end of what is being done together: a forward that one rank gives up never ends on the others.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from worldr1.train.ranks import Ranks


class _Turns:
    """Has all ranks make the same number of forwards without gradient."""

    def __init__(self, transformer: Any, ranks: Ranks, latent: Tensor, words: Tensor) -> None:
        """latent [1, C, L, h, w], words [1, S, D]: what a rank passes through that has nothing else."""
        self._transformer, self._ranks = transformer, ranks
        self._given = (latent, words)
        self._announcing = True

    def before_forward(self, *given: Any) -> None:
        """A hook: says that this rank makes a forward now."""
        if self._announcing and not torch.is_grad_enabled() and self._ranks.working:
            self._ranks.any_at_work(True)

    @torch.no_grad()
    def pass_time(self) -> None:
        """Takes part in the others' forwards until none makes one any more."""
        latent, words = self._given
        self._announcing = False
        try:
            while self._ranks.any_at_work(False):
                timestep = torch.zeros(1, device=latent.device)
                self._transformer(hidden_states=latent, timestep=timestep, encoder_hidden_states=words)
        finally:
            self._announcing = True


def shard_base(
    transformer: Any, trained: Iterable[nn.Parameter], ranks: Ranks, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Deals the frozen weights of a Wan transformer to the ranks, wherever they lie; `trained` stay on each, whole.

    dtype: of what the network is given. From here on every forward is made by all ranks together.
    """
    # Wan's output is a view, and nobody writes into a velocity
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    config = transformer.config
    kept = set(trained)
    for parameter in kept:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (ranks.world,))
    for block in transformer.blocks:
        fully_shard(block, mesh=mesh, ignored_params=kept)
    fully_shard(transformer, mesh=mesh, ignored_params=kept)
    latent = torch.zeros(1, config["in_channels"], *config["patch_size"], device=device, dtype=dtype)
    words = torch.zeros(1, 8, config["text_dim"], device=device, dtype=dtype)
    turns = _Turns(transformer, ranks, latent, words)
    # first of all hooks: FSDP's own gathers the first weights
    transformer.register_forward_pre_hook(turns.before_forward, prepend=True)
    ranks.pass_time = turns.pass_time
    ranks.may_give_up = False
