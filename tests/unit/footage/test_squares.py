"""Enlarged pixels are found, through compression too; other pictures are left alone."""

from pathlib import Path

import pytest
import torch

from worldr1.footage import FootageConfig, read_shots, shot_of
from worldr1.footage.squares import square_size, without_squares
from worldr1.video_io import write_mp4


def smooth(height: int, width: int, frames: int = 6) -> torch.Tensor:
    """A video of soft blobs."""
    coarse = torch.rand(frames, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_squares_are_found_and_undone(size: int) -> None:
    small = smooth(48, 72)
    large = small.repeat_interleave(size, dim=2).repeat_interleave(size, dim=3)
    assert square_size(large) == size
    assert torch.allclose(without_squares(large, size), small, atol=1e-6)


def test_other_pictures_have_none() -> None:
    assert square_size(smooth(96, 144)) == 1
    assert square_size(torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))) == 1
    assert square_size(torch.full((5, 3, 48, 48), 0.5)) == 1
    halves = smooth(48, 72).repeat_interleave(4, dim=2)  # rows alone are no squares
    assert square_size(halves) == 1


def test_a_file_written_enlarged_comes_back_small(tmp_path: Path) -> None:
    small = smooth(64, 96)
    write_mp4(tmp_path / "a.mp4", small, upscale=4)
    (shot,) = read_shots(tmp_path / "a.mp4", FootageConfig())
    assert shot.video.shape[-2:] == (64, 96)
    assert float((shot.video - small).abs().mean()) < 0.02
    assert any("squares of 4 x 4" in note for note in shot.notes)
    assert not any("squares" in note for note in shot_of(small, FootageConfig()).notes)
