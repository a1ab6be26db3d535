"""Batched exact ray casting of mini scenes: colour, depth, object masks, cameras.

Units: the scene's own unit inside; everything returned is in depth units (median z-depth of frame 0 without sky).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldr1.mini.scenes import (
    COLOURS,
    FLOORS,
    GROWTH,
    MOVE_DISTANCE,
    NUM_SOLIDS,
    TURN_RAD,
    WALLS,
    Motion,
    Scenes,
)
from worldr1.mini.solids import INFINITY, INTERSECT, NEAR
from worldr1.mini.textures import MEAN_WEIGHT, Texture, pattern
from worldr1.types import FOCAL_PER_WIDTH

SKY_DEPTH = 20.0
"""Depth given to the sky and the farthest depth of anything, in depth units."""
SKY, FLOOR, WALL = -1, 0, 1
"""Surface ids; solid k is 2 + k."""
FLOOR_CELL, WALL_CELL, SOLID_CELL = 0.24, 0.30, 1 / 1.49
"""Size of a texture cell: scene units for floor and walls, half sizes for solids (just under three cells a face)."""
LIGHT = (0.45, -0.8, -0.4)
AMBIENT = 0.55


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """B rendered clips."""

    video: Float[Tensor, "B T 3 H W"]
    depth: Float[Tensor, "B T H W"]
    """z-depth through the pixel's centre, in depth units; SKY_DEPTH on sky."""
    surface: Int[Tensor, "B T H W"]
    """Surface id at the pixel's centre: -1 sky, 0 floor, 1 wall, 2 + k solid k."""
    world_from_camera: Float[Tensor, "B T 4 4"]
    depth_unit: Float[Tensor, " B"]
    """Scene units per depth unit."""

    @property
    def sky(self) -> Bool[Tensor, "B T H W"]:
        """Where nothing is hit."""
        return self.surface == SKY


@dataclass(frozen=True, slots=True)
class _Hits:
    depth: Tensor
    surface: Tensor
    coordinate: Tensor
    normal: Tensor
    direction: Tensor


def render(
    scenes: Scenes,
    world_from_camera: Float[Tensor, "B T 4 4"],
    *,
    height: int,
    width: int,
    supersample: int = 2,
    focal_per_width: float = FOCAL_PER_WIDTH,
) -> Clips:
    """Render scenes along camera paths given relative to frame 0, in depth units. Runs on the scenes' device."""
    poses = world_from_camera.to(scenes.pitch_rad)
    identity = poses[:, :1]
    unit = _depth_unit(scenes, identity, height, width, focal_per_width)
    hits = _cast(scenes, poses, unit, height, width, focal_per_width)
    fine_height, fine_width = height * supersample, width * supersample
    fine = hits if supersample == 1 else _cast(scenes, poses, unit, fine_height, fine_width, focal_per_width)
    colours = _shade(scenes, fine, focal_per_width * fine_width).clamp(0, 1).movedim(-1, 2)
    if supersample > 1:
        colours = torch.nn.functional.avg_pool2d(colours.flatten(0, 1), supersample).unflatten(0, poses.shape[:2])
    depth = (hits.depth / unit[:, None, None, None]).clamp(max=SKY_DEPTH)
    return Clips(
        video=colours,
        depth=torch.where(hits.surface == SKY, torch.full_like(depth, SKY_DEPTH), depth),
        surface=hits.surface,
        world_from_camera=poses,
        depth_unit=unit,
    )


def _depth_unit(scenes: Scenes, identity: Tensor, height: int, width: int, focal_per_width: float) -> Tensor:
    one = torch.ones(scenes.num, device=identity.device)
    hits = _cast(scenes, identity, one, height, width, focal_per_width)
    depth = torch.where(hits.surface == SKY, torch.full_like(hits.depth, float("nan")), hits.depth)
    return depth.flatten(1).nanmedian(1).values


def _camera_rays(
    scenes: Scenes, poses: Tensor, unit: Tensor, height: int, width: int, focal_per_width: float
) -> tuple[Tensor, Tensor]:
    """Origins [B, T, 1, 1, 3] and directions [B, T, H, W, 3] (camera z component 1) in the scene frame."""
    cos, sin = scenes.pitch_rad.cos(), scenes.pitch_rad.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [torch.stack(row, -1) for row in ([one, zero, zero], [zero, cos, sin], [zero, -sin, cos])]
    scene_from_world = torch.stack(rows, -2)[:, None]
    rotation = scene_from_world @ poses[..., :3, :3]
    origin = (scene_from_world @ poses[..., :3, 3:])[..., 0] * unit[:, None, None]
    focal = focal_per_width * width
    y = (torch.arange(height, device=poses.device) + 0.5 - height / 2) / focal
    x = (torch.arange(width, device=poses.device) + 0.5 - width / 2) / focal
    y, x = torch.meshgrid(y, x, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1)
    direction = (rotation[:, :, None, None] @ rays[..., None])[..., 0]
    return origin[:, :, None, None], direction


