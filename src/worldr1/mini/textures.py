"""Procedural textures: a pattern weight in 0..1 at a texture coordinate, and what it mixes.

Integer hashing, so that a texture is the same on every machine and needs no stored images.
"""

from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Texture(IntEnum):
    """Every pattern of the mini world; the first four are those of solids."""

    PLAIN = 0
    STRIPED = 1
    CHECKERED = 2
    MARBLED = 3
    TILED = 4
    BRICK = 5
    PAINTED = 6
    CLOUDED = 7


MEAN_WEIGHT = (0.0, 0.5, 0.5, 0.5, 0.16, 0.2, 0.3, 0.5)
"""Mean pattern weight of each texture: what a surface fades to where a pixel covers more than a pattern cell."""


MARBLE_FREQUENCY = 1.5
"""Coarsest noise lattice cells per texture cell."""


def lattice_hash(
    x: Int[Tensor, "..."], y: Int[Tensor, "..."], z: Int[Tensor, "..."], seed: Int[Tensor, "..."]
) -> Tensor:
    """Uniform 0..1 numbers, one per lattice point and seed (32-bit integer mixing)."""
    h = x * 374761393 + y * 668265263 + z * 1442695041 + seed
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1274126177
    h = h ^ ((h >> 16) & 0xFFFF)
    return (h & 0xFFFFFF).to(torch.float32) / 0xFFFFFF


def value_noise(q: Float[Tensor, "... 3"], seed: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Smooth noise in 0..1 with one lattice cell per unit (trilinear, smoothstep weights)."""
    cell = q.floor()
    f = q - cell
    f = f * f * (3 - 2 * f)
    x, y, z = cell.to(torch.int32).unbind(-1)
    fx, fy, fz = f.unbind(-1)

    def edge(dy: int, dz: int) -> Tensor:
        return torch.lerp(lattice_hash(x, y + dy, z + dz, seed), lattice_hash(x + 1, y + dy, z + dz, seed), fx)

    return torch.lerp(torch.lerp(edge(0, 0), edge(1, 0), fy), torch.lerp(edge(0, 1), edge(1, 1), fy), fz)


def fractal_noise(q: Float[Tensor, "... 3"], seed: Int[Tensor, "..."], octaves: int = 3) -> Float[Tensor, "..."]:
    """Octaves of value noise, stretched so that both ends of 0..1 are reached."""
    total, weight, amplitude = torch.zeros_like(q[..., 0]), 0.0, 1.0
    for octave in range(octaves):
        total = total + amplitude * value_noise(q * 2**octave + 17.3 * octave, seed + 7919 * octave)
        weight, amplitude = weight + amplitude, amplitude * 0.5
    return ((total / weight - 0.5) * 2.4 + 0.5).clamp(0, 1)


def pattern(
    texture: Int[Tensor, "..."], q: Float[Tensor, "... 3"], seed: Int[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Pattern weight (0: main colour, 1: second colour) and, for decals, which of three paints (0, 1, 2)."""
    x, y, z = q.unbind(-1)
    striped = (x * (5 / 3)).floor() % 2
    checkered = (x.floor() + y.floor() + z.floor()) % 2
    fx, fy = x - x.floor(), y - y.floor()
    tiled = ((fx < 0.08) | (fy < 0.08)).to(q.dtype)
    row = (y * 1.7).floor()
    bx, by = x + 0.5 * (row % 2), y * 1.7 - row
    brick = ((bx - bx.floor() < 0.07) | (by < 0.12)).to(q.dtype)
    noisy = (texture == Texture.MARBLED) | (texture == Texture.CLOUDED)
    noise = torch.zeros_like(x)
    noise[noisy] = fractal_noise(q[noisy] * MARBLE_FREQUENCY, seed.expand_as(x)[noisy])
    painted, paint = _decals(x, y, seed)
    weight = torch.zeros_like(x)
    for code, value in (
        (Texture.STRIPED, striped),
        (Texture.CHECKERED, checkered),
        (Texture.MARBLED, noise),
        (Texture.TILED, tiled),
        (Texture.BRICK, brick),
        (Texture.PAINTED, painted),
        (Texture.CLOUDED, noise),
    ):
        weight = torch.where(texture == code, value, weight)
    return weight, paint


def _decals(x: Tensor, y: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """One disc or square of random place, size and paint in each cell of a grid of 1.3 units."""
    x, y = x / 1.3, y / 1.3
    cx, cy = x.floor(), y.floor()
    ix, iy = cx.to(torch.int32), cy.to(torch.int32)
    draws = [lattice_hash(ix, iy, torch.full_like(ix, channel), seed) for channel in range(5)]
    radius = 0.14 + 0.22 * draws[2]
    dx = x - cx - (radius + (1 - 2 * radius) * draws[0])
    dy = y - cy - (radius + (1 - 2 * radius) * draws[1])
    distance = torch.where(draws[3] < 0.5, (dx * dx + dy * dy).sqrt(), torch.maximum(dx.abs(), dy.abs()) * 1.15)
    return (distance < radius).to(x.dtype), (draws[4] * 2.999).floor()
