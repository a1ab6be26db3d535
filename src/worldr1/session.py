"""A whole training run as a user sees it: evaluate, train, evaluate again, report. Resumable at every update."""

import hashlib
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from worldr1 import __version__
from worldr1.backends.models import describe
from worldr1.backends.wan import WanPolicy
from worldr1.build import (
    MINI,
    ExperimentConfig,
    PromptConfig,
    build_judge,
    build_policy,
    build_reward,
    check_clip,
    check_reward,
    choose_device,
    describe_reward,
    evaluation_config,
    release_reward,
)
from worldr1.config import config_differences, dump_toml, parse_config
from worldr1.data.sets import load_prompts, subset
from worldr1.errors import InputError, TrainingError
from worldr1.evaluate.evaluation import Task, evaluate, film, path_finder, plan_tasks, save_evaluation
from worldr1.evaluate.judging import Judge, judge_source
from worldr1.evaluate.records import RECORDS_FILE, Evaluation
from worldr1.evaluate.report import AFTER, BEFORE, PREVIEWS, write_report
from worldr1.evaluate.reward_parts import DOMINANT_SHARE, spread_shares
from worldr1.evaluate.statistics import headline
from worldr1.evaluate.watching import look_scores
from worldr1.mini.promptset import random_prompts, unseen_scenes
from worldr1.monitor import Monitor
from worldr1.rl.phases import Phase
from worldr1.seeding import make_generator, seed_global_generators
from worldr1.shipped import FINAL, copy_evaluations, evaluate_shipped
from worldr1.train.adapter_file import ADAPTER_FILE, AdapterInfo, BaseShape, TrainedWith, base_name, save_adapter
from worldr1.train.algorithm import Method
from worldr1.train.checkpoint import RECIPE_FILE, find_newest, set_aside
from worldr1.train.checkpoint_writer import CheckpointWriter
from worldr1.train.environment import is_recorded_recipe, restore_environment
from worldr1.train.lora import base_model, prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype
from worldr1.train.run_lock import RunLock
from worldr1.train.runlog import RunLog, check_is_run, read_metrics
from worldr1.train.startup import RatioLimits, StartupChecks, check_text_cache
from worldr1.train.stopping import Look
from worldr1.train.trackers import check_trackers
from worldr1.train.trainer import Metrics, PromptSets, Trainer
from worldr1.train.watch import Watch
from worldr1.types import Prompt, Status

MODEL = "model"
KEEP_VIDEOS = 12
"""Videos kept of an evaluation, for the report."""


@dataclass(frozen=True, slots=True)
class _Prompts:
    train: PromptSets
    test: list[Prompt]

    @property
    def all(self) -> list[Prompt]:
        """Every prompt that the run trains or tests with."""
        return [*self.train.main, *self.train.dynamic, *self.test]


def training_prompts(numbers: PromptConfig) -> PromptSets:
    """What a recipe trains with. Raises InputError for a set that cannot be read or is too small."""

    def some(source: str, num: int, dynamic: bool) -> list[Prompt]:
        if not num:
            return []
        if source == MINI:
            return random_prompts(num, seed=numbers.seed, stream="train", dynamic=dynamic)
        return subset(load_prompts(source, dynamic=dynamic, enriched=numbers.enriched), num, seed=numbers.seed)

    return PromptSets(
        main=some(numbers.main_set, numbers.main, False), dynamic=some(numbers.dynamic_set, numbers.dynamic, True)
    )


