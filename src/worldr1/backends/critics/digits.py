"""From what a language model would say next to a probability of each digit, and how much of it was digits at all.

The probability of a digit is taken among the ten. The *digit mass* is what the ten have together in the whole
vocabulary: a critic that would rather say "The", or think first, has almost none, and its ten numbers mean nothing.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError

DIGITS = "0123456789"

TokenIds = tuple[tuple[int, ...], ...]
"""Ten entries: the tokens that say each digit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitAnswers:
    """A critic's answers to B pictures; float32, on the CPU."""

    probabilities: Float[Tensor, "B 10"]
    """Of each digit among the ten; not a number where `mass` is 0."""
    mass: Float[Tensor, " B"]
    """The ten's share of the whole vocabulary, 0..1."""


class MassRecord:
    """Digit masses seen so far; may be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0
        self.least = 1.0
        self._sum = 0.0

    @property
    def mean(self) -> float:
        """Not a number before the first answer."""
        return self._sum / self.count if self.count else float("nan")

    def add(self, mass: Float[Tensor, " B"]) -> None:
        """Counts the answers of one call."""
        with self._lock:
            self.count += len(mass)
            self._sum += float(mass.double().sum())
            self.least = min([self.least, *mass.tolist()])


def digit_token_ids(encode: Callable[[str], Sequence[int]]) -> TokenIds:
    """The tokens that say each digit: that of "7", and that of " 7" where it is a single one too.

    encode: text -> token ids, no special ones added. Raises InputError unless every digit is one token of its own.
    """
    found: list[tuple[int, ...]] = []
    for digit in DIGITS:
        bare, spaced = list(encode(digit)), list(encode(f" {digit}"))
        if len(bare) != 1:
            raise InputError(
                f"The critic's tokenizer writes the digit {digit} as {len(bare)} tokens, and a digit is read from one: "
                "choose another model as the critic."
            )
        found.append(tuple(dict.fromkeys(bare + spaced)) if len(spaced) == 1 else (bare[0],))
    every = [token for tokens in found for token in tokens]
    if len(set(every)) < len(every):
        raise InputError("The critic's tokenizer has no token of its own for each digit: choose another model.")
    return tuple(found)


def answers_of_logits(logits: Float[Tensor, "B V"], ids: TokenIds) -> DigitAnswers:
    """From the logits of the next token. Raises ValueError for logits that are not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("the critic's logits are not finite")
    log_probs = logits.float().log_softmax(dim=-1)
    digits = torch.stack([log_probs[:, list(tokens)].logsumexp(dim=-1) for tokens in ids], dim=-1)
    return DigitAnswers(probabilities=digits.softmax(dim=-1).cpu(), mass=digits.logsumexp(dim=-1).exp().cpu())


def require_digits(answers: DigitAnswers, least: float) -> DigitAnswers:
    """`answers` themselves. Raises ValueError if one of them has a digit mass below `least`."""
    mass = answers.mass
    if low := [index for index, value in enumerate(mass.tolist()) if not value >= least]:
        which = f" of {len(low)} of {len(mass)} pictures" if len(mass) > 1 else ""
        raise ValueError(
            f"the critic's answer{which} is hardly a digit: digit mass {float(mass[low].min()):.3g}, needed {least:g} "
            "(an Instruct model answers at once, a Thinking model does not)"
        )
    return answers
