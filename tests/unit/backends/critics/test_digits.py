"""Digits of a tokenizer, and how much of an answer is one."""

import math

import pytest
import torch
from tiny_qwen3_vl import tiny_tokenizer

from worldr1.backends.critics.digits import (
    DIGITS,
    DigitAnswers,
    MassRecord,
    answers_of_logits,
    digit_token_ids,
    require_digits,
)
from worldr1.errors import InputError
from worldr1.rewards.meta_view import expected_digit_score


def _ids(tokenizer: object) -> tuple[tuple[int, ...], ...]:
    return digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]


def test_the_ids_are_the_tokenizers() -> None:
    tokenizer = tiny_tokenizer()
    assert _ids(tokenizer) == tuple((tokenizer.convert_tokens_to_ids(digit),) for digit in DIGITS)


def test_a_space_in_front_is_the_same_digit_where_it_is_one_token() -> None:
    tokenizer = tiny_tokenizer(merges=tuple(("Ġ", digit) for digit in "0123456"))
    ids = _ids(tokenizer)
    assert [tokenizer.convert_ids_to_tokens(list(pair)) for pair in ids[6:8]] == [["6", "Ġ6"], ["7"]]
    logits = torch.full((1, len(tokenizer)), -20.0)
    logits[0, ids[6][0]], logits[0, ids[6][1]], logits[0, ids[7][0]] = math.log(0.2), math.log(0.3), math.log(0.5)
    answers = answers_of_logits(logits, ids)
    assert answers.probabilities[0, 6:8].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert float(answers.mass) == pytest.approx(1, abs=1e-5)


def test_a_tokenizer_without_digits_is_no_critics() -> None:
    with pytest.raises(InputError, match="writes the digit 3 as 2 tokens"):
        digit_token_ids(lambda text: [1, 2] if text.strip() == "3" else [100 + int(text)])
    with pytest.raises(InputError, match="no token of its own for each digit"):
        digit_token_ids(lambda text: [0])  # all unknown


def test_probabilities_are_among_the_ten_and_the_mass_among_all() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)) * 3
    ids = tuple((3 * digit,) for digit in range(10))
    answers = answers_of_logits(logits, ids)
    everything = logits.double().softmax(-1)[:, :30:3]
    torch.testing.assert_close(answers.mass.double(), everything.sum(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        answers.probabilities.double(), everything / everything.sum(-1, keepdim=True), atol=1e-6, rtol=0
    )
    expected_digit_score(answers.probabilities)  # is a distribution
    half = answers_of_logits(logits.bfloat16(), ids)
    assert half.probabilities.dtype == torch.float32 and float((half.probabilities.sum(-1) - 1).abs().max()) < 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_no_answer(bad: float) -> None:
    logits = torch.zeros(2, 20)
    logits[1, 15] = bad  # not even a digit
    with pytest.raises(ValueError, match="logits are not finite"):
        answers_of_logits(logits, tuple((digit,) for digit in range(10)))


def test_an_answer_without_digits_is_never_a_score() -> None:
    tenth = torch.full((2, 10), 0.1)
    answers = DigitAnswers(probabilities=tenth, mass=torch.tensor([0.9, 0.125]))
    assert require_digits(answers, 0.125) is answers
    with pytest.raises(ValueError, match=r"of 1 of 2 pictures is hardly a digit: digit mass 0\.125, needed 0\.5"):
        require_digits(answers, 0.5)
    for mass in (0.0, math.nan):
        with pytest.raises(ValueError, match="answer is hardly a digit"):
            require_digits(DigitAnswers(probabilities=tenth[:1], mass=torch.tensor([mass])), 0.1)


def test_masses_are_kept() -> None:
    record = MassRecord()
    assert math.isnan(record.mean) and record.count == 0
    record.add(torch.tensor([0.5, 1.0]))
    record.add(torch.tensor([0.75]))
    assert (record.count, record.least, record.mean) == (3, 0.5, 0.75)