def _prompts(config: ExperimentConfig) -> _Prompts:
    numbers = config.prompts
    train = training_prompts(numbers)
    known = {prompt.text for prompt in (*train.main, *train.dynamic)}
    drawn = (numbers.test * (numbers.main_set == MINI), numbers.test_dynamic * (numbers.dynamic_set == MINI))
    unseen = unseen_scenes(drawn, seed=numbers.seed, stream="test", known=known)
    test = [prompt for prompt, _ in unseen]
    for source, num, dynamic in (
        (numbers.main_set, numbers.test, False),
        (numbers.dynamic_set, numbers.test_dynamic, True),
    ):
        if source != MINI and num:
            # of a file, which has one split, what training does not take
            found = load_prompts(source, "test", dynamic=dynamic, enriched=numbers.enriched)
            test += subset([prompt for prompt in found if prompt.text not in known], num, seed=numbers.seed)
    return _Prompts(train, test)


def judge_prompts(config: ExperimentConfig, others: _Prompts) -> list[Prompt]:
    """What the judge looks at while training: neither training nor test prompts, a quarter of them dynamic."""
    num, known = config.train.judge.prompts, {prompt.text for prompt in others.all}
    static, dynamic = num - num // 4, num // 4
    drawn = random_prompts(2 * static, seed=config.prompts.seed, stream="judge")
    moving = random_prompts(2 * dynamic, seed=config.prompts.seed, stream="judge", dynamic=True) if dynamic else []
    unseen = [[p for p in found if p.text not in known][:n] for found, n in ((drawn, static), (moving, dynamic))]
    return [*unseen[0], *unseen[1]]


class _Parts(NamedTuple):
    """What a session has beside its trainer."""

    test: list[Prompt]
    judge: Judge | None
    """None: nobody looks on."""
    judge_prompts: list[Prompt]

    @classmethod
    def make(cls, config: ExperimentConfig, prompts: _Prompts) -> Self:
        if not config.train.judge.every:
            return cls(prompts.test, None, [])
        return cls(prompts.test, build_judge(choose_device(config.device)), judge_prompts(config, prompts))


