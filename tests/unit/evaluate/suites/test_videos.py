"""A file on its way to the measures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from evaluated_folders import clip_with_geometry, record

from worldr1.evaluate.judging.judge import Judge, Looked, record_of
from worldr1.evaluate.metrics import MEASURED_BY_FITTING, JudgedClip
from worldr1.evaluate.metrics.splat_fit import FitConfig
from worldr1.evaluate.suites import videos as suite_files
from worldr1.evaluate.suites.suite import load_suite
from worldr1.evaluate.suites.videos import CarriedDistance, FileJudge, Fitting, lacks, suite_videos
from worldr1.types import Status
from worldr1.video_io import write_mp4

CLIP, GEOMETRY = clip_with_geometry(1, "orbit_left")


def found_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: Status, **judge: Any) -> list[dict[str, Any]]:
    """What `measure` is asked for of a clip of 9 frames at 16 per second, of which 5 are judged."""
    asked: list[dict[str, Any]] = []

    def measure(clips: list[JudgedClip], **words: Any) -> list[dict[str, float]]:
        asked.append({"clip": clips[0], **words})
        return [dict.fromkeys(words["names"], 1.0)]

    def look(clip: Any, tasks: Any) -> list[Looked]:
        return [Looked(record_of(tasks[0], status, "", {"psnr_holdout_db": 20.0}), GEOMETRY)]

    monkeypatch.setattr(suite_files, "measure", measure)
    write_mp4(tmp_path / "a.mp4", CLIP, fps=16, upscale=4)
    stub: Judge = SimpleNamespace(look=look, renderer="feed-forward")  # type: ignore[assignment]
    (video,) = suite_videos(load_suite("mini"), samples=1, seed=0, limit=1)
    judged = FileJudge(name="stub", judge=stub, licence="", device="cpu", frames=5, **judge)
    (made,) = judged([tmp_path / "a.mp4"], [video])
    assert "psnr_holdout_db" in made.record.measures
    return asked


def test_valid_videos_are_optimised_together_and_each_gets_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    statuses, calls = iter([Status.OK, Status.REJECTED, Status.OK]), []

    def measure(clips: list[JudgedClip], **words: Any) -> list[dict[str, float]]:
        if words["names"] != MEASURED_BY_FITTING:
            return [{}]
        calls.append(len(clips))
        return [{"psnr_fit_all_db": 30.0 + float(clip.video.mean() > 0.5)} for clip in clips]

    def look(clip: Any, tasks: Any) -> list[Looked]:
        return [Looked(record_of(tasks[0], next(statuses), "", {}), GEOMETRY)]

    monkeypatch.setattr(suite_files, "measure", measure)
    stub: Judge = SimpleNamespace(look=look, renderer="feed-forward")  # type: ignore[assignment]
    fitting = Fitting("gsplat", "cpu", FitConfig(steps=3))  # type: ignore[arg-type]
    judge = FileJudge(name="stub", judge=stub, licence="", device="cpu", frames=5, fitting=fitting)
    videos = suite_videos(load_suite("mini"), samples=1, seed=0, limit=3)
    files = [tmp_path / f"{grey}.mp4" for grey in (10, 11, 99)]
    for file in files:
        write_mp4(file, torch.full_like(CLIP, int(file.stem) / 100), fps=16)
    found = [judged.record.measures.get("psnr_fit_all_db") for judged in judge(files, videos)]
    assert calls == [2] and found == [30.0, None, 31.0]
    assert judge.at_once > 1 and replace(judge, fitting=None).at_once == 1


def test_the_rate_is_that_of_the_frames_that_are_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Frames 0, 2, 4, 6, 8 at 16 per second: four steps in half a second."""
    (asked,) = found_in(monkeypatch, tmp_path, Status.OK)
    assert len(asked["clip"].video) == 5 and asked["clip"].fps == pytest.approx(8.0)
    assert "psnr_holdout_db" not in asked["names"], "the judge has measured it"


def test_only_a_valid_clip_is_optimised_and_its_distances_are_carried_to_their_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    devices: list[str] = []

    class Distance:
        licence = "a licence"

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            devices.extend((a.device.type, b.device.type))
            return torch.zeros(1)

    words = {"fitting": Fitting("gsplat", "meta", FitConfig(steps=3)), "perceptual": Distance()}  # type: ignore[arg-type]
    _, fitted = found_in(monkeypatch, tmp_path, Status.OK, **words)
    assert (fitted["renderer"], fitted["names"], fitted["fit"].steps) == ("gsplat", MEASURED_BY_FITTING, 3)
    assert fitted["clip"].video.device.type == "meta" and fitted["clip"].reconstruction is GEOMETRY
    assert isinstance(fitted["perceptual"], CarriedDistance)
    CarriedDistance(Distance(), "meta")(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    assert devices == ["meta", "meta"]
    assert len(found_in(monkeypatch, tmp_path, Status.REJECTED, **words)) == 1


def test_a_valid_video_lacks_what_it_was_judged_without() -> None:
    made = record(0, measures={"psnr_holdout_db": 20.0})
    assert lacks(made, ["psnr_fit_all_db"]) and not lacks(made, []) and not lacks(made, ["psnr_holdout_db"])
    assert not lacks(replace(made, status=Status.REJECTED), ["psnr_fit_all_db"]), "there is nothing to optimise"
