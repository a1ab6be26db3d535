"""The mini 3D model, in Depth Anything 3's role: video in; depth, camera poses, confidence out.

A convolutional stem (stride 8); a matching layer that finds each cell of a frame in frame 0 and in the frame before;
blocks that attend in turn within a frame and over all frames (as VGGT and Depth Anything 3 do); a pose head on one
camera token per frame; a U-shaped depth head. Without the matching layer the same network was ten times less exact
after the same time (docs/log.md).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldr1.types import Reconstruction, Status, intrinsics_px

MAX_LOG_DEPTH = 3.1
"""exp of it is just past the sky's depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructorConfig:
    """Size of the network; height and width are those of the clips it was trained on."""

    height: int = 64
    width: int = 96
    max_frames: int = 17
    dim: int = 192
    depth: int = 8
    heads: int = 6
    stem: tuple[int, int] = (64, 96)
    """Channels at strides 2 and 4."""


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Attend over N."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GELU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.GELU()
    )


class Matching(nn.Module):
    """Where every cell of each frame is found in frame 0 and in the frame before: softmax over all cells of that frame.

    Output channels per reference: displacement x, y in cells and the probability of the best match.
    """

    def __init__(self, channels: int, dim: int = 64) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(channels, dim, 1), nn.Conv2d(channels, dim, 1)
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, features: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T 6 h w"]:
        """Both references' channels, frame 0 first."""
        batch, frames, _, height, width = features.shape
        flat = features.flatten(0, 1)
        query, key = (
            F.normalize(layer(flat).flatten(2).transpose(1, 2).float(), dim=-1).unflatten(0, (batch, frames))
            for layer in (self.query, self.key)
        )
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([x.flatten(), y.flatten()], -1).to(query)
        found = []
        before = torch.cat([key[:, :1], key[:, :-1]], 1)
        # Not in bfloat16, which would round a place past cell 16 to eighths of a cell: half a pixel.
        with torch.autocast(features.device.type, enabled=False):
            for reference in (key[:, :1].expand_as(key), before):
                match = (self.sharpness * query @ reference.transpose(-1, -2)).softmax(-1)
                shift = match @ cells - cells
                found += [shift, match.amax(-1, keepdim=True)]
        return torch.cat(found, -1).transpose(-1, -2).unflatten(-1, (height, width))


@dataclass(frozen=True, slots=True)
class Geometry:
    """Raw output of the network."""

    log_depth: Float[Tensor, "B T H W"]
    sky_logit: Float[Tensor, "B T H W"]
    log_error: Float[Tensor, "B T H W"]
    """Log of the expected absolute error of log_depth."""
    world_from_camera: Float[Tensor, "B T 4 4"]
    matches: Float[Tensor, "B T 6 h w"]
    """Of the matching layer, on the grid of stride 4."""


class MiniReconstructor(nn.Module):
    """Video `[B, T, 3, H, W]` in 0..1 -> Geometry; frame 0 is the identity, units are depth units."""

    def __init__(self, config: ReconstructorConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter = config.stem
        dim = config.dim
        self.stem2 = _conv(12, half)
        self.stem4 = _conv(half, quarter, stride=2)
        self.matching = Matching(quarter)
        self.patch = nn.Conv2d(quarter + 6, dim, 2, 2)
        cells = (config.height // 8) * (config.width // 8)
        self.place = nn.Parameter(torch.randn(1, 1, cells, dim) * 0.02)
        self.time = nn.Parameter(torch.randn(1, config.max_frames, 1, dim) * 0.02)
        self.camera_token = nn.Parameter(torch.randn(1, 1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, config.heads) for _ in range(config.depth))
        self.pose_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 9))
        self.up4, self.merge4 = nn.ConvTranspose2d(dim, quarter, 2, 2), _conv(2 * quarter, quarter)
        self.up2, self.merge2 = nn.ConvTranspose2d(quarter, half, 2, 2), _conv(2 * half, half)
        self.maps = nn.Conv2d(half + 12, 12, 3, padding=1)

    def forward(self, video: Float[Tensor, "B T 3 H W"]) -> Geometry:
        """Any number of frames up to the configured maximum."""
        batch, frames = video.shape[:2]
        pixels = F.pixel_unshuffle(video.flatten(0, 1) * 2 - 1, 2)
        at2 = self.stem2(pixels)
        at4 = self.stem4(at2)
        matches = self.matching(at4.unflatten(0, (batch, frames)))
        at8 = self.patch(torch.cat([at4, matches.flatten(0, 1).to(at4)], 1))
        tokens = at8.flatten(2).transpose(1, 2).unflatten(0, (batch, frames)) + self.place
        tokens = torch.cat([self.camera_token.expand(batch, frames, 1, -1).to(tokens), tokens], 2)
        tokens = tokens + self.time[:, :frames]
        for index, block in enumerate(self.blocks):
            if index % 2 == 0:
                tokens = block(tokens.flatten(0, 1)).unflatten(0, (batch, frames))
            else:
                tokens = block(tokens.flatten(1, 2)).unflatten(1, (frames, -1))
        grid = tokens[:, :, 1:].flatten(0, 1).transpose(1, 2).unflatten(2, at8.shape[-2:])
        grid = self.merge4(torch.cat([self.up4(grid), at4], 1))
        grid = self.merge2(torch.cat([self.up2(grid), at2], 1))
        maps = F.pixel_shuffle(self.maps(torch.cat([grid, pixels], 1)), 2).float().unflatten(0, (batch, frames))
        log_depth, sky_logit, log_error = maps.unbind(2)
        return Geometry(
            log_depth.clamp(-2.5, MAX_LOG_DEPTH),
            sky_logit,
            (log_error - 3).clamp(-6, 1),
            _poses(self.pose_head(tokens[:, :, 0]).float()),
            matches.float(),
        )


