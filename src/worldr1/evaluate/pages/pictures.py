"""What the report shows of a video beside itself: the same frames drawn from its geometry, and a light cloud of points.

Every frame is drawn from the geometry of the frames of the other parity, so none is drawn from its own depth, which
would reproduce it whatever the depth. These are pictures to look at: the numbers are the judge's.
"""

import json
import math
from base64 import b64encode

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import SHOWN_HEIGHT_PX
from worldr1.evaluate.folder import POINTS, REDRAWN, EvaluationFolder
from worldr1.evaluate.pages.score_pictures import hatched, paint
from worldr1.evaluate.records import VideoRecord
from worldr1.geometry.pinhole import unproject
from worldr1.geometry.se3 import relative_to_first
from worldr1.protocols import Renderer
from worldr1.rewards.reconstruction import BEHIND_GREY, ReconstructionConfig, at_size, known_surface
from worldr1.rewards.rendering import RenderJob, render_jobs
from worldr1.scene.gaussians import edge_pixels, lift_videos
from worldr1.types import Reconstruction
from worldr1.video_io import CONSTANT_RATE_FACTOR, video_facts, write_mp4

MAX_POINTS = 6000
FARTHEST = 12.0
"""Depth units from the first camera beyond which a point is left out: it would make the camera's path a dot."""
_HALVINGS = 24
SAME_SHAPE = 0.02
"""Logarithm of the ratio of two aspect ratios up to which a video was not cropped: sizes are rounded."""


