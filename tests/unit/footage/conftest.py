"""Videos whose cuts are known, made of mini-world clips."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import pytest
import torch
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.mini.render import render
from worldr1.mini.scenes import sample_scenes

HEIGHT, WIDTH = 64, 96
NUM_FRAMES = 17
NUM_SCENES = 16
MOVES = ("orbit_left", "push_in", "pan_right", "move_left", "pull_out", "pull_right", "orbit_right", "move_right")


class CutCase(NamedTuple):
    """A video and the first frames of its second, third, ... shot."""

    name: str
    video: Tensor
    cuts: tuple[int, ...]


def render_clip(seed: int, world_from_camera: Tensor) -> Tensor:
    """[T, 3, H, W]: a static scene along a path in depth units."""
    scene = sample_scenes(1, generator=torch.Generator().manual_seed(seed))
    return render(scene, world_from_camera[None], height=HEIGHT, width=WIDTH, supersample=1).video[0]


def yaw_path(angles_deg: Tensor) -> Tensor:
    """[T, 4, 4]: the camera turns on the spot."""
    poses = torch.eye(4).repeat(len(angles_deg), 1, 1)
    cos, sin = angles_deg.deg2rad().cos(), angles_deg.deg2rad().sin()
    poses[:, 0, 0], poses[:, 0, 2], poses[:, 2, 0], poses[:, 2, 2] = cos, sin, -sin, cos
    return poses


@pytest.fixture(scope="session")
def clips() -> list[Tensor]:
    """Sixteen clips of sixteen scenes, two of every move."""
    paths = [synthesize((MOVES[i % len(MOVES)],), NUM_FRAMES).world_from_camera.float() for i in range(NUM_SCENES)]
    return [render_clip(seed, path) for seed, path in enumerate(paths)]


@pytest.fixture(scope="session")
def stills(clips: list[Tensor]) -> list[Tensor]:
    """The same scenes from a camera that does not move."""
    return [clip[:1].repeat(NUM_FRAMES, 1, 1, 1) for clip in clips]


@pytest.fixture(scope="session")
def cut_cases(clips: list[Tensor], stills: list[Tensor]) -> list[CutCase]:
    """Videos with cuts, and videos with what only looks like one."""
    return _with_cuts(clips, stills) + _without_cuts(clips)


def _joined(name: str, *parts: Tensor) -> CutCase:
    ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
    return CutCase(name, torch.cat(parts), tuple(ends[:-1]))


def _grain(video: Tensor, seed: int, strength: float = 0.06) -> Tensor:
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(seed))
    return (video + strength * noise).clamp(0, 1)


def _with_cuts(clips: list[Tensor], stills: list[Tensor]) -> list[CutCase]:
    black = torch.zeros(8, 3, HEIGHT, WIDTH)
    cases = [_joined(f"two scenes {i}", clips[i], clips[i + 1]) for i in range(15)]
    cases += [_joined(f"three scenes {i}", clips[i], clips[i + 5], clips[i + 9][:8]) for i in range(6)]
    cases += [_joined(f"two stills {i}", stills[i], stills[i + 3]) for i in range(4)]
    cases += [_joined(f"grain {i}", _grain(clips[i], i), _grain(clips[i + 8], 50 + i)) for i in range(5)]
    cases += [_joined(f"dark {i}", 0.15 * clips[i], 0.15 * clips[i + 6]) for i in range(5)]
    cases += [_joined(f"to black {i}", clips[i], black) for i in range(2)]
    cases += [_joined(f"few frames a second {i}", clips[i][::3], clips[i + 2][::3]) for i in range(4)]
    for i in range(4):  # the same scene from another place: the palette does not change
        away = render_clip(i, yaw_path(torch.linspace(70, 80, NUM_FRAMES)))
        cases.append(_joined(f"same scene {i}", clips[i], away))
    return cases


def _without_cuts(clips: list[Tensor]) -> list[CutCase]:
    cases = [CutCase(f"one clip {i}", clips[i], ()) for i in range(8)]
    turns = {"fast pan": torch.linspace(0, 80, 17), "whip pan": 50 * torch.linspace(-3, 3, 17).sigmoid()}
    for name, angles in turns.items():
        cases += [CutCase(f"{name} {i}", render_clip(i, yaw_path(angles)), ()) for i in range(5)]
    for i in range(4):
        flash = clips[i].clone()
        flash[8 : 9 + i % 2] = 0.3 * flash[8 : 9 + i % 2] + 0.7
        cases.append(CutCase(f"flash {i}", flash, ()))
        white = clips[i + 4].clone()
        white[7] = 1.0
        cases.append(CutCase(f"white frame {i}", white, ()))
        weights = torch.linspace(0, 1, NUM_FRAMES)[:, None, None, None]
        cases.append(CutCase(f"fade {i}", torch.cat((clips[i] * weights, clips[i].flip(0) * weights.flip(0))), ()))
        cases.append(CutCase(f"dissolve {i}", clips[i] * (1 - weights) + clips[i + 7] * weights, ()))
        cases.append(CutCase(f"grainy clip {i}", _grain(clips[i], i), ()))
    for i in range(3):
        noise = torch.rand(NUM_FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(i))
        cases.append(CutCase(f"white noise {i}", noise, ()))
    for i in range(4):  # something large and near crosses the picture in six frames
        crossed = clips[i].clone()
        for t in range(6):
            crossed[5 + t, :, 8:, 16 * t : 16 * t + 40] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
        cases.append(CutCase(f"crossing {i}", crossed, ()))
    return cases


@pytest.fixture(scope="session")
def pan() -> Tensor:
    """[9, 3, 128, 208]: the camera turns before a scene, large enough for overlays."""
    scene = sample_scenes(1, generator=torch.Generator().manual_seed(509))
    path = synthesize(("pan_left",), 9).world_from_camera.float()
    return render(scene, path[None], height=128, width=208, supersample=1).video[0]


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """write_video(name, video, encoder=, pixels=, container=, options=, times_ms=, rotation_deg=, pixel_aspect=)."""

    def write(
        name: str,
        video: Tensor,
        *,
        encoder: str = "libx264",
        pixels: str = "yuv420p",
        container: str | None = None,
        options: dict[str, str] | None = None,
        times_ms: Sequence[int] | None = None,
        rotation_deg: int = 0,
        pixel_aspect: Fraction | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", format=container, options=options or {}) as file:
            stream = file.add_stream(encoder, rate=8)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt = video.shape[2], video.shape[3], pixels
            if times_ms:
                stream.codec_context.time_base = Fraction(1, 1000)
            if pixel_aspect:
                stream.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation_deg:
                stream.set_display_rotation(rotation_deg)
            for index, picture in enumerate((video.permute(0, 2, 3, 1) * 255).round().byte().contiguous().numpy()):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times_ms:
                    frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        return path

    return write
