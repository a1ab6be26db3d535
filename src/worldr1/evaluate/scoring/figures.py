"""How `worldr1 score` shows the figures of a shot, and under which id they are kept.

Its table, page and JSON all read this list. What a figure is called, its unit and which way is better stand in the
catalogue of all measures (`evaluate.metrics`).
"""

from dataclasses import dataclass

from worldr1.errors import InputError
from worldr1.evaluate.metrics.catalogue import CATALOGUE, Better


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreMetric:
    """One figure of a shot."""

    field: str
    """Of `ShotScore`."""
    measure: str
    """Its name in the catalogue."""
    meaning: str
    """One line for somebody who sees it for the first time."""
    format: str
    """Of the number, as for `format()`."""
    frames: str
    """Which frames it compares: part of its id."""
    perceptual: bool = False
    """A perceptual network measures it, whose name belongs to its id."""
    version: int = 1
    """Raised when the same video gets another value by a change of ours."""

    @property
    def title(self) -> str:
        """Of the catalogue."""
        return CATALOGUE[self.measure].title

    @property
    def unit(self) -> str:
        """What follows the number; "" if the format says it or it is a plain number."""
        return CATALOGUE[self.measure].unit

    @property
    def better(self) -> Better:
        """ "": neither by itself."""
        return CATALOGUE[self.measure].better

    def text(self, value: float | None) -> str:
        """The number without its unit; "-" where there is none."""
        return "-" if value is None else format(value, self.format).replace("%", " %")


SCORE_METRICS: tuple[ScoreMetric, ...] = (
    ScoreMetric(
        field="consistency",
        measure="consistency",
        meaning="Share of what changes in the picture within a quarter of the shot that one rigid 3D scene explains.",
        format=".0%",
        frames="even-odd",
    ),
    ScoreMetric(
        field="psnr_holdout",
        measure="psnr_holdout_db",
        meaning="How close the re-rendered pixels come to the video's, over the covered ones.",
        format=".1f",
        frames="even-odd",
    ),
    ScoreMetric(
        field="ssim_holdout",
        measure="ssim_holdout",
        meaning="Likeness of local structure between re-render and video; 1 is equal.",
        format=".3f",
        frames="even-odd",
    ),
    ScoreMetric(
        field="perceptual_holdout",
        measure="perceptual_holdout",
        meaning="How different re-render and video look to a neural network; 0 is equal.",
        format=".3f",
        frames="even-odd",
        perceptual=True,
    ),
    ScoreMetric(
        field="coverage",
        measure="coverage",
        meaning="Share of the held-out pixels that the 3D scene reaches; the others are not judged.",
        format=".0%",
        frames="even-odd",
    ),
    ScoreMetric(
        field="mvcs_scale_free",
        measure="mvcs_scale_free",
        meaning="Whether the depths of neighbouring frames agree, whatever the scene's scale; 1 is equal.",
        format=".3f",
        frames="neighbours",
    ),
    ScoreMetric(
        field="mvcs",
        measure="mvcs",
        meaning="The same in the reconstructor's own scale: compare it only between videos of one reconstructor.",
        format=".3f",
        frames="neighbours",
    ),
    ScoreMetric(
        field="epipolar_px",
        measure="epipolar_px",
        meaning="How far matched points lie from where a rigid scene allows them.",
        format=".2f",
        frames="matched-pairs",
    ),
    ScoreMetric(
        field="residual_motion",
        measure="residual_motion",
        meaning="Near 0 if nothing moves, swims or flickers by itself; a scene that is meant to move has more.",
        format=".4f",
        frames="quarter-clip-apart",
    ),
    ScoreMetric(
        field="camera_travel",
        measure="travel_depth_units",
        meaning="Largest distance of the camera from its start; 1 is the median depth of the first frame.",
        format=".3f",
        frames="all",
    ),
    ScoreMetric(
        field="camera_rotation_deg",
        measure="travel_deg",
        meaning="Largest turn of the camera from its start.",
        format=".1f",
        frames="all",
    ),
    ScoreMetric(
        field="translation_error",
        measure="translation_error",
        meaning="Mean distance from the requested path, as a share of its length.",
        format=".1%",
        frames="all",
    ),
    ScoreMetric(
        field="rotation_error_deg",
        measure="rotation_error_deg",
        meaning="Mean turn between the requested and the recovered camera.",
        format=".2f",
        frames="all",
    ),
)
"""Every figure of `ShotScore`, in the order of the tables; the first is the headline."""


def metric_id(field: str, *, reconstructor: str, perceptual: str, num_frames: int) -> str:
    """Under which name a figure may be compared with others: equal ids were measured alike.

    Example: "psnr_holdout@1;sfm;even-odd;24-frames": version, reconstructor (and perceptual network where it takes
    part), which frames are compared, and the frame budget of a shot. Raises InputError for an unknown field.
    """
    metric = next((metric for metric in SCORE_METRICS if metric.field == field), None)
    if metric is None:
        known = ", ".join(metric.field for metric in SCORE_METRICS)
        raise InputError(f"there is no figure {field!r} in a score; there are: {known}")
    networks = (perceptual, reconstructor) if metric.perceptual else (reconstructor,)
    return ";".join((f"{field}@{metric.version}", *networks, metric.frames, f"{num_frames}-frames"))
