"""Every camera move in a picture, as docs/camera.md shows them: python examples/camera_gallery.py FOLDER

Writes FOLDER/<token>.png for each move and one for a sequence. Each shows the path from above and as frustums, how the
plane at depth 1 moves through the picture, and how the start noise moves with it, all at Wan's size.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from worldr1.camera.plot import FROM_ABOVE, FROM_BEHIND, draw_view
from worldr1.camera.trajectory import MAGNITUDES, latent_poses, synthesize
from worldr1.noise.canvas import plane_homographies
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.types import Trajectory, intrinsics_px

SEQUENCE = ("push_in", "orbit_right")
FRAMES, HEIGHT, WIDTH = 81, 480, 832
LATENT_SHAPE = (1, 21, 60, 104)
"""One of Wan's 16 channels: they are independent and move alike."""
SEED = 7
SHOWN_LATENTS = (0, 5, 10, 15, 20)
BLUR = 1.9
"""Standard deviation of the low-pass, in latent pixels of the frame that sees the plane smallest."""
PATCH = 12
"""Side of the tracked square, in latent pixels of frame 0."""

PAGE_WIDTH, VIEW_WIDTHS, TOP_HEIGHT, GAP = 1120, (310, 390), 310, 8
FRAME_WIDTH = (PAGE_WIDTH - (len(SHOWN_LATENTS) - 1) * GAP) // len(SHOWN_LATENTS)
FINE = 3  # drawn this much larger, then shrunk
CONTRAST = 60
INK, PAPER, FRAME_COLOUR, MARK = (40, 44, 52), (255, 255, 255), (140, 148, 160), (224, 73, 44)
START_COLOUR, END_COLOUR = np.array((38, 103, 214)), np.array(MARK)


