"""Everything that can be measured of a video: one small module a measure, one catalogue, one function.

Example: measure([JudgedClip(video=video, fps=8.0, reconstruction=lifted)], renderer=SplatRenderer()) gives one
{"psnr_holdout_db": 22.1, "mvcs_scale_free": 0.996, ...} per clip; `CATALOGUE` says what the names mean.
"""

from worldr1.evaluate.metrics.catalogue import CATALOGUE, MetricInfo
from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.evaluate.metrics.measuring import MEASURED_BY_DEFAULT, MEASURED_BY_FITTING, measure
from worldr1.evaluate.metrics.mvcs import MultiViewConsistency, depth_model_note, multi_view_consistency

__all__ = [
    "CATALOGUE",
    "MEASURED_BY_DEFAULT",
    "MEASURED_BY_FITTING",
    "JudgedClip",
    "MetricInfo",
    "MultiViewConsistency",
    "depth_model_note",
    "measure",
    "multi_view_consistency",
]
