import pytest
import torch

from worldr1.diffusion.schedule import sigma_grid
from worldr1.errors import InputError


def test_ten_steps_of_shift_three_are_the_official_grid():
    expected = [1.0, 27 / 28, 12 / 13, 7 / 8, 9 / 11, 3 / 4, 2 / 3, 9 / 16, 3 / 7, 1 / 4, 0.0]
    assert sigma_grid(10, 3.0).tolist() == pytest.approx(expected, abs=1e-15)


def test_ends_are_exact_and_shift_one_is_uniform():
    grid = sigma_grid(50, 5.0)
    assert grid[0] == 1 and grid[-1] == 0 and grid.dtype == torch.float64
    assert bool((grid.diff() < 0).all())
    assert torch.equal(sigma_grid(8, 1.0), torch.linspace(1, 0, 9, dtype=torch.float64))


@pytest.mark.parametrize(("num_steps", "shift"), [(0, 3.0), (10, 0.0), (10, -1.0), (10, float("nan"))])
def test_impossible_grids_are_refused(num_steps, shift):
    with pytest.raises(InputError):
        sigma_grid(num_steps, shift)