def main(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for tokens in (*((token,) for token in MAGNITUDES), SEQUENCE):
        page = draw_page(tokens).quantize(palette=palette(), dither=Image.Dither.NONE)
        page.save(folder / f"{'_then_'.join(tokens)}.png", optimize=True)


def palette() -> Image.Image:
    """Few colours, for small files: greys, and the colours of time mixed with white."""
    greys = [(round(grey),) * 3 for grey in np.linspace(0, 255, 18)]
    hues = [np.array(time_colour(fraction)) for fraction in np.linspace(0, 1, 9)]
    tints = [tuple((255 - part * (255 - hue)).round().astype(int)) for hue in hues for part in (0.2, 0.5, 0.75, 1.0)]
    image = Image.new("P", (1, 1))
    image.putpalette([int(channel) for colour in (*greys, *tints) for channel in colour])
    return image


def draw_page(tokens: Sequence[str]) -> Image.Image:
    """Path and flow above, two strips of start noise below."""
    trajectory = synthesize(tokens, FRAMES)
    sizes = [(width, TOP_HEIGHT) for width in VIEW_WIDTHS]
    views = [
        draw_view(trajectory, view, size=size, num_moves=len(tokens))
        for view, size in zip((FROM_ABOVE, FROM_BEHIND), sizes, strict=True)
    ]
    flow = draw_flow(trajectory, (PAGE_WIDTH - sum(VIEW_WIDTHS), TOP_HEIGHT))
    rows = [paste([*views, flow], gap=0)]
    frames = ", ".join(str(4 * latent) for latent in SHOWN_LATENTS)
    for transport in ("canvas", "flow"):
        rows += [caption(f"start noise, {transport}, at frames {frames}; the square is painted on the plane")]
        rows += [draw_noise(trajectory, transport)]
    return paste(rows, gap=0, down=True)


def draw_flow(trajectory: Trajectory, size: tuple[int, int]) -> Image.Image:
    """Where points of the plane at depth 1 go in the picture, from frame 0 (dots) to the last; nothing exaggerated."""
    homographies = plane_homographies(trajectory.world_from_camera, intrinsics_px(HEIGHT, WIDTH)).numpy()
    image = Image.new("RGB", (size[0] * FINE, size[1] * FINE), PAPER)
    draw = ImageDraw.Draw(image)
    scale = 0.8 * image.width / WIDTH
    shift = np.array((image.width - scale * WIDTH, image.height - scale * HEIGHT)) / 2
    corners = [shift, shift + scale * np.array((WIDTH, HEIGHT))]
    draw.rectangle([tuple(corner) for corner in corners], outline=FRAME_COLOUR, width=2 * FINE)
    for column, x in enumerate(np.linspace(0.1, 0.9, 5) * WIDTH):
        for y in np.array((0.35, 0.65) if column % 2 else (0.2, 0.5, 0.8)) * HEIGHT:  # the arrows of a pan are long
            path = shift + scale * project(homographies, np.array([[x, y]]))[:, 0]
            for i in range(len(path) - 1):
                draw.line([*path[i], *path[i + 1]], fill=time_colour(i / (len(path) - 1)), width=2 * FINE)
            draw.circle(tuple(path[0]), 2.5 * FINE, fill=time_colour(0.0))
            draw_head(draw, path[-1], path[-1] - path[-2])
    draw.rectangle((0, 0, image.width, 28 * FINE), fill=PAPER)
    title = f"how depth 1 moves in the picture, frame 0 to {FRAMES - 1}"
    draw.text((8 * FINE, 8 * FINE), title, fill=INK, font=font(FINE))
    return image.resize(size, Image.Resampling.LANCZOS)


def draw_head(draw: ImageDraw.ImageDraw, tip: np.ndarray, step: np.ndarray) -> None:
    """An arrow's head; none where nothing moves."""
    length = float(np.hypot(*step))
    if length < 1e-6:
        return
    along, across = 7 * FINE * step / length, 3.5 * FINE * np.array((-step[1], step[0])) / length
    draw.polygon([tuple(tip + along), tuple(tip + across), tuple(tip - across)], fill=MARK)


def draw_noise(trajectory: Trajectory, transport: Literal["canvas", "flow"]) -> Image.Image:
    """A strip of latent frames of one channel, low-passed at one scale *of the plane*, with a square of the plane.

    White noise hides its motion from the eye. Blurring shows it; the blur grows with the plane, or a camera that
    pushes in would show other, finer noise in every frame. Each frame is divided by its standard deviation.
    """
    config = NoiseConfig(transport=transport)
    noise = start_noise(trajectory, LATENT_SHAPE, [SEED], config, PlanCache())[0, 0].numpy()
    _, _, height, width = LATENT_SHAPE
    homographies = plane_homographies(latent_poses(trajectory), intrinsics_px(height, width)).numpy()
    half = PATCH / 2
    square = np.array((width, height)) / 2 + np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    squares = project(homographies, square)
    growth = np.sqrt([polygon_area(corners) for corners in squares])
    scale, frames = FRAME_WIDTH * FINE / width, []
    for latent in SHOWN_LATENTS:
        blurred = gaussian_filter(noise[latent], BLUR * growth[latent] / growth.min())
        grey = 127.5 + CONTRAST * blurred / blurred.std()
        fine = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
        frame = fine.resize((FRAME_WIDTH * FINE, round(height * scale)), Image.Resampling.BICUBIC).convert("RGB")
        corners = [tuple(corner) for corner in scale * squares[latent]]
        ImageDraw.Draw(frame).line([*corners, *corners[:2]], fill=MARK, width=2 * FINE, joint="curve")
        frames.append(frame.resize((FRAME_WIDTH, frame.height // FINE), Image.Resampling.LANCZOS))
    return paste(frames, gap=GAP)


def project(homographies: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 2] of frame 0 in every frame, [T, N, 2]."""
    x, y, z = np.moveaxis(np.concatenate((points, np.ones((len(points), 1))), axis=1) @ homographies.mT, 2, 0)
    return np.stack((x / z, y / z), axis=-1)


def polygon_area(corners: np.ndarray) -> float:
    """Area of a polygon [N, 2]."""
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def time_colour(fraction: float) -> tuple[int, ...]:
    """Blue at 0, red at 1."""
    return tuple(((1 - fraction) * START_COLOUR + fraction * END_COLOUR).round().astype(int).tolist())


def font(scale: int = 1) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all captions."""
    return ImageFont.load_default(14 * scale)


def caption(text: str) -> Image.Image:
    """A line of text above a strip."""
    line = Image.new("RGB", (PAGE_WIDTH, 26), PAPER)
    ImageDraw.Draw(line).text((4, 5), text, fill=INK, font=font())
    return line


def paste(images: Sequence[Image.Image], *, gap: int, down: bool = False) -> Image.Image:
    """Images in a row, or in a column."""
    axis = int(down)
    starts = [sum(image.size[axis] + gap for image in images[:i]) for i in range(len(images))]
    size = [max(image.width for image in images), max(image.height for image in images)]
    size[axis] = starts[-1] + images[-1].size[axis]
    page = Image.new("RGB", (size[0], size[1]), PAPER)
    for image, start in zip(images, starts, strict=True):
        page.paste(image, (0, start) if down else (start, 0))
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]))
