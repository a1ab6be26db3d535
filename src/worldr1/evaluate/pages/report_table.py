"""The report's table of means, model by model, with what the paired intervals show."""

from collections.abc import Sequence
from html import escape

from worldr1.evaluate.comparison import BASE, Comparison
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.before_after import PairedDifference, Row, paired_difference, summarise
from worldr1.evaluate.statistics.intervals import MIN_PAIRS

BOOTSTRAP_SEED = 0


def comparison_table(comparison: Comparison) -> str:
    """HTML: a block of rows per kind of request; "" if there is no evaluation at all.

    A column of means per model, then the difference to the base and its interval per model that has one.
    """
    if not comparison.sides:
        return ""
    heads = ["", *(side.title for side in comparison.sides)]
    heads += [head for side in comparison.compared for head in (f"{side.title} - {BASE}", "95 % interval")]
    heads += ["prompts"] if comparison.compared else []
    summaries = [{row.group: row for row in summarise(side.records)} for side in comparison.sides]
    body, num_intervals = [], 0
    for group in MotionGroup:
        rows = [summary.get(group) for summary in summaries]
        if not any(rows):
            continue
        nums = dict.fromkeys(row.num if row else 0 for row in rows)
        title = f"{group.value}: {' / '.join(map(str, nums))} prompts"
        body.append(f'<tr><th colspan="{len(heads)}">{escape(title)}</th></tr>')
        for name in in_table_order(name for row in rows if row for name in row.values):
            differences = _differences(comparison, group, name)
            num_intervals += sum(difference.num >= MIN_PAIRS for difference in differences)
            body.append(_line(name, rows, differences))
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return (
        f'<div class="wide"><table class="models"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{_how_to_read(num_intervals)}</p>'
    )


def _how_to_read(num_intervals: int) -> str:
    by_chance = round(0.05 * num_intervals)
    chance = f" Of {num_intervals} intervals, about {by_chance} would exclude 0 by chance alone." if by_chance else ""
    return (
        "Kinds of request are kept apart, because a still clip reconstructs to 60 dB whatever it shows; PSNR comes "
        "from the mean squared error over the clips of a kind. Differences are over the prompts that have a number "
        f"with both models, intervals are bootstrapped over prompts; bold: the interval excludes 0.{chance} The "
        "scores are those of the reward that training used, and a model may learn to please it: image gradient, travel "
        "and the videos show whether it did."
    )


def _differences(comparison: Comparison, group: MotionGroup, name: str) -> list[PairedDifference]:
    before = _of_group(comparison.before.records, group)
    return [
        paired_difference(before, _of_group(side.records, group), name, seed=BOOTSTRAP_SEED)
        for side in comparison.compared
    ]


def _of_group(records: Sequence[VideoRecord], group: MotionGroup) -> list[VideoRecord]:
    return [record for record in records if record.group is group]


def _line(name: str, rows: Sequence[Row | None], differences: Sequence[PairedDifference]) -> str:
    label = label_of(name)
    means = [f"{row.values[name]:.{label.decimals}f}" if row and name in row.values else "" for row in rows]
    cells = [f"<td>{mean}</td>" for mean in means]
    for difference in differences:
        style = ' class="shown"' if difference.is_shown else ""
        change = f"{difference.mean:+.{label.decimals}f}" if difference.num else ""
        if difference.is_shown and label.better:
            verdict = "better" if difference.mean * label.better > 0 else "worse"
            change = f'<span class="{verdict}">{verdict}</span> {change}'
        cells.append(f"<td{style}>{change}</td><td{style}>{_interval(difference, label.decimals)}</td>")
    if differences:
        nums = dict.fromkeys(difference.num for difference in differences)
        cells.append(f"<td>{' / '.join(map(str, nums)) if any(nums) else ''}</td>")
    return f"<tr><td>{escape(label.text)}</td>{''.join(cells)}</tr>"


def _interval(difference: PairedDifference, decimals: int) -> str:
    if difference.num == 0:
        return ""
    if difference.num < MIN_PAIRS:
        return "too few prompts"
    return f"{difference.low:+.{decimals}f} to {difference.high:+.{decimals}f}"
