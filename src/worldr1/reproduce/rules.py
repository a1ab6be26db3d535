"""When a claim holds, partly or not: written down before any run of `worldr1 reproduce`, decided by intervals.

`RULES` is what people read (docs/reproduction.md repeats it, a test compares), the functions below it decide. They get
numbers that are oriented already: an `Outcome` below 0 is *worse*, whatever the measure's own direction.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from worldr1.reproduce.finding import Verdict
from worldr1.reproduce.intervals import Estimate

WORDS_LOST = 0.03
HALF_OF_THE_GAIN = 0.5
SPREAD_OF_SECONDS = 0.01
COLLAPSED = 0.10

TERMS: Mapping[str, str] = {
    "falls, rises": "the 95 % interval of the difference between a variant and its control (the recipe, as long) lies "
    "below, or above, 0. Intervals hold seeds and prompts. Where one number out of k is enough, its interval is one of "
    "100 - 5/k %.",
    "leans": "the interval holds 0, but the interval half as wide about the same point does not.",
    "one run": "a side of one run is thought to vary like its control and the other variants. Where none of them has "
    "two runs, an interval is about prompts alone; then a difference leans at most, and no ablation holds.",
    "collapsed": "at least 10 points more of the variant's clips are rejected than of its control's, by the interval "
    "too. What survives is a selection, so every measure of geometry counts as fallen.",
}
"""Words that the rules use."""

RULES: Mapping[str, str] = {
    "main-gain": "Holds if the judge's hold-out PSNR of moving clips is above the base model's (95 % interval above 0) "
    "and every guard holds: words shown not 3 points fewer (interval), image gradient no farther from the truth's than "
    "the base's, travel 0.9 to 1.1 of the request or nearer 1 than the base's, motion inside movers and dynamic words "
    "at least 90 % of the base's, no more rejected clips. Partly if PSNR is above and a guard misses. Else it does not "
    "hold. The share of the gap to the truth that is closed is reported.",
    "camera-control": "Holds if rotation error, translation error and both together (CamMC) of moving clips are below "
    "the base model's (intervals of the relative change below 0), and CamMC is below for every kind of camera move too "
    "(with 6 prompts or more). Partly if all three are below over all moving clips but some kind of move is not shown "
    "to be. Else it does not hold. It is about direction: how much is the reason's.",
    "no-meta": "Holds if without it S_meta of the run's own unseen prompts falls (that critic is the reward's own: no "
    "other looks from off the path). Partly if it leans down. Else it does not hold. PSNR stands beside.",
    "no-recon": "Holds if without it the judge's hold-out PSNR of moving clips falls. Partly if it leans down. Else it "
    "does not hold.",
    "no-traj": "Holds if without it the judge's rotation error and translation error of moving clips both rise. Partly "
    "if one of them rises, or both lean up. Else it does not hold. S_traj and PSNR stand beside.",
    "no-transport": "Holds if without it the gain in PSNR over its own base model (which lacks transport too) falls, "
    "and R_gen collapses: after training it is below its own base's, or the clips have collapsed. Partly if one of "
    "both. Else it does not hold. Gains rule, because the two base models differ; levels stand beside.",
    "no-phase": "Holds if without it the judge's PSNR of moving clips does not fall, and one of residual motion, "
    "motion inside movers, dynamic words, words and R_gen falls (one of five: 99 % intervals). Partly if one of "
    "them falls by its 95 % interval alone, or falls while PSNR falls too. Else it does not hold.",
    "no-3d": "Holds if without it PSNR falls towards the base model's: the difference falls, and less than half of the "
    "control's gain is left. Partly if it falls and half or more is left, or leans down. Else it does not hold.",
    "no-gen": "Holds if without it R_gen falls, and words fall or the image gradient goes farther from the truth's "
    "(one of two: 97.5 % intervals). Partly if R_gen falls alone, or only leans down. Else it does not hold. That PSNR "
    "stays about the same is the paper's other half; it stands beside.",
    "data-size": "At equal updates on nested lists of 500, 1,000 and 1,500 prompts: holds if PSNR of moving clips "
    "rises from the first to the last, and its mean at both steps. Partly if it rises but not at both steps, or "
    "both means rise and the whole leans up. Else it does not hold. 50 prompts stand beside, as a stress.",
    "longer-larger": "Holds if on clips longer and on clips larger than trained the share of the gap to the truth that "
    "is closed is above 0 (interval). Partly on one of the two. Else it does not hold.",
    "inference-cost": "Holds if the merged model has as many modules and parameters as the base and takes as long "
    "within 1 % (medians). Partly if the graph is equal and the time is not. Else it does not hold.",
    "rollouts": "Cannot be tested here: the release's solver is not Euler, and what it scores is the difference "
    "between the two. Our rollouts are Euler's own, so its log-probability would have a gradient of exactly 0.",
    "prefix": "Holds if the recipe is not beaten by a start noise and prefix for every video: that changes none of "
    "PSNR, rotation error and translation error for the better. Partly if it betters one and worsens one, or "
    "betters one by prompts alone (one run). Else it does not hold.",
    "holdout": "Holds if without it (S_recon on the frames that the scene is made of, the paper's form) the judge's "
    "hold-out PSNR falls. Partly if it leans down. Else it does not hold.",
    "sde-steps": "Holds if one SDE step is not beaten by two or four (as for prefix).",
    "kernels": "Holds if flow_sde is not beaten by wan, ddim, dance or cps at their default levels (as for prefix).",
    "group-size": "Holds if 16 groups of 12 are not beaten by as many videos in groups of 6 or 24 (as for prefix).",
    "quality-frames": "Holds if R_gen of 4 frames is not beaten by one of 1 or of all 17 (as for prefix).",
}
"""By claim."""


class Effect(IntEnum):
    """What a difference shows. Ordered: below `NONE` is worse, above it better."""

    WORSE = -2
    LEANS_WORSE = -1
    NONE = 0
    LEANS_BETTER = 1
    BETTER = 2


class Outcome(NamedTuple):
    """A number that is better the larger it is."""

    estimate: Estimate
    text: str
    """It, in the measure's own words and units."""


