"""What jobs take, in one place: predicted minutes, and how this machine differs from the prediction.

A price is seconds to start a process, which others beside it hardly lengthen, and seconds a video, which they do. Every
number says what it was measured by, or that it is a guess. On an H200, all 2026-11-30 and on lent machines: the
processes of the published runs and of their judging (docs/results.md), alone on a card; `benchmarks/two_gpus.py`; and
the first `worldr1 reproduce`, 8 jobs at a time on two cards with MPS ("the ledger": 16 half runs, 8 judgings).

A prediction counts until jobs of the same kind have ended in the folder: then they tell (`Pace`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from statistics import median

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.reproduce.plan import CLIPS, INFERENCE, Plan, relative_size
from worldr1.reproduce.variants import VARIANTS, Variant


class Kind(StrEnum):
    """Kinds of jobs, each with a pace of its own."""

    TRAIN = "train"
    JUDGE = "judge"
    CLIPS = "clips"
    """Judging on clips longer or larger than trained."""
    FILMS = "films"
    INFERENCE = "inference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Of one slot: a device, or a share of it."""

    start_s: float
    """Until a process works, and what it does after its last video: imports, models, a report."""
    trained_video_s: float
    """A video of an update: sampled in 20 steps, scored, learnt from."""
    evaluated_video_s: float
    """A video of a run's own evaluation."""
    judged_video_s: float
    """A video filmed or rendered, and judged twice."""
    films_s: float
    inference_s: float

    def slower(self, factor: float) -> "Prices":
        """All but the start takes so many times as long."""
        return replace(
            self,
            trained_video_s=self.trained_video_s * factor,
            evaluated_video_s=self.evaluated_video_s * factor,
            judged_video_s=self.judged_video_s * factor,
            films_s=self.films_s * factor,
            inference_s=self.inference_s * factor,
        )


H200 = Prices(
    # beside updates and evaluations seed 2's process took 21 s, another run's 38; judgings about 25 beside the videos
    start_s=25.0,
    # an update of 192 videos, two_gpus.py (1.44 another time); the published runs had 1.38, 1.30 and, by their length,
    # 1.37, on other hosts
    trained_video_s=1.461 / 192,
    # the three evaluations of a published run: 4, 2 and 2 s for 192 videos each
    evaluated_video_s=8.0 / (3 * 192),
    # 600 prompts for base, truth and one run, four times: 78 to 86 s; for three runs: 114 s
    judged_video_s=0.0315,
    # a guess: 21 videos at most, with pictures. None ended in the ledger; starts alone took 17 to 37 s there
    films_s=15.0,
    # a guess for 30 rounds of 96 videos: of 32 they took 0.48 s (base), 0.74 (LoRA) and 0.41 (merged)
    inference_s=60.0,
)
"""For one job alone on its card."""

MPS_SHARE = 0.44
"""By how much each further job on a card slows the videos of all that are on it, with NVIDIA's MPS: four runs a card
had 3.4 s an update (the ledger), so a card did 1.7 times the updates of one run alone."""
SLICED_SHARE = 1.0
"""The same without MPS, where processes take turns: two runs a card had 2.3 s an update each, and 1.15 s alone
(docs/log.md, 2026-11-29). Only their starts and checkpoints are hidden."""

CPU_THREAD = Prices(
    start_s=10.0, trained_video_s=3.0, evaluated_video_s=2.6, judged_video_s=3.0, films_s=40.0, inference_s=40.0
)
"""One thread of a shared EPYC core: `train mini` of 3 updates of 8 videos with 4 test prompts 108 s, `mini judge` of 8
prompts and one run 82 s (124 s with 33 frames, 157 s with 96 x 144), `mini cost` 48 s; the films are a guess."""


def on_card(jobs: int, *, mps: bool) -> Prices:
    """Of a slot on an H200 that so many jobs share."""
    return H200.slower(1 + (MPS_SHARE if mps else SLICED_SHARE) * (jobs - 1))


def on_cpu(threads: int) -> Prices:
    """Of a slot with so many threads; reading files and imports use one."""
    return CPU_THREAD.slower(1 / threads)


# -------------------------------------------------------------------------------------------------------------- minutes


def training_minutes(prices: Prices, config: ExperimentConfig, *, done: int = 0) -> float:
    """Of a run. done: updates that it has already."""
    train, prompts = config.train, config.prompts
    videos = (train.updates - done) * train.groups_per_update * train.group_size
    tested = 3 * (prompts.test + prompts.test_dynamic)
    return (prices.start_s + videos * prices.trained_video_s + tested * prices.evaluated_video_s) / 60


def judging_minutes(prices: Prices, *, sides: int, prompts: tuple[int, int], size: float = 1.0) -> float:
    """sides: of base, truth and adapters those that must be filmed. size: pixels of a clip over those of a trained
    one."""
    return (prices.start_s + sides * sum(prompts) * size * prices.judged_video_s) / 60


def films_minutes(prices: Prices) -> float:
    """Of one variant's films."""
    return (prices.start_s + prices.films_s) / 60


def inference_minutes(prices: Prices) -> float:
    """Of the cost of base, LoRA and merged LoRA."""
    return (prices.start_s + prices.inference_s) / 60


@cache
def run_minutes(name: str) -> float:
    """Of one run of a variant as it is published, alone on an H200. Estimated for variants whose updates cost more than
    the recipe's."""
    plan = Plan.make("cuda")
    return training_minutes(H200, load_experiment(plan.recipe, plan.overrides(VARIANTS[name], 0)))


def missing_minutes(variant: Variant, there: Sequence[int], seeds: int) -> float:
    """Of an H200, for the runs of a variant that are not there, and for judging them. there: seeds that were judged,
    beside base and truth."""
    missing = len(set(range(variant.num_runs(seeds))) - set(there))
    if not missing:
        return 0.0
    sides, prompts = missing + (0 if there else 2), Plan.make("cuda").prompts(variant)
    return missing * run_minutes(variant.name) + judging_minutes(H200, sides=sides, prompts=prompts)


def measuring_minutes(measurement: str, seeds: int) -> float:
    """Of an H200, for what a claim measures beside its variants: `plan.INFERENCE`, or the full runs, base and truth on
    one of `plan.CLIPS`."""
    if measurement == INFERENCE:
        return inference_minutes(H200)
    sides, prompts = VARIANTS["full"].num_runs(seeds) + 2, Plan.make("cuda").judged
    return judging_minutes(H200, sides=sides, prompts=prompts, size=relative_size(CLIPS[measurement]))


# ----------------------------------------------------------------------------------------------------------------- pace


@dataclass(slots=True)
class Pace:
    """How long jobs take here, over their price: by kind, the median of all that were done.

    A median, because one that met a busy machine says nothing of the next; by kind, because a slow job of one kind says
    nothing of another's. A kind of which none was done keeps its price.
    """

    _ratios: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, *, taken: float, priced: float) -> None:
        """One more job that was done as a whole: minutes taken, and its price; one without a price tells nothing."""
        if priced > 0:
            self._ratios[kind].append(taken / priced)

    def factor(self, kind: str) -> float:
        """To multiply a price with."""
        return median(self._ratios[kind]) if self._ratios.get(kind) else 1.0


def in_words(minutes: float) -> str:
    """A duration for people."""
    if minutes >= 100:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes:.1f} minutes" if minutes >= 1 else f"{60 * minutes:.0f} s"
