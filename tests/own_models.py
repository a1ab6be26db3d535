"""Models as a user would name them in a recipe ("own_models:SidewaysReconstructor"), simple enough to know by heart."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from worldr1.backends.depth_anything3 import DepthAnything3
from worldr1.camera.trajectory import synthesize
from worldr1.geometry.se3 import inverse
from worldr1.types import intrinsics_px


class Wall:
    """Depth Anything 3's network, if every video were a wall seen by a camera that moves to the left."""

    def __call__(self, x: Tensor, *, infer_gs: bool) -> dict[str, Any]:
        _, frames, _, height, width = x.shape
        path = synthesize(("move_left",), frames).world_from_camera
        ones = torch.ones(1, frames, height, width, device=x.device)
        return {
            "depth": ones,
            "depth_conf": 5 * ones,
            "extrinsics": inverse(path)[None, :, :3].float(),
            "intrinsics": intrinsics_px(height, width).expand(1, frames, 3, 3),
        }


class SidewaysReconstructor(DepthAnything3):
    """The real backend on that network: processed size, float64 poses and all."""

    def __init__(self, device: str, *, process_res_px: int = 56) -> None:
        super().__init__(Wall(), licence="test", device=device, process_res_px=process_res_px)


class BrightCritic:
    """Its digit says how bright a picture is."""

    licence = "test"

    def __init__(self, device: str) -> None:
        self.sizes: list[tuple[int, ...]] = []

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.sizes.append(tuple(images.shape[-2:]))
        return one_hot((images.mean((1, 2, 3)) * 10).long().clamp(0, 9), 10).float()


class ContrastQuality:
    """Standard deviation of a frame."""

    licence = "test"

    def __init__(self, device: str, *, factor: float = 1.0) -> None:
        self.factor = factor

    @torch.no_grad()
    def __call__(self, frames: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.factor * frames.std((1, 2, 3))


class MeanDifference:
    """L1."""

    licence = "test"

    def __init__(self, device: str) -> None:
        self.device = device

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((1, 2, 3))


class Silent:
    """Forgets to say its licence."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, *args: Any) -> Any:
        raise AssertionError("never called")


class NotCallable:
    """Forgets to be called."""

    licence = "test"

    def __init__(self, device: str) -> None:
        self.device = device
