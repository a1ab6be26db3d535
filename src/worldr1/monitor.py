"""What looks on while a run trains: the metrics file, trackers, the watchdog, and MFU where the GPU's peak is known.

Nothing here changes a number of the run, and nothing here can end it but a full disk under `metrics.jsonl`.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from worldr1.build import ExperimentConfig
from worldr1.planning.cards import CARDS, recognise
from worldr1.planning.utilisation import Utilisation
from worldr1.train.metrics import Metrics
from worldr1.train.runlog import RunLog
from worldr1.train.trackers import Trackers
from worldr1.train.trainer import Trainer
from worldr1.train.watchdog import STACKS_FILE, Watchdog


class Monitor:
    """Of one process of a run; a context manager around all that is to be watched."""

    def __init__(
        self, config: ExperimentConfig, run_dir: Path, log: RunLog, trainer: Trainer, say: Callable[[str], None]
    ) -> None:
        """say: shows the user a line; called by other threads too."""
        self._config, self._run_dir, self._log, self._trainer, self._say = config, run_dir, log, trainer, say
        minutes = config.train.log.standstill_minutes
        limit_s = None if minutes is None else 60 * minutes
        rank = trainer.ranks.rank
        stacks = STACKS_FILE if rank == 0 else f"{Path(STACKS_FILE).stem}-rank{rank}.txt"
        self._watchdog = Watchdog(run_dir / stacks, limit_s=limit_s, say=say)
        self._between: dict[str, float] = {}
        """Seconds of what was done since the last row, beside updates."""
        self._trackers = Trackers({}, say)
        self._utilisation: Utilisation | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        trainer, update = self._trainer, self._trainer.updates_done
        with ExitStack() as opened:
            opened.enter_context(self._watchdog)
            log = self._config.train.log
            recipe = shown_recipe(self._config)
            if trainer.ranks.is_first:  # the others have nothing to tell
                self._trackers = Trackers.of(log, self._run_dir, recipe=recipe, update=update, say=self._say)
                opened.enter_context(self._trackers)
            policies = [policy for policy in (trainer.policy, trainer.ode_policy) if policy is not None]
            for policy in policies:  # what a stage of many minutes consists of
                opened.callback(policy.transformer.register_forward_pre_hook(lambda *_: self._watchdog.beat()).remove)
            trainer.on_stage = lambda name: self._watchdog.beat(f"{name} of update {trainer.updates_done}")
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def record(self, metrics: Metrics) -> None:
        """Completes an update's line by what is measured around it, and hands it on."""
        metrics |= self._between
        self._between.clear()
        if (utilisation := self._known_utilisation()) is not None:
            metrics |= utilisation.metrics(metrics)
        self._log.write(metrics)
        self._trackers.write(metrics)
        self._watchdog.beat()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Something beside updates; its `seconds_<name>` are in the next row."""
        self._watchdog.beat(name)
        start = time.monotonic()
        yield
        key = f"seconds_{name}"
        self._between[key] = self._between.get(key, 0.0) + time.monotonic() - start
        self._watchdog.beat(f"after {name}")

    def _known_utilisation(self) -> Utilisation | None:
        trainer = self._trainer
        if self._utilisation is None and trainer.device.type == "cuda":
            card = recognise(torch.cuda.get_device_name(trainer.device))
            if card is None:
                return None
            policy: Any = trainer.policy
            text = policy.encode([trainer.prompts.main[0].text])
            self._utilisation = Utilisation.of(
                self._config,
                policy.config,
                trainer.latent_shape,
                CARDS[card],
                text_tokens=text.shape[1],
                gpus=trainer.ranks.world,
            )
            self._say(self._utilisation.describe())
        return self._utilisation


def shown_recipe(config: ExperimentConfig) -> dict[str, Any]:
    """The recipe for a tracker, without `reward.options` (of code of the user's own: may hold a key) and addresses."""
    recipe = dataclasses.asdict(config)
    del recipe["reward"]["options"], recipe["reward"]["remote"]["address"]
    return recipe
