"""Whole updates at full size on random weights, stage by stage, beside what `worldr1 plan` predicted for them.

    python benchmarks/full_update.py 1.3b [14b ...] [--set train.group_size=2] [--updates 1] [--out FOLDER]
    python benchmarks/full_update.py --list                  # the presets, and what is predicted for each
    python benchmarks/full_update.py 1.3b --tiny --out dry   # a dry run on the CPU in a minute: same code, tiny model

A run is `worldr1 train`'s own (`session.Session`) without its evaluations, which only sample: start noise, rollouts,
decoding, a reward of one's own (examples/own_reward), advantages, loss with KL, optimizer, averages, start-up checks,
checkpoint; where the preset says so it is then resumed in the same process and goes on for an update. Every stage has a
clock of its own, with a synchronisation at both ends, and its own peak of allocated memory (torch's, weights included).

A preset fixes its SDE step (sampler.first_index = last_index), because plan says the mean over those that are drawn.
The text encoder (umt5-xxl, 5.7 B) is built with random weights once per machine, for a handful of prompts, and freed;
what it says is stored on disk, so later presets of the same seed do without it.

Emulated memory: with --emulate-gib (or a preset that says so) torch's allocator may take so many GiB less the 0.8 that
plan counts for the driver, and plan is asked for a card of that size. It is the limit that is emulated, not the card:
seconds stay the GPU's own.
"""

import argparse
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from machine import heading, load
from tiny_models import TINY_WAN
from update import Stages, reward_stages

from worldr1 import session as sessions
from worldr1.backends import architectures
from worldr1.build import ExperimentConfig, choose_device, load_experiment
from worldr1.errors import TrainingError
from worldr1.planning.cards import CARDS, RESERVED_GIB, find_card, recognise
from worldr1.planning.memory import TEXT
from worldr1.planning.plan import Plan, make_plan
from worldr1.planning.work import Guidance, Work
from worldr1.rewards.composite import CompositeReward
from worldr1.rewards.profiles import ROLES
from worldr1.session import Session
from worldr1.train import checkpoint_writer
from worldr1.train.startup import checksum

