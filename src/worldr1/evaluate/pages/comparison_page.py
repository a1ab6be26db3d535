"""The page of `worldr1 compare`: what models that were evaluated alike differ in, in one offline HTML file."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from worldr1.evaluate.evaluation import spread
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.labels import label_of
from worldr1.evaluate.pages.clip_cards import Chosen, ClipKey, clip_cards
from worldr1.evaluate.pages.evaluation_parts import every_clip, page, tile, warnings
from worldr1.evaluate.pages.evaluation_tables import (
    catalogue_table,
    chooser,
    differences_table,
    interval_plot,
    published_tables,
    subsets_table,
    validity_table,
)
from worldr1.evaluate.records import MotionGroup
from worldr1.evaluate.statistics.differences import TIE_SHARE, Change, Counting, Difference
from worldr1.evaluate.statistics.folders import FolderComparison, PairedComparison
from worldr1.evaluate.statistics.intervals import MIN_PAIRS
from worldr1.evaluate.statistics.subsets import ALL, Subset

MAX_CLIPS = 24
MAX_ONE_SIDED = 4
"""Clips shown that only one of two models has valid."""
TILES = ("psnr_holdout_db", "ssim_holdout", "rotation_error_deg", "translation_error", "mvcs_scale_free")
MAX_TILES = 4
NO_DIFFERENCE = (
    '<p class="missing">No clip is valid in both, so there is no difference. Why is said with each clip.</p>'
)
MOVING = Subset("motion", MotionGroup.MOVING.value)


def write_comparison_page(
    path: str | Path,
    comparison: FolderComparison,
    *,
    published: Sequence[Mapping[str, Any]] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the page and returns its path; it needs no network and no other file.

    published: rows of papers as `evaluation_tables.published_tables` takes them; they are in no count.
    on_progress: called with (clips done, clips in all); a clip takes about a second. Raises InputError for a video or a
    point cloud that is damaged.
    """
    path = Path(path)
    folders = comparison.folders
    facts = [folder.facts for folder in folders]
    chosen = _chosen(comparison)
    shown = [comparison.metric, *(name for name in TILES if name in comparison.metrics)]
    cards, data = clip_cards(folders, chosen, shown, on_progress=on_progress)
    sections = {"": _opening(comparison)}
    for other in comparison.others:
        against = "" if len(comparison.others) == 1 else f": {escape(other.folder.facts.title)}"
        if all(d.counting is Counting.WORST for d in other.differences):
            sections[f"The numbers{against}"] = NO_DIFFERENCE
            continue
        sections[f"The numbers{against}"] = differences_table(comparison, other) + _how_to_read(comparison, other)
        tables = {label_of(name).text: subsets_table(comparison, other, name) for name in _chosen_first(comparison)}
        sections[f"By kind of prompt{against}"] = chooser(tables, "Number")
    sections |= {
        "What the numbers are": catalogue_table(comparison.metrics, facts),
        "The clips": f'<p class="small">{_about_clips(comparison)}</p>{cards}',
        "Every clip": every_clip(folders, comparison.metric),
        "Published, not measured here": published_tables(published),
    }
    title = f"{' and '.join(fact.title for fact in facts[1:])} against {facts[0].title}"
    path.write_text(page(title, sections, comparison.as_json(), "comparison.json", data), encoding="utf-8")
    return path


def _opening(comparison: FolderComparison) -> str:
    facts = [folder.facts for folder in comparison.folders]
    first = comparison.first
    prompts = len({record.prompt_key for folder in comparison.folders for record in folder.records})
    lines = [
        f"<h1>{escape(' and '.join(f.title for f in facts[1:]))} against {escape(facts[0].title)}</h1>",
        f'<p class="small">Suite {escape(first.facts.suite)}: {prompts} prompts, {first.facts.samples} '
        f"video{'s' if first.facts.samples != 1 else ''} each. Judged by {escape(first.facts.judge)}.</p>",
        *(warnings(fact) for fact in facts),
    ]
    for other in comparison.others:
        lines += [f'<p class="headline">{_headline(comparison, other)}</p>', _unlike(comparison, other)]
        lines.append(_tiles(comparison, other))
    lines.append(validity_table(facts, comparison.validity))
    return "".join(lines)


def _unlike(comparison: FolderComparison, other: PairedComparison) -> str:
    """A box about the settings that differ; "" if none does."""
    if not other.unlike:
        return ""
    titles = f"{escape(comparison.first.facts.title)} and {escape(other.folder.facts.title)}"
    return (
        f'<div class="unlike" role="note"><b>{titles} were sampled differently</b>: '
        f"{escape(', '.join(one.text for one in other.unlike))}. What they differ in is of these settings as well as "
        "of the weights; evaluate both with the same <code>--set</code> to tell the two apart.</div>"
    )


def _headline(comparison: FolderComparison, other: PairedComparison) -> str:
    """What the chosen number says, of moving cameras too, and whether lost clips are behind it."""
    title, name = escape(other.folder.facts.title), comparison.metric
    whole, moving = other.of(name), other.of(name, MOVING)
    worst = other.of(name, ALL, Counting.WORST)
    if whole is None:
        return f"<b>{title}</b>: no prompt has {escape(label_of(name).text)} with both models."
    sentences = [f"<b>{title}</b>: {escape(label_of(name).text)} {_sentence(other, whole)}"]
    if moving:
        sentences.append(f"Where the camera moves: {_sentence(other, moving)}")
    if worst:
        sentences.append(f"With invalid clips counted worst: {_sentence(other, worst)}")
        if whole.favours > 0 and worst.favours <= 0:
            sentences.append("<b>The gain on valid clips does not outweigh the clips that are lost.</b>")
    return " ".join(sentences)


