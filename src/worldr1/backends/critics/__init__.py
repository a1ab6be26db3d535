"""S_meta's critics: Qwen3-VL in this process, or any vision-language model behind an OpenAI-compatible server."""

from worldr1.backends.critics.config import CriticConfig
from worldr1.backends.critics.load import load_critic

__all__ = ["CriticConfig", "load_critic"]
