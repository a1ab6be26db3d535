"""R_gen: image quality of the first frames, in [-1, 1] (paper Eq. 10).

The paper averages HPSv3 over the first K frames and leaves K and the scale open. Raw scores of different quality
models differ by orders of magnitude, so here they are centred and scaled by the *base model's own* samples before
RL: R_gen = tanh((q - m) / (2 s)), the logistic function stretched to [-1, 1].
"""

import math
from dataclasses import dataclass

from worldr1.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityConfig:
    """Which frames are scored, and the scale of the scores."""

    num_frames: int = 4
    """K: the first K frames, the same for every member of a group."""
    base_mean: float = 0.0
    """m: mean of q over samples of the base model, in the quality model's units; measured once, kept in the recipe."""
    base_std: float = 1.0
    """s: standard deviation of q over the same samples."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError("The quality reward needs at least one frame: set num_frames to 1 or more.")
        if not self.base_std > 0:
            raise ConfigError("The quality reward's base_std must be positive: measure it on the base model's samples.")


def quality_reward(mean_score: float, config: QualityConfig) -> float:
    """R_gen of q, the mean quality score of a video's first K frames."""
    return math.tanh((mean_score - config.base_mean) / (2.0 * config.base_std))
