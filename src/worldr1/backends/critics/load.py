"""From recipe keys to a critic."""

from functools import partial
from pathlib import Path

import torch

from worldr1.backends.critics.config import CriticConfig
from worldr1.backends.published_files import RANDOM, Need
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


def critic_needs(config: CriticConfig) -> tuple[Need, ...]:
    """Its files, in process. A server is asked when it is loaded: it may be starting still."""
    if config.base_url is not None or config.weights == RANDOM:
        return ()
    from worldr1.backends.critics.qwen3_vl import find_qwen3_vl, qwen3_vl_folder_needs

    folder = Path(config.model).expanduser()
    return qwen3_vl_folder_needs(folder) if folder.is_dir() else (partial(find_qwen3_vl, config.model),)
