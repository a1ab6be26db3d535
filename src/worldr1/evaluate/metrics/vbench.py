"""VBench through its own package, in an environment of its own, and what its results mean.

vbench 0.1.5 pins numpy below 2 and transformers 4.33, so it cannot live beside this package: the user names the python
of an environment that has it. `run_vbench` starts it there as `python -m vbench.launch.evaluate` with
`--mode custom_input`; the `vbench evaluate` command itself is not used, because it pastes its arguments into a shell
line. Weights are its own business (it downloads them at first use).

**Scores.** `raw_means` reads `*_eval_results.json`: {dimension: [mean, [{"video_path": ..., "video_results": ...}]]}.
imaging_quality's mean is 0..1 but its videos' values 0..100; here both are 0..1. The World-R1 paper's "VBench AVG" is
the plain mean of five dimensions (its 85.21 follows from its table; research/paper.md), without dynamic degree, and no
official quantity. The official quality, semantic and total scores (scripts/cal_final_score.py) need 7, 9 and 16
dimensions; that script counts a missing one as 0, we give no score. Nine of them cannot be measured on prompts that
are not VBench's.

Mean of several GPUs: VBench averages videos there and frames on one GPU, so run it on one.
"""

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from worldr1.errors import InputError

PAPER_FIVE = (
    "aesthetic_quality",
    "imaging_quality",
    "motion_smoothness",
    "subject_consistency",
    "background_consistency",
)
"""In the order of the paper's table T1."""
DYNAMIC = "dynamic_degree"
QUALITY = (*PAPER_FIVE, "temporal_flickering", DYNAMIC)
SEMANTIC = (
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)
DIMENSIONS = (*QUALITY, *SEMANTIC)
CUSTOM_INPUT = (*QUALITY, "human_action", "temporal_style", "overall_consistency")
"""What `--mode custom_input` takes."""
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "subject_consistency": (0.1462, 1.0),
        "background_consistency": (0.2615, 1.0),
        "temporal_flickering": (0.6293, 1.0),
        "motion_smoothness": (0.706, 0.9975),
        "scene": (0.0, 0.8222),
        "appearance_style": (0.0009, 0.2855),
        "temporal_style": (0.0, 0.364),
        "overall_consistency": (0.0, 0.364),
    }
)
"""Lowest and highest value of a dimension, as scripts/constant.py normalises; (0, 1) for the others."""
WEIGHTS: Mapping[str, float] = MappingProxyType({DYNAMIC: 0.5})
"""1 for the others."""
QUALITY_WEIGHT, SEMANTIC_WEIGHT = 4, 1
PERCENT = ("imaging_quality",)
"""Dimensions whose videos' values are 0..100."""
RESULTS_GLOB, PROMPTS_FILE = "*_eval_results.json", "prompts.json"
MODULE = "vbench.launch.evaluate"
MAX_STDERR = 400
FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vbench') is None)"
FIND_S = 60
"""What asks an environment for vbench, and for how long at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VBenchScores:
    """What one run of VBench says, all 0..1."""

    means: Mapping[str, float]
    """Raw, by dimension."""
    videos: Mapping[str, Mapping[str, float]]
    """File name of a video -> dimension -> raw value; VBench's dynamic degree of a video is 0 or 1."""

    @property
    def average_of_five(self) -> float | None:
        """The paper's AVG; None if one of the five is missing."""
        return _mean([self.means[name] for name in PAPER_FIVE]) if self._has(PAPER_FIVE) else None

    @property
    def dynamic_degree(self) -> float | None:
        """What stands beside every other score."""
        return self.means.get(DYNAMIC)

    @property
    def quality(self) -> float | None:
        """Official quality score; None if one of its 7 dimensions is missing."""
        return self._weighted(QUALITY)

    @property
    def semantic(self) -> float | None:
        """Official semantic score; None if one of its 9 dimensions is missing."""
        return self._weighted(SEMANTIC)

    @property
    def total(self) -> float | None:
        """Official total; None if one of the 16 dimensions is missing."""
        quality, semantic = self.quality, self.semantic
        if quality is None or semantic is None:
            return None
        return (QUALITY_WEIGHT * quality + SEMANTIC_WEIGHT * semantic) / (QUALITY_WEIGHT + SEMANTIC_WEIGHT)

    def measures(self, video: str | None = None) -> dict[str, float]:
        """By the names of the catalogue, with the scores: of one video's file name, or of the whole run.

        Empty for a video that VBench did not see. The scores are linear, so their means over videos of one length are
        those of the run.
        """
        if video is not None:
            return VBenchScores(means=self.videos.get(video, {}), videos={}).measures()
        found = {f"vbench_{name}": value for name, value in self.means.items()}
        scores = {"vbench_avg5": self.average_of_five, "vbench_quality": self.quality, "vbench_total": self.total}
        return found | {name: value for name, value in scores.items() if value is not None}

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Of several files of one set of videos, such as one per dimension. Raises InputError if two disagree."""
        means: dict[str, float] = {}
        videos: dict[str, dict[str, float]] = {}
        for part in parts:
            if twice := sorted(name for name in part.means if means.get(name, part.means[name]) != part.means[name]):
                raise InputError(f"Two VBench results give {twice[0]} different values; keep those of one run.")
            means |= part.means
            for video, values in part.videos.items():
                videos.setdefault(video, {}).update(values)
        return cls(means=means, videos=videos)

    def _has(self, names: Sequence[str]) -> bool:
        return all(name in self.means for name in names)

    def _weighted(self, names: Sequence[str]) -> float | None:
        if not self._has(names):
            return None
        weights = [WEIGHTS.get(name, 1.0) for name in names]
        return sum(w * normalised(name, self.means[name]) for w, name in zip(weights, names, strict=True)) / sum(
            weights
        )


def normalised(dimension: str, value: float) -> float:
    """A raw mean as the official scores count it: 0 at the dimension's lowest value, 1 at its highest, not clipped."""
    low, high = RANGES.get(dimension, (0.0, 1.0))
    return (value - low) / (high - low)


