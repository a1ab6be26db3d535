"""S_motion: a dynamic prompt's video must move by itself (ours; not in the paper).

The paper's dynamic-only phase rewards R_gen alone, which looks at still frames: of motion it knows nothing (in the mini
world its correlation with the motion of named movers is -0.06 inside groups, S_recon's is -0.4; docs/log.md). So the
phase lifts the pressure and gives nothing back, and what the main phase takes from motion is lost. S_motion gives it
back: it pays for what the picture changes beyond the camera's motion, up to a limit (correlation +0.5).
"""

from dataclasses import dataclass

from worldr1.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionConfig:
    """The scale of the motion."""

    reference: float = 0.0
    """Residual motion (`scene.residual_motion`, grey levels of 0..1) that earns 1. More earns no more: a flickering
    video is not better than a moving one. About twice the mean over samples of the base model for dynamic prompts (at
    the mean itself half of the videos would have nothing left to gain), measured once and kept in the recipe; must be
    set where `reward.weights.motion` is."""

    def __post_init__(self) -> None:
        if not self.reference >= 0:
            raise ConfigError("The motion's reference must not be negative.")


def motion_score(residual: float, config: MotionConfig) -> float:
    """S_motion in [0, 1]."""
    return min(1.0, residual / config.reference)
