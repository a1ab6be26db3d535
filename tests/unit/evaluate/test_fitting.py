"""Shots at the size that a reconstructor of one clip size wants."""

from dataclasses import replace

import torch
from torch import Tensor

from worldr1.evaluate.fitting import AtLength, ClipSize, fit, repeat
from worldr1.footage import Shot
from worldr1.types import Reconstruction

SIZE = ClipSize(num_frames=17, height=64, width=96)


def shot(video: Tensor) -> Shot:
    """A shot of one frame a second."""
    frames, _, height, width = video.shape
    return Shot(
        video=video,
        times_s=tuple(float(t) for t in range(frames)),
        mask=torch.ones(height, width, dtype=torch.bool),
        index=0,
        num_shots=1,
        start_s=0.0,
        end_s=frames - 1.0,
        notes=(),
    )


def test_a_clip_of_the_right_size_is_left_alone() -> None:
    video = torch.rand(17, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    fitted = fit(shot(video), SIZE)
    assert fitted.notes == ()
    assert torch.equal(fitted.video, video)


def test_enlarged_pixels_come_back_exactly() -> None:
    video = torch.rand(17, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    fitted = fit(shot(video.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)), SIZE)
    assert torch.allclose(fitted.video, video, atol=1e-6)
    assert fitted.notes == ("resized from 384 x 256 to 96 x 64",)


def test_a_long_wide_video_is_thinned_and_cropped_about_its_centre() -> None:
    time = torch.arange(33.0)[:, None, None, None] / 100
    across = torch.arange(200.0)[None, None, None, :] / 1000
    fitted = fit(shot((time + across).expand(33, 3, 64, 200)), SIZE)
    assert torch.allclose(fitted.video[:, 0, 0, 0], torch.arange(0, 33, 2) / 100 + 0.052, atol=1e-6)
    assert fitted.video.shape == (17, 3, 64, 96)
    assert fitted.times_s == tuple(float(t) for t in range(0, 33, 2))
    assert [note.split()[0] for note in fitted.notes] == ["17", "cropped"]


def test_the_mask_follows_the_crop_and_keeps_away_from_the_overlay() -> None:
    whole = shot(torch.zeros(17, 3, 128, 400))
    mask = whole.mask.clone()
    mask[0:10, 110:120] = False  # cropped columns: 104 to 296
    fitted = fit(replace(whole, mask=mask), SIZE)
    assert fitted.mask.shape == (64, 96)
    assert not bool(fitted.mask[:5, 3:8].any())
    assert int((~fitted.mask).sum()) <= 7 * 7


def test_resizing_does_not_alias() -> None:
    stripes = (torch.arange(150) % 2).float().expand(17, 3, 100, 150)
    assert float(fit(shot(stripes), SIZE).video.std()) < 0.15  # 0.5 before; point sampling would leave beats of 0.5


def test_a_repeated_video_gives_its_own_frames_back() -> None:
    video = torch.arange(9.0)[:, None, None, None].expand(9, 3, 4, 4)
    repeated = repeat(video, 17)
    assert len(repeated.video) == 17
    seen = repeated.video[:, 0, 0, 0]
    found = Reconstruction(
        world_from_camera=seen[:, None, None].expand(17, 4, 4),
        depth=seen[:, None, None].expand(17, 4, 4),
        intrinsics_px=seen[:, None, None].expand(17, 3, 3),
        confidence=seen[:, None, None].expand(17, 4, 4),
    )
    own = repeated.own(found)
    assert torch.equal(own.depth[:, 0, 0], torch.arange(9.0))
    assert torch.equal(own.world_from_camera[:, 0, 0], torch.arange(9.0))


class Counting:
    """A 3D model of 17 frames, whose depth is the picture's grey."""

    licence = "none"

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        assert videos.shape[1] == 17
        identity = torch.eye(4).expand(17, 4, 4)
        return [
            Reconstruction(
                world_from_camera=identity, depth=v[:, 0], intrinsics_px=identity[:, :3, :3], confidence=v[:, 0]
            )
            for v in videos
        ]


def test_a_model_of_one_length_lifts_shorter_videos_frame_by_frame() -> None:
    videos = torch.rand(2, 9, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    found = AtLength(Counting(), 17)(videos)
    for reconstruction, video in zip(found, videos, strict=True):
        assert torch.equal(reconstruction.depth, video[:, 0]) and len(reconstruction.world_from_camera) == 9