class Decision(NamedTuple):
    """What a rule says and why."""

    verdict: Verdict
    reason: str


def effect(outcome: Outcome, among: int = 1) -> Effect:
    """What is shown, if `among` such numbers are searched for one."""
    estimate = outcome.estimate
    low, high = estimate.interval(among)
    half_low, half_high = ((estimate.value + end) / 2 for end in (low, high))
    shown = estimate.knows_seeds
    if high < 0:
        return Effect.WORSE if shown else Effect.LEANS_WORSE
    if low > 0:
        return Effect.BETTER if shown else Effect.LEANS_BETTER
    if half_high < 0:
        return Effect.LEANS_WORSE
    return Effect.LEANS_BETTER if half_low > 0 else Effect.NONE


def _said(*outcomes: Outcome) -> str:
    return "; ".join(outcome.text for outcome in outcomes)


def _surely(among: int) -> str:
    """What is to be said of a number that was searched for, whose 95 % interval is the one that is shown."""
    return f"(its interval of {100 - 5 / among:g} % does not hold 0 either)"


# -------------------------------------------------------------------------------------------- against the base model


def main_gain(gain: Outcome, guards: Mapping[str, bool]) -> Decision:
    """guards: by name, whether it holds; what was not measured does not."""
    if not gain.estimate.interval().low > 0:
        return Decision(Verdict.FAILS, f"{_said(gain)}: not shown to be a gain")
    if missed := [name for name, holds in guards.items() if not holds]:
        return Decision(Verdict.PARTLY, f"{_said(gain)}; missed: {', '.join(missed)}")
    return Decision(Verdict.HOLDS, f"{_said(gain)}; every guard holds")


