"""What is measured on the labelled clips: known errors, the right frames, cuts, a run that can be gone on with."""

import math
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import score_clips
import torch
from score_cases import Case, load_cases, make_cases, plan
from score_clips import Instrument, Metered, report, score_case
from score_records import Record, append_records, motion_of, path_errors, read_records
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.fitting import ClipSize
from worldr1.evaluate.scoring.scorer import Scorer
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, Status, intrinsics_px

FRAMES, HEIGHT, WIDTH = 9, 24, 32
COUNTS = {"clean": (11,), "still": (1,), "cut": (1,), "noise_white": (1,), "warped_mild": (1,)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, plan(COUNTS, ((HEIGHT, WIDTH),), FRAMES))
    return {case.name.replace(f"-{HEIGHT}-", "-"): case for case in load_cases(folder)}


class Told:
    """A reconstructor that answers with a given path and depth, and takes the depth of the sky for none."""

    licence = "none"

    def __init__(self, poses: Tensor, depth: Tensor, status: Status = Status.OK) -> None:
        self.poses, self.depth, self.status = poses, depth, status

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        frames, _, height, width = videos.shape[1:]
        return [
            Reconstruction(
                world_from_camera=self.poses,
                depth=self.depth,
                intrinsics_px=intrinsics_px(height, width).expand(frames, 3, 3),
                confidence=(self.depth < self.depth.max()).float(),
                status=self.status,
                reason="" if self.status is Status.OK else "only 12 matches",
            )
        ]


class Apart:
    """Stands for the perceptual network."""

    licence = "none"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((1, 2, 3))


def instrument(told: Told, size: ClipSize | None = None) -> Instrument:
    meter = Metered(told, lambda: 3.0)
    return Instrument(Scorer("told", meter, SplatRenderer(), Apart(), size=size), meter)


def measured(case: Case, told: Told) -> Record:
    (record,) = score_case(case, instrument(told))
    return record


def truth(case: Case) -> tuple[Tensor, Tensor]:
    assert case.world_from_camera is not None and case.depth is not None
    return case.world_from_camera.clone(), case.depth.float()


def test_path_errors_by_hand() -> None:
    path = synthesize(("move_right",), FRAMES).world_from_camera
    same = path_errors(path, path)
    assert (same.rotation_deg, same.translation, same.shape) == (0, 0, 0) and same.direction_deg is not None
    assert same.direction_deg < 1e-3 and same.true_travel == pytest.approx(0.22)
    half = path.clone()
    half[:, :3, 3] *= 0.5  # free scale: only the depth units see it; mean of i / 8, i from 1 to 8, is 0.5625
    found = path_errors(half, path)
    assert found.shape == pytest.approx(0) and found.translation == pytest.approx(0.11 * 0.5625)
    back = path.clone()
    back[:, 0, 3] *= -1
    found = path_errors(back, path)
    assert found.direction_deg == pytest.approx(180) and found.shape == pytest.approx(2 * 0.5625)
    turned = path @ make_pose(rotation_y(torch.tensor(math.radians(7.0)).double()), torch.zeros(3).double())
    turned[0] = torch.eye(4)
    assert path_errors(turned, path).rotation_deg == pytest.approx(7)
    fixed = path_errors(path, synthesize(("fixed",), FRAMES).world_from_camera)
    assert fixed.shape is None and fixed.direction_deg is None and fixed.travel == pytest.approx(0.22)


def test_motions_are_told_apart() -> None:
    moves = {"move_left": "goes", "orbit_left": "goes", "pan_left": "turns", "fixed": "stands"}
    assert {token: motion_of(synthesize((token,), FRAMES).world_from_camera) for token in moves} == moves
    tiny = synthesize(("move_left",), 20 * FRAMES).world_from_camera[:FRAMES]
    assert motion_of(tiny) == "creeps"


