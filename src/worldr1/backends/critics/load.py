"""From recipe keys to a critic."""

import torch

from worldr1.backends.critics.config import CriticConfig
from worldr1.protocols import Critic


def load_critic(config: CriticConfig, device: str | torch.device = "cpu") -> Critic:
    """The model in process on `device`, or the one behind `base_url`, which is asked once to see that it judges.

    Raises InputError for a model, folder, server, key or answer that cannot be used, ServerError for a server that
    stays silent.
    """
    if config.base_url is None:
        from worldr1.backends.critics.qwen3_vl import load_qwen3_vl  # takes seconds

        return load_qwen3_vl(config, device)
    from worldr1.backends.critics.server import ServerCritic

    critic = ServerCritic(config)
    critic.check()
    return critic
