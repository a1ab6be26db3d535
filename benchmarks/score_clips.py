"""`worldr1 score` on the labelled clips of score_cases.py: is it right, does it know when it is not, what does it say?

    python benchmarks/score_cases.py DIR                                      # once
    python benchmarks/score_clips.py --cases DIR --records FILE [--reconstructor sfm] [--workers N] [--limit N]

Every clip is measured as the command does it; a cut one through a file, so that finding the cut is measured too. FILE
has a line per shot; what it holds is not measured again, so a run that was stopped goes on, and one that was finished
only prints its tables. After a change of the scorer take a new file.

**Confident and wrong**: valid, and the rotation error is above 5 degrees (rule R); or, where the true camera goes more
than 0.05 depth units, the direction error is above 30 degrees or the shape error above 50 % (rule R + T). Where the
true camera goes less, an invented travel of more than 0.11 depth units (half a move) is counted apart. The errors are
those of `score_records.PathErrors`.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from machine import heading, load
from score_cases import COUNTS, Case, case_paths, load_case
from score_records import Motion, Record, append_records, motion_of, path_errors, read_records, spread, table
from score_reference import reference_report
from torch import Tensor

from worldr1.backends.mini import CLIP_SIZE, load_distance
from worldr1.backends.mini import load_reconstructor as load_mini
from worldr1.backends.sfm.lifting import Lifted, lift
from worldr1.backends.sfm.reconstructor import SfmReconstructor
from worldr1.backends.sfm.worker import Worker
from worldr1.camera.trajectory import MAGNITUDES, synthesize
from worldr1.errors import InputError
from worldr1.evaluate.fitting import ClipSize
from worldr1.evaluate.scoring.scorer import STILL_TRAVEL, Scored, Scorer
from worldr1.footage import FootageConfig, Shot, read_shots, shot_of
from worldr1.mini.render import SKY
from worldr1.protocols import Reconstructor
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, Status
from worldr1.video_io import FRAMES_PER_SECOND, write_mp4

RECONSTRUCTORS = ("sfm", "mini")


def timed_lift(*arguments: Any) -> tuple[Lifted, float]:
    """`lift` and its CPU seconds; what the reconstructor's process does here."""
    begin = time.process_time()
    return lift(*arguments), time.process_time() - begin


class CountingWorker(Worker):
    """`Worker(lift)` that adds up its process's CPU seconds: the system tells them only after that has ended."""

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(timed_lift, timeout_s=timeout_s)
        self.cpu_seconds = 0.0

    def __call__(self, *arguments: Any) -> Lifted:
        """As the worker's."""
        lifted, seconds = super().__call__(*arguments)
        self.cpu_seconds += seconds
        return lifted


class Metered:
    """A reconstructor that keeps what its last call cost and came to."""

    def __init__(self, reconstructor: Reconstructor, elsewhere: Callable[[], float] = lambda: 0.0) -> None:
        """elsewhere: CPU seconds spent in other processes so far."""
        self.licence = reconstructor.licence
        self.seconds = self.cpu_seconds = 0.0
        self.status = Status.OK
        self._reconstructor = reconstructor
        self._elsewhere = elsewhere

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """As the reconstructor's."""
        begin, begin_cpu = time.perf_counter(), self.cpu()
        found = self._reconstructor(videos)
        self.seconds, self.cpu_seconds = time.perf_counter() - begin, self.cpu() - begin_cpu
        self.status = found[0].status
        return found

    def cpu(self) -> float:
        """CPU seconds of this process and of the reconstructor's so far."""
        return time.process_time() + self._elsewhere()


class Instrument(NamedTuple):
    """What a process measures with."""

    scorer: Scorer
    meter: Metered


@cache
def load_instrument(name: str) -> Instrument:
    """The scorer with a reconstructor of that name, one in each process, at work already."""
    if name not in RECONSTRUCTORS:
        raise InputError(f"There is no reconstructor {name!r}; use one of {', '.join(RECONSTRUCTORS)}.")
    if name == "sfm":
        sfm, size = SfmReconstructor(), None
        worker = sfm._worker = CountingWorker(timeout_s=sfm.config.timeout_s)
        meter = Metered(sfm, lambda: worker.cpu_seconds)
    else:
        meter, size = Metered(load_mini()), ClipSize(num_frames=CLIP_SIZE[0], height=CLIP_SIZE[1], width=CLIP_SIZE[2])
    meter(torch.zeros(1, 17, 3, 64, 96))  # its process and its compiled loops are not the first clip's to wait for
    return Instrument(Scorer(name, meter, SplatRenderer(), load_distance(), size=size), meter)


