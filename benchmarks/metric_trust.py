"""How far can each metric be trusted? Every measure beside the true geometric error of damaged clips.

    python benchmarks/metric_trust.py --records FILE [--scenes 15] [--sfm-scenes 4] [--workers 2] [--fit-steps 2000]
        [--out PAGE.md]

Clips of the mini world whose geometry is known, damaged in fourteen ways of known displacement (known_damages.py),
measured by `evaluate.metrics.measure` with two 3D models, the reward's and the judge, and structure from motion on a
part of the scenes. The truth is `true_error`. FILE keeps what was measured: a run that was stopped goes on, one that
was finished only prints its tables, and a measure that it lacks is added. With --out they replace what stands under
"## Measured" there. --fit-steps adds 3DGS optimisation of every clip by the judge's geometry, which needs a GPU with
gsplat: without one it is what FILE has of it (the rest needs none: let two machines fill one FILE in turn).
Intervals are 95 % bootstraps over scenes: the clips of one scene are not independent.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from damage_table import FRAMES, Case
from jaxtyping import Float
from known_damages import FIELDS, KINDS, damaged_video, geometry_of, make_damage
from machine import heading
from scipy.stats import rankdata
from torch import Tensor
from true_error import true_error

from worldr1.backends.mini import load_distance, load_judge, load_probe, load_reconstructor
from worldr1.build import build_renderer
from worldr1.camera.trajectory import synthesize
from worldr1.evaluate.metrics import CATALOGUE, MEASURED_BY_FITTING, JudgedClip, measure
from worldr1.evaluate.metrics.measuring import Probe
from worldr1.evaluate.metrics.splat_fit import FitConfig
from worldr1.evaluate.statistics.intervals import bootstrap_interval
from worldr1.evaluate.statistics.values import pooled_mean
from worldr1.pretrain.corpus import warp
from worldr1.pretrain.damage import blur
from worldr1.protocols import PerceptualDistance, Reconstructor
from worldr1.scene.splat import SplatRenderer
from worldr1.seeding import make_generator
from worldr1.types import Prompt, Status
from worldr1.video_io import FRAMES_PER_SECOND

SEED = 11
BLUR_PX, WARP_PX = 1.5, 3.0
REFERENCE_SCENES, BLUR_EVERY = 3, 8
"""The plain clips are of the first scenes; every so many scenes' damaged clips are measured with blur too."""
REFERENCES = ("perfect", "still", "shuffled", "warped", "noise")
BLURRED = " + blur"
IMAGE, SFM = "no 3D model", "sfm"
MODELS = ("mini", "judge", SFM)
"""`mini` is the 3D model of the mini recipes' reward."""
FITTED = "judge, optimised on a GPU"
"""Of jobs and seconds: what is measured stands beside the judge's other values."""
ON_IMAGES = ("epipolar_px", "dis_motion_px", "dis_dynamic_share", "image_gradient", "words", "extra_solids")
ON_GEOMETRY = (
    "psnr_holdout_db",
    "ssim_holdout",
    "perceptual_holdout",
    "coverage",
    "consistency",
    "psnr_all_db",
    "ssim_all",
    "perceptual_all",
    "coverage_all",
    "mvcs",
    "mvcs_scale_free",
    "residual_motion",
    "travel_depth_units",
    "travel_ratio",
    "travel_deg",
    "rotation_error_deg",
    "translation_error",
    "rot_err_sum_rad",
    "trans_err_sum",
    "cam_mc_sum",
)
ALL_FRAMES = ("psnr_all_db", "ssim_all", "perceptual_all", "coverage_all")
"""Half of the cost of a clip, so that only the judge is asked for them."""
LESS_IS_BETTER = ("residual_motion",)
"""Of the measures that say of themselves only that it depends: these clips have nothing that is meant to move."""
SECTION = "## Measured"
BATCH, FIT_BATCH = 6, 64
"""Clips of a job; scenes are optimised side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One clip, its truth, and what was measured."""

    scene: int
    kind: str
    """Of damage, "+ blur" where it was blurred besides, or one of REFERENCES."""
    move: str
    prompt: str
    video: Float[Tensor, "T 3 H W"]
    error_px: float = float("nan")
    deformation_px: float = float("nan")
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    """(3D model or IMAGE, measure) -> value."""
    asked: set[str] = field(default_factory=set)
    """3D models that were shown the clip; one that has no value of it refused it."""

    def refused_by(self, model: str) -> bool:
        """Whether a 3D model found nothing to reconstruct."""
        return model in self.asked and not any(key[0] == model for key in self.values)


