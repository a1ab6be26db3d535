"""The best of a group by hand, and the loss on it: its gradient and where it is least."""

import math

import pytest
import torch

from worldr1.errors import ConfigError, InputError
from worldr1.rl.best_of_n import best_member, fit_loss
from worldr1.rl.objective import ObjectiveConfig
from worldr1.types import RewardResult, Status

SHAPE = (2, 3, 1, 2, 2)


def result(value: float, status: Status = Status.OK) -> RewardResult:
    return RewardResult(value=value, parts={}, status=status)


def normal(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_best_is_the_highest_and_the_first_of_equals() -> None:
    assert best_member([result(v) for v in (-3.0, 0.25, 2.0, -1.0)]) == 2
    assert best_member([result(v) for v in (0.5, 0.7, 0.7)]) == 1
    assert best_member([]) is None


@pytest.mark.parametrize("fault", [result(9.0, Status.FAULT), result(math.nan), result(math.inf)])
def test_faults_are_never_the_best(fault: RewardResult) -> None:
    assert best_member([fault, result(-1.0), fault]) == 1
    assert best_member([fault, fault]) is None


def test_a_rejected_video_takes_part_with_its_floor() -> None:
    assert best_member([result(0.4, Status.REJECTED), result(0.3)]) == 0
    assert best_member([result(0.2, Status.REJECTED), result(0.3)]) == 1


@pytest.mark.parametrize("kl_beta", [0.0, 0.3])
def test_the_gradient_is_that_by_hand(kl_beta: float) -> None:
    clean, noise, reference, velocity = (normal(seed) for seed in range(4))
    velocity.requires_grad_()
    terms = fit_loss(velocity, reference, clean=clean, noise=noise, kl_beta=kl_beta)
    terms.loss.backward()
    off, drift = velocity.detach() - (noise - clean), velocity.detach() - reference
    expected = 2 * (off + kl_beta * drift) / velocity.numel()
    torch.testing.assert_close(velocity.grad, expected)
    assert terms.flow_matching == pytest.approx(float((off**2).mean()))
    assert terms.gap == pytest.approx(float((drift**2).mean()))
    assert float(terms.loss.detach()) == pytest.approx(float((off**2).mean() + kl_beta * (drift**2).mean()))


def test_the_loss_is_least_between_the_video_and_the_base() -> None:
    clean, noise, reference = (normal(seed) for seed in range(3))
    best = ((noise - clean) + 0.5 * reference) / 1.5
    best.requires_grad_()
    fit_loss(best, reference, clean=clean, noise=noise, kl_beta=0.5).loss.backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best))


def test_a_missing_reference_and_impossible_objectives_are_refused() -> None:
    clean, noise = normal(0), normal(1)
    assert fit_loss(noise - clean, None, clean=clean, noise=noise, kl_beta=0.0).loss == 0
    with pytest.raises(InputError, match="reference"):
        fit_loss(noise, None, clean=clean, noise=noise, kl_beta=0.1)
    with pytest.raises(ConfigError, match="no ratio to clip"):
        ObjectiveConfig(kind="best-of-n", clip=0.1)
    with pytest.raises(ConfigError, match="dynamic_kl_beta"):
        ObjectiveConfig(kind="best-of-n", dynamic_kl_beta=0.1)
    with pytest.raises(ConfigError, match="draws is 0"):
        ObjectiveConfig(draws=0)
