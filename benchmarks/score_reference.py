"""What the figures of `worldr1 score` are on clips of known truth: the values to hold a video of one's own against.

Tables for score_clips.py, from its records.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from score_cases import COUNTS, NOT_RIGID
from score_records import INVENTED_TRAVEL, Record, spread, table

from worldr1.evaluate.scoring.figures import SCORE_METRICS, ScoreMetric
from worldr1.evaluate.scoring.scorer import STILL_TRAVEL
from worldr1.seeding import make_generator

FIGURES = (
    "consistency",
    "psnr_holdout",
    "ssim_holdout",
    "perceptual_holdout",
    "mvcs_scale_free",
    "epipolar_px",
    "residual_motion",
    "camera_travel",
)
JUDGES = ("consistency", "psnr_holdout", "ssim_holdout", "perceptual_holdout", "coverage", "mvcs", "mvcs_scale_free")
JUDGES += ("epipolar_px", "residual_motion")
"""Figures asked whether they tell sound clips from bent ones."""
BENT = ("warped_mild", "swim", "drift")
"""Kinds that a matcher can follow and no rigid scene of fixed colours explains."""
_METRICS: dict[str, ScoreMetric] = {metric.field: metric for metric in SCORE_METRICS}
RESAMPLES = 1000


class Group(NamedTuple):
    """Rows of the tables."""

    name: str
    holds: Callable[[Record], bool]


def _clean(texture: str) -> Group:
    return Group(f"clean, {texture}", lambda r: r.kind == "clean" and r.motion == "goes" and r.texture == texture)


GROUPS = (
    _clean("unique"),
    _clean("repetitive"),
    Group("clean, camera stays or turns", lambda r: r.kind == "clean" and r.motion != "goes"),
    *(
        Group(kind, lambda r, kind=kind: r.kind == kind)
        for kind in COUNTS
        if kind != "clean" and not kind.startswith("noise")
    ),
    Group("noise", lambda r: r.kind.startswith("noise")),
)


def reference_report(records: Sequence[Record]) -> str:
    """Markdown: the figures by kind, what scores though it should not, what tells sound from bent, motions, times."""
    return "\n\n".join(
        [_values(records), _unfounded(records), _separation(records), _motions(records), _times(records)]
    )


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 10 % and 90 %; between values on a straight line."""
    middle, low, high = torch.tensor(values).double().quantile(torch.tensor((0.5, 0.1, 0.9)).double()).tolist()
    return middle, low, high


def auc(better: Sequence[float], worse: Sequence[float]) -> float:
    """Probability that a value of the first is above one of the second; ties count half."""
    a, b = torch.tensor(better).double()[:, None], torch.tensor(worse).double()
    return float(((a > b).double() + 0.5 * (a == b)).mean())


def auc_interval(better: Sequence[float], worse: Sequence[float]) -> tuple[float, float]:
    """95 %: bootstrap over both."""
    generator = make_generator(0, "score-reference/auc")
    a, b = (torch.tensor(values).double() for values in (better, worse))
    drawn = []
    for _ in range(RESAMPLES):
        x, y = (v[torch.randint(len(v), (len(v),), generator=generator)] for v in (a, b))
        drawn.append(float(((x[:, None] > y).double() + 0.5 * (x[:, None] == y)).mean()))
    low, high = torch.tensor(drawn).quantile(torch.tensor((0.025, 0.975))).tolist()
    return low, high


def _present(records: Sequence[Record], field: str) -> list[float]:
    return [x for record in records if (x := record.figure(field)) is not None]


def _values(records: Sequence[Record]) -> str:
    rows = []
    for name, holds in GROUPS:
        group = [record for record in records if holds(record)]
        if not group:
            continue
        goes = "-" if all(r.motion == "" for r in group) else str(sum(r.motion == "goes" for r in group))
        shares = [sum(r.valid for r in group), sum(r.headline is not None for r in group)]
        row = [name, str(len(group)), goes, *(f"{share / len(group):.0%}" for share in shares)]
        rows.append([*row, *(_in_brackets(_METRICS[field], _present(group, field)) for field in FIGURES)])
    head = ["kind", "shots", "camera goes", "valid", "with a headline", *FIGURES]
    return "Reference values, median [10 %, 90 %] over the shots that have them:\n\n" + table(head, rows)


