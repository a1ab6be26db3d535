"""Image damage does what its number says, item by item."""

import pytest
import torch

from worldr1.pretrain.damage import add_noise, blur


def _images(num: int = 2) -> torch.Tensor:
    return torch.rand(num, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_no_blur_changes_nothing_and_items_are_apart() -> None:
    images = _images()
    blurred = blur(images, torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(blurred[0], images[0], atol=1e-6, rtol=0)
    assert (blurred[1] - images[1]).abs().mean() > 0.1
    alone = blur(images[1:], torch.tensor([1.5]))
    torch.testing.assert_close(alone[0], blurred[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_a_point_spreads_by_sigma(sigma: float) -> None:
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1
    spread = blur(point, torch.tensor([sigma]))[0, 1]
    offset = torch.arange(33.0) - 16
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert float((spread.sum(0) * offset.square()).sum()) == pytest.approx(sigma**2, rel=0.02)
    assert float((spread.sum(1) * offset.square()).sum()) == pytest.approx(sigma**2, rel=0.02)


def test_videos_are_blurred_frame_by_frame() -> None:
    video = _images(6).unflatten(0, (2, 3))
    blurred = blur(video, torch.tensor([0.5, 2.0]))
    for item, sigma in enumerate((0.5, 2.0)):
        frames = blur(video[item], torch.full((3,), sigma))
        torch.testing.assert_close(blurred[item], frames, atol=1e-6, rtol=0)


def test_a_flat_picture_stays_flat_up_to_its_edges() -> None:
    flat = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(blur(flat, torch.tensor([2.0])), flat)


def test_noise_has_its_level_and_stays_in_range() -> None:
    images = torch.full((3, 3, 64, 64), 0.5)
    noisy = add_noise(images, torch.tensor([0.0, 0.05, 0.6]), torch.Generator().manual_seed(0))
    assert torch.equal(noisy[0], images[0])
    assert float(noisy[1].std()) == pytest.approx(0.05, rel=0.03)
    assert 0 <= noisy.min() <= noisy.max() <= 1
