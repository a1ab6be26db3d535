"""A whole reward of the user's own, behind the same rules as ours: an error is never a reward.

What fails for one video (an exception, a value that is not finite, a wrong number of results) is a fault of that video.
What would make every number of the run mean something else (a part that comes and goes inside a group, a value that is
not the weighted sum of its parts) stops the run in one sentence.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.protocols import Reconstructor, VideoReward
from worldr1.rewards.guard import Fault, call_each, fault_result, not_finite
from worldr1.types import Prompt, RewardResult, Status, Trajectory

SUM_TOLERANCE = 1e-4
"""Of value against the weighted sum of the parts, relative where they are larger than 1: float32's rounding."""
RESERVED = frozenset(
    {"update", "phase", "reward", "reward_std", "reward_best", "fault_fraction", "rejected_fraction", "kept_groups"}
    | {"loss", "flow_matching", "kl", "kl_sum", "ratio_mean", "ratio_deviation", "clip_fraction", "grad_norm"}
    | {"skipped", "videos", "faults", "invalid", "rejected", "masked", "first_sde_step", "parameter_hash"}
)
"""Fields of metrics.jsonl (docs/architecture.md)."""
DERIVED = re.compile(r"(seconds|memory_|mfu).*|.*_(std|p05|p50|p95)")
"""Names of further fields, some of them made of a part's own."""


def is_reserved(name: str) -> bool:
    """Whether a field of metrics.jsonl of ours has this name, or may have it."""
    return name in RESERVED or DERIVED.fullmatch(name) is not None


class _Request(NamedTuple):
    video: Tensor
    prompt: Prompt
    trajectory: Trajectory | None


class SameParts:
    """Remembers which parts the videos of every prompt have: without the same ones their rewards do not compare."""

    def __init__(self, name: str) -> None:
        """name: of the reward, for the sentence."""
        self._name = name
        self._known: dict[tuple[str, bool, bool], frozenset[str]] = {}

    def __call__(self, prompt: Prompt, parts: Iterable[str], phase_dynamic: bool) -> None:
        """parts: of one video. Raises InputError if it has none, or others than an earlier video of the prompt."""
        found = frozenset(parts)
        first = self._known.setdefault((prompt.text, prompt.dynamic, phase_dynamic), found)
        if not found or found != first:
            named = [", ".join(sorted(names)) or "no part" for names in (found, first)]
            raise InputError(
                f"{self._name} gave {named[0]} to one video of a prompt and {named[1]} to another: all videos of a "
                "prompt need the same parts, or their rewards cannot be compared."
            )


