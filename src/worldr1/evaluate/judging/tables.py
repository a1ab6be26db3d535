"""What the judges found, as Markdown for people and as strict JSON for programs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from worldr1.evaluate.judging.targets import TargetRow
from worldr1.evaluate.labels import in_table_order, label_of
from worldr1.evaluate.records import MotionGroup, VideoRecord
from worldr1.evaluate.statistics.before_after import summarise


def rows_as_json(rows: Sequence[TargetRow]) -> list[dict[str, Any]]:
    """As strict JSON: what is not finite becomes null."""
    return [
        {name: _finite(value) if not isinstance(value, tuple) else [_finite(v) for v in value] for name, value in row}
        for row in (asdict(row).items() for row in rows)
    ]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown_table(rows: Sequence[TargetRow], *, trained: str = "trained") -> str:
    """The rows as a Markdown table; each trial's own value in brackets where there are several.

    trained: what the side between the base and the truth is called.
    """
    lines = [
        f"| what | base | {trained} | truth | value | 95 % interval | target | prompts | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        means = " | ".join(_number(mean, row.decimals) for mean in (row.base, row.trained, row.truth))
        value = _value(row, row.value)
        if len(row.trials) > 1:
            value += f" ({', '.join(_value(row, v) for v in row.trials)})"
        interval = f"{_value(row, row.low)} to {_value(row, row.high)}" if math.isfinite(row.low) else "-"
        verdict = f"**{row.verdict.value}**" + (f": {row.reason}" if row.reason else "")
        lines.append(f"| {row.text} | {means} | {value} | {interval} | {row.target} | {row.num} | {verdict} |")
    return "\n".join(lines) + "\n"


def _value(row: TargetRow, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:+.1%}".replace("%", " %") if row.percent else f"{value:+.{row.decimals}f}"


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def means_table(sides: Mapping[str, Sequence[VideoRecord]]) -> str:
    """Means of every measure per kind of request, one column per side (its name -> its videos), as Markdown."""
    rows = {name: {row.group: row for row in summarise(records)} for name, records in sides.items()}
    lines = [f"| | {' | '.join(sides)} |", "|---" * (len(sides) + 1) + "|"]
    for group in MotionGroup:
        found = [row[group] for row in rows.values() if group in row]
        if not found:
            continue
        lines.append(f"| **{group.value}** ({found[0].num} videos) |{' |' * len(sides)}")
        for name in in_table_order(name for row in found for name in row.values):
            label = label_of(name)
            values = [row[group].values.get(name, math.nan) if group in row else math.nan for row in rows.values()]
            lines.append(f"| {label.text} | {' | '.join(_number(value, label.decimals) for value in values)} |")
    return "\n".join(lines) + "\n"


def best_of_line(facts: Mapping[str, Any]) -> str:
    """What `best_of_n.BestOfN.facts` says, as a sentence: the price in device seconds, and what the reward gained."""
    price = facts["seconds"] / facts["seconds_one_sample"]
    gain = "no reward could be had"
    if facts["reward_own"] is not None and facts["reward_kept"] is not None:
        gain = f"mean reward {facts['reward_own']:.3f} before choosing, {facts['reward_kept']:.3f} after"
    return (
        f"The base model's best of {facts['num']} by the recipe's reward: {facts['seconds']:.1f} s "
        f"({facts['seconds_filming']:.1f} s filming, {facts['seconds_scoring']:.1f} s scoring), {price:.1f} times the "
        f"{facts['seconds_one_sample']:.1f} s of one sample; {gain}."
    )
