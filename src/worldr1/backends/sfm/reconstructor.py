"""`protocols.Reconstructor` without weights: structure from motion on the CPU, for any video."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from worldr1.backends.sfm.lifting import Lifted, SfmConfig, lift
from worldr1.backends.sfm.worker import Worker, WorkerError
from worldr1.types import Reconstruction, Status

MIN_FRAMES = 5


class SfmReconstructor:
    """Lifts videos with COLMAP's bundle adjuster; deterministic; one worker process, ended with `close` or the object.

    A camera that only turns, or stands, has no parallax: its rotations are found, its depth is 1 everywhere.
    """

    licence = "no weights; COLMAP (BSD-3-Clause), OpenCV (Apache-2.0)"

    def __init__(self, config: SfmConfig | None = None) -> None:
        self.config = config or SfmConfig()
        self._worker = Worker(lift, timeout_s=self.config.timeout_s)

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """One by one. What cannot be believed is REJECTED; a crash or a hang is a FAULT with its reason."""
        return [self._lift(video) for video in videos]

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()

    def _lift(self, video: Float[Tensor, "T 3 H W"]) -> Reconstruction:
        num_frames, _, height, width = video.shape
        if num_frames < MIN_FRAMES:
            return _without(video, Status.REJECTED, f"{num_frames} frames are too few; it takes {MIN_FRAMES}")
        try:
            lifted: Lifted = self._worker(_grey(video), self.config)
        except WorkerError as error:
            return _without(video, Status.FAULT, f"structure from motion failed: {error}")
        if lifted.reason:
            return _without(video, Status.REJECTED, lifted.reason)
        focal = lifted.focal_px
        k = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
        return Reconstruction(
            world_from_camera=torch.from_numpy(lifted.world_from_camera),
            depth=torch.from_numpy(lifted.depth),
            intrinsics_px=k.expand(num_frames, 3, 3),
            confidence=torch.from_numpy(lifted.confidence),
            reason=lifted.note,
        )


def _grey(video: Float[Tensor, "T 3 H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Luma (BT.601), rounded."""
    weights = video.new_tensor((0.299, 0.587, 0.114))
    luma = torch.einsum("tchw,c->thw", video, weights)
    return (luma * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _without(video: Float[Tensor, "T 3 H W"], status: Status, reason: str) -> Reconstruction:
    """No geometry: cameras that stand before a wall of no confidence."""
    num_frames, _, height, width = video.shape
    return Reconstruction(
        world_from_camera=torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1),
        depth=torch.ones(num_frames, height, width),
        intrinsics_px=torch.eye(3, dtype=torch.float64).repeat(num_frames, 1, 1),
        confidence=torch.zeros(num_frames, height, width),
        status=status,
        reason=reason,
    )