def make_samples(num_scenes: int, seed: int) -> list[Sample]:
    """References, damaged clips of stratified levels, and some scenes' again with blur."""
    case = Case(num_scenes, seed)
    clips = case.film()
    levels = {
        kind: (torch.randperm(num_scenes, generator=make_generator(seed, f"level/{kind}")) + 0.5) / num_scenes
        for kind in KINDS
    }
    samples = []
    for i, move in enumerate(case.moves):
        video, geometry = clips.video[i], geometry_of(clips, i)
        make = partial(Sample, scene=i, move=move, prompt=case.prompts[i].text)
        if i < REFERENCE_SCENES:
            plain = references(video, make_generator(seed, "references", i))
            samples += [make(kind=name, video=clip) for name, clip in plain.items()]
        for kind in KINDS:
            damage = make_damage(kind, float(levels[kind][i]), clips, i, make_generator(seed, f"damage/{kind}", i))
            truth, broken = true_error(geometry, damage), damaged_video(video, damage)
            wrong = partial(make, error_px=truth.error_px, deformation_px=truth.deformation_px)
            samples.append(wrong(kind=kind, video=broken))
            if i % BLUR_EVERY == 0:
                soft = blur(broken, torch.full((FRAMES,), BLUR_PX))
                samples.append(wrong(kind=kind + BLURRED, video=soft))
    return samples


def references(video: Float[Tensor, "T 3 H W"], generator: torch.Generator) -> dict[str, Float[Tensor, "T 3 H W"]]:
    """The five clips that say what a metric rewards."""
    return {
        "perfect": video,
        "still": video[:1].expand_as(video).contiguous(),
        "shuffled": video[torch.randperm(len(video), generator=generator)],
        "warped": warp(video[None], torch.tensor([WARP_PX]), generator)[0],
        "noise": torch.rand(video.shape, generator=generator),
    }


# --------------------------------------------------------------------------------------------------------- measuring


@cache
def load_model(name: str) -> Reconstructor:
    """One in each process."""
    if name == SFM:
        from worldr1.backends.sfm.reconstructor import SfmReconstructor  # only where its library is

        return SfmReconstructor()
    return {"mini": load_reconstructor, "judge": load_judge}[name]()


@cache
def load_network() -> PerceptualDistance:
    """The mini world's perceptual distance."""
    return load_distance()