def read_results(path: str | Path) -> VBenchScores:
    """A `*_eval_results.json`, or a folder of them. Raises InputError if there is none or one is damaged."""
    path = Path(path)
    files = sorted(path.glob(RESULTS_GLOB)) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"There are no VBench results at {path}; give the {RESULTS_GLOB} that VBench wrote.")
    return VBenchScores.merged([_read(file) for file in files])


def prepare(folder: Path, videos: Mapping[str, Path], prompts: Mapping[str, str]) -> Path:
    """The layout that VBench reads: folder/videos/NAME.mp4 and folder/prompts.json; returns the folder of videos.

    videos: file name, as results will call it -> the file. prompts: file name -> prompt, without the camera sentence if
    the suite leaves it out. Raises InputError for no videos, a name that is no plain .mp4 name, a missing file, or a
    video without a prompt.
    """
    if not videos:
        raise InputError("VBench needs videos; there are none.")
    for name, source in videos.items():
        if Path(name).name != name or "\\" in name or Path(name).suffix.lower() != ".mp4":
            raise InputError(f"VBench needs plain names that end in .mp4, not {name!r}.")
        if not source.is_file():
            raise InputError(f"The video {source} is missing.")
        if name not in prompts:
            raise InputError(f"The video {name} has no prompt.")
    target = folder / "videos"
    if target.exists() and (strange := sorted({file.name for file in target.iterdir()} - set(videos))):
        raise InputError(f"{target} holds {strange[0]}, which is not to be scored; give another folder.")
    target.mkdir(parents=True, exist_ok=True)
    for name, source in videos.items():
        if source.resolve() != (target / name).resolve():
            shutil.copyfile(source, target / name)
    texts = {name: prompts[name] for name in videos}
    (folder / PROMPTS_FILE).write_text(json.dumps(texts, indent=1) + "\n", encoding="utf-8")
    return target


def command(python: Path, folder: Path, out: Path, dimensions: Sequence[str]) -> list[str]:
    """The arguments that `run_vbench` starts. Raises InputError for a dimension that custom input does not take."""
    for name in dimensions:
        if name not in CUSTOM_INPUT:
            raise InputError(
                f"VBench does not measure {name!r} on prompts of one's own; it takes {', '.join(CUSTOM_INPUT)}."
            )
    return [
        *(str(python), "-m", MODULE),
        *("--videos_path", str(folder / "videos")),
        *("--prompt_file", str(folder / PROMPTS_FILE)),
        *("--output_path", str(out)),
        *("--mode", "custom_input"),
        *("--dimension", *dimensions),
    ]


