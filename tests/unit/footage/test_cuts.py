"""Cuts are found where clips were joined and nowhere else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from worldr1.footage.cuts import CutFinder, small_size, unexplained


def _cuts(video: Tensor) -> tuple[int, ...]:
    finder = CutFinder()
    width, height = small_size(video.shape[3], video.shape[2])
    small = F.interpolate(video, size=(height, width), mode="area")
    for picture in (small.permute(0, 2, 3, 1) * 255).byte().numpy():
        finder.add(picture)
    return finder.cuts()


def test_all_cuts_and_no_others_are_found_in_ninety_videos(cut_cases) -> None:
    assert len(cut_cases) == 90
    wrong = {case.name: (found, case.cuts) for case in cut_cases if (found := _cuts(case.video)) != case.cuts}
    assert not wrong, "found, made"


def test_videos_of_few_frames_have_their_cuts_too() -> None:
    dark, light = torch.zeros(1, 3, 32, 48), torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    assert _cuts(dark) == ()
    assert _cuts(torch.cat((dark, light))) == (1,)
    assert _cuts(torch.cat((dark, dark, light, light))) == (2,)


@pytest.mark.parametrize("gone_frames", [1, 2])
def test_a_picture_that_comes_back_after_two_frames_was_never_cut(clips: list[Tensor], gone_frames: int) -> None:
    video = clips[0].clone()
    video[7 : 7 + gone_frames] = clips[1][0]
    assert _cuts(video) == ()


def test_a_picture_that_comes_back_after_five_frames_was_cut_twice(clips: list[Tensor]) -> None:
    assert _cuts(torch.cat((clips[0][:8], clips[1][:5], clips[0][8:]))) == (8, 13)


def test_a_block_within_reach_is_explained_and_one_beyond_is_not() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (32, 96, 3)).astype(np.float32)
    still = texture[:, 30:78]
    assert unexplained(still, still) == 0.0
    assert unexplained(still, texture[:, 36:84]) < 0.25, "the new column alone"
    assert unexplained(still, texture[:, 48:96]) > 0.5


def test_small_frames_are_whole_blocks() -> None:
    assert small_size(1920, 1080) == (48, 24)
    assert small_size(1080, 1920) == (24, 48)
    assert small_size(5000, 20) == (48, 8)
