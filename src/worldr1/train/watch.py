"""The judge's looks during a run: the same prompts from the same start noise every time, written down and resumable."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from worldr1.train.checkpoint import write_tensors, write_whole
from worldr1.train.stopping import JudgeConfig, Look, best_look, reason_to_stop

LOOKS_FILE = "judge.jsonl"
BEST_FILE = "best.safetensors"


class Watch:
    """What the judge said so far, the averages of its best look, and whether the run should stop."""

    def __init__(
        self, config: JudgeConfig, run_dir: Path, *, updates_done: int, looks: Sequence[Look] | None = None
    ) -> None:
        """Takes up the looks of an interrupted run; those after `updates_done` are forgotten.

        looks: what another process of the run has read; this one then neither reads nor writes.
        """
        self.config, self._run_dir = config, run_dir
        self._writes = looks is None
        self.looks = list(looks or ())
        file = run_dir / LOOKS_FILE
        if self._writes and file.is_file():
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            self.looks = [Look(**line) for line in lines if line["update"] <= updates_done]

    def is_due(self, updates_done: int) -> bool:
        """Whether the judge should look now: before the first update, and after every `every` of them."""
        known = any(look.update == updates_done for look in self.looks)
        return self.config.every > 0 and updates_done % self.config.every == 0 and not known

    def add(self, look: Look, averages: Mapping[str, Tensor]) -> None:
        """Writes a look down; keeps the averaged weights if it is the best one."""
        self.looks.append(look)
        if not self._writes:
            return
        if best_look(self.looks) is look:  # first: a look that is written down is not made again
            write_tensors(self._run_dir / BEST_FILE, averages, metadata={})
        text = "".join(json.dumps(asdict(one)) + "\n" for one in self.looks)
        write_whole(self._run_dir / LOOKS_FILE, text.encode())

    @property
    def reason_to_stop(self) -> str | None:
        """As `stopping.reason_to_stop`."""
        return reason_to_stop(self.looks, self.config)

    @torch.no_grad()
    def restore_best(self, averages: Mapping[str, Tensor]) -> Look:
        """Puts the best look's weights into `averages`; returns that look."""
        saved = load_file(self._run_dir / BEST_FILE)
        for name, value in averages.items():
            value.copy_(saved[name])
        return best_look(self.looks)
