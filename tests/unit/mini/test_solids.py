"""Every solid against its implicit equation and against a fine march along the ray."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from worldr1.mini.scenes import SOLIDS
from worldr1.mini.solids import CYLINDER_RADIUS, INFINITY, INTERSECT

NUM_RAYS = 500
SIZE = 0.14


def _box(p: Tensor) -> Tensor:
    return p.abs().amax(-1) / SIZE - 1


def _ball(p: Tensor) -> Tensor:
    return p.norm(dim=-1) / SIZE - 1


def _cylinder(p: Tensor) -> Tensor:
    return torch.maximum(p[..., ::2].norm(dim=-1) / CYLINDER_RADIUS, p[..., 1].abs()) / SIZE - 1


def _cone(p: Tensor) -> Tensor:
    return torch.maximum(p[..., ::2].norm(dim=-1) - (p[..., 1] + SIZE) / 2, p[..., 1] - SIZE) / SIZE


IMPLICIT: dict[str, Callable[[Tensor], Tensor]] = {"box": _box, "ball": _ball, "cylinder": _cylinder, "cone": _cone}
"""Below 0 inside, 0 on the surface, growing outwards."""


def _rays(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Origins about one unit away and above the floor on which the solid stands; directions (not unit) towards it."""
    generator = torch.Generator().manual_seed(seed)
    origin = torch.nn.functional.normalize(torch.randn(NUM_RAYS, 3, generator=generator, dtype=torch.float64), dim=-1)
    origin[:, 1] = -origin[:, 1].abs() + 0.9 * SIZE
    target = (torch.rand(NUM_RAYS, 3, generator=generator, dtype=torch.float64) - 0.5) * 2.6 * SIZE
    return origin, (target - origin) * (0.5 + torch.rand(NUM_RAYS, 1, generator=generator, dtype=torch.float64))


def _cast(solid: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    origin, direction = _rays()
    t, normal = INTERSECT[SOLIDS.index(solid)](origin, direction, torch.full((NUM_RAYS,), SIZE, dtype=torch.float64))
    return origin, direction, t, normal


@pytest.mark.parametrize("solid", SOLIDS)
def test_hits_lie_on_the_surface_and_normals_point_along_its_gradient(solid: str) -> None:
    origin, direction, t, normal = _cast(solid)
    hit = t < INFINITY / 2
    assert 0.2 < hit.double().mean() < 0.95
    point = (origin + direction * t[:, None])[hit].requires_grad_()
    value = IMPLICIT[solid](point)
    assert value.abs().max() < 1e-9
    gradient = torch.autograd.grad(value.sum(), point)[0]
    cosine = torch.cosine_similarity(gradient, normal[hit], dim=-1)
    assert cosine.min() > 1 - 1e-9, "the normal is the outward one"
    assert (normal[hit] * direction[hit]).sum(-1).max() < 0, "a ray enters against the normal"


@pytest.mark.parametrize("solid", SOLIDS)
def test_the_hit_is_the_first_point_inside(solid: str) -> None:
    origin, direction, t, _ = _cast(solid)
    steps = torch.linspace(0, 4, 2001, dtype=torch.float64)
    inside = IMPLICIT[solid](origin[:, None] + direction[:, None] * steps[:, None]) < 0
    entered, first = inside.any(1), inside.double().argmax(1)
    step = steps[1] - steps[0]
    assert (t[entered] <= steps[first[entered]] + 1e-9).all()
    assert (t[entered] >= steps[first[entered]] - step - 1e-9).all()
    grazed = (t < INFINITY / 2) & ~entered  # chords between two steps
    assert grazed.double().mean() < 0.02
    assert (t[~entered & ~grazed] == INFINITY).all()


@pytest.mark.parametrize("solid", SOLIDS)
def test_nothing_behind_the_camera_is_hit(solid: str) -> None:
    origin, direction = _rays()
    t, _ = INTERSECT[SOLIDS.index(solid)](origin, -direction, torch.full((NUM_RAYS,), SIZE, dtype=torch.float64))
    assert (t == INFINITY).all()


def test_axis_parallel_rays_hit_where_they_must() -> None:
    down, ahead = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    size = torch.tensor(0.5)
    above, before = torch.tensor([0.1, -2.0, 0.0]), torch.tensor([0.0, 0.0, -2.0])
    expected = {"box": (1.5, 1.5), "ball": (2 - 0.24**0.5, 1.5), "cylinder": (1.5, 1.6), "cone": (1.7, 1.75)}
    for solid, (from_above, from_before) in expected.items():
        intersect = INTERSECT[SOLIDS.index(solid)]
        assert float(intersect(above, down, size)[0]) == pytest.approx(from_above, abs=1e-5), solid
        assert float(intersect(before, ahead, size)[0]) == pytest.approx(from_before, abs=1e-5), solid