class Session:
    """Make one with `create` or `resume`, then `run` it."""

    def __init__(self, config: ExperimentConfig, run_dir: Path, log: RunLog, trainer: Trainer, parts: _Parts) -> None:
        self.config, self.run_dir, self.log, self.trainer = config, run_dir, log, trainer
        self.test, self.judge, self.judge_prompts = parts
        self.console = Console(stderr=True)
        self.watch = Watch(config.train.judge, run_dir, updates_done=trainer.updates_done)
        self.monitor = Monitor(config, run_dir, log, trainer, lambda line: self.console.print(line, markup=False))
        self.seconds = fsum(row["seconds"] for row in read_metrics(run_dir))  # before a resume

    @classmethod
    def create(cls, config: ExperimentConfig, out: Path) -> "Session":
        """A new run in `out`. Raises InputError if the folder holds a run already, or if a model cannot be loaded."""
        prompts = _prompts(config)
        trainer, parts = _trainer(config, prompts.train), _Parts.make(config, prompts)  # before there is a folder
        log = RunLog.create(out, recipe=dump_toml(config))
        return cls(config, out, log, trainer, parts)

    @classmethod
    def resume(cls, config: ExperimentConfig, run_dir: Path, *, override: bool = False) -> "Session":
        """Go on from the newest checkpoint that is whole, or from the start if there is none.

        config: must be what the run was trained with, unless `override`. Raises InputError, with the keys that differ,
        if it is not, or if the folder is in use; CheckpointError if there are checkpoints and none can be used.
        """
        check_is_run(run_dir)
        with ExitStack() as stack:
            lock = stack.enter_context(closing(RunLock(run_dir)))
            newest = find_newest(run_dir)
            recipe = (run_dir / RECIPE_FILE).read_text(encoding="utf-8")
            if newest is not None and not is_recorded_recipe(run_dir, recipe):
                recipe = newest.recipe  # somebody has edited the file since
            say = partial(print, file=sys.stderr)
            if changed := _check_recipe(recipe, config, run_dir, override):
                say(changed)
            restore_environment(run_dir, say)
            prompts = _prompts(config)
            trainer, parts = _trainer(config, prompts.train), _Parts.make(config, prompts)
            if newest is not None:
                trainer.load_state(newest.state)
                if damaged := set_aside(newest):
                    say(damaged)
            log = RunLog.resume(run_dir, update=trainer.updates_done, lock=lock, recipe=dump_toml(config))
            stack.pop_all()
            return cls(config, run_dir, log, trainer, parts)

    def run(self) -> Iterator[str]:
        """Do everything that is left to do; yields the lines to print at the end."""
        try:
            yield from self._run()
        finally:
            release_reward(self.trainer.reward)

    def _run(self) -> Iterator[str]:
        print(describe(self.policy, self.config.model), file=sys.stderr)
        if judges := describe_reward(self.config.reward, self.trainer.reward, self.trainer.device.type):
            print(judges, file=sys.stderr)
        with self.monitor:
            self._encode_prompts()
            # resumed without this evaluation, the weights are no longer the base's
            base = base_model(self.trainer.policy.transformer, self.trainer.base_state)
            with base, self.monitor.stage("evaluation"):
                before = self._evaluation(BEFORE)
            self._train()
            if self.trainer.updates_done < self.config.train.updates and self._has_trained_enough():
                self.console.print(f"train.max_minutes is used up after update {self.trainer.updates_done}")
            if reason := self.watch.reason_to_stop:
                best = self.watch.restore_best(self.trainer.ema.values)
                self.console.print(f"stopped: {reason}; the weights of update {best.update} are kept")
            with self.trainer.ema.swap(self.trainer.parameters):
                after = self._evaluation(AFTER)
                result = self._save_result()
        evaluate_shipped(self.config, self.test, self.trainer.reward, self.run_dir, bar=self._bar)
        shipped = copy_evaluations(self.run_dir / PREVIEWS) if self.config.model.folder == MINI else None
        report = write_report(self.run_dir, read_metrics(self.run_dir))
        if shipped is not None:
            yield f"mini-r1, its own prompts: {headline(shipped.before.records, shipped.after.records)}"
        yield f"this run: {headline(before.records, after.records)}"
        yield f"trained: {result}"
        yield f"report:  {report}"

    # ------------------------------------------------------------------------------------------------------ stages

    @property
    def policy(self) -> WanPolicy:
        """The trainer's policy."""
        policy = self.trainer.policy
        assert isinstance(policy, WanPolicy), "_trainer builds no other"
        return policy

    def _encode_prompts(self) -> None:
        """Every prompt of the run, once: then the text encoder is not needed any more."""
        if not self.policy.prompts.stores:
            return
        sets = self.trainer.prompts
        texts = [prompt.text for prompt in (*sets.main, *sets.dynamic, *self.test, *self.judge_prompts)]
        with self._bar("prompts", len(texts)) as show:
            self.policy.prepare_prompts(texts, on_progress=show, examine=check_text_cache)

    def _evaluation(self, name: str) -> Evaluation:
        folder = self.run_dir / PREVIEWS / name
        if (folder / RECORDS_FILE).is_file():
            return Evaluation.load(folder)
        trainer = self.trainer
        settings = replace(
            evaluation_config(self.config, seed=self.config.prompts.seed), keep_videos=KEEP_VIDEOS, all_paths=False
        )
        with self._bar(f"evaluation {name}", len(self.test)) as show:
            evaluated = evaluate(
                trainer.policy,
                trainer.reward,
                path_finder(trainer.reward),
                self.test,
                config=settings,
                on_progress=lambda done, total: show(done),
            )
        save_evaluation(evaluated.evaluation, evaluated.videos, folder)
        return evaluated.evaluation

    def _train(self) -> None:
        trainer, config = self.trainer, self.config.train
        saved = trainer.updates_done
        writer = CheckpointWriter(self.run_dir, recipe=dump_toml(self.config), keep_last=config.keep_last)
        say = partial(self.console.print, markup=False)
        checks = StartupChecks(self._ratio_limits(), resumed=saved > 0, say=say)

        def record(metrics: Metrics) -> None:
            if trainer.updates_done % config.checkpoint_every == 0:
                writer.wait()  # a kill never costs the updates since two checkpoints
            self.monitor.record(metrics)

        try:
            with writer, self._bar("training", config.updates, trainer.updates_done) as show:
                self._let_the_judge_look()
                while not (self._has_trained_enough() or self.watch.reason_to_stop):
                    writer.check()
                    seed_global_generators(config.seed, "others", trainer.updates_done)
                    metrics = trainer.update(record, checks)
                    self.seconds += float(metrics["seconds"])
                    if trainer.updates_done == 1:
                        self._warn_of_dominance(metrics)
                    show(trainer.updates_done)
                    if trainer.updates_done % config.checkpoint_every == 0 or self._has_trained_enough():
                        with self.monitor.stage("checkpoint"):
                            writer.save(trainer.state(), score=self._score())
                        saved = trainer.updates_done
                    self._let_the_judge_look()
        except (KeyboardInterrupt, TrainingError) as stop:
            if trainer.updates_done > saved and not writer.failed and not trainer.first_not_finite():
                with writer:
                    writer.save(trainer.state(), score=self._score())
            if isinstance(stop, TrainingError):
                raise
            raise KeyboardInterrupt(
                f"stopped after update {trainer.updates_done}; go on with: worldr1 train --resume {self.run_dir}"
            ) from None

    def _score(self) -> float | None:
        """Of the checkpoint that is due: the mean reward of the main phase's updates since the one before."""
        last = self.trainer.updates_done - self.config.train.checkpoint_every
        rows = [row for row in read_metrics(self.run_dir) if row["update"] >= last and row["phase"] == Phase.MAIN]
        rewards = [row["reward"] for row in rows if row.get("reward") is not None]  # none where nobody was valid
        return fmean(rewards) if rewards else None

    def _ratio_limits(self) -> RatioLimits:
        model, on_cpu = self.config.model, self.trainer.device.type == "cpu"
        return RatioLimits.of(
            exact=on_cpu and self.config.sampler.exact_replay and not model.compile,
            rounded=model.dtype != "float32" or (model.tf32 and not on_cpu),
        )

    def _has_trained_enough(self) -> bool:
        """Whether one of the run's two lengths, in updates and in minutes of updates, is reached."""
        config = self.config.train
        out_of_time = config.max_minutes is not None and self.seconds >= 60 * config.max_minutes
        return out_of_time or self.trainer.updates_done >= config.updates

    def _let_the_judge_look(self) -> None:
        """If it is its turn: films the judge's prompts with the averaged weights and writes down what it says."""
        trainer, watch = self.trainer, self.watch
        if self.judge is None or not watch.is_due(trainer.updates_done):
            return
        config = evaluation_config(self.config, seed=self.config.prompts.seed)
        rewards: list[float] = []

        def source(tasks: Sequence[Task]) -> Tensor:
            videos = film(trainer.policy, tasks, config, trainer.plans)
            results = trainer.reward(videos, [t.prompt for t in tasks], [t.path for t in tasks], False)
            rewards.extend(result.value for result in results if result.status is not Status.FAULT)
            return videos

        tasks = plan_tasks(self.judge_prompts, config)
        with self.monitor.stage("judge"), trainer.ema.swap(trainer.parameters):
            seen = judge_source(source, tasks, {"judge": self.judge}, config=config)["judge"]
        scores = look_scores(seen.records)
        watch.add(Look(update=trainer.updates_done, reward=fmean(rewards), scores=scores), trainer.ema.values)
        said = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.console.print(f"judge after {trainer.updates_done} updates: reward {fmean(rewards):.3f}, {said}")

    def _warn_of_dominance(self, metrics: Mapping[str, float | int | str]) -> None:
        """Say so if one part decides nearly alone which video of a group is best (its weighted standard deviation)."""
        weights = self.trainer.reward.part_weights
        std = {name: float(metrics[f"{name}_std"]) for name in weights if f"{name}_std" in metrics}
        shares = spread_shares(weights, std)
        name = max(shares, key=shares.__getitem__, default="")
        if len(weights) > 1 and shares and shares[name] > DOMINANT_SHARE:
            where = "reward.weights" if self.config.reward.custom is None else "its part_weights"
            self.console.print(
                f"warning: {name} makes up {shares[name]:.0%} of the rewards' spread inside groups; "
                f"the other parts hardly count ({where})."
            )

    def _save_result(self) -> Path:
        """The adapter, or (all parameters trained) the whole model as a folder for `--model`; EMA weights."""
        final = self.run_dir / FINAL
        if self.config.train.trainable == "full":
            self.policy.pipeline().save_pretrained(final / MODEL)
            return final / MODEL
        path = final / ADAPTER_FILE
        save_adapter(path, self.trainer.ema.values, _adapter_info(self.config, self.trainer.policy.transformer))
        return path

    @contextmanager
    def _bar(self, what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total, completed=done)
            yield lambda completed: progress.update(task, completed=completed)


