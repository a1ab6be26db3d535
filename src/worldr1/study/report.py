"""The analysis as JSON and as one offline HTML page."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from html import escape
from importlib.resources import files
from typing import Any

from worldr1.evaluate.pages.html import asset
from worldr1.evaluate.statistics.intervals import MIN_PAIRS
from worldr1.study.analysis import (
    Analysis,
    Participant,
    QuestionResult,
    WinRate,
    count_words,
    interval_words,
    percent,
    summary,
)
from worldr1.study.intervals import Interval
from worldr1.study.key import REAL
from worldr1.study.questions import CAMERA, QUESTIONS


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """What `study analyse --json` prints: no participant's answers, numbers that do not exist as null."""
    return {
        "summary": summary(analysis),
        "a": analysis.key.a,
        "b": analysis.key.b,
        "key_sha256": analysis.study.key_sha256,
        "votes_sha256": analysis.votes_sha256,
        "invited": analysis.num_invited,
        "participants": len(analysis.participants),
        "kept": analysis.num_kept,
        "prompts": analysis.num_prompts,
        "rules": asdict(analysis.study.rules),
        "notes": list(analysis.key.notes),
        "results": [_plain(result) for result in analysis.kept],
        "results_with_everybody": [_plain(result) for result in analysis.everybody],
        "excluded": [_plain(person) for person in analysis.participants if person.excluded],
    }


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, what is not finite as None."""
    if is_dataclass(value):
        table = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return table | ({"num": value.num, "tie_share": _plain(value.tie_share)} if isinstance(value, WinRate) else {})
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def report_page(analysis: Analysis) -> str:
    """One HTML file that needs no network and no other file."""
    a, b = escape(analysis.key.a), escape(analysis.key.b)
    sections = {
        "": f"<h1>{b} against {a}: a blind study</h1>"
        f'<p class="headline">{escape(summary(analysis))}</p>{_notes(analysis)}{_forest(analysis)}',
        "Votes": _votes_table(analysis),
        "By scene type": _types_table(analysis),
        "Do participants agree, and with a side?": _agreement_table(analysis),
        "Who was left out": _people(analysis),
        "Was the study large enough?": _size_table(analysis),
        "What was asked, and how it was computed": _methods(analysis),
    }
    opening, *named = sections.items()
    links = " · ".join(f'<a href="#part-{i}">{title}</a>' for i, (title, _) in enumerate(named))
    body = "".join(f'<h2 id="part-{i}">{title}</h2>{text}' for i, (title, text) in enumerate(named))
    style = asset("page.css")
    style += (files("worldr1.study") / "page" / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{b} against {a}: a blind study</title><style>{style}</style></head>"
        f"<body>{opening[1]}<nav>{links}</nav>{body}</body></html>\n"
    )


def _notes(analysis: Analysis) -> str:
    notes = list(analysis.key.notes)
    if min(analysis.num_kept, analysis.num_prompts) < MIN_PAIRS:
        notes.append(f"Fewer than {MIN_PAIRS} participants or prompts: no interval over them can be given.")
    return "".join(f'<p class="missing">{escape(note)}</p>' for note in notes)


def _forest(analysis: Analysis) -> str:
    """Win rates with intervals on one axis from 0 to 100 %."""
    rows = []
    for result in analysis.kept:
        win = result.win
        marks = [_stretch("naive", win.wilson), _stretch("reach", win.clustered)]
        if not math.isnan(win.share):
            marks.append(f'<i class="dot" style="left:{100 * win.share:.1f}%"></i>')
        words = f"{percent(win.share)}, {interval_words(win.clustered)}"
        rows.append(
            f'<div class="name">{escape(result.question)}</div><div class="figure">{words}</div>'
            f'<div class="track">{"".join(marks)}</div>'
        )
    b, a = escape(analysis.key.b), escape(analysis.key.a)
    axis = '<div class="axis"><span>0 %</span><span>50 %</span><span>100 %</span></div>'
    return (
        f'<figure class="card forest c0"><div class="rows">{"".join(rows)}{axis}</div>'
        f'<figcaption class="note">Share of votes for {b}, ties split half. Line: 95 % interval over participants and '
        "prompts. Pale bar: as if all votes were independent (Wilson). "
        f"Left of the middle, {a} is preferred.</figcaption></figure>"
    )


def _stretch(style: str, interval: Interval) -> str:
    if (interval.low, interval.high) == (0.0, 1.0):
        return ""
    left, width = 100 * interval.low, 100 * (interval.high - interval.low)
    return f'<i class="{style}" style="left:{left:.1f}%;width:{width:.1f}%"></i>'


def _votes_table(analysis: Analysis) -> str:
    a, b = escape(analysis.key.a), escape(analysis.key.b)
    legend = f'<p class="note legend"><i class="b"></i>{b}<i class="t"></i>tie<i class="a"></i>{a}</p>'
    parts = [legend]
    for name, results, num in _both(analysis):
        counts = [[escape(r.question), r.win.num, r.win.b, r.win.ties, r.win.a, _bar(r.win)] for r in results]
        halves = [
            [percent(w.share, 1), _shown(w.clustered), interval_words(w.wilson), interval_words(w.pigeonhole)]
            for w in (result.win for result in results)
        ]
        decided = [
            [percent(w.decided_share, 1), _shown(w.decided_clustered), interval_words(w.decided_wilson)]
            for w in (result.win for result in results)
        ]
        heads = ["question", "votes", b, "tie", a, "", "ties split half", "95 %, two-way", "95 %, Wilson", "95 %, Owen"]
        parts.append(f"<h3>{name}: {num}</h3>")
        parts.append(_table(heads, [count + half for count, half in zip(counts, halves, strict=True)]))
        parts.append("<h3>The same without ties</h3>")
        heads = ["question", "decided votes", "share", "95 %, two-way", "95 %, Wilson"]
        rows = [[escape(r.question), r.win.a + r.win.b, *cells] for r, cells in zip(results, decided, strict=True)]
        parts.append(_table(heads, rows))
    parts.append(
        '<p class="note">Bold: the interval does not contain 50 %. Two-way: over participants and prompts, what the '
        "summary quotes. Wilson takes all votes for independent and is too narrow; "
        "Owen's bootstrap counts the chance of single votes three times and is too wide.</p>"
    )
    return "".join(parts)


def _both(analysis: Analysis) -> Sequence[tuple[str, Sequence[QuestionResult], int]]:
    """Kept participants, and everybody if that is not the same."""
    kept = ("Participants that the rules keep", analysis.kept, analysis.num_kept)
    if analysis.num_kept == len(analysis.participants):
        return [kept]
    return [kept, ("All participants", analysis.everybody, len(analysis.participants))]


def _types_table(analysis: Analysis) -> str:
    types = list(dict.fromkeys(name for result in analysis.kept for name in result.by_type))
    heads = ["question", *(escape(name) for name in types)]
    rows = [
        [escape(result.question), *(_small(result.by_type[name]) if name in result.by_type else "" for name in types)]
        for result in analysis.kept
    ]
    return _table(heads, rows) + (
        f'<p class="note">Ties split half; in brackets the 95 % interval over participants and prompts where there '
        f"are at "
        f"least {MIN_PAIRS} of each. Of several types, one may leave 50 % by chance.</p>"
    )


def _small(win: WinRate) -> str:
    if not win.num:
        return ""
    known = (win.clustered.low, win.clustered.high) != (0.0, 1.0)
    interval = f" ({_shown(win.clustered)})" if known else ""
    return f"{percent(win.share)}{interval}<br><span class='small'>{win.num} votes</span>"


def _agreement_table(analysis: Analysis) -> str:
    heads = ["question", "Krippendorff's alpha", "same answer", "for video 1", "p of an even coin"]
    rows = [
        [escape(r.question), _number(r.alpha), percent(r.same_answer), percent(r.left_share, 1), _number(r.left_p, 3)]
        for r in analysis.kept
    ]
    return _table(heads, rows) + (
        '<p class="note">Alpha with the interval metric over the three answers (first, tie, second model as 0, 1/2, '
        "1): 1 is "
        "full agreement, 0 what chance gives. Where nearly everybody prefers one model in every pair, alpha is near 0 "
        "although people agree, because they do not tell pairs apart: read it beside the share of equal answers. "
        "Video 1 is "
        "the left one (the upper one on a phone); sides are shuffled, so a preference for one of them favours no model "
        "and only hides differences.</p>"
    )


def _people(analysis: Analysis) -> str:
    out = [person for person in analysis.participants if person.excluded]
    finished = sum(person.pairs == len(analysis.study.pairs) for person in analysis.participants)
    seconds = sorted(person.median_ms / 1000 for person in analysis.participants)
    rules = analysis.study.rules
    text = (
        f"<p>{analysis.num_invited} links, {len(analysis.participants)} people who submitted a pair or more, "
        f"{finished} who "
        f"finished; half of them took {seconds[len(seconds) // 2]:.1f} s or more per pair. The rules, fixed in "
        f"study.json before "
        f"the first vote: who fails more than {percent(rules.max_failed_checks)} of their attention checks is left "
        f"out, and "
        f"who answers more than {percent(rules.max_fast)} of the pairs in less than one run of the video and "
        f"{rules.fast_ms_per_question} ms per question. One video shown twice is failed by fewer than half ties; a "
        f"destroyed "
        "video by preferring it anywhere, or by preferring the intact one in fewer than half of the answers.</p>"
    )
    if not out:
        return text + "<p>Nobody was left out.</p>"
    return text + _table(
        ["participant", "pairs", "checks failed", "fast pairs", "median s", "why"], [_person(p) for p in out]
    )


def _person(person: Participant) -> list[object]:
    checks = f"{person.failed_checks} of {person.checks}"
    return [
        person.slot + 1,
        person.pairs,
        checks,
        person.fast,
        f"{person.median_ms / 1000:.1f}",
        escape(person.excluded),
    ]


def _size_table(analysis: Analysis) -> str:
    heads = ["question", "independent votes", "votes per independent vote", "participants", "prompts"]
    rows = [
        [
            escape(result.question),
            count_words(result.size.votes),
            _number(result.size.design_effect, 1),
            count_words(result.size.participants),
            count_words(result.size.prompts),
        ]
        for result in analysis.kept
    ]
    return _table(heads, rows) + (
        f'<p class="note">What would show the win rate found here against 50 % (two-sided 5 % test, 80 % power). '
        f"Participants: "
        f"each judging {analysis.num_prompts} prompts; prompts: each judged by {analysis.num_kept} participants. "
        '"Out of reach": the other number alone leaves too much chance. Formulas: Fleiss, Levin &amp; Paik, '
        "Statistical Methods for "
        "Rates and Proportions (2003), chapter 2, without continuity correction; for clusters the same with the "
        "variance components of the bootstrap. "
        "A win rate that was found is itself uncertain, so these numbers plan the next study and do not excuse this "
        "one.</p>"
    )


def _methods(analysis: Analysis) -> str:
    study, key = analysis.study, analysis.key
    asked = "".join(
        f"<li><b>{escape(name)}</b>: {escape(' '.join(QUESTIONS[name]).strip())}"
        f"{' Asked where the prompt has camera words.' if name == CAMERA else ''}</li>"
        for name in study.questions
    )
    data = base64.b64encode(json.dumps(analysis_json(analysis), indent=1, allow_nan=False).encode()).decode()
    checks = len(key.pairs) - analysis.num_prompts
    valid = sum(pair.kind == REAL and all(pair.valid) for pair in key.pairs)
    return (
        f"<ul>{asked}</ul><p>Answers: video 1, no difference, video 2. Every participant saw the same "
        f"{analysis.num_prompts} "
        f"pairs and {checks} attention checks in an order and with sides of their own. Both videos had to play to "
        "their end before a pair could be answered; a submitted pair could not be changed. Neither the page nor "
        "the server knew which model made which video. "
        f"In {valid} of {analysis.num_prompts} pairs the evaluations found both videos valid.</p>"
        "<p>Intervals: Wilson 1927; over both clusters, bootstrap variances of participants and of prompts less that "
        "of single votes (Cameron, "
        "Gelbach &amp; Miller 2011) in Wilson's formula with the effective number of votes and Student's t; Owen's "
        "pigeonhole bootstrap 2007. "
        "docs/study.md says how often each contained the truth in simulated studies.</p>"
        f"<p>Study made {escape(study.created)} by worldr1 {escape(study.worldr1)}.<br>Key (SHA-256), as "
        f"participants saw it before they "
        f"voted: <code>{escape(study.key_sha256)}</code><br>Votes (SHA-256), when the study was closed: "
        f"<code>{escape(analysis.votes_sha256)}</code></p>"
        f'<p><a download="study.json" href="data:application/json;base64,{data}">The numbers as JSON</a></p>'
    )


# -------------------------------------------------------------------------------------------------------------- pieces


def _table(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _bar(win: WinRate) -> str:
    parts = (("b", win.b), ("t", win.ties), ("a", win.a))
    filled = "".join(f'<i class="{name}" style="flex:{num}"></i>' for name, num in parts if num)
    return f'<div class="votes">{filled}</div>'


def _shown(interval: Interval) -> str:
    words = interval_words(interval)
    return f"<b>{words}</b>" if interval.excludes_half else words


def _number(value: float, decimals: int = 2) -> str:
    return "none" if not math.isfinite(value) else f"{value:.{decimals}f}"
