"""Where the time of one update goes: seconds, operator calls and waits of every stage of `Trainer.update`.

    python benchmarks/update.py mini-gpu [--updates 8] [--warm-up 3] [--out FILE.md] [--set train.groups_per_update=24]

Three passes over fresh updates of one trainer. *Plain*: an update as it is, on the clock alone. *By stage*: every stage
on a clock of its own, on a GPU with a synchronisation at both ends, so that these updates are slower than plain ones.
*Counted*: one update in which every operator is counted that torch dispatches (views left out), the backward pass
included, and every read of tensor values by Python, which on a GPU waits for all that was launched before.
A GPU takes 5 to 10 microseconds to be given one operator: a stage of n operators that takes n times that is bound by
launches and not by its arithmetic. Counts are the same on a CPU, except that there every read counts, also of tensors
that lie on the CPU when a GPU computes, and that the numba renderer stands in for gsplat.
"""

import argparse
import functools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from machine import heading, load
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from worldr1.assembly import training_prompts
from worldr1.backends.swapping import Swapped
from worldr1.build import ExperimentConfig, build_policy, build_reward, check_clip, choose_device, load_experiment
from worldr1.rewards import composite
from worldr1.seeding import make_generator
from worldr1.train import flights, flow_grpo
from worldr1.train import trainer as training
from worldr1.train.algorithm import Method
from worldr1.train.lora import prepare_trainable
from worldr1.train.trainer import Trainer

NETWORK = ": network"
"""Ending of the stages inside which the transformer runs, for the transformer alone."""
REST = "everything else"
READERS = ("tolist", "cpu", "numpy")
"""Methods of a tensor that read its values without an operator of that name on the CPU."""
READING = ("aten::_local_scalar_dense", "aten::nonzero")
"""Operators whose result Python needs at once; indexing by a mask is one too."""


@dataclass(kw_only=True, slots=True)
class Cost:
    """Of one stage in one update."""

    seconds: float = 0.0
    operators: int = 0
    reads: int = 0


