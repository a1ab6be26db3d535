"""VBench's scores of an evaluation's videos, kept in its records: the one measure that its own judge does not give."""

import shutil
from dataclasses import replace
from pathlib import Path

from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.metrics.vbench import DYNAMIC, QUALITY, prepare, run_vbench
from worldr1.evaluate.records import VideoRecord

FOLDER, VIDEOS = "vbench", "videos"
"""In the evaluation: what VBench wrote stays as it is; the copies that it read go."""
SCORED = f"vbench_{DYNAMIC}"
"""Every scored video has it."""


def without_scores(folder: EvaluationFolder) -> list[VideoRecord]:
    """The records, valid or not, whose video VBench has not seen."""
    return [record for record in folder.records if record.video is not None and SCORED not in record.measures]


def add_vbench_scores(folder: EvaluationFolder, python: str | Path) -> int:
    """Scores what is not scored by the VBench of another python; returns how many videos that were.

    The seven dimensions of its quality score, in one run; they look at the pictures alone, not at the prompt.
    Raises InputError as `run_vbench` does, and if a video is missing.
    """
    wanted = without_scores(folder)
    if not wanted:
        return 0
    place = folder.path / FOLDER
    files = {str(record.video): folder.path / "videos" / str(record.video) for record in wanted}
    shutil.rmtree(place / VIDEOS, ignore_errors=True)  # of a run that was killed
    prepare(place, files, {str(record.video): record.prompt for record in wanted})
    scores = run_vbench(python, place, dimensions=QUALITY)
    for record in wanted:
        folder.append(replace(record, measures=record.measures | scores.measures(record.video)))
    shutil.rmtree(place / VIDEOS)
    return len(wanted)
