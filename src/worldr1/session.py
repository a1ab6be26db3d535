"""A whole training run as a user sees it: evaluate, train, evaluate again, report. Resumable at every update."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from worldr1 import __version__
from worldr1.assembly import Parts, assemble
from worldr1.backends.models import describe
from worldr1.backends.wan import WanPolicy
from worldr1.build import (
    MINI,
    ExperimentConfig,
    describe_reward,
    evaluation_config,
    release_reward,
)
from worldr1.config import dump_toml
from worldr1.errors import InputError, TrainingError
from worldr1.evaluate.evaluation import Evaluated, Task, evaluate, film, path_finder, plan_tasks, save_evaluation
from worldr1.evaluate.folder import FACTS_FILE
from worldr1.evaluate.judging.judge import judge_source
from worldr1.evaluate.judging.watching import look_scores
from worldr1.evaluate.pages.report import AFTER, BEFORE, PREVIEWS, write_report
from worldr1.evaluate.records import RECORDS_FILE, Evaluation, read_records
from worldr1.evaluate.scoring.reward_parts import DOMINANT_SHARE, spread_shares
from worldr1.evaluate.statistics.before_after import headline
from worldr1.monitor import Monitor
from worldr1.opening import OpenRun, judge_watch, log_on_first, open_run
from worldr1.rl.phases import Phase
from worldr1.seeding import seed_global_generators
from worldr1.shipped import FINAL, copy_evaluations, evaluate_shipped
from worldr1.train.adapter_file import ADAPTER_FILE, AdapterInfo, BaseShape, TrainedWith, base_name, save_adapter
from worldr1.train.checkpoint import set_aside
from worldr1.train.checkpoint_writer import CheckpointWriter
from worldr1.train.lora import base_model
from worldr1.train.ranks import Ranks, RanksApart
from worldr1.train.runlog import RunLog, check_is_no_run, read_metrics
from worldr1.train.startup import RatioLimits, StartupChecks, check_text_cache, text_check_in_words
from worldr1.train.stopping import Look, best_look
from worldr1.train.trainer import Metrics, Trainer
from worldr1.types import Status

MODEL = "model"
KEEP_VIDEOS = 12
"""Videos kept of an evaluation, for the report."""


class Session:
    """Make one with `create` or `resume`, then `run` it: on every rank. Only rank 0 writes the folder and speaks."""

    def __init__(self, config: ExperimentConfig, run_dir: Path, log: RunLog, trainer: Trainer, parts: Parts) -> None:
        self.config, self.run_dir, self.log, self.trainer = config, run_dir, log, trainer
        self.ranks = ranks = trainer.ranks
        self.test, self.judge, self.judge_prompts = parts
        self.console = Console(stderr=True, quiet=not ranks.is_first)
        self.watch = judge_watch(config.train.judge, run_dir, trainer)
        self.monitor = Monitor(config, run_dir, log, trainer, lambda line: self.console.print(line, markup=False))
        self._text_check = ""
        # before a resume
        self.seconds: float = ranks.share(lambda: fsum(row["seconds"] for row in read_metrics(run_dir)))

    @classmethod
    def create(cls, config: ExperimentConfig, out: Path, ranks: Ranks | None = None) -> "Session":
        """A new run in `out`.

        Raises InputError if the folder holds a run or an evaluation already, or if a model cannot be loaded.
        """
        ranks = ranks or Ranks()
        ranks.share(partial(_check_place, out))  # before minutes of loading
        trainer, parts = assemble(config, ranks)  # before there is a folder
        log = log_on_first(trainer.ranks, partial(RunLog.create, out, recipe=dump_toml(config)))
        return cls(config, out, log, trainer, parts)

    @classmethod
    def resume(
        cls, config: ExperimentConfig, run_dir: Path, ranks: Ranks | None = None, *, override: bool = False
    ) -> "Session":
        """Go on from the newest checkpoint that is whole, or from the start if there is none, with any number of ranks.

        config: must be what the run was trained with, unless `override`. Raises InputError, with the keys that differ,
        if it is not, or if the folder is in use; CheckpointError if there are checkpoints and none can be used.
        """
        ranks = ranks or Ranks()
        with ExitStack() as stack:
            opened: list[OpenRun] = []  # on rank 0

            def look() -> int:
                opened.append(open_run(config, run_dir, override, stack))
                return torch.get_num_threads()

            torch.set_num_threads(ranks.share(look))
            trainer, parts = assemble(config, ranks)

            def load() -> None:
                newest = opened[0].newest
                if newest is not None:
                    trainer.load_state(newest.state)
                    if damaged := set_aside(newest):
                        print(damaged, file=sys.stderr)

            def go_on() -> RunLog:
                recipe = dump_toml(config)
                return RunLog.resume(run_dir, update=trainer.updates_done, lock=opened[0].lock, recipe=recipe)

            ranks.share(load)
            trainer.share_state()
            log = log_on_first(ranks, go_on)
            stack.pop_all()
            return cls(config, run_dir, log, trainer, parts)

    def run(self) -> Iterator[str]:
        """Do everything that is left to do; yields the lines to print at the end (on rank 0)."""
        with self.log:
            try:
                yield from self._run()
            finally:
                release_reward(self.trainer.reward)

    def _run(self) -> Iterator[str]:
        if self.ranks.is_first:
            print(describe(self.policy, self.config.model), file=sys.stderr)
            if judges := describe_reward(self.config.reward, self.trainer.reward, self.trainer.device.type):
                print(judges, file=sys.stderr)
        with self.monitor:
            self._encode_prompts()
            # resumed without this evaluation, the weights are no longer the base's
            base = base_model(self.trainer.policy.transformer, self.trainer.base_state)
            with base, self.monitor.stage("evaluation"):
                self._evaluate(BEFORE)
            self._train()
            if self.trainer.updates_done < self.config.train.updates and self._has_trained_enough():
                self.console.print(f"train.max_minutes is used up after update {self.trainer.updates_done}")
            if reason := self.watch.reason_to_stop:
                self._restore_best()
                best = best_look(self.watch.looks)
                self.console.print(f"stopped: {reason}; the weights of update {best.update} are kept")
            with self.trainer.ema.swap(self.trainer.parameters):
                self._evaluate(AFTER)
                result = self.ranks.share(lambda: str(self._save_result()))
        lines = self.ranks.share(lambda: self._report(result))
        yield from lines if self.ranks.is_first else ()

    def _report(self, result: str) -> list[str]:
        """Writes what is written once all is done; the lines to print."""
        evaluate_shipped(self.config, self.test, self.trainer.reward, self.run_dir, bar=self._bar)
        previews = self.run_dir / PREVIEWS
        shipped = copy_evaluations(previews) if self.config.model.folder == MINI else None
        report = write_report(self.run_dir, read_metrics(self.run_dir))
        before, after = Evaluation.load(previews / BEFORE), Evaluation.load(previews / AFTER)
        lines = [f"this run: {headline(before.records, after.records)}", f"trained: {result}", f"report:  {report}"]
        if shipped is not None:
            lines.insert(0, f"mini-r1, its own prompts: {headline(shipped.before.records, shipped.after.records)}")
        return lines

    # ------------------------------------------------------------------------------------------------------ stages

    @property
    def policy(self) -> WanPolicy:
        """The trainer's policy."""
        policy = self.trainer.policy
        assert isinstance(policy, WanPolicy), "_trainer builds no other"
        return policy

    def _encode_prompts(self) -> None:
        """Every prompt of the run, once on each machine: then the text encoder is not needed any more."""
        if not self.policy.prompts.stores:
            return
        sets = self.trainer.prompts
        texts = [prompt.text for prompt in (*sets.main, *sets.dynamic, *self.test, *self.judge_prompts)]

        agreed: list[str] = []

        def examine(prompt: str, stored: Tensor, encoded: Tensor) -> None:
            check_text_cache(prompt, stored, encoded)
            agreed.append(prompt)

        def encode() -> None:
            with self._bar("prompts", len(texts)) as show:
                encoded = self.policy.prepare_prompts(texts, on_progress=show, examine=examine)
            self._text_check = text_check_in_words(encoded, agreed=bool(agreed))

        self.ranks.together(encode if self.ranks.local_rank == 0 else lambda: None)

    def _evaluate(self, name: str) -> None:
        """Films and scores the test prompts into previews/`name`, unless that is done: every rank some batches."""
        folder, trainer, ranks = self.run_dir / PREVIEWS / name, self.trainer, self.ranks
        if ranks.share((folder / RECORDS_FILE).is_file):
            return
        settings = replace(
            evaluation_config(self.config, seed=self.config.prompts.seed), keep_videos=KEEP_VIDEOS, all_paths=False
        )
        made: list[Evaluated] = []

        def film_and_score() -> list[list[dict[str, Any]]]:
            with self._bar(f"evaluation {name}", len(self.test)) as show:
                evaluated = evaluate(
                    trainer.policy,
                    trainer.reward,
                    path_finder(trainer.reward),
                    self.test,
                    config=settings,
                    on_progress=lambda done, total: show(min(done * ranks.world, total)),
                    deal=ranks.deal,
                )
            made.append(evaluated)
            rows = [asdict(record) for record in evaluated.evaluation.records]
            return [rows[first : first + settings.batch] for first in range(0, len(rows), settings.batch)]

        batches = ranks.in_order(ranks.together(film_and_score))
        videos = ranks.send_to_first(made[0].videos)
        records = read_records([row for batch in batches for row in batch])
        evaluation = replace(made[0].evaluation, records=records)
        ranks.share(lambda: str(save_evaluation(evaluation, videos, folder)))

    def _train(self) -> None:
        trainer, config, ranks = self.trainer, self.config.train, self.ranks
        saved = trainer.updates_done
        writer = CheckpointWriter(self.run_dir, recipe=dump_toml(self.config), keep_last=config.keep_last)
        say = partial(self.console.print, markup=False)
        checks = StartupChecks(
            self._ratio_limits(), resumed=saved > 0, say=say, gather=ranks.gather, text=self._text_check
        )

        def record(metrics: Metrics) -> None:
            def write() -> None:
                if trainer.updates_done % config.checkpoint_every == 0:
                    writer.wait()  # a kill never costs the updates since two checkpoints
                self.monitor.record(metrics)

            ranks.share(write, interruptible=False)

        def save() -> None:
            with self.monitor.stage("checkpoint"):
                writer.save(trainer.state(), score=self._score())

        try:
            with writer, self._bar("training", config.updates, trainer.updates_done) as show:
                self._let_the_judge_look()
                while not (self._has_trained_enough() or self.watch.reason_to_stop):
                    ranks.share(writer.check)
                    seed_global_generators(config.seed, "others", trainer.updates_done)
                    metrics = trainer.update(record, checks)
                    self.seconds += float(metrics["seconds"])
                    if trainer.updates_done == 1:
                        self._warn_of_dominance(metrics)
                    show(trainer.updates_done)
                    if trainer.updates_done % config.checkpoint_every == 0 or self._has_trained_enough():
                        ranks.share(save, interruptible=False)
                        saved = trainer.updates_done
                    self._let_the_judge_look()
                ranks.share(writer.wait, interruptible=False)
        except RanksApart:  # whose parameters are right nobody knows
            raise
        except (KeyboardInterrupt, TrainingError) as stop:
            unsaved = trainer.updates_done > saved and ranks.is_first
            if unsaved and not writer.failed and not trainer.first_not_finite():
                with writer:
                    save()
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
        trainer, watch, judge = self.trainer, self.watch, self.judge
        if judge is None or not watch.is_due(trainer.updates_done):
            return
        config = evaluation_config(self.config, seed=self.config.prompts.seed)
        rewards: list[float] = []

        def source(tasks: Sequence[Task]) -> Tensor:
            videos = film(trainer.policy, tasks, config, trainer.plans)
            results = trainer.reward(videos, [t.prompt for t in tasks], [t.path for t in tasks], False)
            rewards.extend(result.value for result in results if result.status is not Status.FAULT)
            return videos

        def look() -> dict[str, Any]:
            tasks = plan_tasks(self.judge_prompts, config)
            with self.monitor.stage("judge"), trainer.ema.swap(trainer.parameters):
                seen = judge_source(source, tasks, {"judge": judge}, config=config)["judge"]
            found = Look(update=trainer.updates_done, reward=fmean(rewards), scores=look_scores(seen.records))
            watch.add(found, trainer.ema.values)
            return asdict(found)

        found = Look(**self.ranks.share(look))
        if not self.ranks.is_first:
            watch.add(found, trainer.ema.values)
        said = ", ".join(f"{name} {value:.3f}" for name, value in found.scores.items())
        self.console.print(f"judge after {trainer.updates_done} updates: reward {found.reward:.3f}, {said}")

    def _restore_best(self) -> None:
        """Every rank's averages become those of the judge's best look."""
        averages = self.trainer.ema.values
        self.ranks.share(lambda: asdict(self.watch.restore_best(averages)))
        for name, value in self.ranks.share_tensors(averages).items():
            averages[name].copy_(value)

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


def _check_place(out: Path) -> None:
    """Raises InputError where a new run would replace somebody's work."""
    check_is_no_run(out)
    if (out / FACTS_FILE).exists():
        raise InputError(f"{out} holds an evaluation, whose report the run's would replace; give another --out.")


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
        reward_model=config.reward.reconstructor_name,
        version=__version__,
    )
