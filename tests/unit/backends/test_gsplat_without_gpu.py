"""What the adapter does around gsplat: its message without a GPU, and how scenes are stacked, cut and handed over."""

import pytest
import torch
from torch import Tensor

from worldr1.backends import gsplat as adapter
from worldr1.errors import InputError
from worldr1.geometry.se3 import inverse
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, intrinsics_px

BACKGROUND = torch.tensor([0.1, 0.4, 0.7])


def fake_rasterization(*, viewmats: Tensor, Ks: Tensor, backgrounds: Tensor, **call) -> tuple[Tensor, Tensor, dict]:
    """gsplat.rasterization's shapes and arguments, drawn by the CPU splatter; drawn Gaussians only, as gsplat does."""
    assert (call["near_plane"], call["eps2d"], call["rasterize_mode"]) == (0.01, 0.3, "classic")
    assert call["render_mode"] == "RGB+ED"
    images, alphas = [], []
    for i in range(len(viewmats)):
        drawn = call["opacities"][i] > 0
        scene = Gaussians(
            **{name: call[name][i][drawn] for name in ("means", "quats", "scales", "opacities", "colors")}
        )
        poses, size = inverse(viewmats[i].double()), {"height": call["height"], "width": call["width"]}
        views = SplatRenderer()(scene, poses, Ks[i], background=backgrounds[i, 0], **size)
        images.append(torch.cat([views.colors.movedim(1, -1), views.depths[..., None]], -1))
        alphas.append(views.alphas[..., None])
    return torch.stack(images), torch.stack(alphas), {}


def scene(num: int, seed: int) -> Gaussians:
    """Gaussians in front of the camera."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.rand(num, 3, generator=generator) + torch.tensor([-0.5, -0.5, 1.0]),
        quats=torch.randn(num, 4, generator=generator),
        scales=0.1 * torch.rand(num, 3, generator=generator),
        opacities=0.1 + 0.9 * torch.rand(num, generator=generator),
        colors=torch.rand(num, 3, generator=generator),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_cuda_the_message_says_what_to_do() -> None:
    with pytest.raises(InputError, match="CPU renderer"):
        adapter.GsplatRenderer()


@pytest.mark.parametrize(
    ("pairs", "num_calls"),
    # 25 Gaussians at most, two views: all; two scenes of 50 pairs; one scene; one view, as a view is never divided
    [(16_000_000, 1), (100, 2), (50, 4), (49, 8), (1, 8)],
)
def test_scenes_of_different_sizes_are_drawn_as_if_alone(
    monkeypatch: pytest.MonkeyPatch, pairs: int, num_calls: int
) -> None:
    scenes = [scene(num, seed) for seed, num in enumerate((7, 25, 0, 12))]
    calls = check_against_the_splatter(monkeypatch, scenes, num_views=2, pairs=pairs)
    assert len(calls) == num_calls
    assert all(num_pairs <= max(pairs, 25) for num_pairs, _ in calls)


def test_the_views_of_one_large_scene_take_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = check_against_the_splatter(monkeypatch, [scene(40, 0)], num_views=7, pairs=130)
    assert calls == [(120, 3), (120, 3), (40, 1)]


def check_against_the_splatter(
    monkeypatch: pytest.MonkeyPatch, scenes: list[Gaussians], *, num_views: int, pairs: int
) -> list[tuple[int, int]]:
    """Draws all scenes with `MAX_PAIRS_PER_CALL` = pairs, each view from another place, and compares them with the CPU
    splatter's; returns the pairs and the views of every call."""
    calls: list[tuple[int, int]] = []

    def rasterization(**call) -> tuple[Tensor, Tensor, dict]:
        calls.append((call["means"][..., 0].numel() * call["viewmats"].shape[1], call["viewmats"].shape[1]))
        return fake_rasterization(**call)

    monkeypatch.setattr(adapter, "_load_gsplat", lambda: rasterization)
    monkeypatch.setattr(adapter, "MAX_PAIRS_PER_CALL", pairs)
    num = len(scenes)
    poses = torch.eye(4, dtype=torch.float64).repeat(num, num_views, 1, 1)
    poses[..., 0, 3] = torch.linspace(0, 0.4, num * num_views).view(num, num_views)
    intrinsics = intrinsics_px(20, 30).repeat(num, num_views, 1, 1)
    intrinsics[..., 0, 2] += torch.linspace(0, 5, num_views)
    size = {"height": 20, "width": 30, "background": BACKGROUND}
    views = adapter.GsplatRenderer("cpu").render_scenes(scenes, poses, intrinsics, **size)
    assert len(views) == num
    for i in range(num):
        alone = SplatRenderer()(scenes[i], poses[i], intrinsics[i], **size)
        for name in ("colors", "alphas", "depths"):
            torch.testing.assert_close(getattr(views[i], name), getattr(alone, name), atol=1e-4, rtol=1e-4)
    return calls