def test_a_clip_is_judged_by_its_truth(cases: dict[str, Case]) -> None:
    clean = cases["clean-06"]  # an orbit
    poses, depth = truth(clean)
    poses[:, :3, 3] *= 3  # in a scale of its own
    right = measured(clean, Told(poses, 3 * depth))
    assert right.valid and not right.wrong and right.errors is not None and right.motion == "goes"
    assert right.errors.rotation_deg < 1e-6 and right.errors.translation < 0.01
    assert right.depth_error == pytest.approx(0, abs=0.01) and right.headline is not None
    assert right.score is not None and right.score.path == clean.name and (right.height, right.width) == (24, 32)
    poses[:, 0, 3] *= -1
    mirrored = measured(clean, Told(poses, 3 * depth))
    assert mirrored.wrong and not mirrored.wrong_rotation
    assert mirrored.headline is not None and mirrored.headline < right.headline - 0.1
    stays = torch.eye(4).double().expand(FRAMES, 4, 4)
    still = measured(clean, Told(stays, depth))
    assert still.wrong and still.wrong_rotation  # it missed 24 degrees
    assert still.headline is None and still.depth_error is None
    refused = measured(clean, Told(poses, depth, Status.REJECTED))
    assert (refused.status, refused.reason, refused.errors) == ("invalid", "only 12 matches", None)
    assert not refused.wrong and refused.motion == "goes"
    broken = measured(clean, Told(poses, depth, Status.FAULT))
    assert broken.status == "fault" and broken.reconstruct_cpu_s is None and broken.score_s is not None
    invented = measured(cases["still-00"], Told(synthesize(("push_in",), FRAMES).world_from_camera, depth))
    assert invented.invented and not invented.wrong and invented.motion == "stands"


def test_what_has_no_truth_has_no_errors(cases: dict[str, Case]) -> None:
    poses, depth = truth(cases["clean-06"])
    noise = measured(cases["noise_white-00"], Told(poses, depth))
    assert noise.valid and not noise.has_truth and noise.errors is None and not noise.wrong and noise.motion == ""
    warped = cases["warped_mild-00"]
    assert measured(warped, Told(poses, depth)).motion == motion_of(synthesize(warped.tokens, 9).world_from_camera)


def test_truths_are_those_of_the_frames_that_were_scored(cases: dict[str, Case]) -> None:
    clean = cases["clean-06"]
    poses, depth = truth(clean)
    told = Told(poses[[0, 2, 4, 6, 8]], depth[[0, 2, 4, 6, 8]])
    (record,) = score_case(clean, instrument(told, ClipSize(num_frames=5, height=HEIGHT, width=WIDTH)))
    assert record.errors is not None and record.errors.rotation_deg < 1e-6 and record.errors.translation < 0.01
    assert record.depth_error == pytest.approx(0, abs=0.01)


def test_a_cut_is_found_in_its_file(cases: dict[str, Case]) -> None:
    poses, depth = truth(cases["clean-06"])
    cut = cases["cut-00"]
    records = score_case(cut, instrument(Told(poses, depth)))
    assert [r.name for r in records] == [f"{cut.name}/0", f"{cut.name}/1"]
    assert [(r.split_right, r.num_frames) for r in records] == [(True, FRAMES)] * 2
    elsewhere = score_case(replace(cut, cuts=(FRAMES + 1,)), instrument(Told(poses, depth)))
    assert [r.split_right for r in elsewhere] == [False] * 2


def test_the_meter_tells_costs_of_both_processes(cases: dict[str, Case]) -> None:
    poses, depth = truth(cases["clean-06"])
    spent = iter((1.0, 3.5))
    meter = Metered(Told(poses, depth, Status.REJECTED), lambda: next(spent))
    meter(cases["clean-06"].video[None].float() / 255)
    assert 2.5 <= meter.cpu_seconds < 2.7 and meter.seconds < 1 and meter.status is Status.REJECTED


