"""Textures: which repeat, their mean, and that they are the same on every machine."""

import pytest
import torch
from torch import Tensor

from worldr1.mini.textures import MEAN_WEIGHT, Texture, fractal_noise, lattice_hash, pattern, value_noise

PERIODS = {
    Texture.STRIPED: (1.2, 0.0),
    Texture.CHECKERED: (2.0, 2.0),
    Texture.TILED: (1.0, 1.0),
    Texture.BRICK: (1.0, 2 / 1.7),
}
"""Of the textures that repeat, along x and y."""
AREA = 20.0


def _weight(texture: Texture, q: Tensor, seed: int = 3) -> Tensor:
    return pattern(torch.full(q.shape[:-1], int(texture)), q, torch.tensor(seed, dtype=torch.int32))[0]


def _grid(shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Coordinates that avoid the pattern's own edges, where rounding may fall on either side."""
    line = torch.arange(0, AREA, 0.0973) + 0.0031
    y, x = torch.meshgrid(line + shift[1], line + shift[0], indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 0.4)], -1)


@pytest.mark.parametrize("texture", list(PERIODS))
def test_periodic_textures_repeat(texture: Texture) -> None:
    here, there = _weight(texture, _grid()), _weight(texture, _grid(PERIODS[texture]))
    assert (here != there).double().mean() < 2e-3
    assert (here != _weight(texture, _grid((0.5, 0.3)))).double().mean() > 0.1


@pytest.mark.parametrize("texture", [Texture.MARBLED, Texture.PAINTED])
def test_marbled_and_painted_do_not_repeat(texture: Texture) -> None:
    here = _weight(texture, _grid())
    spread = here.std()
    for cells in (1.0, 1.3, 2.0, 2.6, 4.0, 8.0):
        for shift in ((cells, 0.0), (0.0, cells), (cells, cells)):
            difference = (_weight(texture, _grid(shift)) - here).square().mean().sqrt()
            assert difference > 0.8 * spread, f"{texture.name} repeats after {shift}"


@pytest.mark.parametrize("texture", list(Texture))
def test_mean_weights_are_those_to_which_distant_surfaces_fade(texture: Texture) -> None:
    # decals cover 0.20 of a painted surface; that it fades to 0.3 is frozen with the shipped weights
    tolerance = 0.11 if texture == Texture.PAINTED else 0.05
    mean = float(torch.stack([_weight(texture, _grid(), seed) for seed in (1, 2, 3)]).mean())
    assert mean == pytest.approx(MEAN_WEIGHT[texture], abs=tolerance)


def test_noise_is_smooth_bounded_and_different_for_each_seed() -> None:
    q = _grid()
    seed = torch.tensor(5, dtype=torch.int32)
    noise = fractal_noise(q, seed)
    assert noise.min() == 0
    assert noise.max() == 1
    nearby = fractal_noise(q + 1e-4, seed)
    assert (noise - nearby).abs().max() < 5e-3
    other = fractal_noise(q, seed + 101)  # the next surface of the same scene
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1])) < 0.1


def test_value_noise_passes_through_its_lattice_values() -> None:
    lattice = torch.tensor([[0, 0, 0], [3, -2, 1], [-7, 5, 4]], dtype=torch.int32)
    seed = torch.tensor(9, dtype=torch.int32)
    x, y, z = lattice.unbind(-1)
    expected = lattice_hash(x, y, z, seed)
    torch.testing.assert_close(value_noise(lattice.float(), seed), expected)


def test_lattice_hash_is_frozen() -> None:
    """The shipped weights were trained on these numbers (docs/conventions.md)."""
    x, y, z = torch.tensor([[0, 0, 0], [1, 2, 3], [-4, 5, -6], [1000, -1000, 7]], dtype=torch.int32).unbind(-1)
    found = lattice_hash(x, y, z, torch.tensor(12345, dtype=torch.int32))
    torch.testing.assert_close(found, torch.tensor(FROZEN), atol=1e-6, rtol=0)
    many = lattice_hash(torch.arange(40_000, dtype=torch.int32), y[0], z[0], torch.tensor(1, dtype=torch.int32))
    histogram = torch.histc(many, 10, 0, 1) / len(many)
    assert (histogram - 0.1).abs().max() < 0.01


FROZEN = [0.7418140173, 0.7118122578, 0.2370323, 0.5858458281]
