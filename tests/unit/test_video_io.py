"""Videos survive the way through an mp4; what is no video is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldr1 import video_io
from worldr1.errors import InputError
from worldr1.video_io import read_comment, read_mp4, video_facts, write_mp4


def _clip(num_frames: int = 5, height: int = 32, width: int = 48) -> torch.Tensor:
    """Smooth colours that change over time, so that frame order and channel order show."""
    time = torch.linspace(0, 1, num_frames).view(-1, 1, 1)
    y = torch.linspace(0, 1, height).view(1, -1, 1)
    x = torch.linspace(0, 1, width).view(1, 1, -1)
    return torch.stack([y + 0 * x + 0 * time, x + 0 * y + 0 * time, time + 0 * x + 0 * y], dim=1)


def test_round_trip_error_is_small(tmp_path: Path) -> None:
    clip = _clip()
    write_mp4(tmp_path / "clip.mp4", clip)
    back = read_mp4(tmp_path / "clip.mp4")
    assert back.shape == clip.shape
    assert back.dtype == torch.float32
    assert (back - clip).abs().mean() < 3 / 255


def test_upscaling_repeats_pixels(tmp_path: Path) -> None:
    clip = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    write_mp4(tmp_path / "clip.mp4", clip, upscale=8)
    back = read_mp4(tmp_path / "clip.mp4")
    assert back.shape == (3, 3, 64, 64)
    centres = back.unfold(2, 8, 8).unfold(3, 8, 8)[..., 3:5, 3:5].mean((-1, -2))
    assert (centres - clip).abs().mean() < 5 / 255


def test_values_outside_the_range_are_clamped(tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", torch.stack([torch.full((3, 16, 16), -1.0), torch.full((3, 16, 16), 2.0)]))
    back = read_mp4(tmp_path / "clip.mp4")
    assert back[0].max() < 0.02
    assert back[1].min() > 0.98


def test_odd_sizes_and_empty_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even sizes"):
        write_mp4(tmp_path / "clip.mp4", torch.zeros(2, 3, 15, 16))
    with pytest.raises(InputError, match="0 frames"):
        write_mp4(tmp_path / "clip.mp4", torch.zeros(0, 3, 16, 16))
    assert not (tmp_path / "clip.mp4").exists()


def test_missing_and_invalid_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video file"):
        read_mp4(tmp_path / "none.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_mp4(text)
    truncated = tmp_path / "truncated.mp4"
    write_mp4(truncated, _clip())
    truncated.write_bytes(truncated.read_bytes()[:600])
    with pytest.raises(InputError, match=r"truncated\.mp4"):
        read_mp4(truncated)


def test_a_comment_comes_back_and_does_not_change_the_frames(tmp_path: Path) -> None:
    comment = '{"prompt": "Bälle \\"rot\\"", "long": "' + "x" * 70_000 + '"}'
    plain, noted = tmp_path / "plain.mp4", tmp_path / "noted.mp4"
    write_mp4(plain, _clip())
    write_mp4(noted, _clip(), comment=comment)
    assert (read_comment(plain), read_comment(noted)) == ("", comment)
    assert torch.equal(read_mp4(plain), read_mp4(noted))
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_comment(tmp_path / "nothing.mp4")


def test_a_comment_that_is_not_utf8_spoils_no_file(tmp_path: Path) -> None:
    file, comment = tmp_path / "clip.mp4", "made by an old camera"
    write_mp4(file, _clip(), comment=comment)
    content = file.read_bytes()
    assert content.count(comment.encode()) == 1
    file.write_bytes(content.replace(b"an old", b"an \xff\xfed"))
    assert read_comment(file) == "made by an d camera"
    assert video_facts(file).num_frames == len(read_mp4(file)) == 5


def test_a_file_that_unpacks_into_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_io, "MOST_PIXELS", 3 * 16 * 16)
    write_mp4(tmp_path / "short.mp4", torch.zeros(3, 3, 16, 16))
    assert len(read_mp4(tmp_path / "short.mp4")) == 3
    write_mp4(tmp_path / "long.mp4", torch.zeros(4, 3, 16, 16))
    with pytest.raises(InputError, match="has more than 768 pixels"):
        read_mp4(tmp_path / "long.mp4")


@pytest.mark.parametrize("read", [read_mp4, read_comment])
def test_a_file_cannot_send_the_reader_to_other_files(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Playlists and edit lists of ffmpeg name files and addresses; whoever gives us a video gives us no such thing."""
    write_mp4(tmp_path / "secret.mp4", _clip())
    playlist = tmp_path / "film.mp4"
    for text in (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.mp4\n",
    ):
        playlist.write_text(text)
        with pytest.raises(InputError, match="cannot be read as a video"):
            read(playlist)
    with pytest.raises(InputError):
        read(Path(f"concat:{tmp_path}/secret.mp4"))


def test_a_video_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, _clip())
    before = path.read_bytes()

    def fail(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(video_io, "_encode", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mp4(path, _clip(num_frames=3))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


_WRITE = """
import sys, torch
from worldr1.video_io import write_mp4
coarse = torch.rand(9, 3, 8, 12, generator=torch.Generator().manual_seed(0))
write_mp4(sys.argv[1], torch.nn.functional.interpolate(coarse, size=(64, 96), mode="bilinear"))
"""


def test_equal_frames_make_equal_files_whatever_lay_in_memory(tmp_path: Path) -> None:
    files = []
    for fill in ("85", "170"):  # glibc fills what malloc returns with this byte
        files.append(tmp_path / f"{fill}.mp4")
        environment = {**os.environ, "MALLOC_PERTURB_": fill}
        subprocess.run([sys.executable, "-c", _WRITE, str(files[-1])], env=environment, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