def _cast(scenes: Scenes, poses: Tensor, unit: Tensor, height: int, width: int, focal_per_width: float) -> _Hits:
    origin, direction = _camera_rays(scenes, poses, unit, height, width, focal_per_width)
    origin = origin.expand_as(direction)
    depth = torch.full(direction.shape[:-1], INFINITY, device=direction.device)
    surface = torch.full(direction.shape[:-1], SKY, dtype=torch.int8, device=direction.device)
    sky_coordinate = direction / direction.norm(dim=-1, keepdim=True) * 3.0
    hits = _Hits(depth, surface, sky_coordinate, torch.zeros_like(direction), direction)
    hits = _floor_and_walls(scenes, hits, origin, direction)
    for solid in range(NUM_SOLIDS):
        hits = _solid(scenes, solid, hits, origin, direction)
    return hits


def _nearer(hits: _Hits, t: Tensor, valid: Tensor, surface: int, coordinate: Tensor, normal: Tensor) -> _Hits:
    wins = valid & (t > NEAR) & (t < hits.depth)
    return _Hits(
        torch.where(wins, t, hits.depth),
        torch.where(wins, torch.full_like(hits.surface, surface), hits.surface),
        torch.where(wins[..., None], coordinate, hits.coordinate),
        torch.where(wins[..., None], normal, hits.normal),
        hits.direction,
    )


def _pad(x: Tensor, like: Tensor) -> Tensor:
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


def _floor_and_walls(scenes: Scenes, hits: _Hits, origin: Tensor, direction: Tensor) -> _Hits:
    time = torch.linspace(0, 1, origin.shape[1], device=origin.device)[None, :, None, None, None]
    slide = scenes.defects.texture_velocity[:, :2, None, None, None, :]
    up = torch.tensor([0.0, -1.0, 0.0], device=origin.device)
    floor_y = _pad(scenes.camera_height, hits.depth)
    down = direction[..., 1]
    t = (floor_y - origin[..., 1]) / down.clamp(min=1e-6)
    point = origin + direction * t[..., None]
    flat = torch.stack([point[..., 0], point[..., 2], torch.zeros_like(t)], -1)
    far = SKY_DEPTH * 0.6
    hits = _nearer(hits, t, (down > 1e-6) & (t < far), FLOOR, (flat + slide[:, 0] * time) / FLOOR_CELL, up)
    room = _pad(scenes.is_room, hits.depth)
    half_width, back = (_pad(side, hits.depth) for side in scenes.wall_distance.unbind(1))
    for axis, offset, other in ((2, back, 0), (0, -half_width, 2), (0, half_width, 2)):
        along = direction[..., axis]
        t = (offset - origin[..., axis]) / torch.where(along.abs() < 1e-6, torch.full_like(along, 1e-6), along)
        point = origin + direction * t[..., None]
        flat = torch.stack([point[..., other] + 3.7 * axis, point[..., 1], torch.zeros_like(t)], -1)
        normal = torch.zeros(3, device=origin.device)
        normal[axis] = 1.0
        valid = room & (point[..., 1] <= floor_y)
        hits = _nearer(hits, t, valid, WALL, (flat + slide[:, 1] * time) / WALL_CELL, -normal * along.sign()[..., None])
    return hits


def _solid(scenes: Scenes, index: int, hits: _Hits, origin: Tensor, direction: Tensor) -> _Hits:
    time = torch.linspace(0, 1, origin.shape[1], device=origin.device)[None]
    motion = scenes.motion[:, index, None]
    wobble = 1 + scenes.defects.size_wobble[:, index, None] * torch.sin(6.2832 * time)
    size = scenes.size[:, index, None] * (1 + GROWTH * time * (motion == Motion.GROWS)) * wobble
    sideways = (motion == Motion.MOVES_RIGHT).float() - (motion == Motion.MOVES_LEFT).float()
    x = scenes.position[:, index, :1] + sideways * MOVE_DISTANCE * (time - 0.5)
    z = scenes.position[:, index, 1:].expand_as(x)
    yaw = scenes.yaw_rad[:, index, None] + TURN_RAD * time * (motion == Motion.TURNS)
    centre = torch.stack([x, scenes.camera_height[:, None] - size, z], -1)
    cos, sin, zero = yaw.cos(), yaw.sin(), torch.zeros_like(yaw)
    rows = ([cos, zero, -sin], [zero, torch.ones_like(yaw), zero], [sin, zero, cos])
    own_from_scene = torch.stack([torch.stack(row, -1) for row in rows], -2)[:, :, None, None]
    local_origin = (own_from_scene @ (origin - centre[:, :, None, None])[..., None])[..., 0]
    local_direction = (own_from_scene @ direction[..., None])[..., 0]
    half = size[:, :, None, None].expand_as(hits.depth)
    t = torch.full_like(hits.depth, INFINITY)
    normal = torch.zeros_like(direction)
    for kind, intersect in enumerate(INTERSECT):
        mine = ((scenes.kind[:, index] == kind) & scenes.present[:, index]).nonzero()[:, 0]
        t[mine], normal[mine] = intersect(local_origin[mine], local_direction[mine], half[mine])
    coordinate = (local_origin + local_direction * t[..., None]) / half[..., None]
    slide = scenes.defects.texture_velocity[:, 2 + index, None] * time[..., None]
    coordinate = (coordinate + slide[:, :, None, None]) / SOLID_CELL + 10.5
    normal = (own_from_scene.transpose(-1, -2) @ normal[..., None])[..., 0]
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return _nearer(hits, t, t < INFINITY / 2, 2 + index, coordinate, normal)