def score_case(case: Case, instrument: Instrument) -> list[Record]:
    """Scores a clip, each shot of a cut one, and measures what came of it."""
    if case.kind != "cut":
        return [_score_shot(case, shot_of(case.video.float() / 255, FootageConfig()), instrument)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{case.name}.mp4"
        write_mp4(path, case.video.float() / 255)
        shots = read_shots(path, FootageConfig())
    right = [round(shot.start_s * FRAMES_PER_SECOND) for shot in shots] == [0, *case.cuts]
    records = [_score_shot(case, shot, instrument) for shot in shots]
    return [replace(r, name=f"{case.name}/{at}", split_right=right) for at, r in enumerate(records)]


def _score_shot(case: Case, shot: Shot, instrument: Instrument) -> Record:
    meter, begin, begin_cpu = instrument.meter, time.perf_counter(), instrument.meter.cpu()
    scored = instrument.scorer(shot, path=case.name)
    seconds, cpu_seconds = time.perf_counter() - begin, meter.cpu() - begin_cpu
    fault = meter.status is Status.FAULT
    errors = None
    if scored.score.world_from_camera is not None and case.world_from_camera is not None:
        errors = path_errors(
            torch.tensor(scored.score.world_from_camera, dtype=torch.float64), case.world_from_camera[_frames(scored)]
        )
    frames, _, height, width = shot.video.shape
    record = _record(
        case,
        instrument.scorer.name,
        status="ok" if scored.score.valid else "fault" if fault else "invalid",
        reason=scored.score.reason,
        reconstruct_s=meter.seconds,
        reconstruct_cpu_s=None if fault else meter.cpu_seconds,
        score_s=seconds,
        score_cpu_s=None if fault else cpu_seconds,
        errors=errors,
        depth_error=depth_error(case, scored),
        score=scored.score,
    )
    return replace(record, num_frames=frames, height=height, width=width)


def _record(case: Case, reconstructor: str, **measured: Any) -> Record:
    num_frames, _, height, width = case.video.shape
    labels = {name: getattr(case, name) for name in ("name", "kind", "tokens", "texture", "surfaces")}
    size = {"height": height, "width": width, "num_frames": num_frames}
    told = {"has_truth": case.world_from_camera is not None, "motion": _motion(case), "reconstructor": reconstructor}
    return Record(**labels, **size, **told, **measured)


def _motion(case: Case) -> Motion:
    if case.world_from_camera is not None:
        return motion_of(case.world_from_camera)
    return motion_of(synthesize(case.tokens, len(case.video)).world_from_camera) if case.tokens else ""


def _frames(scored: Scored) -> list[int]:
    """The case's frames that were scored."""
    return [round(time_s * FRAMES_PER_SECOND) for time_s in scored.score.times_s]


def depth_error(case: Case, scored: Scored) -> float | None:
    """See `Record.depth_error`; None without truth, or where the reconstructor works at another size."""
    found = scored.reconstruction
    if case.depth is None or case.surface is None or found is None or not scored.score.valid:
        return None
    if case.depth.shape[1:] != found.depth.shape[1:] or (scored.score.camera_travel or 0) < STILL_TRAVEL:
        return None
    depth, surface = case.depth[_frames(scored)].float(), case.surface[_frames(scored)]
    asked = (found.confidence > 0.2) & (surface != SKY)
    ratio = found.depth[asked] / found.median_depth / depth[asked]
    return float((ratio - 1).abs().median()) if len(ratio) else None


def score_file(path: Path, reconstructor: str) -> list[Record]:
    """`score_case` of a file; what a worker process does."""
    torch.set_num_threads(1)
    return score_case(load_case(path), load_instrument(reconstructor))


def score_files(paths: Sequence[Path], reconstructor: str, workers: int, out: Path) -> list[Record]:
    """All files whose records `out` does not hold, in worker processes of one thread each; their records are added as
    they come. An exception becomes a record with status "crash". Returns all records of these files, by name.

    Raises InputError if `out` has records of another reconstructor.
    """
    names = {path.stem for path in paths}
    kept = read_records(out)
    if others := {r.reconstructor for r in kept} - {reconstructor}:
        raise InputError(f"{out} has records of {', '.join(others)}; give another file.")
    records = [record for record in kept if _case_name(record) in names]
    missing = [path for path in paths if path.stem not in {_case_name(r) for r in records}]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(score_file, path, reconstructor): path for path in missing}
        for number, future in enumerate(as_completed(futures), len(paths) - len(missing) + 1):
            found = _result(future, futures[future], reconstructor)
            append_records(out, found)
            records += found
            print(*(f"{number} of {len(paths)}: {record.line}" for record in found), sep="\n", flush=True)
    return sorted(records, key=lambda record: record.name)


def _case_name(record: Record) -> str:
    return record.name.split("/")[0]


def _result(future: Future[list[Record]], path: Path, reconstructor: str) -> list[Record]:
    error = future.exception()
    if error is None:
        return future.result()
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return [_record(load_case(path), reconstructor, status="crash", reason=reason)]


