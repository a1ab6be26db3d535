"""What jobs take, in one place: predicted minutes, and how this machine differs from the prediction.

On an H200 for one job alone on its card, by the published runs: 202 updates of 192 videos in 4.6 minutes with 0.9 for
starting, three evaluations of 192 prompts and the report; 600 prompts judged for base, truth and three runs in 1.9
minutes; films and inference are guesses. On CPUs seconds of one thread of a shared EPYC core, 20 steps: `train mini`
of 3 updates of 8 videos with 4 test prompts 108 s, `mini judge` of 8 prompts and one run 82 s (124 s with 33 frames,
157 s with 96 x 144), `mini cost` 48 s. A prediction counts until jobs of the kind have ended here: then they tell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.reproduce.plan import Plan
from worldr1.reproduce.variants import VARIANTS, Variant


class Kind(StrEnum):
    """Kinds of jobs, each with a pace of its own."""

    TRAIN = "train"
    JUDGE = "judge"
    FILMS = "films"
    MEASURE = "measure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Of one device, for one job alone on it."""

    start_s: float
    """Until a process works: imports, models."""
    trained_video_s: float
    """A video of an update: sampled in 20 steps, scored, learnt from."""
    evaluated_video_s: float
    """A video of a run's own evaluation."""
    judged_video_s: float
    """A video filmed or rendered, and judged twice."""
    films_s: float
    inference_s: float


H200 = Prices(
    start_s=18.0,
    trained_video_s=4.6 * 60 / (202 * 192),
    evaluated_video_s=36.0 / (3 * 192),
    judged_video_s=(1.9 * 60 - 18.0) / (5 * 600),
    films_s=20.0,
    inference_s=30.0,
)
CPU_THREAD = Prices(
    start_s=10.0, trained_video_s=3.0, evaluated_video_s=2.6, judged_video_s=3.0, films_s=40.0, inference_s=40.0
)
SIDE_BY_SIDE = 0.5
"""By how much each further run on a card slows all on it: of two, each took 1.5 times as long (docs/log.md, "four
settings, two runs to a GPU": 127 updates in 4.4 minutes). Runs on a CPU share its threads and are priced so."""


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


@dataclass(slots=True)
class Pace:
    """How long jobs take here, over what was predicted."""

    before: float = 1.0
    """Expected before any job has ended."""
    _ended: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Kind -> minutes taken and minutes predicted."""

    def add(self, kind: str, *, taken: float, predicted: float) -> None:
        """One more job that was done as a whole."""
        known = self._ended.get(kind, (0.0, 0.0))
        self._ended[kind] = known[0] + taken, known[1] + predicted

    def factor(self, kind: str) -> float:
        """Of the kind's own jobs. Before any has ended: of the others, if they were slower than expected."""
        if kind in self._ended:
            return _ratio([self._ended[kind]], self.before)
        return max(self.before, _ratio(self._ended.values(), self.before))


def _ratio(ended: Iterable[tuple[float, float]], otherwise: float) -> float:
    pairs = list(ended)
    predicted = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / predicted if predicted > 0 else otherwise


def on_cpu(threads: int) -> Prices:
    """Of a slot with so many threads; reading files and imports use one."""
    one = CPU_THREAD
    return Prices(
        start_s=one.start_s,
        trained_video_s=one.trained_video_s / threads,
        evaluated_video_s=one.evaluated_video_s / threads,
        judged_video_s=one.judged_video_s / threads,
        films_s=one.films_s / threads,
        inference_s=one.inference_s / threads,
    )


def in_words(minutes: float) -> str:
    """A duration for people."""
    if minutes >= 100:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes:.1f} minutes" if minutes >= 1 else f"{60 * minutes:.0f} s"
