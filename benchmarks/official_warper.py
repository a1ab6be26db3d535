"""Times some steps of the noise warper that World-R1 released, from a checkout that the reader provides.

Its file is read from that folder, unmodified, and nothing of it is kept here. It imports `rp`, a package of many
megabytes without a licence, for four small functions; a stand-in with the same results is below.
"""

import importlib.util
import sys
import types
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

COMMIT = "cf54603"
SOURCE = Path("flow_grpo/diffusers_patch/camera_trajectory_utils.py")
HOW_TO_GET_IT = f"""The official side is not timed. To time it:
    git clone https://github.com/microsoft/World-R1 official && git -C official checkout {COMMIT}
    pip install einops
    python benchmarks/noise.py speed --official official
Of the checkout only {SOURCE} is read; its import `rp` is replaced by a stand-in."""

HEIGHT, WIDTH, NUM_FRAMES, CHANNELS = 480, 832, 81, 16
_LATENT_STRIDE, _FLOW_SCALE, _DEPTH = 8, 16, 1000.0
"""Defaults of its generate_camera_warped_latents; config/world_r1.py asks for the same flow scale, in fp32."""


def is_there(folder: Path) -> bool:
    """Whether the folder is a checkout, and what its file imports is installed."""
    return (folder / SOURCE).exists() and importlib.util.find_spec("einops") is not None


def load(folder: Path) -> Any:
    """The official module of a checkout that `is_there`."""
    sys.modules["rp"] = stand_in()
    return from_file("official_camera_trajectory_utils", folder / SOURCE)


def from_file(name: str, file: Path) -> Any:
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_steps(folder: Path, move: str, num_steps: int) -> list[Callable[[], object]]:
    """The first steps of one move, to be called in this order; one sample takes NUM_FRAMES - 1.

    A step is what generate_camera_warped_latents does for every video frame, at its own size (16 channels on a grid of
    960 x 1664): flow, warp, weighting, reduction to the latent's size. Its start and end are not counted.
    """
    official = load(folder)
    poses = official.concatenate_camera_trajectories([move], frames_per_trajectory=NUM_FRAMES)
    latent_size = (HEIGHT // _LATENT_STRIDE, WIDTH // _LATENT_STRIDE)
    height, width = (_FLOW_SCALE * side for side in latent_size)
    device = torch.device("cpu")
    cameras = [
        official.parse_camera_matrix_torch(poses[f"frame{i}"], device=device, dtype=torch.float32)
        for i in range(num_steps + 1)
    ]
    warper = official.NoiseWarper(c=CHANNELS, h=height, w=width, device=device, dtype=torch.float32)

    def step(before: Tensor, after: Tensor) -> Tensor:
        flow = official.camera_motion_to_flow(before, after, height, width, depth=_DEPTH, device=device)
        warper(*flow)
        return official.resize_noise(warper.noise, latent_size)

    return [partial(step, before, after) for before, after in pairwise(cameras)]


def stand_in() -> types.ModuleType:
    """The four functions of `rp` that the official file calls, with the arguments that it gives, on any device."""
    module = types.ModuleType("rp")
    for function in (xy_torch_matrices, torch_resize_image, torch_remap_image, torch_scatter_add_image):
        setattr(module, function.__name__, function)
    return module


def xy_torch_matrices(
    height: int, width: int, *, max_x: float, max_y: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """x and y of a grid that goes from 0 to the maximum, both included."""
    y = torch.linspace(0, max_y, height, device=device, dtype=dtype)
    x = torch.linspace(0, max_x, width, device=device, dtype=dtype)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x, y


def torch_resize_image(image: Tensor, size: tuple[int, int], interp: str = "auto") -> Tensor:
    """A copy: the release warps at the size of its grid, so nothing is ever resized."""
    if tuple(image.shape[1:]) != tuple(size):
        raise NotImplementedError(f"the stand-in does not resize ({interp})")
    return image.clone()


def torch_remap_image(image: Tensor, x: Tensor, y: Tensor, *, relative: bool, interp: str) -> Tensor:
    """image[C, y + row, x + column], 0 outside."""
    assert relative
    _, height, width = image.shape
    place: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
    x = (x + torch.arange(width, **place)) * (2 / (width - 1)) - 1
    y = (y + torch.arange(height, **place)[:, None]) * (2 / (height - 1)) - 1
    grid = torch.stack((x, y), dim=-1).to(image.dtype)
    return torch.nn.functional.grid_sample(image[None], grid[None], mode=interp, align_corners=True)[0]


def torch_scatter_add_image(
    image: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    relative: bool = False,
    interp: str = "floor",
    height: int | None = None,
    width: int | None = None,
    prepend_ones: bool = False,
) -> Tensor:
    """Sums of the pixels that arrive at each place; what leaves the image is dropped."""
    assert interp == "floor"
    if prepend_ones:
        image = torch.cat((torch.ones_like(image[:1]), image))
    channels, in_height, in_width = image.shape
    height, width = height or in_height, width or in_width
    column, row = x.long(), y.long()
    if relative:
        column = column + torch.arange(in_width, device=image.device)
        row = row + torch.arange(in_height, device=image.device)[:, None]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixels = image.flatten(1).T[inside.flatten()]
    sums = torch.zeros(height * width, channels, dtype=image.dtype, device=image.device)
    sums.index_add_(0, (row * width + column)[inside], pixels)
    return sums.T.reshape(channels, height, width)
