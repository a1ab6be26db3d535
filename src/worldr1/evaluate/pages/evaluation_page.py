"""report.html of an evaluation: one model's numbers, clips and cost, in one offline file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import spread
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.labels import label_of
from worldr1.evaluate.pages.clip_cards import Chosen, clip_cards
from worldr1.evaluate.pages.evaluation_parts import every_clip, page, tile, warnings
from worldr1.evaluate.pages.evaluation_tables import (
    catalogue_table,
    chooser,
    estimates_by_subset,
    estimates_table,
    published_tables,
    validity_table,
)
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.folders import validity_of
from worldr1.evaluate.statistics.intervals import MIN_PAIRS
from worldr1.evaluate.statistics.subsets import ALL, Estimate, estimates, metric_names, subsets_of
from worldr1.evaluate.statistics.values import PSNR_NAMES, finite, record_value
from worldr1.types import Status

REPORT_FILE = "report.html"
MAX_CLIPS = 24
NUM_EXTREMES, MAX_INVALID = 5, 4
"""Best and worst clips, and clips that are not valid, among those shown."""
MAX_TILES = 4
NO_NUMBERS = '<p class="missing">No clip is valid, so there is no number. Why is said with each clip.</p>'
SEED = 0
"""Of the bootstrap."""


def write_evaluation_report(
    folder: EvaluationFolder,
    *,
    published: Sequence[Mapping[str, Any]] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the folder's report.html and returns its path; it needs no network and no other file.

    published, on_progress: as `comparison_page.write_comparison_page` takes them. Raises InputError for a folder
    without records, and for a video or a point cloud that is damaged.
    """
    if not folder.records:
        raise InputError(f"{folder.path} holds no judged video yet; run `worldr1 evaluate` until it has some.")
    records, facts = folder.records, folder.facts
    found = estimates(records, seed=SEED)
    subsets = subsets_of(records)
    names = metric_names(records)
    shown = list(dict.fromkeys(e.metric for e in found))
    known = shown or names  # rejected clips have numbers too, of which there is no mean
    best = next((name for name in (*PSNR_NAMES, *known) if name in known and label_of(name).better), "")
    chosen = _chosen(folder, best)
    cards, data = clip_cards([folder], chosen, [best, *names], on_progress=on_progress)
    by_subset = {
        label_of(name).text: estimates_by_subset(found, name) for name in dict.fromkeys([best, *shown]) if name
    }
    columns = [subset for subset in subsets if subset == ALL or subset.kind == "motion"]
    sections = {
        "": _opening(folder, found),
        "The numbers": estimates_table(found, columns) + _how_to_read(found) if found else NO_NUMBERS,
        "By kind of prompt": chooser(by_subset, "Number") if found else "",
        "What the numbers are": catalogue_table(shown, [facts]),
        "The clips": cards,
        "Every clip": every_clip([folder], best) if best else "",
        "Published, not measured here": published_tables(published),
    }
    record = {"facts": asdict(facts), "means": [_as_json(e) for e in found], "records": [asdict(r) for r in records]}
    path = folder.path / REPORT_FILE
    path.write_text(page(f"evaluation of {facts.title}", sections, record, "evaluation.json", data), encoding="utf-8")
    return path


def _opening(folder: EvaluationFolder, found: Sequence[Estimate]) -> str:
    facts = folder.facts
    prompts = len({record.prompt_key for record in folder.records})
    made = ", ".join(f"{name} {value}" for name, value in facts.settings.items())
    frames, height, width = facts.clip
    source = ", ".join(f"{name} {value}" for name, value in facts.source.items() if value and "sha" not in name)
    return (
        f"<h1>Evaluation of {escape(facts.title)}</h1>"
        f'<p class="small">Suite {escape(facts.suite)}: {prompts} prompt{"s" if prompts != 1 else ""}, {facts.samples} '
        f"video{'s' if facts.samples != 1 else ''} each, {frames} frames of {height} x {width}. Judged by "
        f"{escape(facts.judge)}. {escape(source)}{f'; {escape(made)}' if made else ''}. "
        f"worldr1 {escape(facts.worldr1)}.</p>"
        f"{warnings(facts)}{_tiles(found)}{validity_table([facts], [validity_of(folder, [folder])])}"
    )


def _tiles(found: Sequence[Estimate]) -> str:
    whole = [e for e in found if e.subset == ALL and label_of(e.metric).better][:MAX_TILES]
    made = []
    for e in whole:
        decimals = label_of(e.metric).decimals
        interval = f"{e.low:.{decimals}f} to {e.high:.{decimals}f}" if e.num >= MIN_PAIRS else "too few prompts"
        made.append(
            tile(label_of(e.metric).text, f"{e.mean:.{decimals}f} <small>{interval}</small>", "", f"{e.num} prompts")
        )
    return f'<div class="tiles">{"".join(made)}</div>' if made else ""


def _how_to_read(found: Sequence[Estimate]) -> str:
    num = sum(e.num >= MIN_PAIRS for e in found)
    return (
        '<p class="note">Means over prompts of the valid clips, with 95 % intervals that resample prompts (samples of '
        f"a prompt are averaged first; {num} intervals on this page). PSNRs are pooled as mean squared errors. "
        "Kinds of motion are told apart because a still clip reconstructs to 60 dB whatever it shows; compare models "
        "with <code>worldr1 compare</code>, which pairs them prompt by prompt.</p>"
    )


def _chosen(folder: EvaluationFolder, metric: str) -> list[Chosen]:
    """The best and the worst clips, some that are not valid, then varied ones up to `MAX_CLIPS`; only with a video."""
    there = [r for r in folder.records if (path := folder.video(r)) is not None and path.is_file()]
    better = label_of(metric).better or 1

    def value(record: VideoRecord) -> float | None:
        return record_value(record, metric) if record.status is Status.OK else None

    ranked = sorted((r for r in there if value(r) is not None), key=lambda r: -better * (value(r) or 0.0))
    num = min(NUM_EXTREMES, len(ranked) // 3)
    decimals = label_of(metric).decimals
    picked: dict[tuple[int, bool, int], Chosen] = {}
    for reason, some in (("best", ranked[:num]), ("worst", ranked[::-1][:num])):
        for rank, record in enumerate(some, start=1):
            badge = f"{reason} {rank}: {value(record):.{decimals}f}"
            picked[record.key] = Chosen(key=record.key, reason=reason, badge=badge)
    for record in [r for r in there if r.status is not Status.OK][:MAX_INVALID]:
        picked[record.key] = Chosen(key=record.key, reason="invalid", badge=record.status.value)
    rest = [record for record in there if record.key not in picked]
    for index in spread([(r.tokens, r.group) for r in rest], max(0, MAX_CLIPS - len(picked))):
        picked[rest[index].key] = Chosen(key=rest[index].key, reason="others", badge="")
    return list(picked.values())


def _as_json(e: Estimate) -> dict[str, Any]:
    return {
        "metric": e.metric,
        "subset_kind": e.subset.kind or "all",
        "subset": e.subset.name,
        "mean": e.mean,
        "low": finite(e.low),
        "high": finite(e.high),
        "prompts": e.num,
    }
