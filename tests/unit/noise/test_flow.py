"""The chain along the flow: white in every frame, coupled as footprints overlap, forgetful at the borders."""

from collections.abc import Sequence

import pytest
import torch
from noise_paths import PATHS, H, W, moved_right
from torch import Tensor

from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.errors import InputError
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.noise.canvas import plane_homographies
from worldr1.noise.flow import FlowPlan, plan_flow, sample_flow, warp_noise
from worldr1.types import FOCAL_PER_WIDTH, intrinsics_px


def plan_of(*tokens: str, **sizes: int) -> FlowPlan:
    return plan_poses(latent_poses(synthesize(tokens, 17)), **sizes)


def plan_poses(poses: Tensor, **sizes: int) -> FlowPlan:
    return plan_flow(poses, focal_per_width=FOCAL_PER_WIDTH, **{"height": H, "width": W, **sizes})


def frames_of(plan: FlowPlan) -> Sequence[Tensor]:
    """S_t [h w, particles] of each frame, with noise = S @ particles, from the plan's lists (float64)."""
    counts = torch.diff(plan.starts.long(), append=torch.tensor([len(plan.particles)]))
    dense = torch.zeros(len(plan.starts), plan.num_particles, dtype=torch.float64)
    dense[torch.arange(len(counts)).repeat_interleave(counts), plan.particles.long()] = plan.weights.double()
    return dense.split(H * W)


def overlaps(next_from_frame: Tensor, fineness: int = 24) -> tuple[Tensor, Tensor]:
    """Ideal covariance [h w of next, h w] from areas of overlap, and each pixel's share that the frame before saw.

    Areas are counted on a fine grid over the earlier frame and half its size around it.
    """
    y, x = torch.meshgrid(
        (torch.arange(2 * H * fineness, dtype=torch.float64) + 0.5) / fineness - H / 2,
        (torch.arange(2 * W * fineness, dtype=torch.float64) + 0.5) / fineness - W / 2,
        indexing="ij",
    )
    u, v, z = next_from_frame @ torch.stack((x, y, torch.ones_like(x))).flatten(1)
    column, row = torch.floor(u / z).long(), torch.floor(v / z).long()
    arrives = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    target = (row * W + column)[arrives]
    column, row = torch.floor(x).long().flatten()[arrives], torch.floor(y).long().flatten()[arrives]
    known = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    area = torch.bincount(target, minlength=H * W).double() / fineness**2
    pairs = target[known] * (H * W) + (row * W + column)[known]
    shared = torch.bincount(pairs, minlength=(H * W) ** 2).reshape(H * W, H * W).double() / fineness**2
    return shared / area.sqrt()[:, None], shared.sum(dim=1) / area


def within_standard_errors(noise: Tensor, bound: float = 4.0) -> None:
    """Mean, variance and lag-1 of values that are independent along all of [..., h, w]."""
    count = noise.numel()
    assert abs(float(noise.mean())) < bound / count**0.5
    assert abs(float(noise.var()) - 1.0) < bound * (2 / count) ** 0.5
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < bound / noise[..., 1:].numel() ** 0.5
    assert abs(float((noise[..., 1:, :] * noise[..., :-1, :]).mean())) < bound / noise[..., 1:, :].numel() ** 0.5


@pytest.mark.parametrize("tokens", PATHS, ids="+".join)
def test_every_frame_is_exactly_white(tokens: tuple[str, ...]) -> None:
    plan = plan_of(*tokens)
    assert len(plan.empty) == 0
    for frame in frames_of(plan):
        assert float((frame @ frame.T - torch.eye(H * W, dtype=torch.float64)).abs().max()) < 1e-6


@pytest.mark.parametrize("token", ["push_in", "pull_out", "orbit_left"])
def test_samples_have_unit_variance_and_no_neighbourly_correlation(token: str) -> None:
    noise = sample_flow(plan_of(token), num_channels=400, seeds=range(4))
    for frame in noise.unbind(2):  # the last one too: stretched 2.5 times, or squeezed 1.6 times
        within_standard_errors(frame)


@pytest.mark.parametrize("tokens", PATHS, ids="+".join)
def test_consecutive_frames_are_coupled_as_their_footprints_overlap(tokens: tuple[str, ...]) -> None:
    frames = frames_of(plan_of(*tokens, min_cells=64))
    homographies = plane_homographies(latent_poses(synthesize(tokens, 17)), intrinsics_px(H, W))
    for t in (0, 3):
        ideal, _ = overlaps(homographies[t + 1] @ torch.linalg.inv(homographies[t]))
        covariance = frames[t + 1] @ frames[t].T
        assert float((covariance * ideal).sum() / (ideal * ideal).sum()) == pytest.approx(1.0, abs=0.02)
        assert float((covariance - ideal)[ideal > 0].square().mean().sqrt()) < 0.05