def _sentence(other: PairedComparison, d: Difference) -> str:
    decimals = label_of(d.metric).decimals
    text = f"{d.first:.{decimals}f} → {d.other:.{decimals}f}, {d.mean:+.{decimals}f}"
    if d.num < MIN_PAIRS:
        return f"{text} over {d.num} prompts, too few for an interval."
    text += f" (95 % interval {d.low:+.{decimals}f} to {d.high:+.{decimals}f}, {d.num} prompts)"
    if not d.is_shown:
        return f"{text}: no difference is shown."
    return f"{text}: {verdict}." if (verdict := other.verdict(d)) else f"{text}."


def _tiles(comparison: FolderComparison, other: PairedComparison) -> str:
    names = dict.fromkeys((comparison.metric, *TILES))
    found = [d for name in names if (d := other.of(name)) is not None][:MAX_TILES]
    made = []
    for d in found:
        decimals = label_of(d.metric).decimals
        big = f"{d.mean:+.{decimals}f} <small>{d.first:.{decimals}f} → {d.other:.{decimals}f}</small>"
        won = f"{d.wins} won, {d.ties} tied, {d.losses} lost of {d.num} prompts" if label_of(d.metric).better else ""
        made.append(tile(label_of(d.metric).text, big, interval_plot(d, other.verdict(d)), won))
    mine, theirs = comparison.validity[0], comparison.validity[1 + comparison.others.index(other)]
    big = f"{theirs.share:.0%} <small>{escape(comparison.first.facts.title)}: {mine.share:.0%}</small>"
    made.append(tile("Valid clips", big, "", f"{len(other.lost)} lost and {len(other.won)} won against it"))
    return f'<div class="tiles">{"".join(made)}</div>'


def _how_to_read(comparison: FolderComparison, other: PairedComparison) -> str:
    first = escape(comparison.first.facts.title)
    paired = "prompt, sample and start noise" if other.by_clip else "prompt alone (their start noises differ)"
    survivors = sum(d.survives for each in comparison.others for d in each.differences)
    shown = sum(d.is_shown for each in comparison.others for d in each.differences)
    margins = ", ".join(
        f"{label_of(name).text} {margin:.{label_of(name).decimals + 1}f}" for name, margin in other.margins.items()
    )
    chance = round(0.05 * comparison.num_intervals)
    return (
        f'<p class="note">Differences are this model minus {first}, paired by {paired}; samples of a prompt are '
        "averaged first, intervals resample prompts, PSNRs are pooled as mean squared errors. Bold: the interval "
        f"excludes 0. This page shows {comparison.num_intervals} intervals, of which {shown} exclude 0; about {chance} "
        f"would by chance. ✱ marks the {survivors} that still do if all shall hold together (Holm).</p>"
        f"<details><summary>When a prompt is a tie</summary><p class='note'>When the difference is at most "
        f"{TIE_SHARE:g} of {first}'s standard deviation over prompts: {escape(margins)}.</p></details>"
    )


def _about_clips(comparison: FolderComparison) -> str:
    return (
        f"The largest gains and losses by {escape(label_of(comparison.metric).text)}, then others. Beside each video "
        "the same frames, drawn from the 3D scene that the judge found in the frames before and after; drag the "
        "scene, or use the arrow keys, to turn it."
    )


def _chosen_first(comparison: FolderComparison) -> list[str]:
    return list(dict.fromkeys((comparison.metric, *comparison.metrics)))


# ----------------------------------------------------------------------------------------------- which clips are shown


def _chosen(comparison: FolderComparison) -> list[Chosen]:
    """Gains and losses of every other model, clips that only one has valid, then varied ones up to `MAX_CLIPS`."""
    has = _watchable(comparison.folders)
    several = len(comparison.others) > 1
    found: dict[ClipKey, Chosen] = {}

    def add(key: ClipKey, reason: str, badge: str) -> None:
        if key in has and key not in found:
            found[key] = Chosen(key=key, reason=reason, badge=badge)

    for other in comparison.others:
        whose = f"{other.folder.facts.title}, " if several else ""
        for reason, changes in (("gain", other.gains), ("loss", other.losses)):
            for rank, change in enumerate(changes, start=1):
                add(change.key, reason, f"{whose}{reason} {rank}: {_signed(change)}")
        one_sided = [(key, "lost") for key in other.lost] + [(key, "won") for key in other.won]
        for key, what in one_sided[:MAX_ONE_SIDED]:
            add(key, "validity", f"{whose}validity {what}")
    rest = [record for key, record in has.items() if key not in found]
    for index in spread([(record.tokens, record.group) for record in rest], max(0, MAX_CLIPS - len(found))):
        add(rest[index].key, "others", "")
    return list(found.values())


def _watchable(folders: Sequence[EvaluationFolder]) -> dict[ClipKey, Any]:
    """A record of every clip whose video one of the folders has, in order."""
    found = {}
    for folder in folders:
        for record in folder.records:
            path = folder.video(record)
            if path is not None and path.is_file():
                found.setdefault(record.key, record)
    return dict(sorted(found.items()))


def _signed(change: Change) -> str:
    return f"{change.difference:+.{label_of(change.metric).decimals}f}"