def _check_recipe(recipe: str, config: ExperimentConfig, run_dir: Path, override: bool) -> str:
    """A line about the keys in which `config` differs from the TOML `recipe` of a run; InputError unless `override`."""
    before = parse_config(ExperimentConfig, tomllib.loads(recipe), where=f"the recipe of {run_dir}")
    differences = config_differences(before, config)
    if not differences:
        return ""
    if not override:
        raise InputError(
            f"{run_dir} was trained with another recipe ({'; '.join(differences)}): resume without the change, or "
            "add --override to go on with it."
        )
    return f"note: going on with a changed recipe: {'; '.join(differences)}"


def _adapter_info(config: ExperimentConfig, transformer: Any) -> AdapterInfo:
    """What the run's adapter says about itself."""
    noise, sampler, clip = config.noise, config.sampler, config.clip
    return AdapterInfo(
        config=config.lora,
        base=base_name(config.model.folder),
        guidance=config.model.guidance,
        shape=BaseShape.of_config(transformer.config),
        training=TrainedWith(
            transport=noise.transport,
            strength=noise.strength,
            parallax_strength=noise.parallax_strength,
            shift=sampler.shift,
            steps=sampler.num_steps,
            frames=clip.frames,
            height=clip.height,
            width=clip.width,
        ),
        recipe_sha256=hashlib.sha256(dump_toml(config).encode()).hexdigest(),
        version=__version__,
    )


