"""What lies on the picture and not in the scene: logos, captions, timestamps. Their edges stay while all others go.

The gradient of a pixel has a median over time that belongs to what is fixed on the screen (the idea of Dekel et al.,
"On the effectiveness of visible watermarks", 2017): edges of a moving picture cancel, those of an overlay remain.
A fixed camera makes the whole scene look like an overlay; then nothing can be told and nothing is masked.

Only texture with edges in several directions counts: a horizon stays where it is while the camera moves sideways.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

USUAL_CONTRAST = 0.2
"""Standard deviation of a picture's grey levels (0..1) that the thresholds below suppose: darker scenes are raised."""
MAX_GAIN = 6.0
MIN_LENGTH_PX = 128
"""Longer side of the smallest picture that is searched: in a smaller one, what an orbit turns around hardly moves."""
BLOCK_PX = 8
MIN_CORNER = 0.012
"""Gradient (grey levels 0..1 per pixel) across a block's lesser direction from which the block is textured."""
KEPT_SHARE = 0.5
"""A block has stayed if the median over time keeps this share of that gradient's energy."""
MOVED_SHARE = 0.6
"""Share of the textured blocks that must change for the picture to count as moving."""
MIN_BLOCKS = 6
"""Textured blocks that it takes to tell."""
MIN_EDGE = 0.03
"""Gradient of an overlay's edge."""
STEADY_SHARE = 0.95
"""Share of the frames in which an overlay's edge is as in the median."""
STEADY_RATIO = 0.4
"""How far it may then be from the median, over the median."""
MIN_PIXELS = 16
"""Steady pixels of the smallest overlay; fewer are chance."""
MIN_SHAPE = 0.1
"""Lesser over greater eigenvalue of an overlay's structure tensor; a straight edge has 0."""
CHANGE = 0.08
"""Range over time (grey levels 0..1, the highest and lowest tenth left out) from which a pixel changes."""
MIN_CHANGE = 0.6
"""Share of the pixels around an overlay that must change: far scenery that hardly moves is no overlay."""
MAX_AREA = 0.2
"""Above this share of the picture it is no overlay but a scene that stands still."""


class ScreenEdges:
    """Gradients of a video's brightness, and what of them is fixed on the screen."""

    def __init__(self, video: Float[Tensor, "T 3 H W"]) -> None:
        grey = video.mean(dim=1, keepdim=True)
        grey = grey * (USUAL_CONTRAST / grey.std().clamp(min=USUAL_CONTRAST / MAX_GAIN)).clamp(min=1.0)
        # Grain must not pass for texture: one pixel of blur.
        blurred = F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        padded = F.pad(blurred, (1, 1, 1, 1), mode="replicate")
        across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        self._all = torch.cat((across, down), dim=1) / 2
        self._median = self._all.median(dim=0).values
        ordered, tenth = blurred[:, 0].sort(dim=0).values, len(video) // 10
        self._change = ordered[-1 - tenth] - ordered[tenth]
        self.overlays = self._find_overlays()
        """[H, W] bool: True on fixed overlays; nowhere if there are none, or if too much is steady to be one. Says
        nothing about a picture that does not move."""

    def picture_moves(self) -> bool:
        """Whether most textured blocks beside the overlays change: the camera moves.

        An object before a fixed camera is not enough.
        """
        usual = _lesser_eigenvalue(_tensors(self._all).median(dim=0).values)
        kept = _lesser_eigenvalue(_tensors(self._median[None])[0])
        covered = F.max_pool2d(self.overlays[None, None].float(), BLOCK_PX, ceil_mode=True)[0, 0] > 0
        textured = (usual > MIN_CORNER**2) & ~covered
        if int(textured.sum()) < MIN_BLOCKS:
            return False
        return float((kept < KEPT_SHARE * usual)[textured].float().mean()) >= MOVED_SHARE

    def _find_overlays(self) -> Bool[Tensor, "H W"]:
        steady = self._steady().numpy()
        if max(steady.shape) < MIN_LENGTH_PX:
            return torch.zeros(steady.shape, dtype=torch.bool)
        reach = max(5, max(steady.shape) // 40) | 1
        around = np.ones((reach, reach), np.uint8)
        joined = cv2.morphologyEx(steady.astype(np.uint8), cv2.MORPH_CLOSE, around)
        count, labels = cv2.connectedComponents(joined, connectivity=8)
        found = np.zeros(steady.shape, bool)
        for label in range(1, count):
            part = labels == label
            if self._is_overlay(part & steady, cv2.dilate(part.astype(np.uint8), around) > joined):
                found |= part
        found = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        return torch.from_numpy(found & (found.mean() <= MAX_AREA))

    def _steady(self) -> Bool[Tensor, "H W"]:
        strength = self._median.square().sum(0).sqrt()
        away = (self._all - self._median).square().sum(1).sqrt()
        return (strength > MIN_EDGE) & ((away < STEADY_RATIO * strength).float().mean(0) >= STEADY_SHARE)

    def _is_overlay(self, steady: Bool[np.ndarray, "H W"], ring: Bool[np.ndarray, "H W"]) -> bool:
        """steady: its steady edges. ring: the pixels around it."""
        if steady.sum() < MIN_PIXELS or not ring.any():
            return False
        edges = self._median[:, torch.from_numpy(steady)].numpy()
        lesser, greater = np.linalg.eigvalsh(edges @ edges.T)
        changes = (self._change.numpy()[ring] > CHANGE).mean() >= MIN_CHANGE
        return bool(lesser >= MIN_SHAPE * greater and changes)


def _tensors(gradients: Float[Tensor, "T 2 H W"]) -> Float[Tensor, "T 3 h w"]:
    """Structure tensors (xx, xy, yy) of blocks."""
    across, down = gradients.unbind(1)
    products = torch.stack((across * across, across * down, down * down), dim=1)
    return F.avg_pool2d(products, BLOCK_PX, ceil_mode=True)


def _lesser_eigenvalue(tensors: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    xx, xy, yy = tensors
    return (xx + yy) / 2 - (((xx - yy) / 2).square() + xy.square()).sqrt()
