"""Packing keeps every number, shape and layout."""

import pytest
import torch

from worldr1.camera.trajectory import synthesize
from worldr1.cluster.messages import (
    Request,
    pack,
    pack_reconstruction,
    unpack_reconstruction,
    unpack_trajectories,
    unpack_videos,
)
from worldr1.types import Reconstruction, Status


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (0, 2, 1, 3, 4), (0, 1, 3, 4, 2), (4, 3, 2, 1, 0)])
def test_videos_keep_their_numbers_and_their_layout(order: tuple[int, ...]) -> None:
    """Kernels round differently for another layout: 1e-6 in a reward's parts."""
    dense = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    videos = dense.permute(order)[:1] if order[0] == 0 else dense.permute(order)
    found = unpack_videos(pack(Request(id="a", video_ids=("a/0",), call="score", videos=videos), 1), "cpu")
    assert torch.equal(found, videos)
    of = [dim for dim in range(5) if videos.shape[dim] > 1]
    assert [found.stride(dim) for dim in of] == [videos.stride(dim) for dim in of]
    found.zero_()
    assert float(videos.sum()) > 0


def test_siblings_share_a_path_on_both_sides() -> None:
    push, pan = synthesize(("push_in",), 5), synthesize(("pan_left",), 5)
    asked = (push, None, push, pan)
    packed = pack(Request(id="a", video_ids=(), call="score", videos=torch.zeros(4, 1), trajectories=asked), 2)
    found = unpack_trajectories(packed)
    assert found[0] is found[2] and found[1] is None and packed.attempt == 2
    for ours, theirs in zip(found, asked, strict=True):
        if ours is not None and theirs is not None:
            assert torch.equal(ours.world_from_camera, theirs.world_from_camera)
            assert ours.world_from_camera.dtype == torch.float64
            assert ours.focal_per_width == theirs.focal_per_width


def test_a_reconstruction_comes_back_without_its_gaussians() -> None:
    said = Reconstruction(
        world_from_camera=torch.eye(4).expand(2, 4, 4),
        depth=torch.rand(2, 3, 4),
        intrinsics_px=torch.eye(3).expand(2, 3, 3),
        confidence=torch.ones(2, 3, 4),
        status=Status.REJECTED,
        reason="blank",
    )
    found = unpack_reconstruction(pack_reconstruction(said))
    assert torch.equal(found.depth, said.depth) and torch.equal(found.world_from_camera, said.world_from_camera)
    assert (found.status, found.reason, found.gaussians) == (Status.REJECTED, "blank", None)
    assert found.median_depth == said.median_depth
