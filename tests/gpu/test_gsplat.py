"""gsplat on CUDA against the numba splatter: the two renderers must be interchangeable."""

import pytest
import splat
import torch

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.errors import InputError
from worldr1.scene.splat import SplatRenderer
from worldr1.scene.splat_reference import ReferenceRenderer
from worldr1.types import Gaussians, RenderedViews, intrinsics_px

pytestmark = pytest.mark.gpu
BACKGROUND = torch.tensor([0.1, 0.4, 0.7])
SIZE = {"height": 64, "width": 96, "background": BACKGROUND}


@pytest.fixture(scope="module")
def renderer() -> GsplatRenderer:
    """One renderer: the first one on a machine compiles gsplat."""
    return GsplatRenderer()


def scene(num: int, seed: int) -> Gaussians:
    """Turned Gaussians, some behind the cameras."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([-1.5, -1.0, -0.5]), torch.tensor([1.5, 1.0, 3.0])
    return Gaussians(
        means=low + (high - low) * torch.rand(num, 3, generator=generator),
        quats=torch.randn(num, 4, generator=generator),
        scales=0.003 + 0.03 * torch.rand(num, 3, generator=generator),
        opacities=torch.rand(num, generator=generator),
        colors=torch.rand(num, 3, generator=generator),
    )


def cameras(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras that move right, principal points off the centre."""
    poses = torch.eye(4, dtype=torch.float64).repeat(num, 1, 1)
    poses[:, 0, 3] = torch.linspace(0, 0.3, num)
    intrinsics = intrinsics_px(64, 96).repeat(num, 1, 1)
    intrinsics[:, 0, 2] += 3.5
    return poses, intrinsics


def assert_same_pictures(gpu: RenderedViews, cpu: RenderedViews) -> None:
    """Equal but for Gaussians whose alpha lies at 1/255 and falls on either side (float32 and fast exp)."""
    for name in ("colors", "alphas"):
        error = (getattr(gpu, name).cpu() - getattr(cpu, name)).abs()
        assert float(error.max()) < 1.5 / 255
        assert float(error.mean()) < 1e-4
    solid = cpu.alphas > 0.5
    depth_error = (gpu.depths.cpu() - cpu.depths)[solid].abs()
    assert float(depth_error.sum()) <= 1e-3 * len(depth_error)  # of an empty or thin scene no pixel is solid


@pytest.mark.parametrize("num", [0, 1, 5000])
def test_one_scene_equals_the_cpu_splatter(renderer: GsplatRenderer, num: int) -> None:
    poses, intrinsics = cameras(3)
    gaussians = scene(num, 0)
    gpu = renderer(gaussians, poses, intrinsics, **SIZE)
    assert gpu.colors.shape == (3, 3, 64, 96)
    assert_same_pictures(gpu, SplatRenderer()(gaussians, poses, intrinsics, **SIZE))


@pytest.mark.parametrize("pairs", [16_000_000, 5000, 1200])
def test_many_scenes_of_different_sizes(renderer: GsplatRenderer, monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    monkeypatch.setattr("worldr1.backends.gsplat.MAX_PAIRS_PER_CALL", pairs)
    scenes = [scene(num, seed) for seed, num in enumerate((700, 1200, 1, 900))]
    poses, intrinsics = (part.repeat(4, 1, 1, 1) for part in cameras(2))
    poses[1, :, 1, 3] = 0.2
    batch = renderer.render_scenes(scenes, poses, intrinsics, **SIZE)
    assert len(batch) == 4
    for i, views in enumerate(batch):
        assert_same_pictures(views, SplatRenderer()(scenes[i], poses[i], intrinsics[i], **SIZE))


def test_numbers_of_scenes_and_cameras_must_agree(renderer: GsplatRenderer) -> None:
    poses, intrinsics = (part[None] for part in cameras(2))
    with pytest.raises(InputError, match="scenes"):
        renderer.render_scenes([scene(3, 0)] * 2, poses, intrinsics, **SIZE)


def test_lifted_frames_differ_only_where_float32_cannot_tell_depths_apart(renderer: GsplatRenderer) -> None:
    row = splat.measure(splat.Case("lifted", splat.lifted_clip(9, 64, 96), 8, 64, 96), 1, renderer)
    assert row.difference is not None
    assert row.difference.share <= splat.TIED_SHARE
    assert row.difference.mean < 1e-4


def test_gradients_equal_the_definition_s(renderer: GsplatRenderer) -> None:
    """What 3DGS optimisation (`evaluate.metrics.splat_fit`) descends on."""
    poses, intrinsics = cameras(1)
    wanted = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(3))
    found = []
    for draw, device in ((renderer, "cuda"), (ReferenceRenderer(), "cpu")):
        gaussians = scene(40, 2)
        parts = {
            n: getattr(gaussians, n).to(device).requires_grad_() for n in ("means", "scales", "opacities", "colors")
        }
        drawn = draw(Gaussians(**parts, quats=gaussians.quats.to(device)), poses, intrinsics, **SIZE).colors[0]
        (drawn.cpu().double() - wanted).square().mean().backward()
        found.append({name: part.grad.cpu().double() for name, part in parts.items()})
    for name, gradient in found[0].items():
        error = (gradient - found[1][name]).norm() / found[1][name].norm()
        assert float(error) < 0.05, (name, float(error))
