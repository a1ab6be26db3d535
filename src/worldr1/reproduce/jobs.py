"""What is to do for some claims, in order, and what of it is done: read from the folder, so that a kill costs nothing.

Breadth first: seed 0 of every variant in the order of the claims, each judged at once; then seed 1 of every variant,
and so on. A budget that ends early leaves something of every claim, indicative as it may be, and not three seeds of
one.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from worldr1.backends.mini import CLIP_SIZE
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.reproduce.evidence import FILES
from worldr1.reproduce.job import Job, State
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.needs import Needed
from worldr1.reproduce.plan import CLIPS, INFERENCE, Plan, relative_size
from worldr1.reproduce.prices import (
    Kind,
    Prices,
    films_minutes,
    inference_minutes,
    judging_minutes,
    training_minutes,
)
from worldr1.reproduce.runs import Run, RunState, adapter_of, has_judged, look
from worldr1.reproduce.variants import VARIANTS, Variant

FULL = VARIANTS["full"]


class Judging(NamedTuple):
    """A folder of `mini judge`, and of what."""

    out: Path
    stream: str
    prompts: tuple[int, int]
    """Static and dynamic ones."""
    clip: tuple[int, int, int] = CLIP_SIZE

    def has(self, *adapters: Path) -> bool:
        """Whether it is there, of these adapters too."""
        return has_judged(self.out, adapters, stream=self.stream, prompts=self.prompts, clip=self.clip)

    def words(self) -> list[str]:
        """Of its command."""
        sizes = [
            word
            for key, value, usual in zip(("frames", "height", "width"), self.clip, CLIP_SIZE, strict=True)
            if value != usual
            for word in (f"--{key}", str(value))
        ]
        static, dynamic = map(str, self.prompts)
        return ["--stream", self.stream, "--prompts", static, "--dynamic-prompts", dynamic, *sizes]


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Makes the jobs of one folder."""

    layout: Layout
    """Of absolute paths."""
    plan: Plan
    prices: Prices
    """Of a slot."""
    needed: Needed
    _recipes: dict[tuple[str, int], ExperimentConfig] = field(default_factory=dict)
    _finished: dict[tuple[str, int], Run] = field(default_factory=dict)

    def all(self) -> list[Job]:
        """In the order in which they are begun."""
        return list(self._in_order())

    def missing_minutes(self) -> float:
        """For what is not done, one job after the other."""
        return sum(job.minutes() for job in self.all() if job.state() is not State.DONE)

    def _in_order(self) -> Iterator[Job]:
        rounds = max(self.needed.seeds.values(), default=0)
        if INFERENCE in self.needed.measurements:
            yield self._inference()
        for seed in range(rounds):
            for variant in self.needed.variants:
                if seed >= self.needed.seeds[variant.name]:
                    continue
                yield self._train(variant, seed)
                yield self._judge(variant, seed)
                if seed == 0:
                    yield self._films(variant)
                if variant is FULL:
                    yield from (self._other_clips(one, seed) for one in self.needed.measurements if one in CLIPS)

    # ------------------------------------------------------------------------------------------------------- training

    def run(self, variant: Variant, seed: int) -> Run:
        """What lies there of a run; one that is finished is looked at once."""
        key = variant.name, seed
        found = self._finished.get(key) or look(self.layout.run(variant, seed), self.recipe(variant, seed))
        if found.state is RunState.FINISHED:
            self._finished[key] = found
        return found

    def recipe(self, variant: Variant, seed: int) -> ExperimentConfig:
        """That a run is to have."""
        key = variant.name, seed
        if key not in self._recipes:
            self._recipes[key] = load_experiment(self.plan.recipe, self.plan.overrides(variant, seed))
        return self._recipes[key]

    def _train(self, variant: Variant, seed: int) -> Job:
        folder = self.layout.run(variant, seed)

        def command() -> list[str]:
            if self.run(variant, seed).state is RunState.BEGUN:
                return worldr1("train", "--resume", str(folder))
            settings = [word for one in self.plan.overrides(variant, seed) for word in ("--set", one)]
            return worldr1("train", self.plan.recipe, *settings, "--out", str(folder))

        states = {RunState.FINISHED: State.DONE, RunState.UNUSABLE: State.UNUSABLE}
        return Job(
            name=_training(variant, seed),
            kind=Kind.TRAIN,
            place=folder,
            state=lambda: states.get(self.run(variant, seed).state, State.READY),
            command=command,
            minutes=lambda: training_minutes(
                self.prices, self.recipe(variant, seed), done=self.run(variant, seed).updates
            ),
            then_minutes=lambda: self._judging_minutes(variant, seed, self._judging_of(variant)),
            problem=lambda: self.run(variant, seed).problem,
        )

    # -------------------------------------------------------------------------------------------------------- judging

    def finished(self, variant: Variant) -> list[int]:
        """Seeds whose runs are finished."""
        wanted = range(self.needed.seeds.get(variant.name, 0))
        return [seed for seed in wanted if self.run(variant, seed).state is RunState.FINISHED]

    def _judge(self, variant: Variant, seed: int) -> Job:
        """After this seed's run, all that are finished."""
        name = f"judge {variant.name}, seeds 0 to {seed}" if seed else f"judge {variant.name}, seed 0"
        return self._judging_job(name, Kind.JUDGE, variant, seed, self._judging_of(variant))

    def _other_clips(self, measurement: str, seed: int) -> Job:
        """The full runs on clips that they were not trained on."""
        name = f"judge full on {measurement} clips"
        judging = Judging(
            out=(self.layout.root / FILES[measurement]).parent,
            stream=self.plan.stream(VARIANTS["half"]),
            prompts=self.plan.judged,
            clip=CLIPS[measurement],
        )
        return self._judging_job(f"{name}, seeds 0 to {seed}" if seed else name, Kind.CLIPS, FULL, seed, judging)

    def _judging_of(self, variant: Variant) -> Judging:
        return Judging(
            out=self.layout.judged(variant), stream=self.plan.stream(variant), prompts=self.plan.prompts(variant)
        )

    def _judging_job(self, name: str, kind: Kind, variant: Variant, seed: int, judging: Judging) -> Job:
        def state() -> State:
            seeds = [one for one in self.finished(variant) if one <= seed]
            if seed not in seeds:
                return State.WAITING
            adapters = [adapter_of(self.layout.run(variant, one)) for one in seeds]
            return State.DONE if judging.has(*adapters) else State.READY

        def command() -> list[str]:
            runs = [str(self.layout.run(variant, one)) for one in self.finished(variant)]
            known = [*self.layout.judged(variant).parent.glob("*/judging.json"), judging.out / "judging.json"]
            reuse = sorted({str(path.parent) for path in known if path.is_file()})
            return worldr1(
                *("mini", "judge", "--run", *runs, *judging.words()),
                *("--device", self.plan.device, *(("--reuse", *reuse) if reuse else ()), "--out", str(judging.out)),
            )

        return Job(
            name=name,
            kind=kind,
            place=judging.out,
            state=state,
            command=command,
            minutes=lambda: self._judging_minutes(variant, seed, judging),
            after=_training(variant, seed),
        )

    def _judging_minutes(self, variant: Variant, seed: int, judging: Judging) -> float:
        """Of the sides that must be filmed. Adapters that lie there judged are taken over; base and truth are too, from
        there or from another variant's judging, where they are filmed in the same way."""
        finished = self.finished(variant)
        adapters = [adapter_of(self.layout.run(variant, one)) for one in finished]
        sides = sum(not judging.has(adapter) for adapter in adapters) + (seed not in finished)
        others = [one for one in VARIANTS.values() if judging._replace(out=self.layout.judged(one)).has()]
        if not judging.has() and not any(self._filmed_alike(one, variant) for one in others):
            sides += len(("base", "truth"))
        return judging_minutes(self.prices, sides=sides, prompts=judging.prompts, size=relative_size(judging.clip))

    def _filmed_alike(self, one: Variant, other: Variant) -> bool:
        """Whether `mini judge` takes base and truth over from one variant's judging to the other's."""
        recipes = [self.recipe(variant, 0) for variant in (one, other)]
        first, second = [(recipe.model, recipe.clip, recipe.noise, recipe.sampler) for recipe in recipes]
        return first == second

    # ----------------------------------------------------------------------------------------------------------- rest

    def _films(self, variant: Variant) -> Job:
        folder, marker = self.layout.films(variant), self.layout.films(variant) / FILMED

        def state() -> State:
            if marker.is_file():
                return State.DONE
            return State.READY if self.finished(variant) else State.WAITING

        return Job(
            name=f"films of {variant.name}",
            kind=Kind.FILMS,
            place=folder,
            state=state,
            command=lambda: [
                *(sys.executable, "-m", "worldr1.reproduce.filming"),
                *(str(self.layout.root), variant.name),
            ],
            minutes=lambda: films_minutes(self.prices),
            after=_training(variant, 0),
        )

    def _inference(self) -> Job:
        out = self.layout.root / FILES[INFERENCE]
        return Job(
            name="inference cost of base, LoRA and merged LoRA",
            kind=Kind.INFERENCE,
            place=out,
            state=lambda: State.DONE if out.is_file() else State.READY,
            command=lambda: worldr1(
                *("mini", "cost", "--lora", "mini-r1", "--device", self.plan.device, "--out", str(out))
            ),
            minutes=lambda: inference_minutes(self.prices),
        )


FILMED = ".filmed"
"""In a variant's folder of films once they are all there."""


def _training(variant: Variant, seed: int) -> str:
    """Name of the job that trains it."""
    return f"train {variant.name}, seed {seed}"


def worldr1(*words: str) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "worldr1", *words]