class Stages:
    """Books what happens on the stage that was entered last; a stage pauses while another runs inside it."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.costs: defaultdict[str, Cost] = defaultdict(Cost)
        self._synchronise = synchronise
        self._open = [REST]
        self._since = time.perf_counter()

    @property
    def current(self) -> Cost:
        """Costs of the stage that runs now."""
        return self.costs[self._open[-1]]

    def start(self) -> None:
        """Forget everything and start the clock."""
        self.costs.clear()
        self._synchronise()
        self._since = time.perf_counter()

    def stop(self) -> dict[str, Cost]:
        """The costs since `start`."""
        self._book()
        return dict(self.costs)

    def _book(self) -> None:
        self._synchronise()
        now = time.perf_counter()
        self.current.seconds += now - self._since
        self._since = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside, everything is this stage's; a name that begins with ":" is that part of the stage around it."""
        self._book()
        self._open.append(self._open[-1] + name if name.startswith(":") else name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a stage."""

        @functools.wraps(function, updated=())
        def staged(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return staged


class _CountOperators(TorchDispatchMode):
    """Counts what torch dispatches below autograd, views left out."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self.stages = stages

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.stages.current.operators += 1
            name = func._schema.name
            masked = name == "aten::index" and any(i is not None and i.dtype == torch.bool for i in args[1])
            self.stages.current.reads += name in READING or masked
        return func(*args, **(kwargs or {}))


class _CountReads(TorchFunctionMode):
    """Counts calls that hand a tensor's values to Python and are no operator of their own on the CPU."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self.stages = stages

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.stages.current.reads += getattr(func, "__name__", "") in READERS
        return func(*args, **(kwargs or {}))


@contextmanager
def count(stages: Stages) -> Iterator[None]:
    """Inside, operators and reads are booked on the stage that runs."""
    with _CountReads(stages), _CountOperators(stages):
        yield


def reward_stages(reward: Any) -> list[tuple[Any, str, str]]:
    """Owner, name and stage of the methods that a `CompositeReward` spends its time in.

    Models that are swapped in and out are told apart by what is inside, and their transfers are a stage of its own.
    """

    def kind(model: Any) -> type:
        return type(model.model) if isinstance(model, Swapped) else type(model)

    return [
        (reward, "_measure_input", "input checks, image gradient"),
        (reward, "_lift", "3D model"),
        (kind(reward.reconstructor), "__call__", "3D model"),
        (reward, "_follow", "camera path"),
        (reward, "_redraw", "re-rendering: Gaussians and images"),
        (reward, "_criticise", "off-path view: Gaussians and images"),
        (kind(reward.critic), "__call__", "critic"),
        (reward, "_rate", "quality"),
        (kind(reward.perceptual), "__call__", "perceptual distance"),
        (composite, "render_jobs", "renderer"),
        (Swapped, "_fetch", "models moved in"),
    ]


@contextmanager
def staged(trainer: Trainer, stages: Stages) -> Iterator[None]:
    """Inside, the parts of the trainer's update book their costs."""
    reward, policy = trainer.reward, trainer.policy
    methods: list[tuple[Any, str, str]] = [
        (policy, "encode", "text"),
        (policy, "velocity", NETWORK),
        (policy, "decode", "decode"),
        (trainer, "_apply", "optimizer and EMA"),
        *reward_stages(reward),
        (training, "start_noise", "start noise"),
        (flights, "collect", "advantages"),
        (flow_grpo, "sample_groups", "rollout"),
        (flow_grpo, "recorded_velocities", "reference velocity"),
        (flow_grpo, "replay", "replay forward"),
        (flow_grpo, "group_loss", "loss terms"),
        (Tensor, "backward", "backward"),
    ]
    with ExitStack() as stack:
        for owner, attribute, name in methods:
            stack.enter_context(patch.object(owner, attribute, stages.wrap(name, getattr(owner, attribute))))
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Everything that the tables say."""

    plain_s: list[float]
    """Wall seconds of each plain update."""
    stage_s: dict[str, float]
    """Median seconds of each stage, in the order of their first use."""
    counted: dict[str, Cost] = field(default_factory=dict)
    samples: int = 0
    """Videos of one update."""


def measure(trainer: Trainer, *, updates: int, warm_up: int) -> Measurement:
    """`warm_up` updates unseen, then `updates` plain ones, `updates` by stage, one counted."""
    synchronise = torch.cuda.synchronize if trainer.device.type == "cuda" else lambda: None
    stages = Stages(synchronise)
    for _ in range(warm_up):
        trainer.update()
    plain_s = []
    for _ in range(updates):
        stages.start()
        trainer.update()
        plain_s.append(sum(cost.seconds for cost in stages.stop().values()))
    with staged(trainer, stages):
        runs = [_one_update(trainer, stages) for _ in range(updates)]
        with count(stages):
            counted = _one_update(trainer, stages)
    names = dict.fromkeys(name for run in (*runs, counted) for name in run)
    return Measurement(
        plain_s=plain_s,
        stage_s={name: statistics.median(run.get(name, Cost()).seconds for run in runs) for name in names},
        counted=counted,
        samples=trainer.config.groups_per_update * trainer.config.group_size,
    )


def _one_update(trainer: Trainer, stages: Stages) -> dict[str, Cost]:
    stages.start()
    trainer.update()
    return stages.stop()


def new_trainer(config: ExperimentConfig, device: str) -> Trainer:
    """What `worldr1 train` trains with, from its first update; a LoRA only."""
    policy = build_policy(config.model, device)
    check_clip(config, policy)
    generator = make_generator(config.train.seed, "lora")
    parameters = prepare_trainable(policy.transformer, "lora", lora=config.lora, generator=generator)
    return Trainer(
        policy,
        parameters,
        build_reward(config.reward, device, config.clip),
        training_prompts(config.prompts),
        config=config.train,
        method=Method(sampler=config.sampler, noise=config.noise, objective=config.objective, phases=config.phases),
        clip=(config.clip.frames, config.clip.height, config.clip.width),
    )


def table(measured: Measurement) -> list[str]:
    """The lines of the markdown report below its heading."""
    total = sum(measured.stage_s.values())
    lines = [
        f"Plain update of {measured.samples} videos: median {statistics.median(measured.plain_s):.3f} s "
        f"({min(measured.plain_s):.3f} to {max(measured.plain_s):.3f}, {len(measured.plain_s)} updates).",
        "",
        "| stage | seconds | share | operators | us an operator | reads |",
        "|---|---|---|---|---|---|",
    ]
    sums = Cost()
    for name, seconds in sorted(measured.stage_s.items(), key=lambda item: -item[1]):
        cost = measured.counted.get(name, Cost())
        each = f"{seconds / cost.operators * 1e6:.0f}" if cost.operators else "-"
        lines.append(f"| {name} | {seconds:.4f} | {seconds / total:.1%} | {cost.operators} | {each} | {cost.reads} |")
        sums.operators += cost.operators
        sums.reads += cost.reads
    lines.append(f"| **sum** | {total:.4f} | | {sums.operators} | | {sums.reads} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints command, machine and table; writes them to --out, and the numbers beside them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name of a packaged recipe, or a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--updates", type=int, default=8, help="of each pass; medians are printed")
    parser.add_argument("--warm-up", type=int, default=3, help="updates before, which are not measured")
    parser.add_argument("--out", type=Path, help="markdown file to write; FILE.json beside it holds the numbers")
    options = parser.parse_args(arguments)
    config = load_experiment(options.recipe, tuple(options.set))
    device = choose_device(config.device)
    trainer = new_trainer(config, device)
    measured = measure(trainer, updates=options.updates, warm_up=options.warm_up)
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    lines = [heading(), f"on: {name}; {load()}", "", *table(measured)]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        numbers = {"plain_s": measured.plain_s, "stage_s": measured.stage_s}
        counts = {name: {"operators": cost.operators, "reads": cost.reads} for name, cost in measured.counted.items()}
        options.out.with_suffix(".json").write_text(json.dumps(numbers | {"counted": counts}, indent=1))


if __name__ == "__main__":
    main()
