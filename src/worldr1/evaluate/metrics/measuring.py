"""Measures videos by name."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.metrics.camera_path import camera_path_metrics
from worldr1.evaluate.metrics.catalogue import CATALOGUE, MOVER_MOTION, WORD_MEASURES
from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.evaluate.metrics.consistency import consistency
from worldr1.evaluate.metrics.dynamic_degree import flow_motion
from worldr1.evaluate.metrics.epipolar import epipolar_error
from worldr1.evaluate.metrics.mvcs import multi_view_consistency
from worldr1.evaluate.metrics.probing import WordProbe
from worldr1.evaluate.metrics.redrawing import ALL, HOLDOUT, at_depth_size, compare_images, redraw
from worldr1.evaluate.metrics.splat_fit import FIT_ALL, FIT_HOLDOUT, FitConfig, fit_metrics
from worldr1.mini.networks.probe import Sighting
from worldr1.protocols import PerceptualDistance, Renderer
from worldr1.scene.image_metrics import image_gradient
from worldr1.scene.residual_motion import residual_motion

Probe = Callable[[Float[Tensor, "B T 3 H W"]], Sighting]


class _Tools(NamedTuple):
    renderer: Renderer
    perceptual: PerceptualDistance | None
    probe: Probe | None
    fit: FitConfig | None


Group = Callable[[Sequence[JudgedClip], _Tools], list[dict[str, float]]]


def measure(
    clips: Sequence[JudgedClip],
    *,
    renderer: Renderer,
    perceptual: PerceptualDistance | None = None,
    names: Sequence[str] | None = None,
    probe: Probe | None = None,
    fit: FitConfig | None = None,
) -> list[dict[str, float]]:
    """What the catalogue names of every clip, in the catalogue's order; a value that does not exist is left out.

    names: of `CATALOGUE`; by default all but the 3DGS optimisation, which costs minutes a clip and needs a renderer
    with gradients. VBench's come from `metrics.vbench` alone. perceptual: without it there is no perceptual distance.
    probe: of a prompt's words (`backends.mini.load_probe`); without it, and for clips without a prompt, none of them.
    A clip without a reconstruction has its image measures alone. Nothing is rejected here: who judges says below which
    coverage the other values mean nothing.
    Raises InputError for a name that does not exist or is VBench's, and as the measures do.
    """
    wanted = list(MEASURED_BY_DEFAULT if names is None else names)
    for name in wanted:
        if name.startswith("vbench_"):
            raise InputError(f"{name} is measured by VBench's own package: evaluate.metrics.vbench.run_vbench.")
        if name not in _GROUP_OF:
            raise InputError(f"There is no measure {name!r}; there are {', '.join(_GROUP_OF)}.")
    tools = _Tools(renderer, perceptual, probe, fit)
    found: list[dict[str, float]] = [{} for _ in clips]
    for shape in dict.fromkeys(clip.video.shape for clip in clips):
        rows = [i for i, clip in enumerate(clips) if clip.video.shape == shape]
        for group in dict.fromkeys(_GROUP_OF[name] for name in wanted):
            for row, values in _measure_group(group, rows, clips, tools):
                found[row] |= values
    order = [name for name in CATALOGUE if name in wanted]
    return [
        {name: values[name] for name in order if name in values and math.isfinite(values[name])} for values in found
    ]


def _measure_group(
    group: Group, rows: list[int], clips: Sequence[JudgedClip], tools: _Tools
) -> list[tuple[int, dict[str, float]]]:
    if group in _OF_GEOMETRY:
        rows = [i for i in rows if clips[i].reconstruction is not None]
    # depths of one size are drawn in one pass
    sizes = {i: None if (found := clips[i].reconstruction) is None else found.depth.shape for i in rows}
    done: list[tuple[int, dict[str, float]]] = []
    for size in dict.fromkeys(sizes.values()):
        same = [i for i in rows if sizes[i] == size]
        done += zip(same, group([clips[i] for i in same], tools), strict=True)
    return done


def _held_out(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    with torch.no_grad():
        found = []
        for clip, redrawn in zip(clips, redraw(clips, tools.renderer, holdout=True), strict=True):
            values = {"coverage": redrawn.coverage} | compare_images(redrawn, HOLDOUT, tools.perceptual)
            explained = consistency(at_depth_size([clip])[0][0], redrawn)
            found.append(values if explained is None else values | {"consistency": explained.share})
        return found


def _all_frames(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    with torch.no_grad():
        return [
            {"coverage_all": redrawn.coverage} | compare_images(redrawn, ALL, tools.perceptual)
            for redrawn in redraw(clips, tools.renderer, holdout=False)
        ]


def _fit_held_out(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    return fit_metrics(clips, tools.renderer, tools.perceptual, holdout=True, config=tools.fit)


def _fit_all(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    return fit_metrics(clips, tools.renderer, tools.perceptual, holdout=False, config=tools.fit)


def _depths(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    agreed = [multi_view_consistency(clip.reconstruction) for clip in clips if clip.reconstruction is not None]
    return [{"mvcs": one.score, "mvcs_scale_free": one.scale_free} for one in agreed]


def _residual(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    moved = [residual_motion(video, found) for video, found in zip(*at_depth_size(clips), strict=True)]
    return [{} if one is None else {"residual_motion": one} for one in moved]


def _camera(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    return [
        camera_path_metrics(clip.reconstruction, clip.requested) for clip in clips if clip.reconstruction is not None
    ]


def _epipolar(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    found = [epipolar_error(clip.video) for clip in clips]
    return [{} if one is None or one.degenerate else {"epipolar_px": one.error_px} for one in found]


def _flow(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    found = [flow_motion(clip.video, clip.fps) for clip in clips]
    return [{"dis_motion_px": one.motion_px, "dis_dynamic_share": float(one.dynamic)} for one in found]


def _gradient(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    return [{"image_gradient": value} for value in image_gradient(torch.stack([c.video for c in clips])).tolist()]


def _words(clips: Sequence[JudgedClip], tools: _Tools) -> list[dict[str, float]]:
    found: list[dict[str, float]] = [{} for _ in clips]
    asked = [(i, clip.prompt, clip) for i, clip in enumerate(clips) if clip.prompt is not None]
    if tools.probe is None or not asked:
        return found
    videos = torch.stack([clip.video for _, _, clip in asked])
    prompts, lifted = [prompt for _, prompt, _ in asked], [clip.reconstruction for _, _, clip in asked]
    for (i, _, _), values in zip(asked, WordProbe(tools.probe)(videos, prompts, lifted), strict=True):
        found[i] = dict(values)
    return found


def _names(suffix: str) -> tuple[str, ...]:
    return f"psnr_{suffix}_db", f"ssim_{suffix}", f"perceptual_{suffix}"


_GROUPS: dict[Group, tuple[str, ...]] = {
    _held_out: (*_names(HOLDOUT), "coverage", "consistency"),
    _all_frames: (*_names(ALL), "coverage_all"),
    _fit_held_out: _names(FIT_HOLDOUT),
    _fit_all: _names(FIT_ALL),
    _depths: ("mvcs_scale_free", "mvcs"),
    _residual: ("residual_motion",),
    _camera: (
        *("travel_depth_units", "travel_deg", "travel_ratio", "rotation_error_deg", "translation_error"),
        *("rot_err_sum_rad", "trans_err_sum", "cam_mc_sum", "trans_err_sum_still", "cam_mc_sum_still"),
    ),
    _epipolar: ("epipolar_px",),
    _flow: ("dis_motion_px", "dis_dynamic_share"),
    _gradient: ("image_gradient",),
    _words: (*WORD_MEASURES, MOVER_MOTION),
}
_OF_GEOMETRY = (_held_out, _all_frames, _fit_held_out, _fit_all, _depths, _residual, _camera)
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}
MEASURED_BY_FITTING = (*_names(FIT_HOLDOUT), *_names(FIT_ALL))
MEASURED_BY_DEFAULT = tuple(name for name in _GROUP_OF if name not in MEASURED_BY_FITTING)
