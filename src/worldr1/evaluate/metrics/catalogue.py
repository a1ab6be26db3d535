"""Every measure of a video: its name, unit, which way is better, which frames it compares and whose formula it is.

The one list of titles: `evaluate.labels` (tables and charts) and `evaluate.scoring.figures` (`worldr1 score`) read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower", ""]
ALL, HELD_OUT, NEIGHBOURS, QUARTER = "all", "held out", "neighbours", "a quarter of the clip apart"
FEED_FORWARD = "feed-forward: Gaussians lifted from depth, not optimised"
FITTED = "3DGS optimisation per scene (Kerbl et al. 2023) from the lifted Gaussians"
CAM_I2V = "CamI2V (arXiv 2410.15957), sum over frames"
STILLNESS = "A still video has the best value: read it beside the camera's travel, moving requests apart from others."
STILL_REQUESTS = "Only of requests that go nowhere (pans, fixed): never average it with those of moving ones."
MOVING_REQUESTS = "Only of requests that move the camera."
SHARPNESS = "Blur and low contrast make it better: compare only clips of equal image gradient."
MEANT_TO_MOVE = "Scenes that are meant to move have more: static and dynamic prompts apart."


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """One measure."""

    name: str
    title: str
    unit: str = ""
    """"": a plain number or a share."""
    better: Better
    """"": neither by itself."""
    decimals: int = 3
    source: str = "worldr1"
    """Whose formula it is, and where."""
    frames: str = ALL
    """Which frames or views it compares; part of the title of measures that exist of several."""
    group_note: str = ""
    """What it must be read beside or apart from; "" if nothing."""
    depth_model: bool = False
    """The 3D model's own depth or poses decide it: a table names the model, and warns if it is the reward's
    (`mvcs.depth_model_note`)."""

    @property
    def text(self) -> str:
        """Title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _redrawn(suffix: str, of: str, frames: str, source: str) -> list[MetricInfo]:
    """PSNR, SSIM and perceptual distance of one way to draw a video again."""
    note = f"{STILLNESS} {SHARPNESS}"
    return [
        MetricInfo(
            name=f"psnr_{suffix}_db",
            title=f"PSNR of {of}",
            unit="dB",
            better="higher",
            decimals=2,
            source=source,
            frames=frames,
            group_note=note,
            depth_model=True,
        ),
        MetricInfo(
            name=f"ssim_{suffix}",
            title=f"SSIM of {of}",
            better="higher",
            source=f"Wang et al. 2004; {source}",
            frames=frames,
            group_note=note,
            depth_model=True,
        ),
        MetricInfo(
            name=f"perceptual_{suffix}",
            title=f"Perceptual distance of {of}",
            better="lower",
            source=f"LPIPS's role (Zhang et al. 2018), by the network the table names; {source}",
            frames=frames,
            group_note=note,
            depth_model=True,
        ),
    ]


def _camera_sums() -> list[MetricInfo]:
    moving = {"source": CAM_I2V, "better": "lower", "depth_model": True, "decimals": 2}
    scaled = "each path in units of its own length"
    return [
        MetricInfo(name="rot_err_sum_rad", title="RotErr, sum over frames", unit="rad", **moving),
        MetricInfo(
            name="trans_err_sum", title="TransErr, sum over frames", unit=scaled, group_note=MOVING_REQUESTS, **moving
        ),
        MetricInfo(
            name="cam_mc_sum", title="CamMC, sum over frames", unit=scaled, group_note=MOVING_REQUESTS, **moving
        ),
        MetricInfo(
            name="trans_err_sum_still",
            title="TransErr of still requests, sum over frames",
            group_note=STILL_REQUESTS,
            **moving,
        ),
        MetricInfo(
            name="cam_mc_sum_still",
            title="CamMC of still requests, sum over frames",
            group_note=STILL_REQUESTS,
            **moving,
        ),
    ]


