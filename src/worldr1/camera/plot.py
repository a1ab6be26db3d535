"""Pictures of a camera path: from above, and as the frustums of a few of its frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from worldr1.types import Trajectory

_WIDTH, _HEADER, _HEIGHT = 1440, 76, 760
_MARGIN = 44
_SUPERSAMPLE = 3  # Pillow draws jagged lines: draw large, then shrink
_WIDTH_PER_HEIGHT = 832 / 480  # a path states no height; this is Wan's picture
_NUM_FRUSTUMS = 5
_FRUSTUM_DEPTH = 0.2
_GRID_STEP_PX = 65  # at least: room for a label
_LABEL_PX = 13

_PAPER, _INK, _PALE_INK = (255, 255, 255), (40, 44, 52), (112, 119, 130)
_GRID, _SHADOW, _SCREEN = (226, 229, 235), (190, 195, 204), (140, 148, 160)
_START_COLOUR, _END_COLOUR = np.array((38, 103, 214)), np.array((224, 73, 44))

_Colour = tuple[int, ...]
_Points = Float[np.ndarray, "_ 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A parallel projection of the world (x right, y down, z forward) onto a picture."""

    caption: str
    right: tuple[float, float, float]
    """The world's direction that is the picture's right."""
    up: tuple[float, float, float]
    """The world's direction that is the picture's up."""
    z_labels_right: bool
    """Whether the grid's z values stand at its right edge, where they do not cross the picture."""


def _from_behind(azimuth_deg: float, elevation_deg: float) -> View:
    """Seen along a direction that is turned from z to the right by the azimuth and looks down by the elevation."""
    sin_a, cos_a = math.sin(math.radians(azimuth_deg)), math.cos(math.radians(azimuth_deg))
    sin_e, cos_e = math.sin(math.radians(elevation_deg)), math.cos(math.radians(elevation_deg))
    return View(
        caption="cameras, from behind and the right; tabs: the upper side",
        right=(cos_a, 0.0, -sin_a),
        up=(sin_a * sin_e, -cos_e, cos_a * sin_e),
        z_labels_right=True,
    )


FROM_ABOVE = View(caption="from above", right=(1.0, 0.0, 0.0), up=(0.0, 0.0, 1.0), z_labels_right=False)
"""x to the right, z upward."""
FROM_BEHIND = _from_behind(-38.0, 30.0)
"""x to the right and down, z to the right and up, the world's up upward."""


