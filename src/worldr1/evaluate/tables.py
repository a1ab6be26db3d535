"""The report's table of means before and after, with what the paired intervals show."""

from collections.abc import Sequence
from html import escape

from worldr1.evaluate.comparison import Comparison
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics import MIN_PAIRS, PairedDifference, Row, paired_difference, summarise

BOOTSTRAP_SEED = 0


def comparison_table(comparison: Comparison) -> str:
    """HTML: a block of rows per kind of request; "" if there is no evaluation at all."""
    if not comparison.sides:
        return ""
    before, after = ({row.group: row for row in summarise(s.records)} for s in (comparison.before, comparison.after))
    body, num_intervals = [], 0
    for group in MotionGroup:
        rows = [row for row in (before.get(group), after.get(group)) if row]
        if not rows:
            continue
        title = f"{group.value}: {' / '.join(str(row.num) for row in rows)} videos"
        body.append(f'<tr><th colspan="6">{escape(title)}</th></tr>')
        for name in in_table_order(name for row in rows for name in row.values):
            difference = _difference(comparison, group, name)
            num_intervals += difference.num >= MIN_PAIRS
            body.append(_line(name, before.get(group), after.get(group), difference))
    heads = "".join(f"<th>{head}</th>" for head in ("", "before", "after", "difference", "95 % interval", "prompts"))
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        f'<p class="note">{_how_to_read(num_intervals)}</p>'
    )


def _how_to_read(num_intervals: int) -> str:
    by_chance = round(0.05 * num_intervals)
    chance = f" Of {num_intervals} intervals, about {by_chance} would exclude 0 by chance alone." if by_chance else ""
    return (
        "Kinds of request are kept apart, because a still clip reconstructs to 60 dB whatever it shows; PSNR comes "
        "from the mean squared error over the clips of a kind. Differences are over the prompts that have a number "
        f"both before and after, intervals are bootstrapped over prompts; bold: the interval excludes 0.{chance} The "
        "scores are those of the reward that training used, and a model may learn to please it: image gradient, travel "
        "and the videos show whether it did."
    )


def _difference(comparison: Comparison, group: MotionGroup, name: str) -> PairedDifference:
    before, after = (_of_group(side.records, group) for side in (comparison.before, comparison.after))
    return paired_difference(before, after, name, seed=BOOTSTRAP_SEED)


def _of_group(records: Sequence[VideoRecord], group: MotionGroup) -> list[VideoRecord]:
    return [record for record in records if record.group is group]


def _line(name: str, before: Row | None, after: Row | None, difference: PairedDifference) -> str:
    label = label_of(name)
    cells = [f"{row.values[name]:.{label.decimals}f}" if row and name in row.values else "" for row in (before, after)]
    cells += [f"{difference.mean:+.{label.decimals}f}" if difference.num else "", _interval(difference, label.decimals)]
    cells.append(str(difference.num) if difference.num else "")
    verdict = ""
    if difference.is_shown and label.better:
        is_better = difference.mean * label.better > 0
        verdict = ' <span class="better">better</span>' if is_better else ' <span class="worse">worse</span>'
    style = ' class="shown"' if difference.is_shown else ""
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{style}><td>{escape(label.text)}{verdict}</td>{numbers}</tr>"


def _interval(difference: PairedDifference, decimals: int) -> str:
    if difference.num == 0:
        return ""
    if difference.num < MIN_PAIRS:
        return "too few prompts"
    return f"{difference.low:+.{decimals}f} to {difference.high:+.{decimals}f}"
