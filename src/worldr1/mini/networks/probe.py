"""The attribute probe: which of a prompt's words a clip shows. It judges and is never part of a reward.

It has the 3D model's kind of body (own weights, own training clips): convolutions, matches with frame 0 and with the
frame before (motion is what the camera does not explain), attention within and over all frames. It then names every
pixel: floor, backdrop (wall or sky), or the solid of one colour. What a solid is and does is read from the features
averaged over its pixels by heads that do not know which colour it has, so that words combine freely.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from worldr1.mini.attributes import NUM_COLOURS
from worldr1.mini.networks.reconstructor import Block, Matching
from worldr1.mini.scenes import FLOORS, SOLID_TEXTURES, SOLIDS, WALLS, Motion

FLOOR_CLASS, BACKDROP_CLASS, FIRST_SOLID_CLASS = 0, 1, 2
"""Pixel classes; the solid of colour k is 2 + k."""
NUM_CLASSES = FIRST_SOLID_CLASS + NUM_COLOURS
STRIDE = 2
"""Of the pixel classes."""
SOLID_SIZES = (1, len(SOLIDS), len(SOLID_TEXTURES), len(Motion))
FLOOR_SIZES = (len(FLOORS), NUM_COLOURS)
BACKDROP_SIZES = (1, len(WALLS), NUM_COLOURS)
_NUM_STATISTICS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """Size of the network; height, width and frames are those of the clips it was trained on."""

    height: int = 64
    width: int = 96
    max_frames: int = 17
    stem: tuple[int, int] = (32, 80)
    """Channels at strides 2 and 4."""
    dim: int = 128
    depth: int = 4
    """Blocks on the grid of stride 8, in turn within a frame and over all frames."""
    slot_depth: int = 2
    """Blocks on the averages over floor, backdrop and solids, over all frames."""
    heads: int = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What the probe saw in B videos: logits. K = 8 colours, as in COLOURS; h = H / STRIDE."""

    classes: Float[Tensor, "B T 10 h w"]
    present: Float[Tensor, "B K"]
    kind: Float[Tensor, "B K 4"]
    texture: Float[Tensor, "B K 4"]
    motion: Float[Tensor, "B K 6"]
    floor_texture: Float[Tensor, "B 4"]
    floor_colour: Float[Tensor, "B K"]
    is_room: Float[Tensor, " B"]
    wall_texture: Float[Tensor, "B 3"]
    wall_colour: Float[Tensor, "B K"]
    """Of the walls or of the sky."""
    matches: Float[Tensor, "B T 6 cells_h cells_w"]
    """Of the matching layer, on the grid of stride 4."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first, step in ((inputs, stride), (outputs, 1)):
        layers += [nn.Conv2d(first, outputs, 3, step, 1), nn.GroupNorm(8, outputs), nn.GELU()]
    return nn.Sequential(*layers)


class AttributeProbe(nn.Module):
    """Video `[B, T, 3, H, W]` in 0..1 -> Sighting."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter = config.stem
        dim = config.dim
        self.stem2, self.stem4 = _conv(12, half), _conv(half, quarter, stride=2)
        self.matching = Matching(quarter)
        self.patch = nn.Conv2d(quarter + 6, dim, 2, 2)
        cells = (config.height // 8) * (config.width // 8)
        self.place = nn.Parameter(torch.randn(1, 1, cells, dim) * 0.02)
        self.time = nn.Parameter(torch.randn(1, config.max_frames, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, config.heads) for _ in range(config.depth))
        self.up4, self.merge4 = nn.ConvTranspose2d(dim, quarter, 2, 2), _conv(2 * quarter, quarter)
        self.up2 = nn.ConvTranspose2d(quarter, half, 2, 2)
        self.merge2 = _conv(2 * half + 12, half)
        self.classes = nn.Conv2d(half, NUM_CLASSES, 1)
        self.slot = nn.Linear(quarter + 6 + _NUM_STATISTICS, dim)
        self.slot_kind = nn.Parameter(torch.randn(3, dim) * 0.02)
        self.slot_time = nn.Parameter(torch.randn(1, config.max_frames, 1, dim) * 0.02)
        self.slot_blocks = nn.ModuleList(Block(dim, config.heads) for _ in range(config.slot_depth))
        self.norm = nn.LayerNorm(dim)
        self.floor, self.backdrop = nn.Linear(dim, sum(FLOOR_SIZES)), nn.Linear(dim, sum(BACKDROP_SIZES))
        self.trust_in_pixels = nn.Parameter(torch.tensor(4.0))
        self.solid = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, sum(SOLID_SIZES)))

    def forward(self, video: Float[Tensor, "B T 3 H W"]) -> Sighting:
        """See Sighting."""
        batch, frames = video.shape[:2]
        pixels = F.pixel_unshuffle(video.flatten(0, 1) * 2 - 1, 2)
        at2 = self.stem2(pixels)
        at4 = self.stem4(at2)
        matches = self.matching(at4.unflatten(0, (batch, frames)))
        at8 = self.patch(torch.cat([at4, matches.flatten(0, 1).to(at4)], 1))
        tokens = at8.flatten(2).transpose(1, 2).unflatten(0, (batch, frames)) + self.place + self.time[:, :frames]
        for index, block in enumerate(self.blocks):
            if index % 2 == 0:
                tokens = block(tokens.flatten(0, 1)).unflatten(0, (batch, frames))
            else:
                tokens = block(tokens.flatten(1, 2)).unflatten(1, (frames, -1))
        grid = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, at8.shape[-2:])
        grid = self.merge4(torch.cat([self.up4(grid), at4], 1))
        fine = self.merge2(torch.cat([self.up2(grid), at2, pixels], 1))
        classes = self.classes(fine).float().unflatten(0, (batch, frames))
        features = torch.cat([grid.unflatten(0, (batch, frames)), matches.to(grid)], 2)
        # Pixels are taught by pixels alone: no word may bend the masks towards what it would like to read.
        with torch.autocast(video.device.type, enabled=False):  # places need more digits than bfloat16 has
            pooled = slot_features(features, classes.detach().softmax(2))
        slots = self._slots(pooled.to(grid))
        floor, backdrop, solid = self.floor(slots[:, 0]), self.backdrop(slots[:, 1]), self.solid(slots[:, 2:]).float()
        # A solid is there if a cell of some frame is of it; what the head adds to that comes late in training.
        highest_share = pooled[:, :, FIRST_SOLID_CLASS:, -5:-4].amax(1)
        solid = torch.cat([solid[..., :1] + self.trust_in_pixels * highest_share, solid[..., 1:]], -1)
        return _sighting(classes, floor, backdrop, solid, matches)

    def _slots(self, pooled: Float[Tensor, "B T 10 C_plus_7"]) -> Float[Tensor, "B 10 D"]:
        """One vector for the floor, the backdrop and each colour."""
        frames = pooled.shape[1]
        kinds = torch.tensor([0, 1] + [2] * NUM_COLOURS, device=pooled.device)
        tokens = self.slot(pooled) + self.slot_time[:, :frames] + self.slot_kind[kinds]
        tokens = tokens.flatten(1, 2)
        for block in self.slot_blocks:
            tokens = block(tokens)
        return self.norm(tokens).unflatten(1, (frames, NUM_CLASSES)).mean(1)