def camera_control(over_all: Sequence[Outcome], moves: Mapping[str, Outcome]) -> Decision:
    """over_all: rotation, translation and both; moves: both, by the kind of move that has prompts enough."""
    if not all(outcome.estimate.interval().low > 0 for outcome in over_all):
        return Decision(Verdict.FAILS, f"{_said(*over_all)}: not all are shown to fall")
    if missed := [name for name, outcome in moves.items() if not outcome.estimate.interval().low > 0]:
        return Decision(Verdict.PARTLY, f"{_said(*over_all)}; not shown for {', '.join(missed)}")
    each = f"and for each of {len(moves)} kinds of move" if moves else "no kind of move has prompts enough"
    return Decision(Verdict.HOLDS, f"{_said(*over_all)}; {each}")


# ----------------------------------------------------------------------------------------------- against the control


def own_metrics_fall(outcomes: Sequence[Outcome], *, collapsed: bool = False) -> Decision:
    """A reward term: what it is for. collapsed: the variant's clips cannot be judged any more, which is a fall."""
    effects = [Effect.WORSE if collapsed else effect(outcome) for outcome in outcomes]
    reason = _said(*outcomes) + ("; its clips collapsed" if collapsed else "")
    if max(effects) is Effect.WORSE:
        return Decision(Verdict.HOLDS, reason)
    if min(effects) is Effect.WORSE or max(effects) <= Effect.LEANS_WORSE:
        return Decision(Verdict.PARTLY, reason)
    return Decision(Verdict.FAILS, f"{reason}: no fall is shown")


def no_transport(gain: Outcome, own_quality: Outcome, *, collapsed: bool = False) -> Decision:
    """gain: the variant's less its control's; own_quality: R_gen after less before, of the variant."""
    gain_falls = collapsed or effect(gain) is Effect.WORSE
    quality_collapses = collapsed or effect(own_quality) is Effect.WORSE
    reason = _said(gain, own_quality) + ("; its clips collapsed" if collapsed else "")
    if gain_falls and quality_collapses:
        return Decision(Verdict.HOLDS, reason)
    if gain_falls or quality_collapses:
        return Decision(Verdict.PARTLY, f"{reason}: only {'the gain' if gain_falls else 'R_gen'} is shown to fall")
    return Decision(Verdict.FAILS, f"{reason}: neither is shown to fall")


def no_phase(psnr: Outcome, kept: Sequence[Outcome], *, among: int, collapsed: bool = False) -> Decision:
    """kept: what was measured of the numbers that the phase is to protect, of which there are `among`."""
    psnr_falls = collapsed or effect(psnr) is Effect.WORSE
    plainly = [outcome for outcome in kept if effect(outcome) is Effect.WORSE]
    surely = [outcome for outcome in plainly if effect(outcome, among) is Effect.WORSE]
    if not plainly:
        return Decision(Verdict.FAILS, f"{_said(psnr, *kept)}: nothing that the phase protects is shown to fall")
    if psnr_falls:
        return Decision(Verdict.PARTLY, f"{_said(psnr, *plainly)}: but PSNR falls too")
    if not surely:
        return Decision(Verdict.PARTLY, f"{_said(psnr, *plainly)}: one of {among} numbers, and not by more than that")
    return Decision(Verdict.HOLDS, f"{_said(psnr, *surely)} {_surely(among)}")


def no_3d(psnr: Outcome, gain_left: float, *, collapsed: bool = False) -> Decision:
    """gain_left: the variant's gain over the base model as a share of its control's."""
    reason = f"{_said(psnr)}; {gain_left:.0%} of the control's gain is left".replace("%", " %")
    found = Effect.WORSE if collapsed else effect(psnr)
    if found is Effect.WORSE:
        return Decision(Verdict.HOLDS if collapsed or gain_left < HALF_OF_THE_GAIN else Verdict.PARTLY, reason)
    if found is Effect.LEANS_WORSE:
        return Decision(Verdict.PARTLY, reason)
    return Decision(Verdict.FAILS, f"{reason}: no fall is shown")