def test_the_report_counts(cases: dict[str, Case]) -> None:
    clean = cases["clean-06"]
    poses, depth = truth(clean)
    told = [Told(poses, depth), Told(torch.eye(4).double().expand(FRAMES, 4, 4), depth)]
    told += [Told(poses, depth, Status.REJECTED)] * 2
    records = [measured(replace(clean, name=f"clean-{i}"), reconstruct) for i, reconstruct in enumerate(told)]
    text = report([*records, measured(cases["noise_white-00"], told[0])])
    assert "| orbit_left | 4 | 2 | " in text
    assert "| clean | 4 | 50% | 1 | 1 | 0 | 0 |" in text
    assert "| clean | invalid | 2 | only N matches |" in text
    assert "- all: 1 (25.0%) by rule R, 1 (25.0%) by rule R + T, of 4, 2 of them valid" in text
    assert "1 of 1 are called valid" in text and "wrong or invented: clean-1: ok" in text


def test_records_survive_a_run_that_was_stopped(cases: dict[str, Case], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(score_clips, "ProcessPoolExecutor", NoPool)
    make_cases(tmp_path, plan({"clean": (2,)}, ((HEIGHT, WIDTH),), FRAMES))
    paths, out = sorted(tmp_path.glob("*.safetensors")), tmp_path / "records.jsonl"
    kept = replace(measured(cases["clean-06"], Told(*truth(cases["clean-06"]))), name=paths[0].stem)
    append_records(out, [kept, replace(kept, name="another"), replace(kept, name=paths[1].stem, status="crash")])
    with out.open("a") as file:
        file.write('{"name": "clean-24')  # a line that the stop cut short
    assert [record.name for record in read_records(out)] == [kept.name, "another"]
    assert kept.score is not None and read_records(out)[0].errors == kept.errors
    with pytest.raises(InputError, match="records of told"):
        score_clips.score_files(paths, "mini", 1, out)
    records = score_clips.score_files(paths, "told", 1, out)
    assert [(record.name, record.status) for record in records] == [(paths[0].stem, "ok"), (paths[1].stem, "crash")]
    assert [record.name for record in read_records(out)] == [kept.name, "another"]  # the crash is to be tried again


class NoPool:
    """In the place of worker processes: whatever is asked of it fails."""

    def __init__(self, *_arguments, **_options) -> None:
        pass

    def __enter__(self) -> "NoPool":
        return self

    def __exit__(self, *_arguments) -> None:
        pass

    def submit(self, *_arguments) -> Future[list[Record]]:
        future: Future[list[Record]] = Future()
        future.set_exception(ZeroDivisionError("no depth"))
        return future


def test_an_exception_is_a_record_and_not_valid(tmp_path: Path) -> None:
    make_cases(tmp_path, plan({"noise_white": (1,)}, ((HEIGHT, WIDTH),), FRAMES))
    future: Future[list[Record]] = Future()
    future.set_exception(ZeroDivisionError("no depth"))
    (record,) = score_clips._result(future, next(tmp_path.iterdir()), "sfm")
    assert (record.status, record.reason, record.valid) == ("crash", "ZeroDivisionError: no depth", False)


def test_an_unknown_reconstructor_is_refused() -> None:
    with pytest.raises(InputError, match="use one of"):
        score_clips.load_instrument("colmap")


@pytest.mark.slow  # worker processes import everything again
@pytest.mark.parametrize("reconstructor", score_clips.RECONSTRUCTORS)
def test_a_run_writes_records(tmp_path: Path, reconstructor: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_cases(tmp_path, plan({"clean": (1,), "noise_white": (1,)}, ((64, 96),), 17))
    out = tmp_path / "out.jsonl"
    arguments = ["--cases", str(tmp_path), "--reconstructor", reconstructor, "--records", str(out)]
    score_clips.main(arguments)
    records = sorted(read_records(out), key=lambda record: record.name)
    assert [record.name for record in records] == ["clean-64-00", "noise_white-64-00"]
    assert records[0].valid and records[0].errors is not None and records[0].errors.rotation_deg < 10
    assert records[0].reconstruct_cpu_s is not None and records[0].reconstruct_cpu_s > 0 and records[1].errors is None
    written, printed = out.read_bytes(), capsys.readouterr().out
    score_clips.main(arguments)
    assert out.read_bytes() == written
    assert capsys.readouterr().out.partition("Median / 90 %")[2] == printed.partition("Median / 90 %")[2]
