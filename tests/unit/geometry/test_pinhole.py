"""Pixels, rays and back."""

import pytest
import torch

from worldr1.geometry.pinhole import pixel_centres, project, unproject
from worldr1.types import intrinsics_px


def test_the_first_pixel_centre_is_at_a_half() -> None:
    centres = pixel_centres(2, 3)
    assert centres[0, 0].tolist() == [0.5, 0.5]
    assert centres[1, 2].tolist() == [2.5, 1.5]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_projecting_what_was_unprojected_gives_the_pixels_and_depths(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    depth = 0.2 + 5 * torch.rand(2, 3, 6, 8, generator=generator, dtype=dtype)
    intrinsics = intrinsics_px(6, 8).repeat(2, 3, 1, 1)
    intrinsics[1, 0] = torch.tensor([[5.0, 0.0, 2.5], [0.0, 7.0, 3.5], [0.0, 0.0, 1.0]])  # each batch entry has its own
    points = unproject(depth, intrinsics)
    pixels, z = project(points, intrinsics)
    assert points.dtype == pixels.dtype == dtype
    assert torch.equal(z, depth)
    assert float((pixels - pixel_centres(6, 8, dtype=dtype)).abs().max()) < tolerance


def test_a_point_to_the_lower_right_lands_there_at_the_known_place() -> None:
    pixels, z = project(torch.tensor([[0.5, 0.25, 2.0]]), intrinsics_px(64, 96))
    assert pixels[0].tolist() == pytest.approx([48 + 115.2 * 0.25, 32 + 115.2 * 0.125])
    assert z.tolist() == [2.0]
