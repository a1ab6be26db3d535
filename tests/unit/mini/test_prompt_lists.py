"""The lists that settings are tuned on and that results are measured on were written down before any tuning."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from worldr1.assembly import prompts_with_scenes, training_prompts
from worldr1.build import load_experiment

LISTS = Path(__file__).parents[2] / "data" / "mini_prompts"
NUMBERS = {"tuning": (144, 48), "final": (450, 150)}
SHA256 = {
    "tuning": "0e3e491fec2e014c674ec52f16899ed66d5201f105d40ec27e6d4a5bb94d9bc3",
    "final": "584e6556fac75fc0e6c27df7e72d910d594f6e4112eab70b45a45879736d0e2c",
}
"""Of the prompts, one a line, as `mini judge` writes it (docs/results.md)."""


def _written(name: str) -> list[str]:
    return (LISTS / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("name", NUMBERS)
def test_the_code_draws_the_lists_as_they_were_written_down(name: str) -> None:
    static, dynamic = NUMBERS[name]
    numbers = replace(load_experiment("mini-gpu").prompts, test=static, test_dynamic=dynamic)
    drawn = [prompt.text for prompt in prompts_with_scenes(numbers, name)[0]]
    assert drawn == _written(name)
    assert hashlib.sha256("\n".join(drawn).encode()).hexdigest() == SHA256[name]


def test_tuning_final_and_training_prompts_are_disjoint() -> None:
    train = training_prompts(load_experiment("mini-gpu").prompts)
    known = {prompt.text for prompt in (*train.main, *train.dynamic)}
    tuning, final = set(_written("tuning")), set(_written("final"))
    assert not tuning & final and not known & (tuning | final)
    assert (len(tuning), len(final)) == (192, 600)