def test_what_comes_in_is_fresh_by_the_revealed_area() -> None:
    # 0.07 pixels a frame, far below a cell of 1/4: a reveal that is rounded away would starve the border
    plan = plan_poses(moved_right(*(0.07 * i for i in range(40))))
    assert len(plan.empty) == 0
    counts = torch.diff(plan.starts.long(), append=torch.tensor([len(plan.particles)])).reshape(40, H, W)
    assert float(counts[-1, :, -2:].double().mean()) == pytest.approx(16.0, abs=2.0)
    first, *_, last = frames_of(plan_poses(moved_right(*(0.07 * i for i in range(40))), min_cells=64))
    ideal, known = overlaps(plane_homographies(moved_right(0.0, 0.07 * 39), intrinsics_px(H, W))[1])
    coupled = (last @ first.T).square().sum(dim=1)
    assert float(coupled[known == 0].abs().max()) == 0.0
    assert float(((last @ first.T) * ideal).sum() / ideal.square().sum()) == pytest.approx(1.0, abs=0.02)


def test_a_still_camera_gives_identical_frames() -> None:
    noise = sample_flow(plan_of("fixed"), num_channels=5, seeds=[0])
    assert torch.equal(noise, noise[:, :, :1].expand_as(noise))
    path = latent_poses(synthesize(["push_in"], 17))
    halted = sample_flow(plan_poses(torch.cat((path, path[-1:], path[-1:]))), num_channels=5, seeds=[0])
    assert torch.equal(halted[:, :, -1], halted[:, :, -3])
    assert not torch.equal(halted[:, :, -1], halted[:, :, -4])


@pytest.mark.parametrize(("x", "y"), [(4, 2), (-2, -1), (8, 4)])
def test_a_shift_by_whole_pixels_is_exact_and_its_border_fresh(x: int, y: int) -> None:
    plan = plan_poses(moved_right(0.0, x))
    first, second = sample_flow(plan, num_channels=5, seeds=[0])[0].unbind(1)
    # the camera goes right and down: the content goes left and up
    here = (slice(max(-y, 0), H + min(-y, 0)), slice(max(-x, 0), W + min(-x, 0)))
    there = (slice(max(y, 0), H + min(y, 0)), slice(max(x, 0), W + min(x, 0)))
    assert torch.equal(second[:, *here], first[:, *there])
    before, after = frames_of(plan)
    revealed = torch.ones(H, W, dtype=torch.bool)
    revealed[here] = False
    assert float((after[revealed.flatten()] @ before.T).abs().max()) == 0.0


def test_a_loop_keeps_what_stayed_and_forgets_what_left() -> None:
    plan = plan_poses(moved_right(0.0, 4.0, 0.0))
    first, _, last = sample_flow(plan, num_channels=5, seeds=[3])[0].unbind(1)
    assert torch.equal(first[:, 2:, 4:], last[:, 2:, 4:])
    first, _, last = frames_of(plan)
    covariance = (last @ first.T).reshape(H, W, H * W)
    assert float(covariance[:2].abs().max()) == 0.0
    assert float(covariance[:, :4].abs().max()) == 0.0


@pytest.mark.parametrize("token", ["push_in", "pan_left"])
def test_bits_depend_on_neither_batch_nor_threads_nor_history(token: str) -> None:
    plan = plan_of(token)
    batch = sample_flow(plan, num_channels=48, seeds=[5, 6, 7])
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1], sample_flow(plan_of(token), num_channels=48, seeds=[6])[0])
    assert not torch.equal(batch[0], batch[1])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(sample_flow(plan_of(token), num_channels=48, seeds=[5, 6, 7]), batch)
    finally:
        torch.set_num_threads(threads)


def test_stretched_pixels_keep_the_particles_that_were_asked_for() -> None:
    plan = plan_of("push_in")  # 2.5 times: without splitting, 2.6 of 16 would be left
    counts = torch.diff(plan.starts.long(), append=torch.tensor([len(plan.particles)])).reshape(5, -1)
    assert float(counts[-1].double().mean()) > 16
    assert int(counts[-1].min()) >= 8
    assert plan.num_particles < 6 * 16 * H * W, "and no more than a cell needs until it leaves"