def _poses(raw: Float[Tensor, "B T 9"]) -> Float[Tensor, "B T 4 4"]:
    """Six rotation numbers (two axes, orthonormalised) and a translation, all relative to frame 0's."""
    raw = raw - raw[:, :1]
    axes = raw[..., :6] + raw.new_tensor([1.0, 0, 0, 0, 1, 0])
    x = F.normalize(axes[..., :3], dim=-1)
    y = axes[..., 3:]
    y = F.normalize(y - (x * y).sum(-1, keepdim=True) * x, dim=-1)
    rotation = torch.stack([x, y, torch.linalg.cross(x, y)], -1)
    top = torch.cat([rotation, raw[..., 6:, None]], -1)
    bottom = raw.new_tensor([0.0, 0, 0, 1]).expand(*top.shape[:2], 1, 4)
    return torch.cat([top, bottom], -2)


class Reconstruct:
    """`protocols.Reconstructor` on a MiniReconstructor.

    Intrinsics are those of every mini camera (fx = 1.2 W), which the network was trained on; it estimates the rest.
    Confidence is 0 on sky and 1 / (1 + error / 0.05) elsewhere, error being the network's own expected log-depth error.
    """

    licence = "Apache-2.0 (worldr1 mini weights)"

    def __init__(self, network: MiniReconstructor, *, batch: int = 32, autocast: bool = False) -> None:
        self.network = network.eval().requires_grad_(False)
        self.batch = batch
        self.autocast = autocast

    def __call__(self, videos: Float[Tensor, "B T 3 H W"]) -> list[Reconstruction]:
        """Lift every video; a blank one (no texture to match) is REJECTED. Poses come on the CPU."""
        height, width = videos.shape[-2:]
        k = intrinsics_px(height, width).float().to(videos.device).expand(videos.shape[1], 3, 3)
        results = []
        for chunk in videos.split(self.batch):
            with torch.no_grad(), torch.autocast(chunk.device.type, torch.bfloat16, enabled=self.autocast):
                geometry = self.network(chunk)
            confidence = 1 / (1 + geometry.log_error.exp() / 0.05) * (geometry.sky_logit < 0)
            depth = geometry.log_depth.exp()
            textured = (chunk.flatten(2).std(-1).mean(1) > MIN_CONTRAST).tolist()
            poses = geometry.world_from_camera.cpu()  # small, and read number by number
            for i in range(chunk.shape[0]):
                results.append(
                    Reconstruction(
                        world_from_camera=poses[i],
                        depth=depth[i],
                        intrinsics_px=k,
                        confidence=confidence[i],
                        status=Status.OK if textured[i] else Status.REJECTED,
                        reason="" if textured[i] else "the video has no texture to reconstruct from",
                    )
                )
        return results


MIN_CONTRAST = 0.02
"""Mean over frames of a frame's standard deviation under which a video counts as blank."""