def report(records: Sequence[Record]) -> str:
    """Markdown: errors by move, outcomes by kind, reasons, and who is confident and wrong."""
    return "\n\n".join([_moves(records), _kinds(records), _reasons(records), _confidence(records)])


def _moves(records: Sequence[Record]) -> str:
    clean = [record for record in records if record.kind == "clean"]
    groups = {token: [r for r in clean if r.tokens == (token,)] for token in MAGNITUDES}
    groups["two moves"] = [record for record in records if record.kind == "sequence"]
    for texture in ("unique", "repetitive"):
        for height in sorted({record.height for record in clean}):
            name = f"all clean, {texture}, {height} px high"
            groups[name] = [r for r in clean if r.texture == texture and r.height == height]
    errors = {
        "rotation, deg": lambda r: r.errors and r.errors.rotation_deg,
        "translation, depth units": lambda r: r.errors and r.errors.translation,
        "shape": lambda r: r.errors and r.errors.shape,
        "direction, deg": lambda r: r.errors and r.errors.direction_deg,
        "depth": lambda r: r.depth_error,
    }
    rows = [
        [name, str(len(group)), str(sum(r.valid for r in group)), *(spread(group, e, 3) for e in errors.values())]
        for name, group in groups.items()
        if group
    ]
    return "Median / 90 %, valid clips:\n\n" + table(["clean clips", "clips", "valid", *errors], rows)


def _kinds(records: Sequence[Record]) -> str:
    head = ["kind", "shots", "invalid", "wrong, R", "wrong, R + T", "of these with a headline", "invented travel"]
    rows = []
    for kind in (*COUNTS, "all"):
        group = [record for record in records if kind in (record.kind, "all")]
        if not group:
            continue
        wrong = [record for record in group if record.wrong]
        counts = [sum(r.wrong_rotation for r in group), len(wrong), sum(r.headline is not None for r in wrong)]
        counts.append(sum(r.invented for r in group))
        told = any(r.has_truth for r in group)
        row = [kind, str(len(group)), f"{sum(not r.valid for r in group) / len(group):.0%}"]
        row += [str(count) if told else "no truth" for count in counts]
        rows.append([*row, spread(group, lambda r: r.figure("coverage"))])
    return "Outcomes; coverage is median / 90 %:\n\n" + table([*head, "coverage"], rows)


def _reasons(records: Sequence[Record]) -> str:
    """Why clips are not valid; sentences that differ in their numbers only are counted together."""
    counts = Counter((r.kind, r.status, re.sub(r"\d+(\.\d+)?", "N", r.reason)) for r in records if not r.valid)
    rows = [[kind, status, str(number), reason] for (kind, status, reason), number in sorted(counts.items())]
    return "Not valid:\n\n" + table(["kind", "status", "clips", "reason"], rows) if rows else "All are valid."


def _confidence(records: Sequence[Record]) -> str:
    told = [record for record in records if record.has_truth]
    lines = ["Confident and wrong, of the clips with a truth:", ""]
    for name, group in (
        ("all", told),
        ("non-repeating floor and walls", [r for r in told if r.texture == "unique"]),
        ("repetitive floor and walls", [r for r in told if r.texture == "repetitive"]),
        ("without texture", [r for r in told if r.texture == "none"]),
    ):
        if group:
            r, rt = sum(r.wrong_rotation for r in group), sum(r.wrong for r in group)
            share = f"{r} ({r / len(group):.1%}) by rule R, {rt} ({rt / len(group):.1%}) by rule R + T"
            lines.append(f"- {name}: {share}, of {len(group)}, {sum(x.valid for x in group)} of them valid")
    false = [record for record in records if not record.has_truth]
    lines.append(f"- without a truth: {sum(r.valid for r in false)} of {len(false)} are called valid")
    wrong = [record for record in records if record.wrong or record.invented]
    return "\n".join([*lines, *(f"- wrong or invented: {record.line}" for record in wrong)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables; writes the records to --records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="folder made by score_cases.py")
    parser.add_argument("--records", type=Path, required=True, help="a line of JSON per shot; kept and gone on with")
    parser.add_argument("--reconstructor", choices=RECONSTRUCTORS, default="sfm")
    parser.add_argument("--limit", type=int, help="these many, evenly out of all by name")
    parser.add_argument("--kinds", nargs="+", choices=COUNTS, metavar="KIND")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args(arguments)
    paths = case_paths(args.cases)
    if args.kinds:
        paths = [path for path in paths if path.name.split("-")[0] in args.kinds]
    if not paths:
        parser.error(f"there are no such cases in {args.cases}; make them with python benchmarks/score_cases.py")
    if args.limit:
        number = min(args.limit, len(paths))
        paths = [paths[i * len(paths) // number] for i in range(number)]
    records = score_files(paths, args.reconstructor, args.workers, args.records)
    print(f"\n{heading()}; {load()}\n\n{report(records)}\n\n{reference_report(records)}")


if __name__ == "__main__":
    main()
