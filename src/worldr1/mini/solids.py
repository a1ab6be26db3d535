"""Exact ray intersections with the mini world's solids, in each solid's own frame (centre at 0, y down, axis along y).

Every function takes origins and directions `[..., 3]` and the half size `[...]`, and returns the ray parameter
(INFINITY where the ray misses) and the outward normal (not normalised) at the hit.
"""

import torch
from jaxtyping import Float
from torch import Tensor

INFINITY = 1e9
NEAR = 1e-3
CYLINDER_RADIUS = 0.8
"""Of the half size; the height is twice the half size."""

Hit = tuple[Float[Tensor, "..."], Float[Tensor, "... 3"]]


def _safe(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-7, torch.full_like(x, 1e-7), x)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both roots of a t^2 + 2 b t + c, smaller first, and whether they are real."""
    discriminant = b * b - a * c
    root = discriminant.clamp(min=0).sqrt()
    t0, t1 = (-b - root) / _safe(a), (-b + root) / _safe(a)
    return torch.minimum(t0, t1), torch.maximum(t0, t1), discriminant > 0


def _first(candidates: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Smallest parameter in front of the camera among (t, valid) pairs."""
    best = torch.full_like(candidates[0][0], INFINITY)
    for t, valid in candidates:
        best = torch.where(valid & (t > NEAR) & (t < best), t, best)
    return best


def box(origin: Float[Tensor, "... 3"], direction: Float[Tensor, "... 3"], size: Float[Tensor, "..."]) -> Hit:
    """A cube of half edge `size`."""
    inverse, half = 1 / _safe(direction), size[..., None]
    t0, t1 = (-half - origin) * inverse, (half - origin) * inverse
    enter, leave = torch.minimum(t0, t1).amax(-1), torch.maximum(t0, t1).amin(-1)
    t = torch.where((enter < leave) & (enter > NEAR), enter, torch.full_like(enter, INFINITY))
    scaled = (origin + direction * t[..., None]) / half
    face = torch.nn.functional.one_hot(scaled.abs().argmax(-1), 3).to(scaled.dtype)
    return t, face * scaled.sign()


def ball(origin: Float[Tensor, "... 3"], direction: Float[Tensor, "... 3"], size: Float[Tensor, "..."]) -> Hit:
    """A sphere of radius `size`."""
    a, b = (direction * direction).sum(-1), (origin * direction).sum(-1)
    near, _, real = _roots(a, b, (origin * origin).sum(-1) - size * size)
    t = _first([(near, real)])
    return t, origin + direction * t[..., None]


def cylinder(origin: Float[Tensor, "... 3"], direction: Float[Tensor, "... 3"], size: Float[Tensor, "..."]) -> Hit:
    """A standing cylinder of radius CYLINDER_RADIUS * size, with its lids."""
    (ox, oy, oz), (dx, dy, dz) = origin.unbind(-1), direction.unbind(-1)
    radius = CYLINDER_RADIUS * size
    near, _, real = _roots(dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - radius * radius)
    side = _first([(near, real & ((oy + dy * near).abs() <= size))])
    lids = []
    for end in (-1.0, 1.0):
        t = (end * size - oy) / _safe(dy)
        lids.append((t, (ox + dx * t) ** 2 + (oz + dz * t) ** 2 <= radius * radius))
    lid = _first(lids)
    t = torch.minimum(side, lid)
    x, y, z = (origin + direction * t[..., None]).unbind(-1)
    on_lid, zero = lid < side, torch.zeros_like(x)
    normal = torch.stack([torch.where(on_lid, zero, x), torch.where(on_lid, y, zero), torch.where(on_lid, zero, z)], -1)
    return t, normal


def cone(origin: Float[Tensor, "... 3"], direction: Float[Tensor, "... 3"], size: Float[Tensor, "..."]) -> Hit:
    """A standing cone: apex up at y = -size, base radius `size` at y = +size (it stands on its base: no base disc)."""
    (ox, oy, oz), (dx, dy, dz) = origin.unbind(-1), direction.unbind(-1)
    from_apex = oy + size
    near, far, real = _roots(
        dx * dx + dz * dz - dy * dy / 4,
        ox * dx + oz * dz - from_apex * dy / 4,
        ox * ox + oz * oz - from_apex * from_apex / 4,
    )
    t = _first([(root, real & ((oy + dy * root).abs() <= size)) for root in (near, far)])
    x, y, z = (origin + direction * t[..., None]).unbind(-1)
    return t, torch.stack([x, -(y + size) / 4, z], -1)


INTERSECT = (box, ball, cylinder, cone)
"""In the order of `scenes.SOLIDS`."""