def test_pixels_without_particles_get_fresh_noise_of_unit_variance() -> None:
    plan = plan_poses(moved_right(0.0, 0.3, 0.9), min_cells=1)  # one jittered particle a pixel: some pixels have none
    assert len(plan.empty) > 0
    noise = sample_flow(plan, num_channels=200, seeds=range(4))
    assert bool((noise != 0).all())
    within_standard_errors(noise[:, :, 2])


def test_paths_that_leave_the_plane_are_refused() -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 51.0], dtype=torch.float64))
    with pytest.raises(InputError, match="turns by 51 degrees; transported noise takes at most 50"):
        plan_poses(make_pose(rotation_y(angles), torch.zeros(2, 3, dtype=torch.float64)))
    through = moved_right(0.0, 0.0)
    for z in (1.0, 1.5):  # on the plane, behind it
        through[1, 2, 3] = z
        with pytest.raises(InputError, match="passes or turns away from the plane"):
            plan_poses(through)
    with pytest.raises(InputError, match="min_cells must be at least 1"):
        plan_of("fixed", min_cells=0)
    with pytest.raises(InputError, match="at least one seed"):
        sample_flow(plan_of("fixed"), num_channels=1, seeds=[])


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(x: float, y: float) -> Tensor:
    return torch.tensor([x, y]).expand(H, W, 2)


def zoom(factor: float) -> Tensor:
    """Flow about the middle: content moves away from it where factor > 1."""
    y, x = torch.meshgrid(torch.arange(H) + 0.5 - H / 2, torch.arange(W) + 0.5 - W / 2, indexing="ij")
    return (factor - 1) * torch.stack((x, y), dim=2)


def white(channels: int, batch: int = 4) -> Tensor:
    return torch.randn(batch, channels, H, W, generator=generator(0))


def test_own_flow_of_zero_or_whole_pixels_is_bit_for_bit() -> None:
    noise = white(5)
    assert torch.equal(warp_noise(noise, constant(0.0, 0.0), generator()), noise)
    moved = warp_noise(noise, constant(3.0, -1.0), generator())
    assert torch.equal(moved[..., :-1, 3:], noise[..., 1:, :-3])
    assert not bool(torch.isin(moved[..., :3], noise).any())


@pytest.mark.parametrize("flow", ["expand", "compress", "half", "wild", "away"])
def test_own_flow_leaves_the_noise_white(flow: str) -> None:
    flows = {
        "expand": zoom(2.5),
        "compress": zoom(0.4),
        "half": constant(0.5, 0.25),
        "wild": 5 * torch.randn(H, W, 2, generator=generator(9)),
        "away": constant(1e12, 0.0),
    }
    warped = warp_noise(white(1000), flows[flow], generator())
    assert warped.shape == (4, 1000, H, W)
    within_standard_errors(warped)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_own_flow_couples_pixels_as_they_overlap(factor: float) -> None:
    shift = torch.tensor([0.3, -0.6])
    noise, num_samples = white(5000), 20000
    warped = warp_noise(noise, zoom(factor) + shift, generator())
    covariance = torch.einsum("bcp,bcq->pq", warped.flatten(2), noise.flatten(2)) / num_samples
    x, y = (1 - factor) * W / 2 + 0.3, (1 - factor) * H / 2 - 0.6
    ideal, known = overlaps(torch.tensor([[factor, 0, x], [0, factor, y], [0, 0, 1]], dtype=torch.float64))
    error = (covariance - ideal.float())[known > 0.999]
    # the outermost half pixel moves with its pixel, so pixels at a border may differ: all others do not
    assert float(error.square().mean().sqrt()) < 0.02
    coupled = ideal.float()[known > 0.999]
    slope = float((covariance[known > 0.999] * coupled).sum() / coupled.square().sum())
    assert slope == pytest.approx(1.0, abs=0.03)


def test_bad_own_flow_is_refused() -> None:
    noise = white(2)
    with pytest.raises(InputError, match=r"flow must be \[8, 12, 2\], like the noise, got \[12, 8, 2\]"):
        warp_noise(noise, torch.zeros(W, H, 2), generator())
    with pytest.raises(InputError, match=r"flow must be \[8, 12, 2\]"):
        warp_noise(noise, torch.zeros(2, H, W), generator())
    with pytest.raises(InputError, match=r"noise must be \[B, C, h, w\]"):
        warp_noise(noise[0], constant(0.0, 0.0), generator())
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be finite"):
            warp_noise(noise, constant(bad, 0.0), generator())
    with pytest.raises(InputError, match="must be finite"):
        warp_noise(noise / 0.0, constant(0.0, 0.0), generator())
    with pytest.raises(InputError, match="per_side must be at least 1"):
        warp_noise(noise, constant(0.0, 0.0), generator(), per_side=0)