def no_gen(quality: Outcome, content: Sequence[Outcome]) -> Decision:
    """content: words, and how far the image gradient is from the truth's."""
    found = effect(quality)
    lost = [outcome for outcome in content if effect(outcome, among=len(content)) is Effect.WORSE]
    if found is Effect.WORSE:
        if lost:
            return Decision(Verdict.HOLDS, f"{_said(quality, *lost)} {_surely(len(content))}")
        return Decision(Verdict.PARTLY, f"{_said(quality, *content)}: R_gen falls alone")
    if found is Effect.LEANS_WORSE:
        return Decision(Verdict.PARTLY, _said(quality, *content))
    return Decision(Verdict.FAILS, f"{_said(quality, *content)}: R_gen is not shown to fall")


def data_size(whole: Outcome, steps: Sequence[Outcome]) -> Decision:
    """whole: the largest list less the smallest; steps: each less the one before."""
    found, monotone = effect(whole), all(step.estimate.value > 0 for step in steps)
    reason = _said(whole, *steps)
    if found is Effect.BETTER and monotone:
        return Decision(Verdict.HOLDS, reason)
    if found is Effect.BETTER or (found is Effect.LEANS_BETTER and monotone):
        return Decision(Verdict.PARTLY, reason)
    return Decision(Verdict.FAILS, f"{reason}: no rise is shown")


def not_beaten(rivals: Mapping[str, Sequence[Outcome]]) -> Decision:
    """rivals: by variant, its numbers less the recipe's. Searched for one that is better."""
    among = sum(len(outcomes) for outcomes in rivals.values())
    reasons, verdicts = [], []
    for name, outcomes in rivals.items():
        effects = [effect(outcome, among) for outcome in outcomes]
        best, worst = max(effects), min(effects)
        if best is Effect.BETTER:
            verdicts.append(Verdict.PARTLY if worst is Effect.WORSE else Verdict.FAILS)
        else:
            by_prompts = [o for o in outcomes if not o.estimate.knows_seeds and o.estimate.interval(among).low > 0]
            verdicts.append(Verdict.PARTLY if by_prompts else Verdict.HOLDS)
        reasons.append(f"{name}: {_said(*outcomes)}")
    order = (Verdict.FAILS, Verdict.PARTLY, Verdict.HOLDS)
    return Decision(min(verdicts, key=order.index), ". ".join(reasons))


# ------------------------------------------------------------------------------------------------------------ the rest


def longer_larger(closed: Mapping[str, Outcome | str]) -> Decision:
    """closed: the share of the gap that is closed on each kind of clip; where there is no gap, a text that says so."""
    shown = [name for name, o in closed.items() if isinstance(o, Outcome) and o.estimate.interval().low > 0]
    parts = [f"{name}: {o.text if isinstance(o, Outcome) else o}" for name, o in closed.items()]
    verdict = (Verdict.FAILS, Verdict.PARTLY)[len(shown) > 0] if len(shown) < len(closed) else Verdict.HOLDS
    return Decision(verdict, "; ".join(parts))


def inference_cost(*, ratio: float, same_modules: bool, same_parameters: bool) -> Decision:
    """ratio: seconds of the merged model by those of the base."""
    reason = f"merged takes {ratio:.3f} of the base's time"
    if not (same_modules and same_parameters):
        what = "modules" if not same_modules else "parameters"
        return Decision(Verdict.FAILS, f"{reason}, and the number of {what} differs")
    if round(abs(ratio - 1), 9) <= SPREAD_OF_SECONDS:
        return Decision(Verdict.HOLDS, f"{reason}; modules and parameters are as many")
    return Decision(Verdict.PARTLY, f"{reason}, more than 1 % apart; modules and parameters are as many")


# ------------------------------------------------------------------------------------------------------------ in words


def rules_as_markdown() -> str:
    """The terms and the rules as two Markdown tables: what docs/reproduction.md repeats."""
    tables = [("term", TERMS), ("claim", {f"`{name}`": text for name, text in RULES.items()})]
    return "\n\n".join(
        "\n".join([f"| {heading} | meaning |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])
        for heading, rows in tables
    )