def plot_path(trajectory: Trajectory, tokens: Sequence[str]) -> Image.Image:
    """The path from above and as camera frustums, side by side, 1440 x 760 pixels, in depth units.

    tokens: the moves in order, which share the path in equal parts; or one name for a path without moves.
    """
    last = trajectory.num_frames - 1
    legend = f"Blue: frame 0, red: frame {last}. Grey: what frame 0 sees at depth 1. Numbers are depth units."
    if len(tokens) > 1:
        legend += " Rings: the next move begins."
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    for index, view in enumerate((FROM_ABOVE, FROM_BEHIND)):
        panel = draw_view(trajectory, view, size=(_WIDTH // 2, _HEIGHT - _HEADER), num_moves=len(tokens))
        picture.paste(panel, (index * _WIDTH // 2, _HEADER))
    draw = ImageDraw.Draw(picture)
    title = ", then ".join(token.replace("_", " ") for token in tokens)
    draw.text((16, 12), title, fill=_INK, font=ImageFont.load_default(22))
    draw.text((16, 46), legend, fill=_PALE_INK, font=ImageFont.load_default(15))
    return picture


def draw_view(trajectory: Trajectory, view: View, *, size: tuple[int, int], num_moves: int = 1) -> Image.Image:
    """One view of a path: floor grid, the screen that frame 0 sees at depth 1, frustums, path, starts of moves.

    size: (width, height) in pixels. num_moves: how many moves share the path in equal parts.
    """
    poses = trajectory.world_from_camera.numpy(force=True)
    centres = poses[:, :3, 3]
    half_width = 0.5 / trajectory.focal_per_width
    screen = _rectangle(half_width, half_width / _WIDTH_PER_HEIGHT)
    depth = _FRUSTUM_DEPTH * max(1.0, float(np.ptp(centres, axis=0).max()))
    shown = sorted({round(i * (len(poses) - 1) / (_NUM_FRUSTUMS - 1)) for i in range(_NUM_FRUSTUMS)})
    frustums = {i: _to_world(poses[i], depth * np.concatenate((screen, _tab(screen)))) for i in shown}
    sight = _to_world(poses[-1], screen)
    shapes = np.concatenate((centres, screen, sight, *frustums.values()))
    grid = _FloorGrid.under(shapes, max_steps=max(min(size) // _GRID_STEP_PX, 1))
    canvas = _Canvas(view, size, np.concatenate((shapes, grid.corners())))

    grid.draw(canvas, view)
    canvas.line(grid.drop(centres), _SHADOW, width=2)
    for i in shown:
        canvas.line(np.stack((centres[i], grid.drop(centres[i]))), _SHADOW, width=1)
    canvas.polygon(screen, (*_SCREEN, 36), _SCREEN, width=3)
    for i, seen in ((0, screen), (len(poses) - 1, sight)):
        faint = (*_colour(i, len(poses)), 110)
        for corner in seen:
            canvas.line(np.stack((centres[i], corner)), faint, width=1)
        canvas.polygon(seen, None, faint, width=1)
    for i, points in frustums.items():
        colour = _colour(i, len(poses))
        canvas.polygon(points[:4], (*colour, 40), colour, width=2)
        canvas.polygon(points[4:], colour, colour, width=1)
        for corner in points[:4]:
            canvas.line(np.stack((centres[i], corner)), colour, width=2)
    for i in range(len(poses) - 1):
        canvas.line(centres[i : i + 2], _colour(i, len(poses)), width=4)
    for joint in _joints(centres, num_moves):
        canvas.dot(joint, _PAPER, radius=8, outline=_INK)
    for i in (len(poses) - 1, 0):  # the start last: it stays visible when the camera does not travel
        canvas.dot(centres[i], _colour(i, len(poses)), radius=6, outline=_PAPER)
    return canvas.finish(view.caption)


def _colour(frame: int, num_frames: int) -> tuple[int, int, int]:
    fraction = frame / max(num_frames - 1, 1)
    red, green, blue = (_START_COLOUR * (1 - fraction) + _END_COLOUR * fraction).round().astype(int).tolist()
    return red, green, blue


def _rectangle(half_width: float, half_height: float) -> _Points:
    """What a camera sees at depth 1, in its own frame: four corners in order, the upper two first."""
    x, y = half_width, half_height
    return np.array([(-x, -y, 1.0), (x, -y, 1.0), (x, y, 1.0), (-x, y, 1.0)])


def _tab(rectangle: _Points) -> _Points:
    """A triangle on the rectangle's upper side."""
    (x, y, _), height = rectangle[1], 0.7 * -rectangle[1, 1]
    return np.array([(-0.6 * x, y, 1.0), (0.6 * x, y, 1.0), (0.0, y - height, 1.0)])


def _to_world(world_from_camera: Float[np.ndarray, "4 4"], points: _Points) -> _Points:
    return points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


def _joints(centres: _Points, num_moves: int) -> list[Float[np.ndarray, " 3"]]:
    """Where each move but the first begins; between two frames, the point between."""
    joints = []
    for move in range(1, num_moves):
        frame = (len(centres) - 1) * move / num_moves
        before, after = math.floor(frame), math.ceil(frame)
        joints.append(centres[before] + (centres[after] - centres[before]) * (frame - before))
    return joints


@dataclass(frozen=True, kw_only=True, slots=True)
class _FloorGrid:
    """A level grid below everything."""

    step: float
    xs: list[float]
    zs: list[float]
    y: float

    @classmethod
    def under(cls, points: _Points, max_steps: int) -> "_FloorGrid":
        """The one with the smallest round step of which at most `max_steps` lie along the points."""
        low, high = points.min(axis=0), points.max(axis=0)
        rough = float((high - low)[[0, 2]].max()) / max_steps
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        xs, zs = (
            [step * i for i in range(math.floor(low[axis] / step), math.ceil(high[axis] / step) + 1)] for axis in (0, 2)
        )
        return cls(step=step, xs=xs, zs=zs, y=float(high[1]))

    def drop(self, points: np.ndarray) -> np.ndarray:
        """The points' shadows."""
        return np.stack((points[..., 0], np.full_like(points[..., 1], self.y), points[..., 2]), axis=-1)

    def corners(self) -> _Points:
        """Its four corners."""
        return np.array([(x, self.y, z) for x in (self.xs[0], self.xs[-1]) for z in (self.zs[0], self.zs[-1])])

    def draw(self, canvas: "_Canvas", view: View) -> None:
        """Its lines, with their values at two edges."""
        z_edge = self.xs[-1] if view.z_labels_right else self.xs[0]
        decimals = max(0, -math.floor(math.log10(self.step)))
        for x in self.xs:
            canvas.line(np.array([(x, self.y, self.zs[0]), (x, self.y, self.zs[-1])]), _GRID, width=1)
        for z in self.zs:
            canvas.line(np.array([(self.xs[0], self.y, z), (self.xs[-1], self.y, z)]), _GRID, width=1)
        for x in self.xs:
            anchor, offset = ("rt", (-3, 4)) if view.z_labels_right else ("mt", (0, 6))
            canvas.label(np.array((x, self.y, self.zs[0])), f"{x:z.{decimals}f}", anchor=anchor, offset=offset)
        for z in self.zs:
            anchor, offset = ("lt", (8, 2)) if view.z_labels_right else ("rm", (-8, 0))
            canvas.label(np.array((z_edge, self.y, z)), f"{z:z.{decimals}f}", anchor=anchor, offset=offset)


class _Canvas:
    """A picture of a view that holds all `points`."""

    def __init__(self, view: View, size: tuple[int, int], points: _Points) -> None:
        self._axes = np.array((view.right, view.up)).T
        flat = points @ self._axes
        low, high = flat.min(axis=0), flat.max(axis=0)
        room = np.array(size) - 2 * _MARGIN
        self._scale = float((room / (high - low)).min()) * _SUPERSAMPLE
        self._centre = (low + high) / 2
        self._size = size
        self._image = Image.new("RGB", (size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE), _PAPER)
        self._draw = ImageDraw.Draw(self._image, "RGBA")  # colours of four numbers are see-through

    def _pixel(self, point: np.ndarray) -> tuple[float, float]:
        right, up = (point @ self._axes - self._centre) * self._scale
        width, height = self._image.size
        return width / 2 + float(right), height / 2 - float(up)

    def line(self, points: _Points, colour: _Colour, width: int) -> None:
        """A polyline; widths and radii are in pixels."""
        self._draw.line([self._pixel(p) for p in points], fill=colour, width=width * _SUPERSAMPLE, joint="curve")

    def polygon(self, points: _Points, fill: _Colour | None, outline: _Colour, width: int) -> None:
        """A filled polygon."""
        if fill is not None:
            self._draw.polygon([self._pixel(p) for p in points], fill=fill)
        self.line(np.concatenate((points, points[:2])), outline, width)

    def dot(self, point: np.ndarray, fill: _Colour, radius: int, outline: _Colour) -> None:
        """A filled circle."""
        x, y = self._pixel(point)
        self._draw.circle((x, y), radius * _SUPERSAMPLE, fill=fill, outline=outline, width=2 * _SUPERSAMPLE)

    def label(self, point: np.ndarray, text: str, anchor: str, offset: tuple[int, int]) -> None:
        """Small text at a place; anchor as Pillow names them, offset in pixels."""
        x, y = self._pixel(point)
        place = (x + offset[0] * _SUPERSAMPLE, y + offset[1] * _SUPERSAMPLE)
        font = ImageFont.load_default(_LABEL_PX * _SUPERSAMPLE)
        self._draw.text(place, text, fill=_PALE_INK, font=font, anchor=anchor)

    def finish(self, caption: str) -> Image.Image:
        """The caption at the top, then the picture at its final size."""
        font = ImageFont.load_default((_LABEL_PX + 1) * _SUPERSAMPLE)
        self._draw.text((16 * _SUPERSAMPLE, 8 * _SUPERSAMPLE), caption, fill=_INK, font=font)
        return self._image.resize(self._size, Image.Resampling.LANCZOS)