REWARD = Path(__file__).parents[1] / "examples" / "own_reward"
CARD = "h200"
"""Whose speed is predicted where this machine has no GPU."""
COMMON = (
    "model.weights=random", "reward.custom=colour_reward:ColourReward", "reward.placement=resident", "prompts.main=4",
    "prompts.dynamic=1", "prompts.test=1", "prompts.test_dynamic=0", "phases.dynamic_updates=0",
    "train.ema_decay=0.5",
)  # fmt: skip
TINY = (
    "device=cpu", "model.folder=tiny-wan", "clip.frames=9", "clip.height=32", "clip.width=48", "sampler.num_steps=4",
    "sampler.first_index=1", "sampler.last_index=1",
)  # fmt: skip
PREDICTED = ("rollout", "decode", "reward", "step")
GIB = 2.0**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One measurement."""

    recipe: str
    words: tuple[str, ...]
    """Besides `COMMON`."""
    updates: int
    resumed: bool = False
    """Whether a checkpoint is resumed afterwards, for one more update."""
    emulate_gib: float | None = None


def _sde(index: int) -> tuple[str, str]:
    return f"sampler.first_index={index}", f"sampler.last_index={index}"


_ONE_OF_FOUR = ("train.groups_per_update=1", "train.group_size=4")
_RANDOM_MODELS = ("reward.custom=none", *(f"reward.models.{role}=random" for role in ROLES))
_REAL = (*_RANDOM_MODELS, "reward.profile=paper")
PRESETS: Mapping[str, Preset] = {
    "1.3b": Preset(
        recipe="world-r1-small", words=("model.guidance=1.0", *_ONE_OF_FOUR, *_sde(5)), updates=3, resumed=True
    ),
    "1.3b-guided": Preset(
        recipe="world-r1-small",
        words=("sampler.ode_dtype=bfloat16", "train.groups_per_update=1", *_sde(5)),
        updates=1,
    ),
    "1.3b-joint-33": Preset(
        recipe="small-1gpu-day",
        words=(
            "model.guidance=5.0", "model.gradient_checkpointing=true", "train.groups_per_update=2",
            "train.group_size=4", *_sde(5),
        ),
        updates=2,
    ),
    "14b": Preset(recipe="world-r1-large", words=("model.guidance=1.0", *_ONE_OF_FOUR, *_sde(5)), updates=1),
    "small-24gb": Preset(
        recipe="small-24gb", words=("train.groups_per_update=2", *_sde(5)), updates=2, resumed=True, emulate_gib=24.0
    ),
    "small-24gb-rewards": Preset(
        recipe="small-24gb",
        words=(
            "train.groups_per_update=2", *_sde(5), *_RANDOM_MODELS, "reward.profile=light", "reward.placement=swap",
        ),
        updates=2,
        emulate_gib=24.0,
    ),
    "1.3b-rewards": Preset(
        recipe="world-r1-small", words=("model.guidance=1.0", *_ONE_OF_FOUR, *_sde(5), *_REAL), updates=3
    ),
    "1.3b-rewards-remote": Preset(
        recipe="world-r1-small",
        words=("model.guidance=1.0", *_ONE_OF_FOUR, *_sde(5), *_REAL, "reward.placement=remote"),
        updates=3,
    ),
    "1.3b-compiled": Preset(
        recipe="world-r1-small",
        words=(
            "model.guidance=1.0", "model.compile=true", "sampler.ode_dtype=bfloat16", "train.groups_per_update=1",
            *_sde(5),
        ),
        updates=2,
    ),
}  # fmt: skip
"""All on one H200: no guidance and no checkpointing; guidance in two calls, the LoRA merged for the ODE steps; guidance
in one batch of two; the large model; the small card, and with its own reward models (random weights), in host memory
while they do not score; every reward model of the paper (random weights), beside the policy and on another GPU; all
that makes it fast, whose first update compiles."""


# ------------------------------------------------------------------------------------------------------------ measured


class Watched(Stages):
    """Stages with their peaks of allocated memory; a stage inside another has a peak of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.peaks: dict[str, float] = {}
        super().__init__((lambda: torch.cuda.synchronize(device)) if self.cuda else (lambda: None))

    def start(self) -> None:
        """Forget everything, peaks too."""
        super().start()
        self.peaks.clear()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)

    def _book(self) -> None:
        super()._book()
        if self.cuda:
            name, peak = self._open[-1], float(torch.cuda.max_memory_allocated(self.device))
            self.peaks[name] = max(peak, self.peaks.get(name, 0.0))
            torch.cuda.reset_peak_memory_stats(self.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One update."""

    update: int
    resumed: bool
    seconds: Mapping[str, float]
    """By stage; their sum is the update's."""
    peak_gib: Mapping[str, float]
    """By stage; empty on a CPU."""
    kept_gib: float
    """Allocated when the update was over: flat if nothing leaks."""
    reserved_gib: float
    """What the allocator held then: with what is free again, so about the most that it ever took from the driver."""
    metrics: Mapping[str, float | int | str]

    @property
    def total(self) -> float:
        """Seconds of the update."""
        return sum(self.seconds.values())

    def spent_on(self, stage: str) -> float:
        """Seconds of a stage with its parts ("reward: critic")."""
        return sum(seconds for name, seconds in self.seconds.items() if name.split(":")[0] == stage)


@dataclass(kw_only=True, slots=True)
class Measured:
    """One preset."""

    rows: list[Row] = field(default_factory=list)
    once: dict[str, float] = field(default_factory=dict)
    """Seconds of what is done once."""
    says: list[str] = field(default_factory=list)


@contextmanager
def watched(session: Session, stages: Watched, measured: Measured, *, resumed: bool) -> Iterator[None]:
    """Inside, every update of the session's trainer leaves a row, and checkpoints their seconds."""
    trainer, policy = session.trainer, session.policy
    # the update's forwards inside the trained step, its loss and its backward pass are one stage, as plan counts them
    methods: list[tuple[Any, str, str]] = [
        (policy, "encode", "text"),
        (trainer, "_start_noise", "start noise"),
        (trainer.algorithm, "roll_out", "rollout"),
        (policy, "decode", "decode"),
        (type(trainer.reward), "__call__", "reward"),
        (trainer.algorithm, "backward", "step"),
        (trainer, "_apply", "optimizer"),
    ]
    if isinstance(trainer.reward, CompositeReward):
        methods += [(owner, attribute, f"reward: {name}") for owner, attribute, name in reward_stages(trainer.reward)]
    update, save = trainer.update, checkpoint_writer.save_checkpoint

    def one_update(*args: Any, **kwargs: Any) -> Any:
        stages.start()
        metrics: Mapping[str, float | int | str] = {}
        try:
            metrics = update(*args, **kwargs)
        finally:
            seconds = {name: cost.seconds for name, cost in stages.stop().items()}
            measured.rows.append(_row(trainer.updates_done, resumed, seconds, stages, metrics))
            print(_row_line(measured.rows[-1]), flush=True)
        return metrics

    def timed_save(*args: Any, **kwargs: Any) -> Any:
        return _once(measured, "checkpoint", lambda: save(*args, **kwargs))

    with ExitStack() as stack:
        for owner, attribute, name in methods:
            stack.enter_context(patch.object(owner, attribute, stages.wrap(name, getattr(owner, attribute))))
        stack.enter_context(patch.object(trainer, "update", one_update))
        stack.enter_context(patch.object(checkpoint_writer, "save_checkpoint", timed_save))
        yield


def _row(
    done: int, resumed: bool, seconds: dict[str, float], stages: Watched, metrics: Mapping[str, float | int | str]
) -> Row:
    memory = (torch.cuda.memory_allocated, torch.cuda.memory_reserved) if stages.cuda else ()
    kept, reserved = [of(stages.device) / GIB for of in memory] or (0.0, 0.0)
    return Row(
        update=done,
        resumed=resumed,
        seconds=seconds,
        peak_gib={name: peak / GIB for name, peak in stages.peaks.items()},
        kept_gib=kept,
        reserved_gib=reserved,
        metrics=metrics,
    )


def _once(measured: Measured, what: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    measured.once[what] = time.perf_counter() - start
    return result


def measure(config: ExperimentConfig, folder: Path, *, resumed: bool) -> Measured:
    """The recipe's updates, and one more after a resume. What stops the run is said; what was measured stays."""
    measured, device = Measured(), torch.device(choose_device(config.device))
    try:
        session = _once(measured, "models", lambda: Session.create(config, folder))
        trained = _go_on(session, measured, device, resumed=False)
        del session
        if resumed:
            longer = replace(config, train=replace(config.train, updates=config.train.updates + 1))
            _let_go(device)
            session = _once(
                measured, "models, checkpoint loaded", lambda: Session.resume(longer, folder, override=True)
            )
            same = checksum(session.trainer.parameters) == trained
            measured.says.append(f"resumed parameters are those that were saved, bit for bit: {same}")
            _go_on(session, measured, device, resumed=True)
    except (TrainingError, torch.OutOfMemoryError) as error:
        measured.says.append(f"STOPPED: {error}")
    return measured


def _go_on(session: Session, measured: Measured, device: torch.device, *, resumed: bool) -> int:
    """As `Session.run` does, without evaluations; the checksum of what was trained."""
    print(sessions.describe(session.policy, session.config.model), flush=True)
    with session.log, watched(session, Watched(device), measured, resumed=resumed):
        _once(measured, "text" + " after the resume" * resumed, session._encode_prompts)
        session._train()
    return checksum(session.trainer.parameters)


def _let_go(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# ----------------------------------------------------------------------------------------------------------- predicted


def configure(name: str, *, words: Sequence[str] = (), updates: int | None = None, tiny: bool = False) -> tuple[
    ExperimentConfig, float | None
]:  # fmt: skip
    """The preset's recipe as it is run, and the memory that it emulates."""
    preset = PRESETS[name]
    number = updates or preset.updates
    length = (f"train.updates={number}", f"train.checkpoint_every={number}")
    config = load_experiment(preset.recipe, (*COMMON, *preset.words, *length, *(TINY if tiny else ()), *words))
    return config, preset.emulate_gib


def predict(name: str, config: ExperimentConfig, emulate_gib: float | None) -> Plan:
    """What `worldr1 plan` says, for this machine's GPU (or an H200), with its memory or the emulated one."""
    card = CARDS[CARD]
    if torch.cuda.is_available():
        found = recognise(torch.cuda.get_device_name()) or CARD
        card = find_card(found, memory_gib=torch.cuda.mem_get_info()[1] / GIB)
    if emulate_gib is not None:
        card = replace(card, memory_gib=emulate_gib)
    return make_plan(name, config, card, gpus=1, hours=24.0)


def counts(config: ExperimentConfig, plan: Plan) -> dict[str, float]:
    """Passes of one update through the network, one half of guidance each, and its videos."""
    work, groups = Work.of(config), config.train.groups_per_update
    halves = Guidance.of(config, rows=1, tokens=1).halves
    return {
        "videos": float(groups * config.train.group_size),
        "forwards": groups * halves * work.sampled,
        "trained": groups * halves * work.trained,
        "references": groups * halves * work.reference,
        "checkpointing": float(plan.memory.checkpointing),
    }


# -------------------------------------------------------------------------------------------------------------- tables


def _row_line(row: Row) -> str:
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in row.seconds.items() if value >= 0.005)
    peak = max(row.peak_gib.values(), default=0.0)
    return f"update {row.update}{' (resumed)' * row.resumed}: {row.total:.2f} s ({seconds}); peak {peak:.2f} GiB"


def update_table(rows: Sequence[Row]) -> list[str]:
    """One line an update."""
    stages = list(dict.fromkeys(name for row in rows for name in row.seconds))
    numbers = (
        "loss",
        "reward",
        "reward_std",
        "seconds_reward_wait",
        "ratio_mean",
        "ratio_deviation",
        "kl",
        "grad_norm",
    )
    head = ["update", *(f"{name}, s" for name in stages), "all, s", "peak GiB", "after, GiB", "reserved, GiB", *numbers]
    lines = [_line(head), "|---" * len(head) + "|"]
    for row in rows:
        seconds = [f"{row.seconds.get(name, 0.0):.2f}" for name in stages]
        memory = [f"{x:.2f}" for x in (max(row.peak_gib.values(), default=0.0), row.kept_gib, row.reserved_gib)]
        said = [f"{float(row.metrics.get(name, math.nan)):.4g}" for name in numbers]
        lines.append(_line([f"{row.update}{' resumed' * row.resumed}", *seconds, f"{row.total:.2f}", *memory, *said]))
    return lines


def compared(plan: Plan, rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Predicted and measured (medians over the updates; the largest peak), by what is compared."""

    def median(of: Callable[[Row], float]) -> float:
        return statistics.median(of(row) for row in rows)

    found = {
        f"{name}, s": (getattr(plan.seconds, name), median(lambda row, name=name: row.spent_on(name)))
        for name in PREDICTED
    }
    found["update, s"] = (plan.seconds.update, median(lambda row: row.total))
    always = sum(plan.memory.always.values())
    for stage, named in (("rollout", "rollout"), ("decode", "decode"), ("trained step", "step")):
        peak = max(row.peak_gib.get(named, 0.0) for row in rows)
        found[f"peak in {named}, GiB"] = (always + plan.memory.stages[stage], peak)
    found["peak of an update, GiB"] = (training_peak(plan), max(max(r.peak_gib.values(), default=0.0) for r in rows))
    return found


def training_peak(plan: Plan) -> float:
    """GiB that plan says an update takes at most: the text encoder is gone by then."""
    training = [gib for stage, gib in plan.memory.stages.items() if stage != TEXT]
    return sum(plan.memory.always.values()) + max(training)


def comparison_table(found: Mapping[str, tuple[float, float]]) -> list[str]:
    """Predicted, measured and the error."""
    lines = ["| | predicted | measured | measured / predicted - 1 |", "|---|---|---|---|"]
    for name, (predicted, measured) in found.items():
        error = f"{measured / predicted - 1:+.1%}" if predicted > 0 and measured > 0 else "-"
        lines.append(_line([name, f"{predicted:.2f}", f"{measured:.2f}", error]))
    return lines


def preset_table() -> list[str]:
    """What is predicted for every preset on an H200, as docs/models.md has it."""
    lines = [
        "| preset | s an update | rollout | decode | step | peak GiB | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in PRESETS:
        config, emulated = configure(name)
        memory = CARDS[CARD].memory_gib if emulated is None else emulated
        lines.append(
            prediction_row(name, make_plan(name, config, find_card(CARD, memory_gib=memory), gpus=1, hours=24))
        )
    return lines


def prediction_row(name: str, plan: Plan) -> str:
    """The beginning of its line: all but what is measured."""
    seconds = plan.seconds
    numbers = (seconds.update, seconds.rollout, seconds.decode, seconds.step, training_peak(plan))
    return _line([f"`{name}`", *(f"{x:.1f}" for x in numbers), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _minutes(plan: Plan, preset: Preset, updates: int) -> float:
    return (updates + preset.resumed) * plan.seconds.update / 60


# ---------------------------------------------------------------------------------------------------------------- main


def limit_memory(emulate_gib: float) -> str:
    """Lets torch allocate no more than on a card of so many GiB; the line that says so."""
    if not torch.cuda.is_available():
        return f"NOT emulated: there is no GPU whose memory could be limited to {emulate_gib:g} GiB."
    left = emulate_gib - RESERVED_GIB
    torch.cuda.set_per_process_memory_fraction(left * GIB / torch.cuda.mem_get_info()[1])
    return f"EMULATED: torch may allocate {left:g} GiB, as if this card had {emulate_gib:g}."


def run(name: str, options: argparse.Namespace) -> list[str]:
    """Measures a preset; the lines of its report."""
    preset = PRESETS[name]
    config, emulate = configure(name, words=options.set, updates=options.updates, tiny=options.tiny)
    emulate = options.emulate_gib or (None if options.tiny else emulate)
    plan = predict(name, config, emulate)
    expected = _minutes(plan, preset, config.train.updates)
    title = [f"## {name}: {preset.recipe}, {' '.join((*preset.words, *options.set))}"]
    if emulate is not None:
        title.append(limit_memory(emulate))
    title.append(f"predicted: {plan.seconds.update:.1f} s an update, {expected:.1f} minutes of updates in all")
    print("\n".join(title), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        measured = measure(config, Path(temporary) / "run", resumed=preset.resumed)
    full = [row for row in measured.rows if row.metrics]
    if config.model.compile:
        full = full[1:]  # the first update compiled
    lines = [*title, "once: " + ", ".join(f"{what} {s:.1f} s" for what, s in measured.once.items())]
    found: dict[str, tuple[float, float]] = {}
    if measured.rows:
        found = compared(plan, full or measured.rows)
        lines += ["", *update_table(measured.rows), "", *comparison_table(found)]
    lines += ["", *measured.says]
    print("\n".join(lines[len(title) :]), flush=True)
    if options.out:
        numbers = {
            "preset": name,
            "words": [*preset.words, *options.set],
            "emulate_gib": emulate,
            "counts": counts(config, plan),
            "rows": [asdict(row) for row in measured.rows],
            "once": measured.once,
            "compared": found,
            "says": measured.says,
        }
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"update-{name}.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
        head = [heading(), f"on: {_device_name()}; {load()}", ""]
        (options.out / f"update-{name}.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return lines


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a report of each preset; writes it to --out as markdown, its numbers beside it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", choices=[[], *PRESETS], metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--list", action="store_true", help="print what is predicted for the presets on an H200")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--updates", type=int, help="before the resume (default: the preset's)")
    parser.add_argument("--emulate-gib", type=float, help="limit torch to a card of so many GiB")
    parser.add_argument("--tiny", action="store_true", help="a dry run: the tiny model on the CPU")
    parser.add_argument("--out", type=Path, help="folder for the reports")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(preset_table()))
        return
    print(heading(), f"on: {_device_name()}; {load()}", sep="\n", flush=True)
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "path", [str(REWARD), *sys.path]))
        if options.tiny:
            known = {**architectures.ARCHITECTURES, TINY_WAN.name: TINY_WAN}
            stack.enter_context(patch.object(architectures, "ARCHITECTURES", known))
        for name in options.presets:
            print(flush=True)
            run(name, options)
            _let_go(torch.device(choose_device("auto")))
            if torch.cuda.is_available():
                torch.cuda.set_per_process_memory_fraction(1.0)


if __name__ == "__main__":
    main()
