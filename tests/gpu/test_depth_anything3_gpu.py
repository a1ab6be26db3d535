"""Depth Anything 3 GIANT at its true size on a GPU, on random weights with injected cameras: does it run, and agree?"""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from da3_full_size import cameras, clip, draw, small_config

from worldr1.backends.depth_anything3 import DepthAnything3, DepthAnything3Config, load_depth_anything3, processed_size
from worldr1.backends.depth_anything3_network import build_network
from worldr1.backends.gsplat import GsplatRenderer
from worldr1.geometry.pinhole import unproject
from worldr1.rewards.reconstruction import at_size
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.types import Status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("depth_anything_3") is None, reason="needs the extra da3 (docs/dependencies.md)"),
]
FRAMES, HEIGHT, WIDTH = 9, 480, 832
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def giant() -> Iterator[DepthAnything3]:
    """Random weights of the true size: 4.6 GB in float32."""
    size = processed_size(HEIGHT, WIDTH, 504)
    config = DepthAnything3Config(weights="random")
    yield load_depth_anything3(config, CUDA, cameras=cameras(FRAMES, *size))
    torch.cuda.empty_cache()


def test_giant_lifts_a_clip_into_one_gaussian_per_pixel(giant: DepthAnything3) -> None:
    assert giant.autocast
    video = clip(FRAMES, HEIGHT, WIDTH, CUDA)
    found = giant(video[None])[0]
    assert (found.status, found.reason) == (Status.OK, "")
    assert found.depth.shape == (FRAMES, 294, 504)
    assert found.gaussians is not None
    assert found.gaussians.means.device.type == "cuda"
    means = found.gaussians.means.reshape(FRAMES, 294, 504, 3).double()
    poses = found.world_from_camera.to(means)
    directions = unproject(torch.ones_like(means[..., 0]), found.intrinsics_px.double())
    directions = torch.einsum("tij,thwj->thwi", poses[:, :3, :3], directions)
    seen = means - poses[:, None, None, :3, 3]
    # random heads move a pixel by far less than its neighbour's distance
    along = torch.nn.functional.cosine_similarity(seen, directions, dim=-1)
    assert float(along[found.gaussians.opacities.reshape(along.shape) > 0].min()) > 1 - 1e-3


def test_its_gaussians_can_be_drawn(giant: DepthAnything3) -> None:
    video = clip(FRAMES, HEIGHT, WIDTH, CUDA)
    found = giant(video[None])[0]
    scene = gaussians_from_depth(at_size(video, found), found, [0, 2, 4, 6, 8], config=LiftConfig())
    assert len(scene.means) == 5 * 294 * 504
    draw(GsplatRenderer(), scene, found, [1, 3, 5, 7])


def test_autocast_on_the_gpu_stays_near_float32_on_the_cpu() -> None:
    networks = [build_network(small_config(), device=torch.device("cpu"), seed=0) for _ in range(2)]
    networks[1].to(CUDA)
    video = clip(3, 80, 144, torch.device("cpu"))
    found = []
    for network, device, autocast in ((networks[0], torch.device("cpu"), False), (networks[1], CUDA, True)):
        settings = {"device": device, "process_res_px": 126, "cameras": cameras(3, 70, 126)}
        found.append(DepthAnything3(network, licence="none", autocast=autocast, **settings)(video[None])[0])
    assert found[0].status is found[1].status is Status.OK
    torch.testing.assert_close(found[1].depth.cpu(), found[0].depth, rtol=0.05, atol=0.0)