def _surface_tables(scenes: Scenes, num_frames: int) -> tuple[Tensor, Tensor]:
    """Texture code [B, 6] and main colour [B, T, 6, 3] of floor, wall, solids and (last, so that -1 finds it) sky."""
    device = scenes.pitch_rad.device
    colours = torch.tensor(list(COLOURS.values()), device=device)
    time = torch.linspace(0, 1, num_frames, device=device)[None, :, None, None]
    base = torch.stack([scenes.floor_colour, scenes.wall_colour, *scenes.colour.unbind(1)], 1)
    start, end = colours[base], colours[base].clone()
    changes = (scenes.motion == Motion.CHANGES_COLOUR)[..., None]
    end[:, 2:] = torch.where(changes, colours[scenes.next_colour], end[:, 2:])
    colour = torch.lerp(start[:, None], end[:, None], time) + scenes.defects.colour_drift[:, None] * time
    shade = torch.ones(2 + NUM_SOLIDS, 1, device=device)
    shade[0], shade[1] = 0.85, 0.9  # floors and walls a little darker than solids of the same colour
    sky = (colours[scenes.wall_colour] * 0.5 + 0.4)[:, None, None].expand(-1, num_frames, 1, 3)
    floor_codes = torch.tensor([Texture[name.upper()] for name in FLOORS], device=device)
    wall_codes = torch.tensor([Texture[name.upper()] for name in WALLS], device=device)
    codes = torch.cat(
        [
            floor_codes[scenes.floor_texture][:, None],
            wall_codes[scenes.wall_texture][:, None],
            scenes.texture,
            torch.full((scenes.num, 1), int(Texture.CLOUDED), device=device),
        ],
        1,
    )
    return codes, torch.cat([colour * shade, sky], 2)


def _shade(scenes: Scenes, hits: _Hits, focal_px: float) -> Float[Tensor, "B T H W 3"]:
    device = hits.depth.device
    codes, colours = _surface_tables(scenes, hits.depth.shape[1])
    surface = hits.surface.long()
    batch = torch.arange(scenes.num, device=device)[:, None, None, None]
    frame = torch.arange(hits.depth.shape[1], device=device)[None, :, None, None]
    texture, main = codes[batch, surface], colours[batch, frame, surface]
    seed = (_pad(scenes.texture_seed, surface) + 101 * surface).to(torch.int32)
    weight, paint = pattern(texture, hits.coordinate, seed)
    sky = hits.surface == SKY
    weight = _fade(weight, texture, hits, surface, _pad(scenes.size.mean(1), surface), focal_px)
    dark = main * 0.35
    paints = torch.stack([main * 0.3, 1 - 0.5 * main, main.roll(1, -1) * 0.9], -2)
    decal = paints.gather(-2, paint.long()[..., None, None].expand(*paint.shape, 1, 3))[..., 0, :]
    second = torch.where((texture == Texture.PAINTED)[..., None], decal, dark)
    second = torch.where(sky[..., None], torch.full_like(second, 0.97), second)
    light = torch.tensor(LIGHT, device=device)
    light = AMBIENT + (1 - AMBIENT) * (hits.normal * (light / light.norm())).sum(-1).clamp(0, 1)
    light = torch.where(sky, torch.ones_like(light), light)
    return torch.lerp(main, second, weight[..., None]) * light[..., None]


def _fade(weight: Tensor, texture: Tensor, hits: _Hits, surface: Tensor, solid_size: Tensor, focal_px: float) -> Tensor:
    """Where a pixel covers more than half a pattern cell, fade to the pattern's mean instead of aliasing."""
    cells = torch.where(surface == FLOOR, torch.full_like(weight, FLOOR_CELL), torch.full_like(weight, WALL_CELL))
    cells = torch.where(surface >= 2, SOLID_CELL * solid_size.expand_as(weight), cells)
    length = hits.direction.norm(dim=-1)
    facing = ((hits.normal * hits.direction).sum(-1).abs() / length).clamp(min=0.02)
    footprint = hits.depth * length / focal_px / facing / cells
    contrast = (1.6 - 1.6 * footprint).clamp(0, 1)
    contrast = torch.where(surface == SKY, torch.ones_like(contrast), contrast)
    mean = torch.tensor(MEAN_WEIGHT, device=weight.device)[texture]
    return mean + (weight - mean) * contrast
