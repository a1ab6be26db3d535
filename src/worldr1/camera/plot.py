"""A picture of a camera path, seen from above."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldr1.types import Trajectory

_SIZE = 760
_MARGIN = 70
_SUPERSAMPLE = 3  # Pillow draws jagged lines: draw large, then shrink
_FRUSTUM_DEPTH = 0.12
_NUM_FRUSTUMS = 7
_PAPER, _INK, _GRID, _PLANE = (255, 255, 255), (40, 44, 52), (228, 231, 236), (150, 158, 170)
_START_COLOUR, _END_COLOUR = np.array((38, 103, 214)), np.array((224, 73, 44))


def plot_path(trajectory: Trajectory, tokens: Sequence[str]) -> Image.Image:
    """The path from above (x to the right, z upward, in depth units) with the fields of view of a few frames.

    Blue is the start and red the end; the grey bar is what the first camera sees of the scene at depth 1.
    """
    poses = trajectory.world_from_camera.numpy(force=True)
    half_width = 0.5 / trajectory.focal_per_width
    bar = np.array([[-half_width, 1.0], [half_width, 1.0]])
    shown = np.unique(np.linspace(0, len(poses) - 1, _NUM_FRUSTUMS).round().astype(int))
    triangle = _FRUSTUM_DEPTH * np.array([[0, 0, 0], [-half_width, 0, 1], [half_width, 0, 1]])
    frustums = [(triangle @ poses[i, :3, :3].T + poses[i, :3, 3])[:, [0, 2]] for i in shown]
    path = poses[:, [0, 2], 3]
    canvas = _Canvas(np.concatenate((path, bar, *frustums)))

    canvas.grid(step=0.2)
    canvas.line(bar, _PLANE, width=5)
    canvas.text(bar[1], "scene at depth 1", _PLANE, offset=(8, -8))
    for index, frustum in zip(shown, frustums, strict=True):
        canvas.line(frustum[[0, 1, 2, 0]], _colour(int(index), len(poses)), width=2)
    for index in range(len(poses) - 1):
        canvas.line(path[index : index + 2], _colour(index, len(poses)), width=4)
    for index in (len(poses) - 1, 0):  # the start last: it stays visible when the camera does not travel
        canvas.dot(path[index], _colour(index, len(poses)), radius=6)
    return canvas.finish(title=", then ".join(token.replace("_", " ") for token in tokens), num_frames=len(poses))


def _colour(index: int, num_frames: int) -> tuple[int, int, int]:
    fraction = index / max(num_frames - 1, 1)
    red, green, blue = (_START_COLOUR * (1 - fraction) + _END_COLOUR * fraction).round().astype(int).tolist()
    return red, green, blue


class _Canvas:
    """An image in world coordinates (x, z) that holds all `points`."""

    def __init__(self, points: np.ndarray) -> None:
        low, high = points.min(axis=0), points.max(axis=0)
        self._centre = (low + high) / 2
        self._scale = (_SIZE - 2 * _MARGIN) / float((high - low).max()) * _SUPERSAMPLE
        self._image = Image.new("RGB", (_SIZE * _SUPERSAMPLE, _SIZE * _SUPERSAMPLE), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def _pixel(self, point: np.ndarray) -> tuple[float, float]:
        x, z = (point - self._centre) * self._scale
        middle = _SIZE * _SUPERSAMPLE / 2
        return middle + float(x), middle - float(z)

    def grid(self, step: float) -> None:
        """Lines every `step` depth units, with their values along the left and lower edge."""
        reach = _SIZE * _SUPERSAMPLE / 2 / self._scale
        for axis in (0, 1):
            first, last = np.ceil((self._centre[axis] - reach) / step), np.floor((self._centre[axis] + reach) / step)
            for value in np.arange(first, last + 1) * step:
                ends = np.array([self._centre - reach, self._centre + reach])
                ends[:, axis] = value
                self.line(ends, _GRID, width=1)
                corner = self._pixel(ends[0])
                offset = (4, -18) if axis == 0 else (4, 2)
                self._label(corner, f"{value + 0.0:.1f}", _PLANE, offset)

    def line(self, points: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
        """A polyline."""
        self._draw.line([self._pixel(p) for p in points], fill=colour, width=width * _SUPERSAMPLE, joint="curve")

    def dot(self, point: np.ndarray, colour: tuple[int, int, int], radius: int) -> None:
        """A filled circle; the radius is in pixels."""
        self._draw.circle(self._pixel(point), radius * _SUPERSAMPLE, fill=colour, outline=_PAPER, width=_SUPERSAMPLE)

    def text(self, point: np.ndarray, text: str, colour: tuple[int, int, int], offset: tuple[int, int]) -> None:
        """A label beside a point; the offset is in pixels."""
        self._label(self._pixel(point), text, colour, offset)

    def _label(
        self,
        pixel: tuple[float, float],
        text: str,
        colour: tuple[int, int, int],
        offset: tuple[int, int],
        size: int = 13,
    ) -> None:
        place = (pixel[0] + offset[0] * _SUPERSAMPLE, pixel[1] + offset[1] * _SUPERSAMPLE)
        self._draw.text(place, text, fill=colour, font=ImageFont.load_default(size * _SUPERSAMPLE))

    def finish(self, title: str, num_frames: int) -> Image.Image:
        """Title and legend, then the image at its final size."""
        self._label((0.0, 0.0), title, _INK, (16, 12), size=20)
        legend = f"seen from above, depth units; blue: frame 0, red: frame {num_frames - 1}"
        self._label((0.0, 0.0), legend, _PLANE, (16, 40))
        return self._image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
