"""What is still to be paid: minutes of one H200, from measured runs."""

from collections.abc import Sequence

from worldr1.reproduce.variants import Length, Variant

START_MINUTES = 50 / 60
"""Of a run's own start and its evaluations before and after."""
TRAIN_MINUTES = {Length.FULL: 4.6, Length.HALF: 2.3}
JUDGE_SECONDS = {Length.FULL: 48.0, Length.HALF: 15.0}
"""Of judging one side (base, truth or a run) on 600 prompts, and on 192 (46 s for three runs that were measured)."""


def run_minutes(variant: Variant) -> float:
    """Of one run, alone on the card. Estimated for variants whose updates cost more than the recipe's.

    Two runs side by side share the card and were not faster than one after the other (docs/log.md, 2026-11-29); only
    their starts and evaluations may overlap.
    """
    return START_MINUTES + TRAIN_MINUTES[variant.length]


def wanted_seeds(variant: Variant, seeds: int) -> int:
    """How many runs of a variant are made when so many are asked for."""
    return seeds if variant.max_seeds is None else min(seeds, variant.max_seeds)


def missing_minutes(variant: Variant, there: Sequence[int], seeds: int) -> float:
    """Of the runs that are not there, and of judging the variant again with them. there: seeds that were judged."""
    missing = len(set(range(wanted_seeds(variant, seeds))) - set(there))
    if not missing:
        return 0.0
    sides = 2 + len(there) + missing
    return missing * run_minutes(variant) + sides * JUDGE_SECONDS[variant.length] / 60
