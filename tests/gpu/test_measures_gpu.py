"""Every measure of a video on the GPU: the values of the CPU, and 3DGS optimisation, which only a GPU has."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from evaluated_folders import clip_with_geometry
from torch import Tensor

from worldr1.backends.mini import load_distance
from worldr1.build import build_renderer
from worldr1.camera.trajectory import synthesize
from worldr1.cli import main
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.metrics import JudgedClip, measure
from worldr1.evaluate.metrics.splat_fit import FitConfig

pytestmark = pytest.mark.gpu


def judged(device: str) -> list[JudgedClip]:
    """A rendered clip with its true geometry, and one whose every other frame is shifted sideways."""
    video, geometry = clip_with_geometry(1, "orbit_left")
    shifted = torch.stack([torch.roll(frame, 2 * (i % 2), dims=-1) for i, frame in enumerate(video)])
    moved = {one.name: getattr(geometry, one.name) for one in fields(geometry)}
    there = replace(geometry, **{name: x.to(device) for name, x in moved.items() if isinstance(x, Tensor)})
    path = synthesize(("orbit_left",), len(video))
    return [
        JudgedClip(video=clip.to(device), fps=8.0, requested=path, reconstruction=there) for clip in (video, shifted)
    ]


def test_every_measure_is_that_of_the_cpu() -> None:
    on_cpu, on_gpu = (
        measure(judged(device), renderer=build_renderer(device), perceptual=load_distance(device))
        for device in ("cpu", "cuda")
    )
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert len(cpu) > 15 and cpu.keys() == gpu.keys()
        for name, value in cpu.items():
            assert gpu[name] == pytest.approx(value, rel=0.01, abs=2e-3), name


def test_an_optimised_scene_explains_more_and_a_swimming_video_less() -> None:
    names = ["psnr_all_db", "psnr_fit_all_db", "psnr_fit_holdout_db"]
    good, swimming = measure(judged("cuda"), renderer=build_renderer("cuda"), names=names, fit=FitConfig(steps=300))
    assert good["psnr_fit_all_db"] > good["psnr_all_db"] + 2
    assert good["psnr_fit_holdout_db"] > swimming["psnr_fit_holdout_db"] + 1


def test_evaluate_optimises_every_valid_video(tmp_path: Path) -> None:
    assert main(["evaluate", "--model", "truth", "--limit", "1", "--fit", "--out", str(tmp_path)]) == 0
    (record,) = EvaluationFolder.load(tmp_path).records
    assert record.measures["psnr_fit_all_db"] > record.measures["psnr_all_db"] + 2
    assert {"psnr_fit_holdout_db", "ssim_fit_holdout", "ssim_fit_all"} <= record.measures.keys()


def test_scenes_optimised_side_by_side_are_those_optimised_alone() -> None:
    """Up to what the order of a GPU's sums makes of 100 steps."""
    clips, words = judged("cuda"), {"renderer": build_renderer("cuda"), "fit": FitConfig(steps=100)}
    names = ["psnr_fit_all_db", "psnr_fit_holdout_db"]
    together = measure(clips, names=names, **words)
    for values, clip in zip(together, clips, strict=True):
        (alone,) = measure([clip], names=names, **words)
        assert values == pytest.approx(alone, abs=0.3)
    assert abs(together[0]["psnr_fit_all_db"] - together[1]["psnr_fit_all_db"]) > 1
