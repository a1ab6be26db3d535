"""benchmarks/two_gpus.py: what it compares, and that its cases are recipes that two processes can share."""

import pytest
import torch
import two_gpus

from worldr1.build import check_ranks


@pytest.mark.parametrize("case", two_gpus.CASES)
@pytest.mark.parametrize("tiny", [False, True])
def test_every_case_can_be_shared_by_two(case: str, tiny: bool) -> None:
    config = two_gpus.configure(case, tiny=tiny)
    check_ranks(config, 2)
    assert config.train.groups_per_update % 2 == 0  # a fair comparison


def test_one_process_can_be_given_the_batches_of_each_of_two() -> None:
    words = two_gpus.batches_of("mini-gpu", 2, tiny=False)
    assert words == ("train.groups_in_flight=8", "sampler.batch=96")
    train = two_gpus.configure("mini-gpu", tiny=False, words=words).train
    assert train.groups_in_flight == 8 and train.groups_per_update == 16


def test_the_difference_is_relative_to_one_process_and_of_one_kind() -> None:
    one = {"grad a": torch.tensor([3.0, 0.0]), "grad b": torch.tensor([4.0]), "step a": torch.ones(2)}
    several = {"grad a": torch.tensor([3.0, 0.5]), "grad b": torch.tensor([4.0]), "step a": torch.zeros(2)}
    assert two_gpus.difference(one, several, "grad") == pytest.approx(0.1)
    assert two_gpus.difference(one, several, "step") == 1.0