def _in_brackets(metric: ScoreMetric, values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, low, high = (metric.text(x) for x in quantiles(values))
    return f"{middle} [{low}, {high}]"


def _unfounded(records: Sequence[Record]) -> str:
    """Headlines where none is due: nothing rigid to explain, or no parallax to explain it with."""
    unreal = [r for r in records if r.kind in NOT_RIGID and not (r.kind == "cut" and r.split_right)]
    still = [r for r in records if r.motion in ("turns", "stands") and r.kind not in NOT_RIGID]
    lines = []
    for title, group in (("nothing rigid was shown", unreal), ("the camera did not travel", still)):
        lines += [f"Headlines though {title}:", ""]
        for kind in sorted({r.kind for r in group}, key=list(COUNTS).index):
            shots = [r for r in group if r.kind == kind]
            found = _present(shots, "consistency")
            highest = f", median {quantiles(found)[0]:.0%}, highest {max(found):.0%}" if found else ""
            lines.append(f"- {kind}: {len(found)} of {len(shots)}{highest}")
        lines.append("")
    cut = {r.name.split("/")[0]: r.split_right for r in records if r.kind == "cut"}
    lines.append(f"Cut in the right places, and nowhere else: {sum(map(bool, cut.values()))} of {len(cut)} files.")
    return "\n".join(lines)


def _separation(records: Sequence[Record]) -> str:
    clean = [r for r in records if r.kind == "clean" and r.motion == "goes" and r.valid]
    bent = [r for r in records if r.kind in BENT and r.valid]
    rows = []
    for field in JUDGES:
        sign = 1 if _METRICS[field].better == "higher" else -1
        sound = [sign * x for x in _present(clean, field)]
        row = [f"{field} ({'higher' if sign > 0 else 'lower'} is better)", str(len(sound))]
        for kinds in (BENT, *((kind,) for kind in BENT)):
            worse = [sign * x for x in _present([r for r in bent if r.kind in kinds], field)]
            row.append(_separates(sound, worse, with_interval=len(kinds) > 1))
        rows.append(row)
    head = ["figure", "clean clips", f"AUC against all of {', '.join(BENT)}", *BENT]
    return (
        "Clean clips with a camera that goes against bent ones, both valid. AUC: probability that the clean one has "
        "the better figure [95 %] (number of bent ones):\n\n" + table(head, rows)
    )


def _separates(sound: Sequence[float], worse: Sequence[float], *, with_interval: bool) -> str:
    if not sound or not worse:
        return "-"
    low, high = auc_interval(sound, worse) if with_interval else (0.0, 0.0)
    interval = f" [{low:.2f}, {high:.2f}]" if with_interval else ""
    return f"{auc(sound, worse):.2f}{interval} ({len(worse)})"


def _motions(records: Sequence[Record]) -> str:
    """What the camera does against what the score says of it, where there is a truth."""
    told = [record for record in records if record.has_truth]
    going = [r for r in told if r.kind == "clean" and r.motion == "goes" and r.valid]
    staying = [r for r in told if r.motion in ("turns", "stands") and r.valid]
    rows = []
    for kind in COUNTS:
        for motion in ("goes", "creeps", "turns", "stands"):
            group = [r for r in told if (r.kind, r.motion) == (kind, motion)]
            if group:
                valid, far = sum(r.valid for r in group), sum(map(_travels, group))
                counts = (len(group), len(group) - valid, valid - far, far, sum(r.invented for r in group))
                rows.append([kind, motion, *map(str, counts), spread(group, lambda r: r.figure("camera_travel"), 3)])
    head = ["kind", "true camera", "shots", "invalid", "called still or turning", "called travelling"]
    head += [f"invented more than {INVENTED_TRAVEL}", "travel found, median / 90 %"]
    missed, made_up = sum(not _travels(r) for r in going), sum(map(_travels, staying))
    lines = [
        f"Motion found (travelling: {STILL_TRAVEL} depth units or more). Of valid shots:",
        f"- clean, the camera goes, called still or turning: {missed} of {len(going)}",
        f"- the camera turns or stands, called travelling: {made_up} of {len(staying)}",
        table(head, rows),
    ]
    return "\n\n".join([lines[0], "\n".join(lines[1:3]), lines[3]])


def _travels(record: Record) -> bool:
    return (record.figure("camera_travel") or 0.0) >= STILL_TRAVEL


def _times(records: Sequence[Record]) -> str:
    rows = []
    timed = [record for record in records if record.score_s is not None]
    for size in sorted({(r.height, r.width, r.num_frames) for r in timed}):
        for name, full in (("with depth", True), ("without: invalid, still or turning", False)):
            group = [r for r in timed if (r.height, r.width, r.num_frames) == size and _travels(r) == full]
            if group:
                row = [f"{size[2]} x {size[0]} x {size[1]}", name, str(len(group))]
                row += [spread(group, lambda r: r.reconstruct_s), spread(group, lambda r: r.reconstruct_cpu_s)]
                rows.append([*row, spread(group, lambda r: r.score_s), spread(group, lambda r: r.score_cpu_s)])
    head = ["frames x height x width", "", "shots", "reconstruction, s", "cpu-s", "whole score, s", "cpu-s"]
    return "Cost of a shot, median / 90 %:\n\n" + table(head, rows)