def check_vbench(python: str | Path) -> None:
    """Raises InputError if there is no such program, or its environment has no vbench: before hours of sampling."""
    line = [str(_program(python)), "-c", FIND]
    try:
        ended = subprocess.run(line, env=_environment(), capture_output=True, timeout=FIND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(
            f"{python} cannot be started as a python; give that of the environment that has vbench."
        ) from error
    if ended.returncode != 0:
        raise InputError(_absent(python))


def run_vbench(
    python: str | Path,
    folder: str | Path,
    *,
    dimensions: Sequence[str] = (*PAPER_FIVE, DYNAMIC),
    timeout_s: float | None = None,
) -> VBenchScores:
    """Scores a folder that `prepare` made with the VBench of another python; dynamic degree is always among it.

    Raises InputError if that python or its vbench is missing, it fails, takes longer than `timeout_s`, or leaves no
    results.
    """
    folder, chosen = Path(folder).resolve(), list(dict.fromkeys((*dimensions, DYNAMIC)))
    program = _program(python)
    out = Path(tempfile.mkdtemp(prefix="results-", dir=folder))  # results of an earlier run must not be read for these
    line = command(program, folder, out, chosen)
    try:
        ended = subprocess.run(
            line, env=_environment(), cwd=out, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"VBench took longer than {timeout_s:g} s; allow more, or score fewer videos.") from error
    except OSError as error:
        raise InputError(f"{python} cannot be started ({error.strerror}).") from error
    if ended.returncode != 0:
        raise InputError(_why(python, ended.stderr))
    scores = read_results(out)
    if missing := [name for name in chosen if name not in scores.means]:
        raise InputError(f"VBench ended well but gave no {missing[0]}; look at {out}.")
    return scores


def _program(python: str | Path) -> Path:
    program = shutil.which(str(python))
    if program is None:
        raise InputError(f"There is no program {python}; give the python of the environment that has vbench.")
    return Path(os.path.abspath(program))


def _environment() -> dict[str, str]:
    """What belongs to our environment must not be imported in that one."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _absent(python: str | Path) -> str:
    return f"{python} has no vbench: pip install vbench==0.1.5 in that environment (a GPU is needed)."


def _why(python: str | Path, stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    last = lines[-1].strip()[-MAX_STDERR:] if lines else "it said nothing"
    if "No module named 'vbench" in last or "No module named vbench" in last:
        return _absent(python)
    return f"VBench failed: {last}"


def _read(path: Path) -> VBenchScores:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, Mapping) or not table:
            raise ValueError("no object of dimensions")
        means: dict[str, float] = {}
        videos: dict[str, dict[str, float]] = {}
        for dimension, entry in table.items():
            if dimension not in DIMENSIONS:
                raise ValueError(f"there is no dimension {dimension!r}")
            mean, rows = _entry(dimension, entry)
            means[dimension] = mean
            for name, value in rows:
                videos.setdefault(name, {})[dimension] = value
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no VBench result or damaged ({error}); run VBench again.") from error
    return VBenchScores(means=means, videos=videos)


def _entry(dimension: str, entry: Any) -> tuple[float, list[tuple[str, float]]]:
    """Mean and values by file name. Raises ValueError for anything but [mean, [{"video_path", "video_results"}]]."""
    if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2 or not isinstance(entry[1], list):
        raise ValueError(f"{dimension} is not [mean, videos]")
    scale = 100.0 if dimension in PERCENT else 1.0
    rows = []
    for row in entry[1]:
        if not isinstance(row, Mapping) or not isinstance(row.get("video_path"), str) or "video_results" not in row:
            raise ValueError(f"a video of {dimension} has no video_path and video_results")
        rows.append((Path(row["video_path"]).name, _number(row["video_results"], dimension) / scale))
    return _number(entry[0], dimension), rows


def _number(value: Any, dimension: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):  # a bool is an int: dynamic degree
        raise ValueError(f"{dimension} holds {value!r}, which is no number")
    return float(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