_WORDS = {
    "words": "The prompt's words that the video shows",
    "colour": "Named solids of the right colour",
    "solid": "Named solids of the right shape",
    "texture": "Named solids of the right texture",
    "count": "As many solids as are named",
    "floor_texture": "The named floor texture",
    "floor_colour": "The named floor colour",
    "place": "Room or sky as named",
    "wall_texture": "The named wall texture",
    "wall_colour": "The named colour of walls or sky",
    "motion": "Named movers that do what the prompt says",
    "dynamic": "Moves if and only if the prompt says so",
}
WORD_MEASURES = (*_WORDS, "extra_solids")
"""What the attribute probe says of a prompt's words."""
WORDS, DYNAMIC_WORDS, MOVER_MOTION = "words", "motion", "mover_motion"
"""Names of two of them, and of the residual motion inside the movers that the prompt names."""
_PROBE = "mini.attribute_scores, by the attribute probe"
_VBENCH = "VBench (arXiv 2311.17982), its own package 0.1.5"
_VBENCH_DIMENSIONS = {
    "subject_consistency": ("subject consistency", STILLNESS),
    "background_consistency": ("background consistency", STILLNESS),
    "temporal_flickering": ("temporal flickering", STILLNESS),
    "motion_smoothness": ("motion smoothness", STILLNESS),
    "dynamic_degree": ("dynamic degree", "What the other dimensions must be read beside: stillness pays in them."),
    "aesthetic_quality": ("aesthetic quality", ""),
    "imaging_quality": ("imaging quality", ""),
}

