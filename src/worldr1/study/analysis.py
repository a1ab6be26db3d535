"""From votes and the opened key to what a study shows.

Win rates are B's over A; a tie is half a vote for each. Every result is given over the participants that the rules of
study.json keep, and over all.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from worldr1.errors import InputError
from worldr1.study.agreement import krippendorff_alpha, same_answer_share, side_bias
from worldr1.study.design import Study
from worldr1.study.intervals import (
    Interval,
    clustered,
    design_effect,
    participants_needed,
    pigeonhole,
    prompts_needed,
    two_way_spread,
    votes_needed,
    wilson,
)
from worldr1.study.key import DESTROYED, REAL, SAME, Key, PairKey, open_key
from worldr1.study.questions import LEFT, RIGHT, TIE
from worldr1.study.votes import Vote, VoteStore

MOST_COUNTED = 100_000
"""Larger needs are said to be out of reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WinRate:
    """How often B was preferred to A in one question."""

    b: int
    a: int
    ties: int
    share: float
    """B's share of the votes, ties split half; NaN without votes."""
    wilson: Interval
    """As if all votes were independent."""
    clustered: Interval
    """Two-way cluster bootstrap over participants and prompts: what counts."""
    pigeonhole: Interval
    """Of Owen's bootstrap, which is never too narrow."""
    decided_share: float
    """B's share of the votes that are no ties."""
    decided_wilson: Interval
    decided_clustered: Interval

    @property
    def num(self) -> int:
        """All votes."""
        return self.a + self.b + self.ties

    @property
    def tie_share(self) -> float:
        """Ties among all votes."""
        return self.ties / self.num if self.num else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """What a study needs to show this win rate against 50 %: two-sided 5 % test, 80 % power."""

    votes: float
    """Independent ones."""
    design_effect: float
    """Clustered votes that tell as much as one independent vote."""
    participants: float
    """Each judging this study's pairs; infinite if more people alone cannot do it."""
    prompts: float
    """Each judged by this study's participants; infinite if more prompts alone cannot do it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionResult:
    """One question over one set of participants."""

    question: str
    win: WinRate
    alpha: float
    """Krippendorff's, interval metric over A = 0, tie = 1/2, B = 1."""
    same_answer: float
    """Share of pairs of participants who answered a pair alike."""
    left_share: float
    left_p: float
    size: Size
    by_type: Mapping[str, WinRate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Participant:
    """One person's care, without answers."""

    slot: int
    pairs: int
    """Submitted, checks included."""
    checks: int
    failed_checks: int
    fast: int
    """Pairs answered too quickly to have been looked at."""
    median_ms: float
    excluded: str
    """Why the rules leave the person out; "" if they do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Analysis:
    """A closed study's result."""

    study: Study
    key: Key
    votes_sha256: str
    participants: tuple[Participant, ...]
    """Who submitted at least one pair."""
    num_invited: int
    kept: tuple[QuestionResult, ...]
    """Without those that the rules exclude."""
    everybody: tuple[QuestionResult, ...]
    num_prompts: int

    @property
    def num_kept(self) -> int:
        """Participants in `kept`."""
        return sum(not person.excluded for person in self.participants)


def analyse_folder(folder: Path) -> Analysis:
    """The analysis of a closed study.

    Raises InputError if it is open or has no votes, if votes were changed after closing, or if the key is not the one
    that participants saw.
    """
    study = Study.load(folder)
    store = VoteStore(folder / "votes.sqlite")
    try:
        digest = store.check_seal()
        key = open_key(folder, study, store.commitments)
        return analyse(study, key, store.votes, votes_sha256=digest, num_invited=len(store.progress()))
    finally:
        store.close()


def analyse(study: Study, key: Key, votes: Sequence[Vote], *, votes_sha256: str, num_invited: int) -> Analysis:
    """See the module. Raises InputError without votes, and if a vote is of videos that its pair has not."""
    if not votes:
        raise InputError("Nobody has voted, so there is nothing to analyse.")
    for vote in votes:
        pair = study.pairs[vote.pair] if 0 <= vote.pair < len(study.pairs) else None
        if pair is None or {vote.left, vote.right} != {pair.first, pair.second}:
            raise InputError(f"Vote {vote.position} of participant {vote.slot} is of no pair of study.json.")
    people = tuple(_participant(study, key, slot, [v for v in votes if v.slot == slot]) for slot in _slots(votes))
    kept = {person.slot for person in people if not person.excluded}
    real = [vote for vote in votes if key.pairs[vote.pair].kind == REAL]
    return Analysis(
        study=study,
        key=key,
        votes_sha256=votes_sha256,
        participants=people,
        num_invited=num_invited,
        kept=_results(study, key, [vote for vote in real if vote.slot in kept]),
        everybody=_results(study, key, real),
        num_prompts=sum(pair.kind == REAL for pair in key.pairs),
    )


def _slots(votes: Sequence[Vote]) -> list[int]:
    return sorted({vote.slot for vote in votes})


# ------------------------------------------------------------------------------------------------------------ exclusion


def _participant(study: Study, key: Key, slot: int, votes: Sequence[Vote]) -> Participant:
    checks = [vote for vote in votes if key.pairs[vote.pair].kind != REAL]
    failed = sum(not check_passed(study, key.pairs[vote.pair], vote) for vote in checks)
    fast = sum(study.is_fast(study.pairs[vote.pair], vote.ms) for vote in votes)
    reasons = []
    if checks and failed > study.rules.max_failed_checks * len(checks) + 1e-9:
        reasons.append(f"failed {failed} of {len(checks)} attention checks")
    if fast > study.rules.max_fast * len(votes):
        reasons.append(f"answered {fast} of {len(votes)} pairs faster than they can be watched and answered")
    return Participant(
        slot=slot,
        pairs=len(votes),
        checks=len(checks),
        failed_checks=failed,
        fast=fast,
        median_ms=float(np.median([vote.ms for vote in votes])),
        excluded="; ".join(reasons),
    )


def check_passed(study: Study, pair: PairKey, vote: Vote) -> bool:
    """Of one video twice: at least half of the answers are ties. Of a destroyed video: no answer prefers it, and at
    least half prefer the intact one."""
    answers = Counter(vote.answers.values())
    if pair.kind == SAME:
        return 2 * answers[TIE] >= len(vote.answers)
    assert pair.kind == DESTROYED
    first_is_left = vote.left == study.pairs[vote.pair].first
    intact = LEFT if first_is_left == (pair.first_is == "intact") else RIGHT
    destroyed = RIGHT if intact == LEFT else LEFT
    return answers[destroyed] == 0 and 2 * answers[intact] >= len(vote.answers)


# ------------------------------------------------------------------------------------------------------------ win rates


def preference_of_b(study: Study, key: Key, vote: Vote, question: str) -> float:
    """1 where B was preferred, 0 where A, 1/2 for a tie; NaN if the question was not asked."""
    answer = vote.answers.get(question)
    if answer is None:
        return math.nan
    if answer == TIE:
        return 0.5
    chosen = vote.left if answer == LEFT else vote.right
    chose_first = chosen == study.pairs[vote.pair].first
    return float(chose_first == (key.pairs[vote.pair].first_is == "B"))


def _results(study: Study, key: Key, votes: Sequence[Vote]) -> tuple[QuestionResult, ...]:
    slots, pairs = _slots(votes), [i for i, pair in enumerate(key.pairs) if pair.kind == REAL]
    row, column = ({value: i for i, value in enumerate(values)} for values in (slots, pairs))
    results = []
    for question in study.questions:
        values_RC = np.full((len(slots), len(pairs)), math.nan)
        for vote in votes:
            values_RC[row[vote.slot], column[vote.pair]] = preference_of_b(study, key, vote, question)
        answers = Counter(vote.answers.get(question) for vote in votes)
        left_share, left_p = side_bias(answers[LEFT], answers[RIGHT])
        types = [key.pairs[i].scene_type for i in pairs]
        found = win_rate(values_RC)
        results.append(
            QuestionResult(
                question=question,
                win=found,
                alpha=krippendorff_alpha(values_RC),
                same_answer=same_answer_share(values_RC),
                left_share=left_share,
                left_p=left_p,
                size=_size(values_RC, found.share),
                by_type={
                    name: win_rate(values_RC[:, [i for i, other in enumerate(types) if other == name]])
                    for name in dict.fromkeys(types)
                },
            )
        )
    return tuple(results)


def win_rate(values_RC: Float[ndarray, "R C"]) -> WinRate:
    """Of B over participants and pairs; NaN: no vote."""
    b, a, ties = (int((values_RC == value).sum()) for value in (1.0, 0.0, 0.5))
    decided_RC = np.where(values_RC == 0.5, math.nan, values_RC)
    decided = b / (a + b) if a + b else math.nan
    num = a + b + ties
    share = (b + ties / 2) / num if num else math.nan
    return WinRate(
        b=b,
        a=a,
        ties=ties,
        share=share,
        wilson=wilson(share, num),
        clustered=clustered(values_RC),
        pigeonhole=pigeonhole(values_RC),
        decided_share=decided,
        decided_wilson=wilson(decided, a + b),
        decided_clustered=clustered(decided_RC),
    )


def _size(values_RC: Float[ndarray, "R C"], share: float) -> Size:
    num_people, num_prompts = (int((~np.isnan(values_RC)).any(axis=axis).sum()) for axis in (1, 0))
    if min(num_people, num_prompts) < 2 or math.isnan(share):
        return Size(votes=math.inf, design_effect=math.nan, participants=math.inf, prompts=math.inf)
    spread = two_way_spread(values_RC)
    return Size(
        votes=votes_needed(share),
        design_effect=design_effect(values_RC, spread),
        participants=participants_needed(share, spread, num_prompts),
        prompts=prompts_needed(share, spread, num_people),
    )


# ------------------------------------------------------------------------------------------------------------- in words


def percent(share: float, decimals: int = 0) -> str:
    """ "81 %"; "none" for NaN."""
    return "none" if math.isnan(share) else f"{100 * share:.{decimals}f} %"


def interval_words(interval: Interval) -> str:
    """ "74 to 87 %"; with one decimal where an end would be rounded to 50; "no interval" where nothing is known."""
    ends = (interval.low, interval.high)
    if ends == (0.0, 1.0):
        return "no interval"
    low, high = (f"{100 * end:.{int(round(100 * end) == 50)}f}" for end in ends)
    return f"{low} to {high} %"


def count_words(number: float) -> str:
    """A number of people or prompts, rounded up."""
    return "out of reach" if not number < MOST_COUNTED else f"{math.ceil(number - 1e-9):,}"


def summary(analysis: Analysis) -> str:
    """What may be quoted: every question with its interval, what is not shown, whom the rules left out."""
    a, b = analysis.key.a, analysis.key.b
    people = _counted(analysis.num_kept, "participant")
    if not analysis.num_kept:
        return (
            f"No participant is left by the rules of study.json ({len(analysis.participants)} voted): nothing is shown."
        )
    parts = [
        f"{result.question} {percent(result.win.share)} ({interval_words(result.win.clustered)}, "
        f"{percent(result.win.tie_share)} ties{'' if result.win.clustered.excludes_half else ', not shown'})"
        for result in analysis.kept
    ]
    text = (
        f"{b} against {a}, blind, {people} and {_counted(analysis.num_prompts, 'prompt')}: share of votes for {b}, "
        f"ties split half, with the 95 % interval over participants and prompts: {'; '.join(parts)}."
    )
    if left_out := len(analysis.participants) - analysis.num_kept:
        everybody = ", ".join(f"{result.question} {percent(result.win.share)}" for result in analysis.everybody)
        text += f" {left_out} of {len(analysis.participants)} excluded by rules fixed before; with them: {everybody}."
    if any(not result.win.clustered.excludes_half for result in analysis.kept):
        text += ' "Not shown": the interval contains 50 %.'
    return text


def _counted(num: int, noun: str) -> str:
    return f"{num} {noun}{'' if num == 1 else 's'}"