def _trainer(config: ExperimentConfig, prompts: PromptSets) -> Trainer:
    check_reward(config.reward)
    check_trackers(config.train.log)
    device = choose_device(config.device)
    policy: WanPolicy = build_policy(config.model, device)
    shape = check_clip(config, policy)
    reward = build_reward(config.reward, device, config.clip)
    base_state = None
    if config.train.trainable == "full":
        base_state = {name: p.detach().clone() for name, p in policy.transformer.named_parameters()}
    parameters = prepare_trainable(
        policy.transformer,
        config.train.trainable,
        lora=config.lora,
        generator=make_generator(config.train.seed, "lora"),
    )
    if config.train.trainable == "lora" and config.model.lora_products == "base":
        compute_in_base_dtype(policy.transformer)
    method = Method(sampler=config.sampler, noise=config.noise, objective=config.objective, phases=config.phases)
    clip = (config.clip.frames, config.clip.height, config.clip.width)
    trainer = Trainer(
        policy, parameters, reward, prompts, config=config.train, method=method, clip=clip, base_state=base_state
    )
    policy.checkpoint_gradients(
        config.model.gradient_checkpointing,
        rows=trainer.algorithm.trained_rows(config.train.groups_per_update, config.train.group_size),
        latent_shape=shape,
        lora_float32=config.model.lora_products == "float32",
    )
    return trainer
