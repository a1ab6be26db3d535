"""The plane canvas: white in every frame, exact along the path, the same bits however it is called."""

from collections.abc import Sequence

import pytest
import torch
from footprints import ideal_covariance
from noise_paths import PATHS, H, W, moved_right
from torch import Tensor

from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.errors import InputError
from worldr1.geometry.pinhole import project
from worldr1.geometry.se3 import inverse, make_pose, rotation_y
from worldr1.noise.canvas import (
    MAX_CELLS,
    CanvasPlan,
    plan_canvas,
    plane_homographies,
    sample_canvas,
    sample_canvas_batch,
)
from worldr1.noise.inject import mix
from worldr1.types import FOCAL_PER_WIDTH, intrinsics_px


def plan_of(*tokens: str, **sizes: int) -> CanvasPlan:
    return plan_poses(latent_poses(synthesize(tokens, 17)), **sizes)


def plan_poses(poses: Tensor, **sizes: int) -> CanvasPlan:
    return plan_canvas(poses, focal_per_width=FOCAL_PER_WIDTH, **{"height": H, "width": W, **sizes})


def matrix(plan: CanvasPlan) -> Tensor:
    """S [L h w, cells] with noise = S @ cells, from the plan's three lists (float64)."""
    num_pixels = len(plan.starts)
    counts = torch.diff(plan.starts.long(), append=torch.tensor([len(plan.cells)]))
    pixels = torch.arange(num_pixels).repeat_interleave(counts)
    dense = torch.zeros(num_pixels, plan.num_cells, dtype=torch.float64)
    dense[pixels, plan.cells.long()] = plan.scale.double()[pixels]
    return dense


def frames_of(plan: CanvasPlan) -> Sequence[Tensor]:
    """S_t [h w, cells] of each frame."""
    return matrix(plan).split(plan.latent_size[1] * plan.latent_size[2])


@pytest.mark.parametrize("tokens", PATHS, ids="+".join)
def test_every_frame_is_exactly_white(tokens: tuple[str, ...]) -> None:
    plan = plan_of(*tokens)
    assert len(plan.empty) == 0
    for frame in frames_of(plan):
        assert float((frame @ frame.T - torch.eye(H * W, dtype=torch.float64)).abs().max()) < 1e-6


@pytest.mark.parametrize("tokens", PATHS, ids="+".join)
def test_frames_are_coupled_as_their_footprints_overlap(tokens: tuple[str, ...]) -> None:
    poses = latent_poses(synthesize(tokens, 17))
    first, *others = frames_of(plan_of(*tokens, min_cells=64))
    homographies = plane_homographies(poses, intrinsics_px(H, W))
    for index in (1, 4):
        ideal = torch.from_numpy(ideal_covariance(homographies[index], H, W).toarray())
        covariance = others[index - 1] @ first.T
        slope = float((covariance * ideal).sum() / (ideal * ideal).sum())
        assert slope == pytest.approx(1.0, abs=0.02)
        assert float((covariance - ideal)[ideal > 0].square().mean().sqrt()) < 0.04


def test_the_pixels_of_every_cell_see_its_place_on_the_plane() -> None:
    poses = latent_poses(synthesize(["pull_left", "orbit_right"], 17))
    homographies = plane_homographies(poses, intrinsics_px(H, W))
    place = torch.tensor([3.2, 5.1, 1.0], dtype=torch.float64)  # a pixel of frame 0, whose ray meets the plane at z = 1
    on_plane = torch.linalg.inv(intrinsics_px(H, W)) @ place
    in_cameras = (inverse(poses) @ torch.cat((on_plane, on_plane.new_ones(1))))[:, :3]
    pixels, z = project(in_cameras, intrinsics_px(H, W).expand(len(poses), 3, 3))
    mapped = homographies @ place
    assert float((mapped[:, :2] / mapped[:, 2:] - pixels).abs().max()) < 1e-10
    assert float((mapped[:, 2] - z).abs().max()) < 1e-12


def test_a_still_camera_gives_identical_frames() -> None:
    noise = sample_canvas(plan_of("fixed"), num_channels=5, seeds=[0])
    assert torch.equal(noise, noise[:, :, :1].expand_as(noise))


@pytest.mark.parametrize(("x", "y"), [(4, 2), (-2, -1), (8, 4)])
def test_a_shift_by_whole_pixels_is_exact(x: int, y: int) -> None:
    first, second = sample_canvas(plan_poses(moved_right(0.0, x)), num_channels=5, seeds=[0])[0].unbind(1)
    # the camera goes right and down: the content goes left and up
    there = first[:, max(y, 0) : H + min(y, 0), max(x, 0) : W + min(x, 0)]
    here = second[:, max(-y, 0) : H + min(-y, 0), max(-x, 0) : W + min(-x, 0)]
    assert torch.equal(here, there)


def test_half_a_pixel_is_shared_by_both_neighbours() -> None:
    first, second = frames_of(plan_poses(moved_right(0.0, 1.0), min_cells=400))
    covariance = (second @ first.T).reshape(H, W, H, W)  # half a pixel down, one to the right
    assert float(covariance[2, 3, 2, 4]) == pytest.approx(0.5, abs=0.05)
    assert float(covariance[2, 3, 3, 4]) == pytest.approx(0.5, abs=0.05)


def test_a_loop_closes_even_over_what_left_the_picture() -> None:
    noise = sample_canvas(plan_poses(moved_right(0.0, 3.3, 11.0, 40.0, 0.0)), num_channels=5, seeds=[3])
    assert torch.equal(noise[:, :, 0], noise[:, :, -1])
    assert not torch.equal(noise[:, :, 0], noise[:, :, 1])


