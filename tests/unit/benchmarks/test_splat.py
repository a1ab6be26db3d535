"""The renderers' benchmark: its sizes, and that a difference between the two renderers is found and said."""

from dataclasses import replace

import pytest
import splat
import torch

from worldr1.scene.splat import SplatRenderer
from worldr1.types import RenderedViews


class Brighter(SplatRenderer):
    """Draws one pixel brighter than it should."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, *args, **kwargs) -> RenderedViews:
        views = super().__call__(*args, **kwargs)
        colors = views.colors.clone()
        colors[-1, 1, 3, 5] += self.by
        return replace(views, colors=colors)


def small_case() -> splat.Case:
    return splat.Case("random", splat.random_scene(50), 2, 12, 16)


@pytest.mark.parametrize(("by", "beyond"), [(0.0, 0), (0.004, 0), (0.02, 1)])
def test_pixels_beyond_the_tolerance_are_counted(by: float, beyond: int, capsys: pytest.CaptureFixture[str]) -> None:
    case = small_case()
    row = splat.measure(case, 1, Brighter(by))
    assert row.difference == pytest.approx((by, by / (2 * 12 * 16), beyond / (2 * 12 * 16)), abs=1e-6)
    splat.print_table([(case, row)])
    *table, last = capsys.readouterr().out.strip().splitlines()
    assert (", NOT within" in last) == (beyond > 0)
    assert f"{splat.TOLERANCE:.5f}" in last
    assert len({line.count("|") for line in table if line}) == 1


def test_alphas_count_as_colours_do() -> None:
    black = RenderedViews(colors=torch.zeros(1, 3, 2, 2), alphas=torch.zeros(1, 2, 2), depths=torch.zeros(1, 2, 2))
    opaque = replace(black, alphas=torch.full((1, 2, 2), 0.5), depths=torch.ones(1, 2, 2))
    assert splat.difference(black, opaque) == (0.5, 0.5, 1.0)


def test_float32_depths_change_single_pixels_where_two_gaussians_lie_at_one_depth() -> None:
    scene = splat.random_scene(2)
    near = 1.0 + torch.tensor([1e-9, 0.0], dtype=torch.float64)  # the second is nearer, but not in float32
    tied = replace(scene, means=torch.stack([torch.zeros(2), torch.zeros(2), near], 1), opacities=torch.full((2,), 0.9))
    apart = replace(tied, means=torch.tensor([[0.0, 0.0, 1.001], [0.0, 0.0, 1.0]], dtype=torch.float64))
    found = [
        splat.measure(splat.Case("two", one, 1, 12, 16), 1, splat.FloatOrder()).difference for one in (tied, apart)
    ]
    assert found[0] is not None and found[1] is not None
    assert found[0].largest > 0.05
    assert found[1].largest < 1e-6


def test_without_a_gpu_there_is_no_column_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    case = small_case()
    row = splat.measure(case, 2)
    assert row.again_s is None
    assert 0 < row.wall_s < 5
    splat.print_table([(case, row)])
    text = capsys.readouterr().out
    assert "gpu" not in text
    assert "| random | 50 | 2 of 12 x 16 |" in text


def test_a_lifted_pixel_is_a_gaussian() -> None:
    assert len(splat.lifted_clip(3, 12, 16).means) == 3 * 12 * 16
