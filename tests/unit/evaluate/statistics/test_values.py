"""What may be averaged of a number, and where a PSNR ends."""

import math

import pytest
import torch

from worldr1.evaluate.statistics.values import HOLDOUT_PSNR, LEAST_MSE, PSNR_NAMES, from_linear, pooled_mean, to_linear


@pytest.mark.parametrize("name", PSNR_NAMES)
def test_a_psnr_is_averaged_as_its_error(name: str) -> None:
    assert to_linear(20.0, name) == pytest.approx(1e-2)
    assert from_linear(torch.tensor([1e-2, 1e-3]), name).tolist() == pytest.approx([20.0, 30.0])
    assert pooled_mean([20.0, 60.0], name) == pytest.approx(-10 * math.log10((1e-2 + 1e-6) / 2))


def test_equal_pictures_have_the_last_psnr_there_is() -> None:
    assert to_linear(math.inf, HOLDOUT_PSNR) == to_linear(500.0, HOLDOUT_PSNR) == LEAST_MSE
    assert from_linear(torch.tensor([0.0, -1.0]), HOLDOUT_PSNR).tolist() == pytest.approx([120.0, 120.0])
    assert pooled_mean([math.inf, 4000.0], HOLDOUT_PSNR) == pytest.approx(120.0)


def test_what_is_not_known_does_not_become_the_best_there_is() -> None:
    assert math.isnan(to_linear(math.nan, HOLDOUT_PSNR))
    assert from_linear(torch.tensor([math.nan]), HOLDOUT_PSNR).isnan().all()
    assert math.isnan(pooled_mean([20.0, math.nan], HOLDOUT_PSNR))


def test_every_other_number_is_averaged_as_it_is() -> None:
    assert to_linear(-3.0, "reward") == -3.0
    assert from_linear(torch.tensor([0.0, -1.0]), "reward").tolist() == [0.0, -1.0]
    assert pooled_mean([1.0, 2.0], "ssim_holdout") == 1.5