def slot_features(
    features: Float[Tensor, "B T C h4 w4"], shares: Float[Tensor, "B T K h w"]
) -> Float[Tensor, "B T K C_plus_7"]:
    """Features averaged over each class's pixels (nothing: zeros); then statistics of order 1: share of the picture,
    its logarithm, the highest share of a cell, centre x, y and spread x, y in halves of the picture from its middle.
    shares: of each pixel, at twice the resolution.
    """
    weight = F.avg_pool2d(shares.flatten(0, 1), 2).float().unflatten(0, shares.shape[:2])
    height, width = weight.shape[-2:]
    mass = weight.sum((-2, -1))
    y, x = (torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=weight.device) for n in (height, width))
    y, x = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack([x, y, x * x, y * y])
    # one cell of nothing: what is not there has no features, and a few stray pixels have weak ones
    share = weight / (mass + 1)[..., None, None]
    pooled = torch.einsum("btkhw,btchw->btkc", share, features.float())
    x, y, xx, yy = torch.einsum("btkhw,chw->btkc", share, places).unbind(-1)
    spread = [(second - first.square()).clamp(min=0).add(1e-6).sqrt() for first, second in ((x, xx), (y, yy))]
    area = mass / (height * width)
    size = [area * 4, (area + 1e-4).log() / 3 + 2, weight.amax((-2, -1)) * 2 - 1]
    statistics = torch.stack([*size, x, y, *spread], -1)
    return torch.cat([pooled, statistics], -1)


def _sighting(classes: Tensor, floor: Tensor, backdrop: Tensor, solid: Tensor, matches: Tensor) -> Sighting:
    floor_texture, floor_colour = floor.float().split(FLOOR_SIZES, -1)
    is_room, wall_texture, wall_colour = backdrop.float().split(BACKDROP_SIZES, -1)
    present, kind, texture, motion = solid.float().split(SOLID_SIZES, -1)
    return Sighting(
        classes=classes,
        present=present[..., 0],
        kind=kind,
        texture=texture,
        motion=motion,
        floor_texture=floor_texture,
        floor_colour=floor_colour,
        is_room=is_room[..., 0],
        wall_texture=wall_texture,
        wall_colour=wall_colour,
        matches=matches.float(),
    )


class Probe:
    """An AttributeProbe that only looks: no gradients, a batch at a time. bfloat16 autocast if asked (GPU)."""

    licence = "Apache-2.0 (worldr1 mini weights)"

    def __init__(self, network: AttributeProbe, *, batch: int = 32, autocast: bool = False) -> None:
        self.network = network.eval().requires_grad_(False)
        self.batch = batch
        self.autocast = autocast

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> Sighting:
        """What is seen in every video."""
        parts = []
        for chunk in videos.split(self.batch):
            with torch.no_grad(), torch.autocast(chunk.device.type, torch.bfloat16, enabled=self.autocast):
                parts.append(self.network(chunk))
        return Sighting(
            **{item.name: torch.cat([getattr(part, item.name) for part in parts]) for item in fields(Sighting)}
        )


def pixel_classes(sighting: Sighting) -> Int[Tensor, "B T h w"]:
    """The most likely class of every pixel of the coarse grid."""
    return sighting.classes.argmax(2)
