"""When to stop: the judge, whom no reward ever meets, says worse while the reward says better (reward hacking)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worldr1.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """How often the judge looks, and how much worse it must say. Raises ConfigError for impossible numbers."""

    every: int = 0
    """Updates between two looks; 0: never."""
    prompts: int = 96
    """Prompts that it looks at, the same each time, from the same start noise; no training or test prompt."""
    patience: int = 2
    """Looks in a row that must be worse than the best one."""
    tolerance: float = 0.02
    """How much worse, as a share of the first look's value; less is noise."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.prompts < 1 or self.patience < 1 or self.tolerance < 0:
            raise ConfigError(
                "The judge needs every >= 0, prompts >= 1, patience >= 1 and tolerance >= 0: correct [train.judge]."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look of the judge."""

    update: int
    """Updates done."""
    reward: float
    """Mean of the reward over the same videos."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By name; more is better."""


def reason_to_stop(looks: Sequence[Look], config: JudgeConfig) -> str | None:
    """One sentence if some score has been worse than its best for `patience` looks while the reward rose, else None.

    looks: in order, the first from before training. The reward rose if its last look is above that of the score's best
    one: a score that falls together with the reward is a bad run, not a hacked one.
    """
    if len(looks) <= config.patience:
        return None
    for name, first in looks[0].scores.items():
        best = max(looks, key=lambda look: look.scores[name])
        recent = looks[-config.patience :]
        margin = config.tolerance * abs(first)
        worse = all(look.scores[name] < best.scores[name] - margin for look in recent)
        if worse and recent[-1].reward > best.reward:
            return (
                f"the judge's {name} fell from {best.scores[name]:.3f} (update {best.update}) to "
                f"{recent[-1].scores[name]:.3f} while the reward rose from {best.reward:.3f} to {recent[-1].reward:.3f}"
            )
    return None


def best_look(looks: Sequence[Look]) -> Look:
    """The look of the highest reward among those at which no score is worse than at the first.

    Raises ValueError without looks.
    """
    if not looks:
        raise ValueError("there is no look to choose from")
    first = looks[0]
    good = [look for look in looks if all(look.scores[name] >= value for name, value in first.scores.items())]
    return max(good, key=lambda look: look.reward)