_ENTRIES = (
    *_redrawn("holdout", "held-out frames", HELD_OUT, FEED_FORWARD),
    MetricInfo(
        name="coverage",
        title="Covered pixels",
        better="higher",
        frames=HELD_OUT,
        group_note="The other pixels are not judged; they are places that only one frame saw.",
        depth_model=True,
    ),
    *_redrawn("all", "all frames", ALL, FEED_FORWARD),
    MetricInfo(
        name="coverage_all", title="Covered pixels of all frames", better="higher", frames=ALL, depth_model=True
    ),
    *_redrawn("fit_holdout", "held-out frames after 3DGS optimisation", HELD_OUT, FITTED),
    *_redrawn("fit_all", "all frames after 3DGS optimisation", ALL, FITTED),
    MetricInfo(
        name="consistency",
        title="3D consistency",
        better="higher",
        source="worldr1 (docs/scoring.md)",
        frames=HELD_OUT,
        group_note="Undefined where nothing changes, so a still video cannot win by it.",
        depth_model=True,
    ),
    MetricInfo(
        name="mvcs_scale_free",
        title="Depth agreement (MVCS, scale-free)",
        better="higher",
        source="VideoGPA (arXiv 2601.23286) metrics/mvcs.py, with depths in units of frame 0's median",
        frames=NEIGHBOURS,
        group_note=STILLNESS,
        depth_model=True,
    ),
    MetricInfo(
        name="mvcs",
        title="Depth agreement (MVCS)",
        better="higher",
        source="VideoGPA (arXiv 2601.23286) metrics/mvcs.py; sky left out",
        frames=NEIGHBOURS,
        group_note=f"{STILLNESS} In the depth model's own scale: never compare it between two models.",
        depth_model=True,
    ),
    MetricInfo(
        name="epipolar_px",
        title="Epipolar error",
        unit="px",
        better="lower",
        decimals=2,
        source="Sampson error of SIFT matches after Epipolar-DPO (arXiv 2510.21615)",
        frames=QUARTER,
        group_note="No value where a homography explains the matches: still, turning camera, one plane.",
    ),
    MetricInfo(
        name="residual_motion",
        title="Motion that the camera does not explain",
        unit="grey levels of 0..1",
        better="",
        decimals=4,
        frames=QUARTER,
        group_note=f"{MEANT_TO_MOVE} {SHARPNESS}",
        depth_model=True,
    ),
    MetricInfo(
        name="mover_motion",
        title="Motion of the named movers that the camera does not explain",
        unit="grey levels of 0..1",
        better="higher",
        decimals=4,
        frames=QUARTER,
        group_note="Of dynamic prompts.",
        depth_model=True,
    ),
    MetricInfo(
        name="dis_motion_px",
        title="Fast motion by DIS flow",
        unit="px of 256",
        better="",
        decimals=2,
        source="VBench's dynamic-degree statistic (mean of the largest 5 %), by OpenCV's DIS flow instead of RAFT",
        frames="neighbours at 8 frames per second",
        group_note="Camera and scene together; not VBench's number.",
    ),
    MetricInfo(
        name="dis_dynamic_share",
        title="Dynamic by DIS flow",
        better="",
        source="VBench's dynamic-degree rule on OpenCV's DIS flow instead of RAFT",
        frames="neighbours at 8 frames per second",
        group_note="Camera and scene together; not VBench's number.",
    ),
    MetricInfo(
        name="travel_depth_units",
        title="Camera travel",
        unit="depth units",
        better="",
        group_note="What every consistency must be read beside.",
        depth_model=True,
    ),
    MetricInfo(name="travel_deg", title="Camera turn", unit="degrees", better="", decimals=2, depth_model=True),
    MetricInfo(
        name="travel_ratio",
        title="Camera travel: recovered / requested",
        better="",
        group_note=f"{MOVING_REQUESTS} 1 is right.",
        depth_model=True,
    ),
    MetricInfo(
        name="rotation_error_deg",
        title="Rotation error",
        unit="degrees",
        better="lower",
        decimals=2,
        source="mean geodesic distance per frame, relative to frame 0 (rewards.trajectory)",
        depth_model=True,
    ),
    MetricInfo(
        name="translation_error",
        title="Translation error",
        unit="of the requested length",
        better="lower",
        source="mean distance per frame in depth units (rewards.trajectory); of still requests per 0.22",
        group_note="Moving and still requests apart.",
        depth_model=True,
    ),
    *_camera_sums(),
    MetricInfo(
        name="image_gradient",
        title="Image gradient",
        unit="falls with blur",
        better="",
        decimals=4,
        group_note="What errors in grey levels must be read beside: blur makes them small.",
    ),
    *(MetricInfo(name=name, title=title, better="higher", source=_PROBE) for name, title in _WORDS.items()),
    MetricInfo(name="extra_solids", title="Solids that nobody named", better="lower", decimals=2, source=_PROBE),
    *(
        MetricInfo(
            name=f"vbench_{name}",
            title=f"VBench {title}",
            better="" if name == "dynamic_degree" else "higher",
            decimals=4,
            source=_VBENCH,
            frames="as the dimension samples them",
            group_note=note,
        )
        for name, (title, note) in _VBENCH_DIMENSIONS.items()
    ),
    MetricInfo(
        name="vbench_avg5",
        title="VBench mean of five (the paper's AVG)",
        better="higher",
        decimals=4,
        source="plain mean of aesthetic, imaging, smoothness, subject and background; not an official score",
        frames="as the dimensions sample them",
        group_note="Three of its five pay for stillness: dynamic degree beside it.",
    ),
    MetricInfo(
        name="vbench_quality",
        title="VBench quality score",
        better="higher",
        decimals=4,
        source=f"{_VBENCH}, scripts/cal_final_score.py",
        frames="as the dimensions sample them",
    ),
    MetricInfo(
        name="vbench_total",
        title="VBench total score",
        better="higher",
        decimals=4,
        source=f"{_VBENCH}, scripts/cal_final_score.py",
        frames="as the dimensions sample them",
        group_note="Needs all 16 dimensions, nine of which exist for VBench's own prompts only.",
    ),
)

CATALOGUE: Mapping[str, MetricInfo] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""By name, in the order of tables."""
