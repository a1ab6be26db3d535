"""Checks of a run's first gradient: what would otherwise waste days unseen (research/users.md 1, rl.md 4).

They look at what the first update has computed anyway, between its backward pass and its optimizer step, so they cost
no second rollout, and a run that they stop has changed nothing.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldr1.errors import TrainingError
from worldr1.rollout.collector import GroupScores
from worldr1.train.ranks import RanksApart
from worldr1.types import RewardResult, Status

RATIO_TOLERANCE = 1e-5
"""What float32 kernels round differently at another batch shape."""
ROUNDED_RATIO_TOLERANCE = 1e-2
"""Of bfloat16 or TF32: more is no rounding. Between the two the run says so and goes on."""
LEAST_SPREAD = 1e-6
"""Rewards that differ by less in their group are equal up to rounding; their range is about 4."""
TEXT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest difference of two encodings of one prompt, over the largest value: some roundings of the type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstGradient:
    """An update after its first backward pass; its optimizer step has not been taken."""

    groups: Sequence[GroupScores]
    """All of the update's, also those that the loss leaves out and those of other ranks."""
    parameters: Mapping[str, nn.Parameter]
    """What is trained, with its gradient, summed over ranks."""
    metrics: Mapping[str, float]
    """What the backward pass logs; `ratio_deviation` where the method has a ratio."""

    @property
    def kept(self) -> list[GroupScores]:
        """The groups in the loss; without any there is no gradient."""
        return [group for group in self.groups if group.kept]


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioLimits:
    """How far the ratio may be from 1 before the first optimizer step."""

    warn: float
    stop: float

    @classmethod
    def of(cls, *, exact: bool, rounded: bool) -> "RatioLimits":
        """exact: rollout and replay are the same calls on a CPU. rounded: products in bfloat16 or TF32."""
        tolerance = 0.0 if exact else RATIO_TOLERANCE
        return cls(warn=tolerance, stop=ROUNDED_RATIO_TOLERANCE if rounded and not exact else tolerance)


class StartupChecks:
    """Called with each update's first gradient until it has seen one that can be judged; then it does nothing more.

    What is wrong with the program (ratio, ranks) stops the run. What one update's videos may do by chance (rewards or a
    gradient that say nothing) stops a new run, whose owner is there to see it, and only warns in a resumed one, whose
    earlier updates were well.
    """

    def __init__(
        self,
        limits: RatioLimits,
        *,
        resumed: bool,
        say: Callable[[str], None],
        gather: Callable[[int], list[int]] = lambda mine: [mine],
        text: str = "",
    ) -> None:
        """say: shows the user a line. gather: a number of this process -> those of all ranks (`Ranks.gather`).

        text: what became of the check of the text cache (`text_check_in_words`), which went before.
        """
        self._limits, self._resumed, self._say = limits, resumed, say
        self._gather, self._text = gather, text
        self._num_ranks = 0
        self._done = False

    def __call__(self, first: FirstGradient) -> None:
        """Raises TrainingError, in one sentence, for what stops the run."""
        if self._done:
            return
        if not self._num_ranks:  # every rank comes here at its first update, with or without groups to learn from
            self._num_ranks = check_ranks_agree(checksum(first.parameters), self._gather)
        if not first.kept:
            return
        self._done = True
        ratio = self._ratio(first.metrics)
        problem = constant_rewards(first.kept) or unusable_gradient(first.parameters)
        if problem and not self._resumed:
            raise TrainingError(problem)
        if problem:
            self._say(f"warning: {problem}")
            return
        ranks = [f"{self._num_ranks} ranks agree"] if self._num_ranks > 1 else []
        text = [self._text] if self._text else []
        passed = [*ratio, "rewards differ in their groups", "gradient finite and not 0", *ranks, *text]
        self._say(f"start-up checks passed: {', '.join(passed)}")

    def _ratio(self, metrics: Mapping[str, float]) -> list[str]:
        """In words, for the line that says that all is well; none for a method without a ratio."""
        deviation = metrics.get("ratio_deviation")
        if deviation is None:
            return []
        if not deviation <= self._limits.stop:
            raise TrainingError(
                f"Before the first optimizer step the ratio is off 1 by {deviation:.1e} (at most {self._limits.stop:g} "
                "is rounding), so replay does not compute what the rollout did; look for a layer that is random or "
                "depends on its batch, with sampler.exact_replay = true and model.dtype = float32."
            )
        if deviation > self._limits.warn:
            self._say(
                f"warning: before the first optimizer step the ratio is off 1 by {deviation:.1e}, more than the "
                f"{self._limits.warn:g} of float32; sampler.exact_replay = true or model.dtype = float32 bring it down."
            )
        return [f"ratio 1 (off by {deviation:.0e})" if deviation else "ratio exactly 1"]


# ------------------------------------------------------------------------------------------------------------ rewards


