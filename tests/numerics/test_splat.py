"""The numba splatter against the torch definition, and the definition against formulas."""

import math
import threading

import pytest
import torch
from torch import Tensor

from worldr1.protocols import Renderer
from worldr1.scene.splat import SplatRenderer
from worldr1.scene.splat_reference import ReferenceRenderer
from worldr1.types import Gaussians, RenderedViews, intrinsics_px

BACKGROUND = torch.tensor([0.1, 0.4, 0.7])
RENDERERS = [SplatRenderer(), ReferenceRenderer()]


def random_scene(num: int, seed: int, *, max_scale: float, min_opacity: float = 0.0) -> Gaussians:
    """Turned, stretched Gaussians in front of, around and behind a camera at the origin."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([-1.5, -1.0, -0.5]), torch.tensor([1.5, 1.0, 3.0])
    return Gaussians(
        means=low + (high - low) * torch.rand(num, 3, generator=generator),
        quats=torch.randn(num, 4, generator=generator),
        scales=0.003 + max_scale * torch.rand(num, 3, generator=generator),
        opacities=min_opacity + (1 - min_opacity) * torch.rand(num, generator=generator),
        colors=torch.rand(num, 3, generator=generator),
    )


def cameras(num: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Turning, moving cameras, each with another principal point."""
    poses = torch.eye(4, dtype=torch.float64).repeat(num, 1, 1)
    for i in range(num):
        cos, sin = math.cos(0.15 * i), math.sin(0.15 * i)
        poses[i, :3, :3] = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        poses[i, :3, 3] = torch.tensor([-0.1 * i, 0.05 * i, 0.1 * i])
    intrinsics = intrinsics_px(height, width).repeat(num, 1, 1)
    intrinsics[:, 0, 2] += 4.0 * torch.arange(num)
    intrinsics[:, 1, 1] *= 1.1
    intrinsics[:, 1, 2] -= 3.0 * torch.arange(num)
    return poses, intrinsics


def one(mean: tuple[float, float, float], scale: float, opacity: float, color: tuple[float, float, float]) -> Gaussians:
    """A single round Gaussian."""
    return Gaussians(
        means=torch.tensor([mean]),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.full((1, 3), scale),
        opacities=torch.tensor([opacity]),
        colors=torch.tensor([color]),
    )


def joined(*scenes: Gaussians) -> Gaussians:
    """All Gaussians of the scenes, in order."""
    names = ("means", "quats", "scales", "opacities", "colors")
    return Gaussians(**{name: torch.cat([getattr(scene, name) for scene in scenes]) for name in names})


def render_front(renderer: Renderer, scene: Gaussians, height: int = 32, width: int = 48) -> RenderedViews:
    """One view from the origin along +z."""
    pose, intrinsics = torch.eye(4, dtype=torch.float64)[None], intrinsics_px(height, width)[None]
    return renderer(scene, pose, intrinsics, height=height, width=width, background=BACKGROUND)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("num", "max_scale", "min_opacity"), [(200, 0.2, 0.0), (400, 0.03, 0.5), (60, 0.6, 0.9)])
