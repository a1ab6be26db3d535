"""report.html: what a run changed, in one file that needs no network and no other file.

Reads the run folder as files (recipe.toml, previews/*/records.json and their videos); what a run that was interrupted
lacks is said in a sentence.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from worldr1.evaluate.comparison import Comparison
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.pages.charts import Series, line_chart
from worldr1.evaluate.pages.html import html_page, with_contents
from worldr1.evaluate.pages.report_clips import clip_cards
from worldr1.evaluate.pages.report_table import BOOTSTRAP_SEED, comparison_table
from worldr1.evaluate.records import Evaluation
from worldr1.evaluate.statistics.before_after import headline

REPORT_FILE = "report.html"
PREVIEWS = "previews"
BEFORE, AFTER = "before", "after"
SHIPPED_BEFORE, SHIPPED_AFTER = "shipped_before", "shipped_after"
MINI_R1 = "mini-r1"
"""Sub-folders of previews/ that hold evaluations (`save_evaluation`). The last is also the packaged adapter's name."""

CHARTS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("KL to the base model (nats per dimension)", {"kl": "KL"}),
    ("Largest |ratio - 1|", {"ratio_deviation": "deviation"}),
    ("Clipped samples (share)", {"clip_fraction": "clipped"}),
    ("Gradient norm before clipping", {"grad_norm": "norm"}),
    ("Masked samples (share)", {"fault_fraction": "faults", "rejected_fraction": "rejected"}),
    ("Seconds per update", {"seconds": "all", "seconds_rollout": "rollout", "seconds_reward": "reward"}),
)
"""Title, and the keys of metrics.jsonl with their names in the legend."""
WATCHED = ("rotation_error_deg", "translation_error", "travel_depth_units", "image_gradient")
"""Measured on the training samples and not rewarded by themselves. No PSNR: the log has means over moving and still."""


def write_report(run_dir: str | Path, metrics: Sequence[Mapping[str, Any]]) -> Path:
    """Writes `run_dir`/report.html and returns its path.

    metrics: the rows of metrics.jsonl, in order (`train.runlog.read_metrics`); there may be none. From the folder:
    recipe.toml; previews/before and previews/after; previews/mini-r1, the packaged adapter with the same prompts; and
    the pair of the long run that made it, previews/shipped_before and previews/shipped_after. Each may be missing or
    damaged.
    """
    run_dir = Path(run_dir)
    previews = run_dir / PREVIEWS
    own = Comparison.load(previews / BEFORE, previews / AFTER, others={MINI_R1: previews / MINI_R1})
    shipped = Comparison.load(previews / SHIPPED_BEFORE, previews / SHIPPED_AFTER, trained=MINI_R1)
    name = escape(run_dir.resolve().name)
    sections = {
        "": f"<h1>worldr1 run {name}</h1>{_summary(own)}",
        "The numbers": comparison_table(own),
        "The videos": _clips(own, run_dir),
        "Training": _curves(metrics),
        f"How {MINI_R1} did in its own evaluation": _long_run(shipped, run_dir),
        "Recipe": _recipe(run_dir / "recipe.toml"),
    }
    page = html_page(
        f"worldr1 run {run_dir.resolve().name}", with_contents(sections), styles=["page.css"], scripts=["page.js"]
    )
    path = run_dir / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _summary(comparison: Comparison) -> str:
    """A headline per model, how the videos were made, and what is missing."""
    lines = []
    for side in comparison.compared:
        text = headline(comparison.before.records, side.records, seed=BOOTSTRAP_SEED)
        lines.append(f'<p class="headline"><b>{side.title}</b>: {escape(text)}</p>')
    if any(side.title == MINI_R1 for side in comparison.sides):
        lines.append(
            f'<p class="small">{MINI_R1} is the adapter that ships with worldr1, made by a longer run: '
            f"<code>worldr1 generate --lora {MINI_R1}</code>.</p>"
        )
    made = [_how_made(side.title, side.evaluation) for side in comparison.sides if side.evaluation]
    lines.append(f'<p class="small">{" ".join(made)}</p>')
    lines += [f'<p class="missing">{escape(note)}</p>' for note in comparison.notes]
    return "".join(lines)


def _how_made(title: str, made: Evaluation) -> str:
    return (
        f"{title}: {len(made.records)} prompts, guidance {made.guidance:g}, transported noise "
        f"{made.strength:g}, {made.seconds:.0f} s to film and score."
    )


def _clips(comparison: Comparison, run_dir: Path) -> str:
    cards = clip_cards(comparison, run_dir=run_dir)
    if not cards:
        return '<p class="missing">No videos were kept.</p>' if comparison.sides else ""
    return f'<button type="button" class="play">Pause all</button>{cards}'


def _long_run(shipped: Comparison, run_dir: Path) -> str:
    """The evaluation of the run that made the packaged adapter; "" if there is none."""
    if not shipped.sides:
        return ""
    videos = f"<details><summary>Its videos</summary>{_clips(shipped, run_dir)}</details>"
    return f"{_summary(shipped)}{comparison_table(shipped)}{videos}"


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Charts over updates: the reward and its parts, the optimisation, and what is watched."""
    if not metrics:
        return '<p class="missing">No update was finished, so there are no curves.</p>'
    names = dict.fromkeys(key for row in metrics for key in row)
    parts = in_table_order(["reward", *(name for name in names if f"{name}_std" in names)])
    rewards = [_chart(metrics, label_of(name).text, {name: "mean"}) for name in parts]
    inside = [_chart(metrics, title, keys) for title, keys in CHARTS]
    watched = [_chart(metrics, label_of(name).text, {name: "mean"}) for name in WATCHED]
    num_dynamic = sum(row.get("phase") == "dynamic" for row in metrics)
    phases = (
        f' <span class="swatch"></span> marks the dynamic phase ({num_dynamic} of them), which rewards R_gen '
        "alone, on prompts whose scenes move."
        if num_dynamic
        else ""
    )
    return (
        f'<p class="small">{len(metrics)} updates.{phases} Every update has new prompts, so curves jump; the '
        "table above is the comparison.</p>"
        "<h3>Reward and its parts on the training samples; the band is one standard deviation inside a group</h3>"
        f'<div class="charts">{"".join(rewards)}</div>'
        f'<h3>Optimisation</h3><div class="charts">{"".join(inside)}</div>'
        f'<h3>Measured, not rewarded by itself</h3><div class="charts">{"".join(watched)}</div>'
    )


def _chart(metrics: Sequence[Mapping[str, Any]], title: str, keys: Mapping[str, str]) -> str:
    curves = [
        Series(
            name=name,
            values=[row.get(key) for row in metrics],
            spread=[row.get(f"{key}_std") for row in metrics] if any(f"{key}_std" in row for row in metrics) else (),
        )
        for key, name in keys.items()
    ]
    drawn = line_chart(
        title, [row["update"] for row in metrics], [row.get("phase") == "dynamic" for row in metrics], curves
    )
    return drawn or f'<p class="missing small">{escape(title)}: not logged.</p>'


def _recipe(path: Path) -> str:
    if not path.is_file():
        return '<p class="missing">The run has no recipe.toml.</p>'
    text = escape(path.read_text(encoding="utf-8"))
    return f"<details><summary>recipe.toml</summary><pre>{text}</pre></details>"
