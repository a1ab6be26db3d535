"""Bars are cropped and overlays masked where the picture moves, and nothing is taken from it otherwise."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from worldr1.errors import InputError
from worldr1.footage.borders import Box, find_borders
from worldr1.footage.cleaning import STILL_NOTE, clean
from worldr1.footage.overlays import ScreenEdges

HEIGHT, WIDTH = 128, 208


def _text(words: str, left: float, bottom: float) -> Tensor:
    """[H, W]: where letters are."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    at = (int(left * WIDTH), int(bottom * HEIGHT))
    cv2.putText(drawn, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    return torch.from_numpy(drawn > 0)


def _with_overlay(video: Tensor, letters: Tensor, opacity: float = 1.0, level: float = 1.0) -> Tensor:
    return torch.where(letters, (1 - opacity) * video + opacity * level, video)


def _with_bars(video: Tensor, box: Box, colour: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    framed = torch.tensor(colour)[:, None, None].expand(video.shape).clone()
    framed[..., box.top : box.bottom, box.left : box.right] = video[..., box.top : box.bottom, box.left : box.right]
    return framed


def _fixed_camera(video: Tensor, seed: int = 0) -> Tensor:
    """A still with something large and textured that crosses it."""
    texture = torch.rand(3, 80, 50, generator=torch.Generator().manual_seed(seed))
    crossed = video[:1].repeat(len(video), 1, 1, 1)
    for t in range(len(video)):
        crossed[t, :, 30:110, 19 * t : 19 * t + 50] = texture[..., : WIDTH - 19 * t]
    return crossed


@pytest.mark.parametrize("words, left, bottom", [("NEWS", 0.6, 0.25), ("a caption here", 0.05, 0.92)])
@pytest.mark.parametrize("brightness", [1.0, 0.3])
def test_an_overlay_is_masked_and_little_else(
    pan: Tensor, words: str, left: float, bottom: float, brightness: float
) -> None:
    letters = _text(words, left, bottom)
    cleaned = clean(_with_overlay(brightness * pan, letters, level=brightness), longest_side_px=416)
    masked = ~cleaned.mask
    assert (masked & letters).sum() > 0.9 * letters.sum()
    near = torch.from_numpy(cv2.dilate(letters.numpy().astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
    assert (masked & near).sum() > 0.75 * masked.sum()
    assert any("overlay" in note for note in cleaned.notes)


def test_a_half_transparent_logo_is_masked(pan: Tensor) -> None:
    letters = _text("NEWS", 0.6, 0.25)
    masked = ~clean(_with_overlay(pan, letters, opacity=0.5), longest_side_px=416).mask
    assert (masked & letters).sum() > 0.8 * letters.sum()


def test_a_moving_picture_without_overlay_is_left_whole(pan: Tensor) -> None:
    for video in (pan, 0.2 * pan):
        cleaned = clean(video, longest_side_px=416)
        assert cleaned.mask.all()
        assert cleaned.notes == ()
        torch.testing.assert_close(cleaned.video, video, atol=0, rtol=0)


def test_in_a_still_and_before_a_fixed_camera_nothing_can_be_told(pan: Tensor) -> None:
    letters, box = _text("NEWS", 0.6, 0.25), Box(16, 112, 0, WIDTH)
    for video in (pan[:1].repeat(9, 1, 1, 1), _fixed_camera(pan)):
        assert not ScreenEdges(video).picture_moves()
        for spoiled in (video, _with_overlay(video, letters), _with_bars(video, box)):
            cleaned = clean(spoiled, longest_side_px=416)
            assert cleaned.mask.all()
            assert cleaned.video.shape[-2:] == (HEIGHT, WIDTH)
            assert cleaned.notes == (STILL_NOTE,)


def test_grain_does_not_make_a_still_move(pan: Tensor) -> None:
    grain = 0.05 * torch.randn(pan.shape, generator=torch.Generator().manual_seed(0))
    assert not ScreenEdges((pan[:1] + grain).clamp(0, 1)).picture_moves()


@pytest.mark.parametrize(
    "box", [Box(16, 112, 0, WIDTH), Box(0, HEIGHT, 40, 170), Box(20, 110, 30, 180)], ids=["letter", "pillar", "window"]
)
@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.2, 0.5, 0.9)])
def test_bars_are_cropped(pan: Tensor, box: Box, colour: tuple[float, float, float]) -> None:
    framed = _with_bars(pan, box, colour)
    framed = (framed + 0.004 * torch.randn(pan.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    cleaned = clean(framed, longest_side_px=416)
    found = find_borders(framed)
    for side, true in zip(found, box, strict=True):
        assert abs(side - true) <= 2, "the blurred lines beside a bar go too"
    assert found.top >= box.top and found.bottom <= box.bottom and found.left >= box.left and found.right <= box.right
    assert cleaned.video.shape[-2:] == ((found.bottom - found.top) // 2 * 2, (found.right - found.left) // 2 * 2)
    assert any("bars were cropped" in note for note in cleaned.notes)
    assert cleaned.mask.all()


def test_bars_around_a_dark_scene_are_cropped_and_a_night_sky_is_not(pan: Tensor) -> None:
    assert find_borders(_with_bars(0.3 * pan, Box(16, 112, 0, WIDTH))) == Box(18, 110, 0, WIDTH)
    night = 0.5 * pan
    night[:, :, :40] = 0.0
    night[:, :, 25:40, 60:80] = 0.5
    assert find_borders(night) == Box(0, HEIGHT, 0, WIDTH), "one strip has no counterpart"
    night[:, :, 100:] = 0.0
    night[:, :, 98:104, 20:60] = 0.5
    assert find_borders(night) == Box(0, HEIGHT, 0, WIDTH), "it ends where single things begin"


def test_a_picture_of_one_colour_has_no_bars() -> None:
    video = torch.full((6, 3, 32, 48), 0.5)
    assert find_borders(video) == Box(0, 32, 0, 48)
    assert clean(video, longest_side_px=416).notes == (STILL_NOTE,)


def test_sizes_are_even_never_larger_and_antialiased() -> None:
    checks = (torch.arange(200)[:, None] + torch.arange(301)) % 2
    video = checks.float().expand(5, 3, -1, -1)
    assert clean(video, longest_side_px=416).video.shape == (5, 3, 200, 300)
    small = clean(video, longest_side_px=100).video
    assert small.shape == (5, 3, 66, 100)
    assert (small - 0.5).abs().max() < 0.1, "pixels that cannot be drawn become grey"


def test_a_picture_that_would_vanish_is_refused() -> None:
    with pytest.raises(InputError, match="less narrow"):
        clean(torch.rand(5, 3, 16, 2000), longest_side_px=416)
