"""The clips of two evaluations side by side, prompt by prompt."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.sampling import share_noise
from worldr1.evaluate.statistics.values import valid_value

Key = tuple[int, bool]
"""Of a prompt: `VideoRecord.prompt_key`."""


class _Clip(NamedTuple):
    """One sample of a prompt."""

    first: VideoRecord | None
    other: VideoRecord | None
    here: float | None
    """The first's number, if it is valid."""
    there: float | None


class Compared(NamedTuple):
    """One number of N prompts, averaged over samples, linear."""

    values: Float[Tensor, "2 N"]
    """First, other."""
    lead: Float[Tensor, " N"]
    """Sign of: the other has the number of more clips than the first; 0 where such clips were left out."""


class Pairs:
    """The clips of two models, prompt by prompt."""

    def __init__(self, first: EvaluationFolder, other: EvaluationFolder) -> None:
        here, there = ({record.key: record for record in folder.records} for folder in (first, other))
        seeds = [(here[key].seed, there[key].seed) for key in here if key in there]
        self.by_clip = share_noise(first, other) and all(a == b for a, b in seeds)
        samples = min(first.facts.samples, other.facts.samples)
        self.clips: dict[tuple[int, bool, int], tuple[VideoRecord | None, VideoRecord | None]] = {
            key: (here.get(key), there.get(key))
            for key in sorted({*here, *there})
            if not self.by_clip or key[2] < samples
        }
        self.prompts: dict[Key, VideoRecord] = {}
        for pair in self.clips.values():
            for record in pair:
                if record is not None:
                    self.prompts.setdefault(record.prompt_key, record)

    def compared(self, name: str, keys: Sequence[Key], worst: float | None = None) -> Compared:
        """One number of some prompts. worst: stands in for a clip that lacks it where the other model has it."""
        clips: dict[Key, list[_Clip]] = {key: [] for key in keys}
        for (prompt_id, dynamic, _), pair in self.clips.items():
            if (prompt_id, dynamic) in clips:
                clips[prompt_id, dynamic].append(_Clip(*pair, *(valid_value(record, name) for record in pair)))
        rows = [row for key in sorted(clips) if (row := self._prompt(clips[key], worst)) is not None]
        means = torch.tensor([row[:2] for row in rows], dtype=torch.float64).reshape(-1, 2).T
        return Compared(means, torch.tensor([row[2] for row in rows], dtype=torch.float64))

    def _prompt(self, clips: Sequence[_Clip], worst: float | None) -> tuple[float, float, int] | None:
        """First, other, and how many more clips the other has the number of; None if there is nothing to compare."""
        if self.by_clip:
            pairs = [(clip.here, clip.there) for clip in clips if (clip.here, clip.there) != (None, None)]
            if worst is None:
                pairs = [pair for pair in pairs if None not in pair]
            here, there = [a for a, _ in pairs], [b for _, b in pairs]
        else:
            here = [clip.here for clip in clips if clip.first is not None]
            there = [clip.there for clip in clips if clip.other is not None]
            if worst is not None and all(value is None for value in (*here, *there)):
                return None
            if worst is not None:  # a prompt that one of them lacks altogether
                here, there = here or [None], there or [None]
        mine, theirs = _filled(here, worst), _filled(there, worst)
        if not mine or not theirs:
            return None
        share = [sum(value is not None for value in side) / len(side) for side in (here, there)]
        return fmean(mine), fmean(theirs), 0 if worst is None else (share[1] > share[0]) - (share[1] < share[0])


def _filled(values: Sequence[float | None], worst: float | None) -> list[float]:
    return [filled for value in values if (filled := worst if value is None else value) is not None]
