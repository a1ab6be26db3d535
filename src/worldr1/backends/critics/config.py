"""Recipe keys of the critic behind S_meta."""

from dataclasses import dataclass
from typing import Literal

from worldr1.backends.architectures import VISION_LANGUAGE_MODELS, find_vision_language_model
from worldr1.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticConfig:
    """A vision-language model, in this process or behind an address. Raises ConfigError for impossible keys."""

    model: str = "qwen3-vl-4b"
    """In process: a short name (qwen3-vl-4b, qwen3-vl-2b), a name on the hub, or a folder in the hub's layout; behind
    an address: what the server calls it."""
    base_url: str | None = None
    """Of an OpenAI-compatible server, up to and without "chat/completions"; None: in process."""
    min_digit_mass: float = 0.5
    """An answer whose ten digits have less than this share of the next token is a fault, never a score."""

    weights: Literal["published", "random"] = "published"
    """In process; "random": the named architecture at full size without files; its scores mean nothing."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """In process; of weights and arithmetic. The probabilities are computed in float32."""
    batch: int = 8
    """In process; pictures per forward pass."""
    seed: int = 0
    """In process; of random weights."""

    timeout_s: float = 60.0
    """Server; of one try."""
    max_tries: int = 6
    """Server; of one picture, while it is busy, broken, silent or away (it may be starting again)."""
    retry_wait_s: float = 2.0
    """Server; before the second try, doubled before each further one unless the server says how long."""
    concurrency: int = 8
    """Server; requests under way at once, whoever asks."""
    key_variable: str | None = None
    """Server; environment variable that holds its key. The key itself is never in a recipe."""

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ConfigError("The critic needs the name of a model.")
        if not 0 <= self.min_digit_mass < 1:
            raise ConfigError(f"min_digit_mass is {self.min_digit_mass}: give a share from 0 to below 1.")
        if min(self.batch, self.max_tries, self.concurrency) < 1:
            raise ConfigError("The critic's batch, max_tries and concurrency must be at least 1.")
        if not self.timeout_s > 0 or not self.retry_wait_s >= 0:
            raise ConfigError("The critic's timeout_s must be positive and its retry_wait_s not negative.")
        if self.weights == "random":
            self._check_random()
        if "@" in (self.base_url or ""):
            raise ConfigError(
                "A password in the critic's base_url would be kept in the run's recipe: use key_variable."
            )

    def _check_random(self) -> None:
        if self.base_url is not None:
            raise ConfigError('The critic\'s weights = "random" are for a model in process: leave out its base_url.')
        if find_vision_language_model(self.model) is None:
            raise ConfigError(
                f'The critic\'s weights = "random" need the name of a published model, not {self.model!r}; '
                f"choose one of {', '.join(VISION_LANGUAGE_MODELS)}."
            )
        if self.min_digit_mass > 0:
            raise ConfigError(
                "A critic with random weights says a digit by chance only: set its min_digit_mass = 0 for measurements."
            )