class OwnReward:
    """`protocols.VideoReward` around a user's object; every result that it lets through can be trained on."""

    def __init__(self, reward: Any, *, name: str, batch: int) -> None:
        """name: of the code, for sentences. batch: videos per call.

        Raises InputError, in one sentence, for an object that is no `VideoReward`.
        """
        self.name, self.batch = name, batch
        check_reward_object(reward, name)
        self.reward: VideoReward = reward
        self.licence = reward.licence
        self.part_weights: Mapping[str, float] = dict(reward.part_weights)
        self.reconstructor: Reconstructor | None = getattr(reward, "reconstructor", None)
        """Finds the camera paths that evaluations record; None: they record none."""
        self._same_parts = SameParts(name)

    @torch.no_grad()
    def __call__(
        self,
        videos: Float[Tensor, "B T 3 H W"],
        prompts: Sequence[Prompt],
        trajectories: Sequence[Trajectory | None],
        phase_dynamic: bool,
    ) -> list[RewardResult]:
        """One result per video, in order, as `protocols.VideoReward` says.

        Raises InputError for an answer that could be no video's: not a RewardResult, a part without a weight, parts
        that differ between videos of one prompt, a value that is not the weighted sum.
        """
        requests = [_Request(*row) for row in zip(videos, prompts, trajectories, strict=True)]
        results = []
        for start in range(0, len(requests), self.batch):
            some = requests[start : start + self.batch]
            answers = call_each(lambda group: self._ask(group, phase_dynamic), some, self.name)
            results += [self._result(r.prompt, a, phase_dynamic) for r, a in zip(some, answers, strict=True)]
        return results

    def _ask(self, requests: Sequence[_Request], phase_dynamic: bool) -> Sequence[Any]:
        videos, prompts, trajectories = zip(*requests, strict=True)
        try:
            answer = self.reward(torch.stack(videos), list(prompts), list(trajectories), phase_dynamic)
        except (TypeError, LookupError, AttributeError, NameError) as error:
            error.add_note(f"This comes from {self.name}, the reward that the recipe names.")
            raise
        if not isinstance(answer, (list, tuple)):
            raise ValueError(f"it answered with a {type(answer).__name__}, not with a list of RewardResult")
        return answer

    def _result(self, prompt: Prompt, answer: Any, phase_dynamic: bool) -> RewardResult:
        if isinstance(answer, Fault):
            return self._fault(answer.reason)
        if not isinstance(answer, RewardResult):
            raise InputError(f"{self.name} answered with a {type(answer).__name__} where a RewardResult belongs.")
        if answer.status is Status.FAULT:
            return self._fault(answer.reason or f"{self.name} says that it failed")
        self._check_parts(prompt, answer, phase_dynamic)
        if wrong := not_finite(answer):
            return self._fault(f"{self.name}: {wrong}")
        total = sum(self.part_weights[name] * value for name, value in answer.parts.items())
        if abs(answer.value - total) > SUM_TOLERANCE * max(1.0, abs(total)):
            raise InputError(
                f"{self.name} gave a video the value {answer.value:.6g}, but its parts with their part_weights make "
                f"{total:.6g}: return the weighted sum."
            )
        measures = {name: float(value) for name, value in answer.measures.items() if math.isfinite(value)}
        return RewardResult(
            value=float(answer.value),
            parts={name: float(value) for name, value in answer.parts.items()},
            status=answer.status,
            reason=answer.reason,
            measures=measures,
        )

    def _fault(self, reason: str) -> RewardResult:
        return fault_result(self.part_weights, reason)

    def _check_parts(self, prompt: Prompt, answer: RewardResult, phase_dynamic: bool) -> None:
        found = frozenset(answer.parts)
        if unknown := sorted(found - self.part_weights.keys()):
            raise InputError(f"{self.name} gave the part {unknown[0]}, which has no factor in its part_weights.")
        self._same_parts(prompt, found, phase_dynamic)
        if clash := sorted(n for n in answer.measures if is_reserved(n) or n in self.part_weights):
            raise InputError(f"{self.name} calls a measure {clash[0]}, which is a field of metrics.jsonl: rename it.")


def check_reward_object(reward: Any, name: str) -> None:
    """Raises InputError, in one sentence, unless an object looks like a `protocols.VideoReward`."""
    if not callable(reward):
        raise InputError(f"{name} makes a {type(reward).__name__}, which cannot be called: give it a __call__.")
    _check_licence(reward, name)
    weights = getattr(reward, "part_weights", None)
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f'{name} needs part_weights, for example {{"colour": 1.0}}: its parts and their factors.')
    for part, factor in weights.items():
        if not isinstance(part, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", part) or is_reserved(part):
            raise InputError(
                f"{name} calls a part {part!r}: take lower-case letters, digits and _, and no field of metrics.jsonl."
            )
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
            raise InputError(f"{name} gives the part {part} the factor {factor!r}: give a number of 0 or more.")


def check_model_object(model: Any, name: str) -> None:
    """Raises InputError, in one sentence, unless an object can stand for a role: callable, with its licence."""
    if not callable(model):
        raise InputError(f"{name} makes a {type(model).__name__}, which cannot be called: give it a __call__.")
    _check_licence(model, name)


def _check_licence(thing: Any, name: str) -> None:
    licence = getattr(thing, "licence", None)
    if not isinstance(licence, str) or not licence:
        raise InputError(f'{name} does not say its licence: give it an attribute, for example licence = "Apache-2.0".')
