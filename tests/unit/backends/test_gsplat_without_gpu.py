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


@pytest.mark.parametrize(("pairs", "num_calls"), [(16_000_000, 1), (100, 2), (1, 4)])
def test_scenes_of_different_sizes_are_drawn_as_if_alone(
    monkeypatch: pytest.MonkeyPatch, pairs: int, num_calls: int
) -> None:
    calls: list[int] = []

    def rasterization(**call) -> tuple[Tensor, Tensor, dict]:
        calls.append(len(call["means"]))
        return fake_rasterization(**call)

    monkeypatch.setattr(adapter, "_load_gsplat", lambda: rasterization)
    monkeypatch.setattr(adapter, "MAX_PAIRS_PER_CALL", pairs)
    scenes = [scene(num, seed) for seed, num in enumerate((7, 25, 0, 12))]
    poses = torch.eye(4, dtype=torch.float64).repeat(4, 2, 1, 1)
    poses[..., 0, 3] = torch.linspace(0, 0.4, 8).view(4, 2)
    intrinsics = intrinsics_px(20, 30).repeat(4, 2, 1, 1)
    size = {"height": 20, "width": 30, "background": BACKGROUND}
    views = adapter.GsplatRenderer("cpu").render_scenes(scenes, poses, intrinsics, **size)
    assert len(calls) == num_calls
    for i in range(4):
        alone = SplatRenderer()(scenes[i], poses[i], intrinsics[i], **size)
        for name in ("colors", "alphas", "depths"):
            torch.testing.assert_close(getattr(views[i], name), getattr(alone, name), atol=1e-4, rtol=1e-4)
