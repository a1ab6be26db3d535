"""Medians of many videos at once are those of each."""

import pytest
import torch

from worldr1.rewards.depth_units import depth_units, medians_where
from worldr1.types import Reconstruction


def lifted(seed: int, confident: float) -> Reconstruction:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 5, 7)
    return Reconstruction(
        world_from_camera=torch.eye(4).expand(2, 4, 4),
        depth=0.5 + torch.rand(shape, generator=generator),
        intrinsics_px=torch.eye(3).expand(2, 3, 3),
        confidence=(torch.rand(shape, generator=generator) < confident).float(),
    )


def test_units_are_the_median_depths_bit_for_bit() -> None:
    videos = [lifted(0, 1.0), lifted(1, 0.5), lifted(2, 0.1), lifted(3, 0.0)]
    assert depth_units(videos).tolist() == [video.median_depth for video in videos]


def test_medians_are_torch_s_column_by_column() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 10, 2, generator=generator, dtype=torch.float64)
    keep = torch.rand(3, 10, generator=generator) < 0.6
    keep[2] = False
    expected = [values[0][keep[0]].median(0).values, values[1][keep[1]].median(0).values, values[2].median(0).values]
    assert torch.equal(medians_where(values, keep), torch.stack(expected))


def test_a_video_without_a_positive_median_is_refused() -> None:
    bad = lifted(0, 1.0)
    bad = Reconstruction(**{**vars(bad), "depth": -bad.depth})
    with pytest.raises(ValueError, match="not a positive number"):
        depth_units([lifted(1, 1.0), bad])