@torch.no_grad()
def save_pictures(
    folder: EvaluationFolder,
    record: VideoRecord,
    video: Float[Tensor, "T 3 H W"],
    reconstruction: Reconstruction,
    renderer: Renderer,
    *,
    config: ReconstructionConfig | None = None,
    upscale: int | None = None,
    rate_factor: int = CONSTANT_RATE_FACTOR,
) -> None:
    """Writes redrawn/NAME.mp4, redrawn/NAME.png and points/NAME.json of a video whose file is videos/NAME.mp4.

    video: 0..1, as the judge saw it. The mp4 has its frames and lasts as long as the file, striped where no Gaussian
    covers. The png says where that is: one bit per pixel, frames row by row in ceil(sqrt(T)) columns. A video that was
    thinned or cropped before it was judged is written too, as redrawn/NAME-seen.mp4. config: how frames become
    Gaussians; the reward's and the judge's default if None. upscale, rate_factor: as `write_mp4` takes them; None: to
    about `SHOWN_HEIGHT_PX`. Raises InputError for a record without a video file, or a
    video of fewer than two frames.
    """
    file = folder.video(record)
    if file is None:
        raise InputError(f"The video of prompt {record.prompt_id} is not kept, so no pictures of it can be.")
    facts = video_facts(file)
    config = config or ReconstructionConfig()
    drawn, covered = redraw_all(at_size(video, reconstruction), reconstruction, renderer, config=config)
    size = video.shape[-2:]
    if tuple(drawn.shape[-2:]) != tuple(size):
        drawn = F.interpolate(drawn, size=size, mode="bilinear", antialias=True, align_corners=False)
        covered = F.interpolate(covered[:, None].float(), size=size, mode="nearest")[:, 0] > 0.5
    striped = hatched(paint(drawn), ~covered.cpu()).movedim(-1, 1).float() / 255
    name, upscale = file.stem, upscale or max(1, SHOWN_HEIGHT_PX // size[0])
    for part in (REDRAWN, POINTS):
        (folder.path / part).mkdir(exist_ok=True)
    home = folder.path / REDRAWN
    _unseen_sheet(~covered.cpu()).save(home / f"{name}.png", optimize=True)
    fps = facts.frames_per_second * len(video) / facts.num_frames
    write_mp4(home / f"{name}.mp4", striped, fps=fps, upscale=upscale, rate_factor=rate_factor)
    stretched = (size[1] / size[0]) / (facts.width / facts.height)
    if len(video) != facts.num_frames or abs(math.log(stretched)) > SAME_SHAPE:
        write_mp4(home / f"{name}-seen.mp4", video, fps=fps, upscale=upscale, rate_factor=rate_factor)
    points, colours = light_cloud(at_size(video, reconstruction), reconstruction, config=config)
    table = {"points": _base64(points.float().numpy().tobytes()), "colours": _base64(colours.numpy().tobytes())}
    (folder.path / POINTS / f"{name}.json").write_text(json.dumps(table) + "\n", encoding="utf-8")


def redraw_all(
    video: Float[Tensor, "T 3 h w"], reconstruction: Reconstruction, renderer: Renderer, *, config: ReconstructionConfig
) -> tuple[Float[Tensor, "T 3 h w"], Bool[Tensor, "T h w"]]:
    """Every frame as the Gaussians of the frames of the other parity show it, and where there are any.

    video: already `at_size`. Raises InputError for fewer than two frames.
    """
    if len(video) < 2:
        raise InputError(f"A video of {len(video)} frame(s) cannot be drawn again: give at least 2 frames.")
    drawn, covered = torch.empty_like(video), torch.empty_like(video[:, 0], dtype=torch.bool)
    background = video.new_full((3,), BEHIND_GREY)
    height, width = video.shape[-2:]
    for parity in (0, 1):
        source, target = range(1 - parity, len(video), 2), list(range(parity, len(video), 2))
        scene = lift_videos([video], [reconstruction], source, config=config.lift)[0]
        job = RenderJob(
            gaussians=scene,
            world_from_camera=reconstruction.world_from_camera[target],
            intrinsics_px=reconstruction.intrinsics_px[target],
        )
        views = render_jobs(renderer, [job], height=height, width=width, background=background)[0]
        surface, known = known_surface(views.colors, views.alphas, config.covered_alpha)
        drawn[target], covered[target] = surface.to(drawn), known.to(covered.device)
    return drawn, covered


def light_cloud(
    video: Float[Tensor, "T 3 h w"], reconstruction: Reconstruction, *, config: ReconstructionConfig
) -> tuple[Float[Tensor, "N 3"], Tensor]:
    """At most `MAX_POINTS` points in depth units in the first camera's frame, and their colours as bytes [N, 3].

    Sky, pixels of low confidence and depth edges are left out, and what lies beyond `FARTHEST`. The others are thinned
    on a grid as fine as the number allows: of a cell the point that the earliest frame gave stays. On the CPU.
    """
    depth = reconstruction.depth.detach().double().cpu()
    confidence = reconstruction.confidence.detach().cpu()
    poses = relative_to_first(reconstruction.world_from_camera.detach().double().cpu())
    keep = (confidence > 0) & (confidence >= config.lift.min_confidence)
    keep &= ~edge_pixels(depth, config.lift.max_depth_jump)
    points = unproject(depth, reconstruction.intrinsics_px.detach().cpu())
    points = torch.einsum("tij,thwj->thwi", poses[:, :3, :3], points) + poses[:, None, None, :3, 3]
    points = points[keep] / reconstruction.median_depth
    colours = paint(video)[keep]
    near = points.norm(dim=-1) <= FARTHEST
    points, colours = points[near], colours[near]
    kept = _thinned(points, MAX_POINTS)
    return points[kept].float(), colours[kept]


def _thinned(points: Float[Tensor, "N 3"], most: int) -> Tensor:
    """Indices of one point per cell of the finest cubic grid, found by halving, that has at most `most` cells."""
    if len(points) <= most:
        return torch.arange(len(points))
    low, high = 0.0, float((points.amax(0) - points.amin(0)).max()) * 2 + 1e-6
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_first_of_cells(points, middle)) <= most else (middle, high)
    return _first_of_cells(points, high)


def _first_of_cells(points: Float[Tensor, "N 3"], edge: float) -> Tensor:
    cells = torch.floor((points - points.amin(0)) / edge).long()
    spans = cells.amax(0) + 1
    _, inverse = torch.unique((cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2], return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), len(points))
    first.scatter_reduce_(0, inverse, torch.arange(len(points)), reduce="amin")
    return first.sort().values


def _unseen_sheet(unseen: Bool[Tensor, "T H W"]) -> Image.Image:
    """One bit per pixel, white where nothing is known; frames row by row, as `score_pictures.sheet` lays them."""
    num, height, width = unseen.shape
    columns = math.ceil(math.sqrt(num))
    rows = math.ceil(num / columns)
    places = F.pad(unseen, (0, 0, 0, 0, 0, rows * columns - num)).unflatten(0, (rows, columns))
    image = places.permute(0, 2, 1, 3).reshape(rows * height, columns * width)
    return Image.fromarray(image.to(torch.uint8).mul(255).numpy()).convert("1")


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
