"""Lifting depth to Gaussians: geometry, what is dropped and kept, and how well held-out frames come back."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldr1.errors import InputError
from worldr1.scene.gaussians import LiftConfig, check_render_inputs, edge_pixels, gaussians_from_depth, visible_coverage
from worldr1.scene.image_metrics import mse, psnr_db
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Gaussians, Reconstruction, RenderedViews, intrinsics_px

BUILD, HELD_OUT = [0, 2, 4, 6, 8], [1, 3, 5, 7]
MAGENTA = torch.tensor([1.0, 0.0, 1.0])
MOVES = {"push": {"z": 0.6}, "left": {"x": -0.22}, "orbit": {"orbit_deg": 24.0}, "still": {}}


def flat_reconstruction(num_frames: int = 1, height: int = 8, width: int = 12, depth: float = 2.0) -> Reconstruction:
    """A wall that faces the camera; every frame from the same place."""
    return Reconstruction(
        world_from_camera=torch.eye(4, dtype=torch.float64).repeat(num_frames, 1, 1),
        depth=torch.full((num_frames, height, width), depth),
        intrinsics_px=intrinsics_px(height, width).repeat(num_frames, 1, 1),
        confidence=torch.ones(num_frames, height, width),
    )


def heldout(video: Tensor, lifted: Reconstruction, config: LiftConfig) -> tuple[float, float]:
    """PSNR (dB, of the mean squared error) and coverage of the held-out frames."""
    scene = gaussians_from_depth(video, lifted, BUILD, config=config)
    height, width = video.shape[-2:]
    poses, intrinsics = lifted.world_from_camera[HELD_OUT], lifted.intrinsics_px[HELD_OUT]
    views = SplatRenderer()(scene, poses, intrinsics, height=height, width=width, background=MAGENTA)
    return float(psnr_db(mse(views.colors, video[HELD_OUT]).mean())), float(visible_coverage(views).mean())


def test_means_scales_and_colours_by_hand() -> None:
    lifted = flat_reconstruction(num_frames=2)
    poses = lifted.world_from_camera.clone()
    # frame 1: one unit to the right and turned by 90 degrees to look along +x
    poses[1, :3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    poses[1, 0, 3] = 1.0
    video = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    scene = gaussians_from_depth(video, replace(lifted, world_from_camera=poses), [1], config=LiftConfig(scale_px=0.5))
    focal = 1.2 * 12
    x, y = (0.5 - 6) / focal * 2, (0.5 - 4) / focal * 2
    torch.testing.assert_close(scene.means[0], torch.tensor([1 + 2.0, y, -x]))
    torch.testing.assert_close(scene.scales, torch.full((96, 3), 0.5 * 2 / focal))
    torch.testing.assert_close(scene.colors[13], video[1, :, 1, 1])


def test_confidence_makes_opacity_and_zero_means_sky() -> None:
    lifted = flat_reconstruction()
    lifted.confidence[0, 0, :4] = torch.tensor([0.0, 0.1, 0.5, 0.2])
    scene = gaussians_from_depth(torch.zeros(1, 3, 8, 12), lifted, [0], config=LiftConfig(opacity=0.8))
    assert len(scene.means) == 95  # only 0.1 is dropped
    torch.testing.assert_close(scene.opacities[:4], torch.tensor([0.8, 0.4, 0.16, 0.8]))


def test_stride_takes_cell_centres_and_keeps_the_wall_closed() -> None:
    lifted = flat_reconstruction(height=30, width=45)
    config = LiftConfig(stride_px=3, scale_px=0.5)
    scene = gaussians_from_depth(torch.zeros(1, 3, 30, 45), lifted, [0], config=config)
    assert len(scene.means) == 150
    torch.testing.assert_close(scene.means[0, :2], torch.tensor([(1.5 - 22.5), (1.5 - 15)]) * 2 / (1.2 * 45))
    views = SplatRenderer()(
        scene, lifted.world_from_camera, lifted.intrinsics_px, height=30, width=45, background=MAGENTA
    )
    assert float(visible_coverage(views, 0.3)) == 1.0


def test_edge_pixels_by_hand() -> None:
    def row(*depths: float) -> list[bool]:
        return edge_pixels(torch.tensor([depths] * 3), 0.1)[1].tolist()

    assert row(1, 1, 2, 2) == [False, True, False, False]  # rim: the near side of a sharp step
    assert row(1, 1, 1.4, 2, 2) == [False, False, True, False, False]  # flying; the rim beside it stays
    assert row(2, 1.4, 1, 1) == [False, True, False, False]
    assert row(1, 1.05, 1.1, 1.15, 1.2) == [False] * 5  # a slanted surface
    assert edge_pixels(torch.tensor([[1.0, 1.0, 1.4, 2.0, 2.0]] * 3).T, 0.1)[:, 1].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("move", MOVES)
def test_held_out_frames_come_back(room, move: str) -> None:
    video, lifted = room.clip(room.path(**MOVES[move]))
    for reconstruction in (lifted, room.blurred(lifted)):
        psnr, coverage = heldout(video, reconstruction, LiftConfig())
        assert psnr > 26.5
        assert coverage > 0.995


def test_the_measured_defaults_beat_the_alternatives(room) -> None:
    video, lifted = room.clip(room.path(orbit_deg=24.0))
    default, _ = heldout(video, lifted, LiftConfig())
    assert default > heldout(video, lifted, LiftConfig(scale_px=0.6))[0] + 2.0
    assert default > heldout(video, lifted, LiftConfig(opacity=0.3))[0] + 2.0


def test_dropping_edges_removes_floaters_and_fringes(room) -> None:
    video, lifted = room.clip(room.path(z=0.6))
    keep_all = LiftConfig(max_depth_jump=1e9)
    rims = heldout(video, lifted, LiftConfig())[0] - heldout(video, lifted, keep_all)[0]
    blurred = room.blurred(lifted)
    floaters = heldout(video, blurred, LiftConfig())[0] - heldout(video, blurred, keep_all)[0]
    assert rims > 2.0
    assert floaters > 4.0


def test_no_gaussian_floats_in_the_gap_behind_the_box(room) -> None:
    video, lifted = room.clip(room.path(num_frames=2))
    blurred = room.blurred(lifted)

    def num_floating(config: LiftConfig) -> int:
        x, y, z = gaussians_from_depth(video, blurred, [0], config=config).means.unbind(-1)
        return int(((y < 0.15) & (y > -0.3) & (x.abs() < 0.3) & (z > 1.3) & (z < 1.8)).sum())

    assert num_floating(LiftConfig(max_depth_jump=1e9)) > 50
    assert num_floating(LiftConfig()) == 0


def test_own_pose_of_a_smooth_wall_is_near_perfect() -> None:
    height, width = 64, 96
    v, u = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    video = torch.stack([0.5 + 0.4 * torch.sin(u), 0.5 + 0.4 * torch.cos(v), 0.5 + 0.3 * torch.sin(u + v)])[None]
    lifted = flat_reconstruction(height=height, width=width)
    scene = gaussians_from_depth(video, lifted, [0], config=LiftConfig(scale_px=0.6))
    views = SplatRenderer()(
        scene, lifted.world_from_camera, lifted.intrinsics_px, height=height, width=width, background=torch.zeros(3)
    )
    inside = (..., slice(2, -2), slice(2, -2))  # the border has neighbours on one side only
    assert float(psnr_db(mse(views.colors[inside], video[inside]))) > 40
    torch.testing.assert_close(views.depths[inside], lifted.depth[inside], atol=1e-4, rtol=0)


def test_sky_is_drawn_at_its_far_depth(room) -> None:
    video, lifted = room.clip(room.path(x=-0.22))
    scene = gaussians_from_depth(video, lifted, BUILD, config=LiftConfig())
    views = SplatRenderer()(
        scene,
        lifted.world_from_camera[HELD_OUT],
        lifted.intrinsics_px[HELD_OUT],
        height=64,
        width=96,
        background=MAGENTA,
    )
    sky = (slice(None), slice(0, 8))
    assert float(views.alphas[sky].min()) > 0.5
    torch.testing.assert_close(views.depths[sky], torch.full((4, 8, 96), 20.0), rtol=0.02, atol=0)


def test_visible_coverage_counts_pixels() -> None:
    alphas = torch.tensor([[[0.4, 0.6], [0.9, 0.5]], [[1.0, 1.0], [1.0, 1.0]]])
    views = RenderedViews(colors=torch.zeros(2, 3, 2, 2), alphas=alphas, depths=alphas)
    assert visible_coverage(views).tolist() == [0.5, 1.0]
    assert visible_coverage(views, 0.3).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "bad",
    [{"stride_px": 0}, {"scale_px": 0.0}, {"opacity": 1.5}, {"min_confidence": -0.1}, {"max_depth_jump": 0.0}],
)
def test_bad_config_is_refused(bad: dict) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        LiftConfig(**bad)


def test_bad_lifts_are_refused() -> None:
    lifted, video, config = flat_reconstruction(), torch.zeros(1, 3, 8, 12), LiftConfig()
    with pytest.raises(InputError, match="resize"):
        gaussians_from_depth(torch.zeros(1, 3, 16, 24), lifted, [0], config=config)
    for frames in ([], [1], [-1]):
        with pytest.raises(InputError, match="frames"):
            gaussians_from_depth(video, lifted, frames, config=config)
    lifted.depth[0, 3, 3] = float("nan")
    with pytest.raises(InputError, match="finite"):
        gaussians_from_depth(video, lifted, [0], config=config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("means", torch.full((2, 3), float("nan")), "finite"),
        ("opacities", torch.tensor([0.5, 1.5]), "Opacities"),
        ("scales", torch.full((2, 3), -1.0), "scales"),
        ("quats", torch.zeros(2, 4), "quaternion"),
        ("colors", torch.zeros(3, 3), "must be"),
    ],
)
def test_undrawable_gaussians_are_refused(field: str, value: Tensor, message: str) -> None:
    good = Gaussians(
        means=torch.ones(2, 3),
        quats=torch.ones(2, 4),
        scales=torch.ones(2, 3),
        opacities=torch.ones(2),
        colors=torch.ones(2, 3),
    )
    cameras = (torch.eye(4)[None], torch.eye(3)[None])
    check_render_inputs(good, *cameras, height=4, width=4)
    with pytest.raises(InputError, match=message):
        check_render_inputs(replace(good, **{field: value}), *cameras, height=4, width=4)
    with pytest.raises(InputError, match="Cameras"):
        check_render_inputs(good, torch.eye(4)[None], torch.eye(3).repeat(2, 1, 1), height=4, width=4)
    with pytest.raises(InputError, match="size"):
        check_render_inputs(good, *cameras, height=0, width=4)
