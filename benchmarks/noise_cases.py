"""The camera paths and sizes that the noise benchmarks measure."""

from dataclasses import dataclass

from worldr1.camera.motion import TOKENS

PATHS: tuple[tuple[str, ...], ...] = (
    *((token,) for token in TOKENS),
    ("push_in", "orbit_left"),
    ("pull_right", "pan_right", "push_in"),
)
"""Every token by itself, and two sequences."""

MIN_CELLS = 16
"""Of plans; what NoiseConfig has by default."""
CHANNELS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A clip's size in video pixels and frames."""

    width: int
    height: int
    num_frames: int

    @property
    def latent(self) -> tuple[int, int, int]:
        """(L, h, w) of Wan's VAE: every fourth frame, every eighth pixel."""
        return ((self.num_frames - 1) // 4 + 1, self.height // 8, self.width // 8)

    def __str__(self) -> str:
        return f"{self.width} x {self.height} x {self.num_frames}"


WAN = Size(width=832, height=480, num_frames=81)


def name_of(path: tuple[str, ...]) -> str:
    """As tables write it."""
    return ", ".join(path)


def verdict(met: bool) -> str:
    """As the last lines of a run say it."""
    return "**met**" if met else "**not met**"