@cache
def load_words() -> Probe:
    """The mini world's probe of a prompt's words."""
    return load_probe()


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Some clips, for one 3D model (or IMAGE, or FITTED) to be measured by."""

    model: str
    names: tuple[str, ...]
    """Of measures."""
    videos: np.ndarray
    """B T 3 H W."""
    moves: tuple[str, ...]
    prompts: tuple[str, ...]
    fit_steps: int


def names_of(model: str) -> tuple[str, ...]:
    """What is measured by a 3D model, without one, or by optimisation."""
    if model == FITTED:
        return MEASURED_BY_FITTING
    if model == IMAGE:
        return ON_IMAGES
    return tuple(name for name in ON_GEOMETRY if model == "judge" or name not in ALL_FRAMES)


def run_job(job: Job) -> tuple[list[dict[str, float]], float]:
    """What is found of each clip, {} for one that the 3D model refuses; and seconds."""
    begin = time.monotonic()
    torch.set_num_threads(1)
    if job.model == FITTED:  # the judge's geometry is its start
        found = measure(
            judged(job, load_judge("cuda"), "cuda"),
            renderer=build_renderer("cuda"),
            perceptual=load_distance("cuda"),
            names=job.names,
            fit=FitConfig(steps=job.fit_steps),
        )
    else:
        clips = judged(job, None if job.model == IMAGE else load_model(job.model))
        found = measure(clips, renderer=SplatRenderer(), perceptual=load_network(), probe=load_words(), names=job.names)
    return found, time.monotonic() - begin


def judged(job: Job, model: Reconstructor | None, device: str = "cpu") -> list[JudgedClip]:
    """The clips with their prompts and requested paths and what a 3D model finds, if there is one and it finds any."""
    videos = torch.from_numpy(job.videos).to(device)
    found = [None] * len(videos) if model is None else model(videos)
    return [
        JudgedClip(
            video=video,
            fps=FRAMES_PER_SECOND,
            prompt=Prompt(id=i, text=job.prompts[i]),
            requested=synthesize((job.moves[i],), FRAMES),
            reconstruction=one if one is not None and one.status is Status.OK else None,
        )
        for i, (video, one) in enumerate(zip(videos, found, strict=True))
    ]


def measure_all(
    samples: Sequence[Sample], sfm_scenes: int, workers: int, records: Path, *, fit_steps: int = 0
) -> dict[str, float]:
    """Fills every sample's values; returns seconds of work by model.

    records: a JSON line for each batch and each time that it was measured: its name, which measures, what was found.
    """
    models: list[str] = [IMAGE, *MODELS, *([FITTED] if fit_steps else [])]
    batches: dict[str, tuple[str, list[Sample]]] = {}
    for model in models:
        size, how = (FIT_BATCH, f"{FITTED}, {fit_steps} steps") if model == FITTED else (BATCH, model)
        mine = [s for s in samples if model != SFM or (s.scene < sfm_scenes and BLURRED not in s.kind)]
        for some in (mine[first : first + size] for first in range(0, len(mine), size)):
            batches[f"{how} {some[0].scene} {some[0].kind} {len(some)}"] = model, some
    seconds = dict.fromkeys(models, 0.0)

    def take(line: Mapping[str, Any]) -> None:
        model, some = batches[line["job"]]
        seconds[model] += line["seconds"]
        for sample, values in zip(some, line["values"], strict=True):
            owner = "judge" if model == FITTED else model
            sample.asked.add(owner)
            sample.values.update({(owner, measured): value for measured, value in values.items()})

    lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    known: dict[str, set[str]] = {name: set() for name in batches}
    for line in map(json.loads, lines):
        if line["job"] in batches:
            known[line["job"]].update(line["names"])
            take(line)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, records.open("a") as file:
        futures = []
        for name, (model, some) in batches.items():
            missing = tuple(measured for measured in names_of(model) if measured not in known[name])
            if missing and (model != FITTED or torch.cuda.is_available()):
                job = Job(
                    model=model,
                    names=missing,
                    videos=torch.stack([s.video for s in some]).numpy(),
                    moves=tuple(s.move for s in some),
                    prompts=tuple(s.prompt for s in some),
                    fit_steps=fit_steps,
                )
                futures.append((name, missing, pool.submit(run_job, job)))
        for name, missing, future in futures:
            found, spent = future.result()
            line = {"job": name, "names": missing, "values": found, "seconds": spent}
            file.write(json.dumps(line) + "\n")
            file.flush()
            take(line)
    return seconds


# ------------------------------------------------------------------------------------------------------- correlations


def badness(name: str, value: float) -> float:
    """Larger is worse; of a measure that is neither good nor bad the value itself."""
    return -value if CATALOGUE[name].better == "higher" else value


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation along the last axis, over the places where both are numbers; NaN for fewer than three."""
    known = np.isfinite(first) & np.isfinite(second)
    ranks = [rankdata(np.where(known, x, np.nan), axis=-1, nan_policy="omit") for x in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = [r - np.nanmean(r, axis=-1, keepdims=True) for r in ranks]
        covariance = np.nansum(centred[0] * centred[1], axis=-1)
        found = covariance / np.sqrt(np.nansum(centred[0] ** 2, -1) * np.nansum(centred[1] ** 2, -1))
    return np.where(known.sum(-1) >= 3, found, np.nan)


def correlation(
    samples: Sequence[Sample], key: tuple[str, str], kinds: Sequence[str], truth: str
) -> tuple[float, float, float]:
    """Between a measure's badness and the truth over clips of some kinds, with its interval over scenes."""
    scenes = sorted({s.scene for s in samples if key[0] in s.asked and s.kind in kinds})
    by_place = {(s.scene, s.kind): s for s in samples}
    grid = np.full((2, len(kinds), len(scenes)), np.nan)
    for row, kind in enumerate(kinds):
        for column, scene in enumerate(scenes):
            sample = by_place.get((scene, kind))
            if sample is not None and key in sample.values:
                grid[:, row, column] = badness(key[1], sample.values[key]), getattr(sample, truth)

    def statistic(values: Tensor) -> Tensor:
        pairs = values.unflatten(0, (2, len(kinds))).movedim(1, -2).flatten(-2).numpy()
        return torch.from_numpy(np.atleast_1d(spearman(pairs[0], pairs[1]))).nan_to_num(0.0)

    value = float(spearman(grid[0].ravel(), grid[1].ravel()))
    low, high = bootstrap_interval(statistic, torch.from_numpy(grid).flatten(0, 1), 0, 500)
    return value, low, high


def keys_of(samples: Sequence[Sample], models: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every (model, measure) that some sample has, measures in the catalogue's order."""
    present = {key for sample in samples for key in sample.values}
    for name in CATALOGUE:
        yield from ((model, name) for model in models if (model, name) in present)


# ------------------------------------------------------------------------------------------------------------- tables


def reference_table(samples: Sequence[Sample]) -> str:
    """Means of the five references; bold: the best of the row."""
    lines = [f"| measure | better | 3D model | {' | '.join(REFERENCES)} |", "|---|---|---|" + "---|" * len(REFERENCES)]
    for model, name in keys_of(samples, (IMAGE, *MODELS)):
        cells: dict[str, float | None] = {}
        for kind in REFERENCES:
            found = [s.values[model, name] for s in samples if s.kind == kind and (model, name) in s.values]
            asked = sum(s.kind == kind and model in s.asked for s in samples)
            cells[kind] = pooled_mean(found, name) if 2 * len(found) > asked else None
        better = _better(name)
        known = [badness(name, value) for value in cells.values() if value is not None]
        texts = []
        for value in cells.values():
            text = "-" if value is None else f"{value:.{CATALOGUE[name].decimals}f}"
            best = value is not None and better and badness(name, value) == min(known)
            texts.append(f"**{text}**" if best else text)
        lines.append(f"| `{name}` | {better} | {model} | {' | '.join(texts)} |")
    return "\n".join(lines)


def overall_table(samples: Sequence[Sample]) -> str:
    """Correlations over all damaged clips, and over those whose picture (not whose time) was damaged."""
    head = (
        "measure",
        "3D model",
        "clips",
        "E, all kinds",
        "E, warps of the picture",
        "deformation, all kinds",
        "within kinds, E",
    )
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---|" * 5]
    rows = []
    for key in keys_of(samples, (IMAGE, *MODELS)):
        num = sum(s.kind in KINDS and key in s.values for s in samples)
        found = [
            correlation(samples, key, KINDS, "error_px"),
            correlation(samples, key, tuple(FIELDS), "error_px"),
            correlation(samples, key, KINDS, "deformation_px"),
        ]
        within = [correlation(samples, key, (kind,), "error_px")[0] for kind in KINDS]
        within = sorted(x for x in within if np.isfinite(x))
        middle = f"{np.median(within):+.2f} ({within[0]:+.2f} to {within[-1]:+.2f})" if within else "-"
        cells = " | ".join(_with_interval(*x) for x in found)
        rows.append((found[0][0], f"| `{key[1]}`{_raw(key[1])} | {key[0]} | {num} | {cells} | {middle} |"))
    return "\n".join([*lines, *(row for _, row in sorted(rows, key=lambda x: -x[0]))])


def kinds_table(samples: Sequence[Sample], models: Sequence[str]) -> str:
    """Correlation with E within each kind; bold where the interval excludes 0."""
    lines = [f"| measure | 3D model | {' | '.join(KINDS)} |", "|---|---|" + "---|" * len(KINDS)]
    for key in keys_of(samples, models):
        cells = []
        for kind in KINDS:
            value, low, high = correlation(samples, key, (kind,), "error_px")
            text = f"{value:+.2f}" if np.isfinite(value) else "-"
            cells.append(f"**{text}**" if np.isfinite(value) and (low > 0 or high < 0) else text)
        lines.append(f"| `{key[1]}`{_raw(key[1])} | {key[0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def blur_table(samples: Sequence[Sample]) -> str:
    """What blur does to each measure of the same damaged clip."""
    lines = [
        "| measure | 3D model | sharp | blurred | change in its spread | better after blur |",
        "|---|---|---|---|---|---|",
    ]
    by_place = {(s.scene, s.kind): s for s in samples}
    for key in keys_of(samples, (IMAGE, *MODELS[:2])):
        name, pairs = key[1], []
        for (scene, kind), sharp in by_place.items():
            soft = by_place.get((scene, kind + BLURRED))
            if kind in KINDS and soft is not None and key in sharp.values and key in soft.values:
                pairs.append((sharp.values[key], soft.values[key]))
        spread = float(np.std([s.values[key] for s in samples if s.kind in KINDS and key in s.values]))
        if not pairs or spread == 0:
            continue
        before, after = (pooled_mean(values, name) for values in zip(*pairs, strict=True))
        change = fmean(b - a for a, b in pairs) / spread
        won = fmean(float(badness(name, b) < badness(name, a)) for a, b in pairs)
        decimals = CATALOGUE[name].decimals
        share = f"{won:.0%}" if _better(name) else "-"
        lines.append(
            f"| `{name}` | {key[0]} | {before:.{decimals}f} | {after:.{decimals}f} | {change:+.2f} | {share} |"
        )
    return "\n".join(lines)


def truth_table(samples: Sequence[Sample]) -> str:
    """How strong each kind is."""
    lines = [
        "| kind | clips | E, px: least, median, most | deformation, px: least, median, most |",
        "|---|---|---|---|",
    ]
    for kind in KINDS:
        mine = [s for s in samples if s.kind == kind]
        spans = [
            " , ".join(f"{np.quantile([getattr(s, truth) for s in mine], q):.2f}" for q in (0, 0.5, 1))
            for truth in ("error_px", "deformation_px")
        ]
        lines.append(f"| {kind} | {len(mine)} | {' | '.join(spans)} |".replace(" , ", ", "))
    return "\n".join(lines)


def refused(samples: Sequence[Sample]) -> str:
    """Which clips a 3D model refuses."""
    parts = []
    for model in MODELS:
        asked = [s for s in samples if model in s.asked]
        counts = Counter(s.kind for s in asked if s.refused_by(model))
        which = ", ".join(f"{kind} {num}" for kind, num in sorted(counts.items()))
        parts.append(f"- {model}: {counts.total()} of {len(asked)} clips refused{': ' + which if which else ''}")
    return "\n".join(parts)


def _with_interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else f"{value:+.2f}"


def _better(name: str) -> str:
    return "lower" if name in LESS_IS_BETTER else CATALOGUE[name].better


def _raw(name: str) -> str:
    return "" if _better(name) else " (raw)"


def report(samples: Sequence[Sample], seconds: Mapping[str, float], about: str) -> str:
    """All tables in Markdown. about: command, commit and machine."""
    damaged = sum(s.kind in KINDS for s in samples)
    spent = ", ".join(f"{model} {value:.0f} s" for model, value in seconds.items())
    sections: list[tuple[str, Callable[[], str]]] = [
        ("How strong the damages are", lambda: truth_table(samples)),
        ("What the five plain clips get", lambda: reference_table(samples)),
        ("Rank correlation with the true error", lambda: overall_table(samples)),
        ("Within each kind, by the judge and without a 3D model", lambda: kinds_table(samples, (IMAGE, "judge"))),
        ("Within each kind, by the reward's 3D model", lambda: kinds_table(samples, ("mini",))),
        ("What blur buys", lambda: blur_table(samples)),
        ("Refused", lambda: refused(samples)),
    ]
    body = "\n\n".join(f"### {title}\n\n{make()}" for title, make in sections)
    cost = f"{damaged} damaged clips of known error; seconds of work: {spent}."
    if fitted := [s for s in samples if ("judge", MEASURED_BY_FITTING[0]) in s.values]:
        scenes = sorted({s.scene for s in fitted})
        cost += (
            f" 3DGS optimisation (`fit`): {len(fitted)} of {len(samples)} clips, scenes {scenes[0]} to {scenes[-1]}."
        )
    return f"```\n{about}\n```\n\n{cost}\n\n{body}\n"


def main() -> None:
    """Prints the tables; writes them with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=15)
    parser.add_argument("--sfm-scenes", type=int, default=4)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fit-steps", type=int, default=0, help="of 3DGS optimisation; 0: none")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin, about = time.monotonic(), heading()
    with torch.no_grad():
        samples = make_samples(args.scenes, args.seed)
    print(f"{len(samples)} clips made in {time.monotonic() - begin:.0f} s", flush=True)
    seconds = measure_all(samples, args.sfm_scenes, args.workers, args.records, fit_steps=args.fit_steps)
    text = report(samples, seconds, about)
    print(text)
    if args.out is not None:
        before = args.out.read_text(encoding="utf-8").split(SECTION)[0].rstrip()
        args.out.write_text(f"{before}\n\n{SECTION}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
