"""Image metrics against values worked out by hand and against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from worldr1.errors import InputError
from worldr1.scene.image_metrics import image_gradient, mse, psnr_db, ssim


def test_mse_by_hand_per_image() -> None:
    a = torch.zeros(2, 3, 2, 2)
    b = torch.zeros(2, 3, 2, 2)
    b[1, 0, 0, 0] = 0.6
    torch.testing.assert_close(mse(a, b), torch.tensor([0.0, 0.36 / 12]))
    mask = torch.tensor([[[True, False], [False, False]]] * 2)
    torch.testing.assert_close(mse(a, b, mask), torch.tensor([0.0, 0.36 / 3]))
    assert math.isnan(float(mse(a, b, torch.zeros(2, 2, 2, dtype=torch.bool))[0]))


def test_psnr_by_hand_and_capped() -> None:
    torch.testing.assert_close(psnr_db(torch.tensor([1.0, 0.1, 0.001, 0.0])), torch.tensor([0.0, 10.0, 30.0, 60.0]))
    assert math.isnan(float(psnr_db(torch.tensor(float("nan")))))


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    a, b = torch.full((3, 16, 16), 0.2, dtype=torch.float64), torch.full((3, 16, 16), 0.8, dtype=torch.float64)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-9)
    assert float(ssim(a, a)) == pytest.approx(1.0, abs=1e-12)


def test_ssim_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((2, 3, 20, 24))
    b = np.clip(a + 0.2 * rng.standard_normal(a.shape), 0, 1)

    def blur(x: np.ndarray) -> np.ndarray:
        # truncate 3.4 gives the radius of 5 pixels of the 11-pixel window
        return gaussian_filter(x, (0, 0, 1.5, 1.5), truncate=3.4)[..., 5:-5, 5:-5]

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = 1e-4, 9e-4
    local = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    expected = torch.from_numpy(local.mean((1, 2, 3)))
    torch.testing.assert_close(ssim(torch.from_numpy(a), torch.from_numpy(b)), expected)


def test_image_gradient_of_a_ramp_and_of_its_blur() -> None:
    video = (torch.arange(8.0) * 0.1).expand(2, 3, 4, 8) + (torch.arange(4.0) * 0.05)[:, None]
    torch.testing.assert_close(image_gradient(video), torch.tensor(0.15))
    noise = torch.rand(5, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 3, 1, 1).view_as(noise)
    assert image_gradient(noise).shape == (5,)
    assert bool((image_gradient(blurred) < 0.6 * image_gradient(noise)).all())


def test_mismatched_images_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        mse(torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match="mask"):
        mse(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="at least 11"):
        ssim(torch.zeros(3, 10, 20), torch.zeros(3, 10, 20))
