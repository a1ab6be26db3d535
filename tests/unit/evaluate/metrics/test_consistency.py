"""The headline: hand-computed shares, and what must not score."""

import pytest
import torch
from torch import Tensor

from worldr1.evaluate.metrics.consistency import consistency
from worldr1.rewards.reconstruction import Redrawn

FRAMES, SIZE = 9, 6
ODD = torch.arange(1, FRAMES, 2)


def video_of(levels: Tensor) -> Tensor:
    """Frames of one grey level each."""
    return levels[:, None, None, None].expand(-1, 3, SIZE, SIZE).contiguous()


def redrawn(video: Tensor, error: Tensor | float) -> Redrawn:
    """The odd frames, drawn too bright by `error` (a number, or one per frame)."""
    target = video[ODD]
    offset = torch.as_tensor(error).expand(len(ODD))[:, None, None, None]
    covered = torch.ones(len(ODD), SIZE, SIZE, dtype=torch.bool)
    return Redrawn(drawn=target + offset, target=target, covered=covered, coverage=1.0, psnr_db=20.0)


def test_the_share_is_one_minus_the_ratio_of_the_errors() -> None:
    video = video_of(torch.arange(FRAMES) * 0.05)  # a quarter of the clip is 2 frames: the copy is wrong by 0.1
    found = consistency(video, redrawn(video, 0.02))
    assert found is not None
    assert found.share == pytest.approx(0.8, abs=1e-6)
    assert found.low == pytest.approx(0.8, abs=1e-6)
    assert found.high == pytest.approx(0.8, abs=1e-6)


def test_the_interval_holds_the_share_and_widens_with_the_frames_spread() -> None:
    video = video_of(torch.arange(FRAMES) * 0.05)
    found = consistency(video, redrawn(video, torch.tensor([0.0, 0.0, 0.04, 0.04])))
    assert found is not None
    assert found.low < found.share - 0.05
    assert found.share == pytest.approx(0.8, abs=1e-6)
    assert found.high > found.share + 0.05


def test_a_redrawing_as_bad_as_the_copy_explains_nothing() -> None:
    video = video_of(torch.arange(FRAMES) * 0.05)
    found = consistency(video, redrawn(video, 0.3))
    assert found is not None
    assert found.share == found.low == found.high == 0


def test_one_pixel_is_forgiven_and_two_are_not() -> None:
    edge = (torch.arange(16) >= 8).float() * 0.5
    video = torch.stack([edge.roll(frame % 4) for frame in range(FRAMES)])[:, None, None].expand(-1, 3, 16, -1)
    shares = []
    for shift in (1, 2):
        drawn = video[ODD].roll(shift, dims=-1)
        covered = torch.ones(len(ODD), 16, 16, dtype=torch.bool)
        covered[..., :6] = False  # where `roll` brings the other side in
        found = consistency(video, Redrawn(drawn=drawn, target=video[ODD], covered=covered, coverage=0.6, psnr_db=20.0))
        assert found is not None
        shares.append(found.share)
    assert shares[0] == 1.0
    assert shares[1] < 0.5


def test_nothing_to_explain_is_no_figure() -> None:
    still = video_of(torch.full((FRAMES,), 0.5))
    assert consistency(still, redrawn(still, 0.0)) is None
    moving = video_of(torch.arange(FRAMES) * 0.05)
    empty = redrawn(moving, 0.0)
    nowhere = Redrawn(
        drawn=empty.drawn, target=empty.target, covered=empty.covered & False, coverage=0.0, psnr_db=float("nan")
    )
    assert consistency(moving, nowhere) is None


def test_only_covered_pixels_count() -> None:
    video = video_of(torch.arange(FRAMES) * 0.05)
    half = redrawn(video, 0.0)
    half.drawn[..., :3] += 0.5
    covered = half.covered.clone()
    covered[..., :4] = False
    found = consistency(
        video, Redrawn(drawn=half.drawn, target=half.target, covered=covered, coverage=0.3, psnr_db=20.0)
    )
    assert found is not None
    assert found.share == 1.0


def test_other_frames_than_the_odd_ones_are_refused() -> None:
    video = video_of(torch.arange(FRAMES) * 0.05)
    with pytest.raises(ValueError, match="odd"):
        consistency(video[:6], redrawn(video, 0.0))