def test_splatter_equals_the_definition(seed: int, num: int, max_scale: float, min_opacity: float) -> None:
    scene = random_scene(num, seed, max_scale=max_scale, min_opacity=min_opacity)
    poses, intrinsics = cameras(3, 29, 41)
    fast, slow = (
        renderer(scene, poses, intrinsics, height=29, width=41, background=BACKGROUND) for renderer in RENDERERS
    )
    assert float(slow.alphas.max()) > 0.9
    for name in ("colors", "alphas", "depths"):
        torch.testing.assert_close(getattr(fast, name).double(), getattr(slow, name), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_footprint_of_one_gaussian_is_its_formula(renderer: Renderer) -> None:
    width, z, scale, opacity = 48, 2.0, 0.05, 0.8
    focal = 1.2 * width
    # its centre projects to the middle of pixel (column 24, row 16)
    scene = one((0.5 / focal * z, 0.5 / focal * z, z), scale, opacity, (1.0, 0.0, 0.5))
    views = render_front(renderer, scene)
    tilt = 0.5 / focal
    variance = (focal / z * scale) ** 2 * (1 + tilt**2) + 0.3
    covariance = (focal / z * scale) ** 2 * tilt**2
    for dx, dy in [(0, 0), (1, 0), (0, -2), (3, 2), (-2, 2)]:
        quadratic = (variance * (dx * dx + dy * dy) - 2 * covariance * dx * dy) / (variance**2 - covariance**2)
        alpha = opacity * math.exp(-0.5 * quadratic)
        assert alpha > 1 / 255
        row, column = 16 + dy, 24 + dx
        assert float(views.alphas[0, row, column]) == pytest.approx(alpha, abs=1e-6)
        expected = alpha * torch.tensor([1.0, 0.0, 0.5]) + (1 - alpha) * BACKGROUND
        torch.testing.assert_close(views.colors[0, :, row, column].float(), expected)
        assert float(views.depths[0, row, column]) == pytest.approx(z, abs=1e-6)
    reach = math.sqrt(2 * variance * math.log(opacity * 255))
    radius = torch.hypot(torch.arange(48.0)[None] - 24, torch.arange(32.0)[:, None] - 16)
    assert bool((views.alphas[0][radius > reach + 0.1] == 0).all())
    assert bool((views.alphas[0][radius < reach - 0.1] >= 1 / 255 - 1e-9).all())


@pytest.mark.parametrize("renderer", RENDERERS)
def test_contributions_below_1_in_255_are_skipped(renderer: Renderer) -> None:
    middle = 0.5 / (1.2 * 48)
    for share, expected in [(1.01, 1.01 / 255), (0.99, 0.0)]:
        views = render_front(renderer, one((middle, middle, 1.0), 0.05, share / 255, (1.0, 1.0, 1.0)))
        assert float(views.alphas[0, 16, 24]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_nearer_gaussians_hide_farther_ones_in_any_order(renderer: Renderer) -> None:
    near, far = one((0, 0, 1.0), 0.2, 0.75, (1.0, 0, 0)), one((0, 0, 2.0), 0.4, 0.5, (0, 1.0, 0))
    for scene in (joined(near, far), joined(far, near)):
        views = render_front(renderer, scene)
        a = float(render_front(renderer, near).alphas[0, 16, 24])
        b = float(render_front(renderer, far).alphas[0, 16, 24])
        alpha = a + (1 - a) * b
        expected = torch.tensor([a, (1 - a) * b, 0.0]) + (1 - alpha) * BACKGROUND
        torch.testing.assert_close(views.colors[0, :, 16, 24].float(), expected)
        assert float(views.depths[0, 16, 24]) == pytest.approx((a * 1.0 + (1 - a) * b * 2.0) / alpha, abs=1e-5)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_compositing_stops_before_transmittance_1e_4(renderer: Renderer) -> None:
    layers = [one((0, 0, 1.0 + 0.1 * i), 0.5, 1.0, (1.0, 1.0, 1.0)) for i in range(4)]
    # alpha is capped at 0.999: one layer leaves 1e-3, and the second would leave 1e-6, so it is refused
    assert float(render_front(renderer, layers[0]).alphas[0, 16, 24]) == pytest.approx(0.999, abs=1e-4)
    alpha = float(render_front(renderer, joined(*layers)).alphas[0, 16, 24])
    assert alpha == pytest.approx(float(render_front(renderer, layers[0]).alphas[0, 16, 24]), abs=1e-9)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_nothing_to_draw_leaves_the_background(renderer: Renderer) -> None:
    behind = one((0, 0, -1.0), 0.3, 1.0, (1.0, 1.0, 1.0))
    too_near = one((0, 0, 0.005), 0.3, 1.0, (1.0, 1.0, 1.0))
    aside = one((50.0, 0, 1.0), 0.1, 1.0, (1.0, 1.0, 1.0))
    empty = random_scene(0, 0, max_scale=0.1)
    for scene in (behind, too_near, aside, empty):
        views = render_front(renderer, scene)
        torch.testing.assert_close(views.colors.float(), BACKGROUND[None, :, None, None].expand(1, 3, 32, 48))
        assert float(views.alphas.abs().max()) == 0.0
        assert float(views.depths.abs().max()) == 0.0


@pytest.mark.parametrize("renderer", RENDERERS)
def test_principal_point_moves_the_picture_by_whole_pixels(renderer: Renderer) -> None:
    # inside both fields of view, where the Jacobian is not clamped
    scene = random_scene(30, 1, max_scale=0.05)
    scene.means[:, 2] += 3.0
    scene.means[:, :2] *= 0.3
    pose, centred = torch.eye(4, dtype=torch.float64)[None], intrinsics_px(32, 48)[None]
    shifted = centred.clone()
    shifted[0, 0, 2] += 5
    shifted[0, 1, 2] -= 3
    size = {"height": 32, "width": 48, "background": BACKGROUND}
    a, b = renderer(scene, pose, centred, **size), renderer(scene, pose, shifted, **size)
    assert float(a.alphas.max()) > 0.5
    torch.testing.assert_close(b.colors[..., :-3, 5:], a.colors[..., 3:, :-5])
    torch.testing.assert_close(b.depths[..., :-3, 5:], a.depths[..., 3:, :-5])


def test_float32_and_float64_inputs_and_repeats_agree() -> None:
    scene = random_scene(300, 2, max_scale=0.1)
    poses, intrinsics = cameras(2, 20, 30)
    size = {"height": 20, "width": 30, "background": BACKGROUND}
    first = SplatRenderer()(scene, poses, intrinsics, **size)
    again = SplatRenderer()(scene, poses, intrinsics, **size)
    assert torch.equal(first.colors, again.colors)
    assert first.colors.dtype == torch.float32
    rounded = SplatRenderer()(scene, poses.float(), intrinsics.float(), **size)
    assert float((first.colors - rounded.colors).abs().mean()) < 1e-4


def test_threads_do_not_disturb_each_other() -> None:
    scenes = [random_scene(2000, seed, max_scale=0.05) for seed in range(2)]
    alone = [render_front(SplatRenderer(), scene).colors for scene in scenes]
    together: list[Tensor | None] = [None, None]

    def work(i: int) -> None:
        together[i] = render_front(SplatRenderer(), scenes[i]).colors

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        assert b is not None
        assert torch.equal(a, b)