@pytest.mark.parametrize("token", ["push_in", "pan_left"])
def test_bits_depend_on_neither_batch_nor_threads_nor_history(token: str) -> None:
    plan = plan_of(token)
    batch = sample_canvas(plan, num_channels=48, seeds=[5, 6, 7])
    alone = sample_canvas(plan_of(token), num_channels=48, seeds=[6])
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1], alone[0])
    assert not torch.equal(batch[0], batch[1])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(sample_canvas(plan_of(token), num_channels=48, seeds=[5, 6, 7]), batch)
    finally:
        torch.set_num_threads(threads)


def test_samples_have_unit_variance_and_no_neighbourly_correlation() -> None:
    noise = sample_canvas(plan_of("pull_out"), num_channels=400, seeds=[0, 1])
    num_values = noise[:, :, 0].numel()
    for frame in noise.unbind(2):
        assert abs(float(frame.mean())) < 4 / num_values**0.5
        assert float(frame.var()) == pytest.approx(1.0, abs=4 * (2 / num_values) ** 0.5)
        assert abs(float((frame[..., 1:] * frame[..., :-1]).mean())) < 4 / num_values**0.5
        assert abs(float((frame[..., 1:, :] * frame[..., :-1, :]).mean())) < 4 / num_values**0.5


def test_many_samples_of_one_stream_are_independent_and_white() -> None:
    plan = plan_of("orbit_left", min_cells=4)
    generator = torch.Generator().manual_seed(0)
    noise = sample_canvas_batch(plan, 3, 2000, generator)
    assert noise.shape == (2000, 3, 5, H, W)
    pairs = noise[:-1] * noise[1:]
    assert abs(float(pairs.mean())) < 4 / (pairs.numel() / 5) ** 0.5  # frames are coupled: fewer effective values
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 4 / (noise[:, 0].numel() / 5) ** 0.5
    assert float(noise.var()) == pytest.approx(1.0, abs=0.01)
    covariance = (noise[:, :, 4, 3, 3] * noise[:, :, 0].permute(2, 3, 0, 1)).mean(dim=(2, 3))
    first, *_, last = frames_of(plan)
    expected = (last[3 * W + 3] @ first.T).reshape(H, W).float()
    assert float((covariance - expected).abs().max()) < 5 / 6000**0.5


def test_pixels_without_cells_get_fresh_noise_of_unit_variance() -> None:
    # 99.9 % of the way to the plane: a footprint is a millionth of a pixel and MAX_CELLS is too few for everyone
    close_up = moved_right(0.0, 0.0)
    close_up[1, 2, 3] = 0.999
    plan = plan_poses(close_up)
    assert plan.num_cells <= MAX_CELLS
    assert len(plan.empty) > 0
    noise = sample_canvas(plan, num_channels=3, seeds=[0])[0, :, 1]
    assert bool((noise != 0).all())
    assert float(noise.var()) == pytest.approx(1.0, abs=4 * (2 / noise.numel()) ** 0.5)


@pytest.mark.parametrize("angle_deg", [0.0, 22.6, 40.0])
def test_the_smallest_footprint_has_the_cells_that_were_asked_for(angle_deg: float) -> None:
    angles = torch.deg2rad(torch.tensor([0.0, angle_deg], dtype=torch.float64))
    plan = plan_poses(make_pose(rotation_y(angles), torch.zeros(2, 3, dtype=torch.float64)), min_cells=400)
    assert 370 <= float((plan.scale**-2).min()) <= 480  # give or take the jitter, and whole cells along a side


def test_paths_that_leave_the_plane_are_refused() -> None:
    def turned(angle_deg: float) -> Tensor:
        angles = torch.deg2rad(torch.tensor([0.0, angle_deg], dtype=torch.float64))
        return make_pose(rotation_y(angles), torch.zeros(2, 3, dtype=torch.float64))

    assert len(plan_poses(turned(49.0)).empty) == 0
    with pytest.raises(InputError, match="turns by 51 degrees; transported noise takes at most 50"):
        plan_poses(turned(51.0))
    through, away = moved_right(0.0, 0.0), moved_right(0.0, 1e6)
    for z in (1.0, 1.5):  # on the plane, behind it
        through[1, 2, 3] = z
        with pytest.raises(InputError, match="passes or turns away from the plane"):
            plan_poses(through)
    with pytest.raises(InputError, match="spreads over"):
        plan_poses(away)
    with pytest.raises(InputError, match="min_cells must be at least 1"):
        plan_of("fixed", min_cells=0)
    with pytest.raises(InputError, match="at least one seed"):
        sample_canvas(plan_of("fixed"), num_channels=1, seeds=[])


def test_mixing_keeps_the_variance_and_both_ends() -> None:
    fresh, transported = torch.randn(2, 1, 64, 5, H, W, generator=torch.Generator().manual_seed(0)).unbind(0)
    assert torch.equal(mix(fresh, transported, 0.0), fresh)
    assert torch.equal(mix(fresh, transported, 1.0), transported)
    mixed = mix(fresh, transported, 0.6)
    assert torch.allclose(mixed, 0.8 * fresh + 0.6 * transported)
    assert float(mixed.var()) == pytest.approx(1.0, abs=4 * (2 / mixed.numel()) ** 0.5)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            mix(fresh, transported, strength)