def constant_rewards(groups: Sequence[GroupScores]) -> str:
    """A sentence if in no group two valid members have different rewards, else "". groups: at least one."""
    members = [_valid(group) for group in groups]
    if any(_differ(result.value for result in group) for group in members):
        return ""
    flat = [result for group in members for result in group]
    names = sorted({name for result in flat for name in result.parts})
    constant = [n for n in names if not any(_differ(r.parts[n] for r in group if n in r.parts) for group in members)]
    what = f"{', '.join(constant)} {'is' if len(constant) == 1 else 'are'} constant" if constant else "the parts cancel"
    rejected = [result for result in flat if result.status is Status.REJECTED]
    if rejected:
        what += f", {len(rejected)} of {len(flat)} videos were rejected ({rejected[0].reason})"
    return (
        f"In no group of the first update do the rewards differ ({what}), so there is nothing to learn; look at its "
        "videos with `worldr1 score --rewards RECIPE`, or let the SDE step move more (sampler.kernel, sampler.level)."
    )


def _valid(group: GroupScores) -> list[RewardResult]:
    return [result for result, valid in zip(group.rewards, group.valid.tolist(), strict=True) if valid]


def _differ(values: Iterable[float]) -> bool:
    found = list(values)
    return bool(found) and max(found) - min(found) > LEAST_SPREAD


# ----------------------------------------------------------------------------------------------------------- gradient


def unusable_gradient(parameters: Mapping[str, nn.Parameter]) -> str:
    """A sentence if the gradient is not finite, or 0 where it must not be, else "".

    Of a LoRA only B is asked: A's gradient is B^T times something, and B is 0 before the first step. Every B must
    have one, or its layer never trains.
    """
    asked = {name: p for name, p in parameters.items() if ".lora_B." in name} or dict(parameters)
    present = {name: p.grad for name, p in asked.items() if p.grad is not None}
    norms = torch.stack([g.float().norm() for g in present.values()]).tolist() if present else []  # one wait for a GPU
    norm_of = dict.fromkeys(asked, 0.0) | dict(zip(present, norms, strict=True))
    wild = [name for name, norm in norm_of.items() if not math.isfinite(norm)]
    if wild:
        return (
            f"The first gradient is not finite in {len(wild)} of {len(asked)} tensors (first {wild[0]}); try "
            "model.dtype = float32, and look at the videos in previews/before."
        )
    still = [name for name, norm in norm_of.items() if norm == 0.0]
    if still and (len(still) == len(asked) or len(asked) < len(parameters)):
        return (
            f"The first gradient is 0 in {len(still)} of {len(asked)} tensors that must have one (first {still[0]}), "
            "so they would never train; take layers that the loss does not reach out of lora.targets."
        )
    return ""


# -------------------------------------------------------------------------------------------------------------- ranks


def checksum(parameters: Mapping[str, Tensor]) -> int:
    """63 bits of a hash of every name and value, in the order of names: equal for equal parameters alone."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(parameters):
        digest.update(name.encode())
        digest.update(parameters[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1


def check_ranks_agree(mine: int, gather: Callable[[int], list[int]]) -> int:
    """The number of ranks. Raises RanksApart if one's `checksum` differs: they would train apart, unnoticed."""
    found = gather(mine)
    others = [rank for rank, value in enumerate(found) if value != found[0]]
    if others:
        raise RanksApart(
            f"Rank {others[0]} does not hold the trained parameters of rank 0 ({len(others)} of {len(found)} differ); "
            "start all ranks with one recipe and, to resume, from one checkpoint."
        )
    return len(found)


# --------------------------------------------------------------------------------------------------------------- text


def text_check_in_words(encoded: int, *, agreed: bool) -> str:
    """What became of `check_text_cache` at a start, for its line.

    encoded: number of prompts that were not stored. agreed: whether a stored one was encoded again, and passed.
    """
    if agreed:
        return "text cache agrees"
    return "all prompts were encoded anew" if encoded else "all prompts were stored, encoder not loaded"


def check_text_cache(prompt: str, cached: Float[Tensor, "1 S D"], encoded: Float[Tensor, "1 S D"]) -> None:
    """Raises TrainingError unless a cache's embeddings of `prompt` are what the text encoder says now, up to rounding.

    The tolerance is that of the coarser of the two types: a cache may have been filled on another device.
    """
    remedy = "delete the cache of text embeddings: it is of another encoder, tokenizer or length"
    if cached.shape != encoded.shape:
        raise TrainingError(
            f"The cached text embeddings of {prompt!r} have the shape {tuple(cached.shape)} and the encoder's "
            f"{tuple(encoded.shape)}; {remedy}."
        )
    tolerance = max(TEXT_TOLERANCE.get(x.dtype, 0.0) for x in (cached, encoded))
    a, b = cached.float().cpu(), encoded.float().cpu()
    difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
    if not difference <= tolerance:
        raise TrainingError(
            f"The cached text embeddings of {prompt!r} differ from the encoder's by {difference:.1e} of their largest "
            f"value (at most {tolerance:g} is rounding); {remedy}."
        )
