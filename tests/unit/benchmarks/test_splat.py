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


@pytest.mark.parametrize(("by", "verdict"), [(0.0, ", within"), (0.004, ", within"), (0.02, ", NOT within")])
def test_the_largest_difference_is_held_against_the_tolerance(
    by: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = small_case()
    row = splat.measure(case, 1, Brighter(by))
    assert row.difference == pytest.approx(by, abs=1e-6)
    splat.print_table([(case, row)])
    *table, last = capsys.readouterr().out.strip().splitlines()
    assert verdict in last
    assert f"{splat.TOLERANCE:.5f}" in last
    assert len({line.count("|") for line in table if line}) == 1


def test_alphas_count_as_colours_do() -> None:
    black = RenderedViews(colors=torch.zeros(1, 3, 2, 2), alphas=torch.zeros(1, 2, 2), depths=torch.zeros(1, 2, 2))
    opaque = replace(black, alphas=torch.full((1, 2, 2), 0.5), depths=torch.ones(1, 2, 2))
    assert splat.difference(black, opaque) == 0.5


def test_without_a_gpu_there_is_no_column_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    case = small_case()
    row = splat.measure(case, 2)
    assert row.gpu_s is None
    assert 0 < row.wall_s < 5
    splat.print_table([(case, row)])
    text = capsys.readouterr().out
    assert "gpu" not in text
    assert "| random | 50 | 2 of 12 x 16 |" in text


def test_a_lifted_pixel_is_a_gaussian() -> None:
    assert len(splat.lifted_clip(3, 12, 16).means) == 3 * 12 * 16
