"""Files of every kind become the right frames at the right times, or one sentence."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from worldr1.errors import ConfigError, InputError
from worldr1.footage import FootageConfig, read_shots, shot_of

CONFIG = FootageConfig(num_frames=6)


def _distance(shown: Tensor, meant: Tensor) -> float:
    """Mean difference in grey levels 0..1."""
    return float((shown - meant).abs().mean())


def test_frames_are_spread_evenly_and_are_the_ones_that_were_written(clips, write_video) -> None:
    path = write_video("a.mp4", clips[0])
    (shot,) = read_shots(path, CONFIG)
    frames = [0, 3, 6, 10, 13, 16]
    assert shot.times_s == pytest.approx([frame / 8 for frame in frames])
    assert (shot.start_s, shot.end_s, shot.index, shot.num_shots) == (0.0, 2.0, 0, 1)
    assert _distance(shot.video, clips[0][frames]) < 0.03
    assert _distance(shot.video, clips[0][[frame + 1 for frame in frames[:-1]] + [0]]) > 0.04
    assert shot.video.dtype == torch.float32
    assert any("6 of its 17 frames" in note for note in shot.notes)


def test_shots_are_split_and_short_ones_left_out_with_a_note(clips, write_video) -> None:
    path = write_video("cuts.mp4", torch.cat((clips[0], clips[1][:4], clips[2][:5])))
    first, second = read_shots(path, CONFIG)
    assert [first.start_s, first.end_s, second.start_s, second.end_s] == pytest.approx([0, 2, 21 / 8, 25 / 8])
    assert (first.index, second.index, first.num_shots, second.num_shots) == (0, 1, 2, 2)
    assert len(first.video) == 6 and len(second.video) == 5, "a short shot gives all it has"
    assert _distance(second.video, clips[2][:5]) < 0.03
    assert any("after it was left out: 4 frames" in note for note in first.notes)
    assert any("before it was left out: 4 frames" in note for note in second.notes)
    (alone,) = read_shots(path, FootageConfig(num_frames=6, max_shots=1))
    assert any("first 1 of the file's 2 shots" in note for note in alone.notes)


def test_a_file_of_short_shots_alone_is_refused(clips, write_video) -> None:
    path = write_video("short.mp4", torch.cat((clips[0][:4], clips[1][:4], clips[2][:4])))
    with pytest.raises(InputError, match=r"short\.mp4 has 3 shots, the longest of 4 frames"):
        read_shots(path, CONFIG)


def test_a_variable_rate_is_honoured(clips, write_video) -> None:
    times_ms = [50 * i for i in range(9)] + [900 + 500 * i for i in range(8)]
    (shot,) = read_shots(write_video("vfr.mp4", clips[0], times_ms=times_ms), CONFIG)
    assert shot.end_s == pytest.approx(4.4)
    assert shot.times_s == pytest.approx((0.0, 0.9, 1.9, 2.4, 3.4, 4.4), abs=2e-3), "nearest to 0.88 n seconds"
    assert _distance(shot.video, clips[0][[0, 9, 11, 12, 14, 16]]) < 0.03


@pytest.mark.parametrize("rotation_deg, turns", [(90, 1), (-90, 3), (180, 2)])
def test_frames_come_upright(clips, write_video, rotation_deg: int, turns: int) -> None:
    stored = torch.rot90(clips[3], -turns, (2, 3))
    (shot,) = read_shots(write_video("phone.mp4", stored, rotation_deg=rotation_deg), FootageConfig())
    assert shot.video.shape == clips[3].shape
    assert _distance(shot.video, clips[3]) < 0.03
    assert any("turned" in note for note in shot.notes)


def test_mirrored_frames_are_mirrored_back(clips, write_video, tmp_path: Path) -> None:
    path = tmp_path / "selfie.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.set_display_rotation(0, hflip=True)
        for picture in (clips[3].flip(3).permute(0, 2, 3, 1) * 255).byte().contiguous().numpy():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    (shot,) = read_shots(path, FootageConfig())
    assert _distance(shot.video, clips[3]) < 0.03


def test_wide_pixels_are_made_square(clips, write_video) -> None:
    (narrow,) = read_shots(write_video("a.mp4", clips[0], pixel_aspect=Fraction(1, 2)), CONFIG)
    (wide,) = read_shots(write_video("b.mp4", clips[0], pixel_aspect=Fraction(2, 1)), CONFIG)
    assert narrow.video.shape[-2:] == (64, 48)
    assert wide.video.shape[-2:] == (32, 96)


@pytest.mark.parametrize(
    "name, encoder, pixels",
    [
        ("ten.mp4", "libx264", "yuv420p10le"),
        ("full.mkv", "ffv1", "yuv444p"),
        ("web.webm", "libvpx-vp9", "yuv420p"),
        ("old.mov", "mpeg4", "yuv420p"),
        ("old.avi", "mpeg4", "yuv420p"),
        ("anim.gif", "gif", "rgb8"),
    ],
)
def test_other_formats_are_read(clips, write_video, name: str, encoder: str, pixels: str) -> None:
    (shot,) = read_shots(write_video(name, clips[0], encoder=encoder, pixels=pixels), FootageConfig())
    assert _distance(shot.video, clips[0]) < 0.08
    assert shot.times_s == pytest.approx([i / 8 for i in range(17)], abs=0.01)


def test_odd_and_large_sizes(clips, write_video) -> None:
    (odd,) = read_shots(write_video("odd.gif", clips[0][..., :61, :95], encoder="gif", pixels="rgb8"), CONFIG)
    assert odd.video.shape[-2:] == (60, 94)
    large = clips[0].repeat_interleave(4, 2).repeat_interleave(4, 3)
    (shot,) = read_shots(write_video("large.mp4", large), FootageConfig(num_frames=6, longest_side_px=96))
    assert shot.video.shape[-2:] == (64, 96)
    assert _distance(shot.video, clips[0][[0, 3, 6, 10, 13, 16]]) < 0.03
    assert any("384 x 256 became 96 x 64" in note for note in shot.notes)


def test_a_long_file_is_read_up_to_the_limit(clips, write_video) -> None:
    (shot,) = read_shots(write_video("a.mp4", clips[0]), FootageConfig(num_frames=6, max_frames=10))
    assert shot.end_s == pytest.approx(9 / 8)
    assert any("only the first 10 frames" in note for note in shot.notes)


def test_a_file_that_breaks_off_is_used_as_far_as_it_goes(clips, write_video) -> None:
    noise = (clips[0] + 0.1 * torch.randn(clips[0].shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    path = write_video("cut.mp4", noise, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    (shot,) = read_shots(path, FootageConfig())
    assert 5 <= len(shot.video) < 17
    assert any("of the 17 frames that the file announces" in note for note in shot.notes)


def test_a_file_that_changes_its_size_is_refused(clips, write_video) -> None:
    parts = [
        write_video(f"{i}.h264", video.contiguous(), container="h264").read_bytes()
        for i, video in enumerate((clips[0], clips[1][..., :48, :]))
    ]
    path = write_video("both.h264", clips[0], container="h264")
    path.write_bytes(b"".join(parts))
    with pytest.raises(InputError, match=r"both\.h264 changes its picture size from 96 x 64 to 96 x 48"):
        read_shots(path, CONFIG)


def _audio(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def test_what_is_no_video_is_refused_in_one_sentence(clips, write_video, tmp_path: Path) -> None:
    valid = write_video("valid.mp4", clips[0]).read_bytes()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("a text\n" * 99)
    (tmp_path / "notes.txt").write_text("a text that ffmpeg would play as a terminal\n" * 99)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "half.mp4").write_bytes(valid[: len(valid) // 2])
    _audio(tmp_path / "audio.mp4")
    write_video("one.mp4", clips[0][:1])
    write_video("tiny.gif", clips[0][..., :8, :8], encoder="gif", pixels="rgb8")
    reasons = {
        "missing.mp4": "no video file",
        "folder.mp4": "folder",
        "empty.mp4": "0 bytes",
        "text.mp4": "cannot be read",
        "notes.txt": "cannot be read",
        "list.m3u8": "cannot be read",
        "half.mp4": "cannot be read",
        "audio.mp4": "no video stream",
        "one.mp4": "only 1 frame ",
        "tiny.gif": "8 x 8",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError) as caught:
            read_shots(tmp_path / name, CONFIG)
        message = str(caught.value)
        assert name in message and reason in message and message.endswith(".") and "\n" not in message


def test_gigantic_frames_are_refused_before_they_are_decoded(clips, write_video) -> None:
    path = write_video("a.mp4", clips[0])
    with pytest.raises(InputError, match=r"96 x 64, more than 6,143 pixels"):
        read_shots(path, FootageConfig(max_pixels=96 * 64 - 1))
    assert read_shots(path, FootageConfig(max_pixels=96 * 64))


def test_a_tensor_is_a_shot(clips) -> None:
    shot = shot_of(clips[0], CONFIG, fps=4)
    assert torch.equal(shot.video, clips[0][[0, 3, 6, 10, 13, 16]]), "nothing is done to what needs nothing"
    assert shot.times_s == (0.0, 0.75, 1.5, 2.5, 3.25, 4.0)
    assert (shot.start_s, shot.end_s, shot.index, shot.num_shots) == (0.0, 4.0, 0, 1)
    assert shot.mask.all() and shot.mask.shape == (64, 96)


@pytest.mark.parametrize(
    "video, reason",
    [
        (torch.rand(4, 3, 32, 32), "too short"),
        (torch.rand(9, 1, 32, 32), "shape"),
        (torch.rand(9, 3, 8, 32), "shape"),
        (torch.full((9, 3, 32, 32), 1.5), "outside 0..1"),
        (torch.full((9, 3, 32, 32), float("nan")), "outside 0..1"),
    ],
)
def test_a_tensor_that_is_no_video_is_refused(video: Tensor, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        shot_of(video, CONFIG)


@pytest.mark.parametrize(
    "wrong", [{"num_frames": 4}, {"min_frames": 1}, {"longest_side_px": 8}, {"max_shots": 0}, {"max_frames": 3}]
)
def test_impossible_configurations_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FootageConfig(**wrong)
