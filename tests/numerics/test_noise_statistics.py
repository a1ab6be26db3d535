"""The noise benchmark's statistics: right for white noise, alarmed by every defect, and passed by both transports."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from footprints import ideal_covariance
from noise_cases import PATHS
from noise_checks import NAMES, check_frames
from noise_statistics import measure, plane_flow, slope
from torch import Tensor

from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.noise.canvas import plan_canvas, plane_homographies, sample_canvas
from worldr1.types import FOCAL_PER_WIDTH, intrinsics_px

SMALL = (5, 24, 40)


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_scores_of_independent_noise_are_standard_normal() -> None:
    frames = 1500
    z = check_frames(white(16, frames, 8, 12)).z
    for name, scores in zip(NAMES, z.T, strict=True):
        for bound in (1.0, 2.0):  # K-S too: its z is half a normal number, |z| is that of a whole one
            expected = 2 * float(scipy.stats.norm.sf(bound))
            tolerance = 4 * math.sqrt(expected * (1 - expected) / frames)
            assert float((scores.abs() > bound).double().mean()) == pytest.approx(expected, abs=tolerance), name
        if name == "K-S":
            assert float(scores.min()) >= 0
        else:
            assert abs(float(scores.mean())) < 4 / math.sqrt(frames), name
            assert float(scores.std()) == pytest.approx(1.0, abs=4 / math.sqrt(2 * frames)), name


def test_values_are_those_of_the_definitions() -> None:
    noise = 1.3 * white(2, 1, 5, 9).double() + 0.2
    value = dict(zip(NAMES, check_frames(noise).value[0].tolist(), strict=True))
    numbers = noise.flatten().numpy()
    assert value["mean"] == pytest.approx(numbers.mean())
    assert value["std"] == pytest.approx(numbers.std(ddof=1))
    assert value["ex. kurtosis"] == pytest.approx(scipy.stats.kurtosis(numbers))
    assert value["K-S"] == pytest.approx(scipy.stats.kstest(numbers, "norm").statistic)
    across = [float(noise[c, 0, y, x] * noise[c, 0, y, x + 1]) for c in range(2) for y in range(5) for x in range(8)]
    down = [float(noise[c, 0, y, x] * noise[c, 0, y + 1, x]) for c in range(2) for y in range(4) for x in range(9)]
    assert value["lag-1 x"] == pytest.approx(np.mean(across))
    assert value["lag-1 y"] == pytest.approx(np.mean(down))


def test_morans_index_is_that_of_the_matrix_of_neighbours() -> None:
    noise = white(2, 1, 4, 9)
    place = torch.cartesian_prod(torch.arange(2) * 100, torch.arange(4), torch.arange(9)).double()
    weights = (torch.cdist(place, place, p=1) == 1).double().numpy()
    count, s0 = len(weights), weights.sum()
    s1 = ((weights + weights.T) ** 2).sum() / 2
    s2 = ((weights.sum(0) + weights.sum(1)) ** 2).sum()
    deviations = (noise - noise.mean()).double().flatten().numpy()
    moran = count / s0 * (deviations @ weights @ deviations) / (deviations @ deviations)
    expected = -1 / (count - 1)
    variance = (count**2 * s1 - count * s2 + 3 * s0**2) / ((count**2 - 1) * s0**2) - expected**2
    checks, index = check_frames(noise), NAMES.index("Moran's I")
    assert float(checks.value[0, index]) == pytest.approx(moran, rel=1e-5)
    assert float(checks.z[0, index]) == pytest.approx((moran - expected) / math.sqrt(variance), rel=1e-4)


@pytest.mark.parametrize(("cycles_x", "cycles_y", "band"), [(2, 0, 1), (0, 12, 2), (12, 12, 3), (31, 31, 4)])
def test_a_wave_has_its_power_in_its_band(cycles_x: int, cycles_y: int, band: int) -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    wave = torch.cos(2 * torch.pi * (cycles_x * x + cycles_y * y) / 64)[None, None]
    power = check_frames(wave).value[0, NAMES.index("band 1") : NAMES.index("band 4") + 1]
    assert float(power[band - 1]) > 1e6 * float(power.sum() - power[band - 1])


def test_the_bands_do_not_see_the_mean() -> None:
    value = check_frames(white(1, 1, 16, 16) + 5.0).value
    without = check_frames(white(1, 1, 16, 16)).value
    bands = slice(NAMES.index("band 1"), NAMES.index("band 4") + 1)
    assert torch.allclose(value[:, bands], without[:, bands], rtol=1e-4)


def shifted_by_half_a_pixel(noise: Tensor) -> Tensor:
    return (noise + noise.roll(1, dims=-1)) / 2


def magnified_by_repetition(noise: Tensor) -> Tensor:
    return noise[..., : noise.shape[-2] // 2, :].repeat_interleave(2, dim=-2)


def of_uneven_strength(noise: Tensor) -> Tensor:
    """Unit variance, but every second row is 1.2 times as strong as the others."""
    strength = torch.tensor([1.2, 1.0]).repeat(noise.shape[-2] // 2)[:, None]
    return noise * strength / strength.square().mean().sqrt()


DEFECTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "half a pixel, bilinear": (shifted_by_half_a_pixel, "std"),
    "half a pixel, bilinear, made unit": (lambda n: 2**0.5 * shifted_by_half_a_pixel(n), "lag-1 x"),
    "the same, seen by Moran": (lambda n: 2**0.5 * shifted_by_half_a_pixel(n), "Moran's I"),
    "nearest neighbour": (magnified_by_repetition, "lag-1 y"),
    "smooth": (lambda n: 2**0.5 * shifted_by_half_a_pixel(n), "band 1"),
    "rough": (lambda n: (n - n.roll(1, dims=-1)) / 2**0.5, "band 4"),
    "a faint wave": (lambda n: n + 0.2 * torch.cos(0.3 * 2 * torch.pi * torch.arange(104)), "band 3"),
    "a longer wave": (lambda n: n + 0.2 * torch.cos(0.2 * 2 * torch.pi * torch.arange(104)), "band 2"),
    "2 % too strong": (lambda n: 1.02 * n, "std"),
    "not centred": (lambda n: n + 0.03, "mean"),
    "uneven": (of_uneven_strength, "ex. kurtosis"),
    "uniform": (lambda n: 12**0.5 * (torch.special.ndtr(n) - 0.5), "K-S"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_beyond_five_standard_errors(defect: str) -> None:
    spoil, check = DEFECTS[defect]
    noise = white(16, 2, 60, 104)
    index = NAMES.index(check)
    assert float(check_frames(noise).z[:, index].abs().max()) < 3
    assert float(check_frames(spoil(noise)).z[:, index].abs().min()) > 5


@pytest.mark.parametrize("transport", ["canvas", "flow"])
def test_both_transports_keep_the_promised_shares(transport: str) -> None:
    measured = [measure(path, transport, (0, 1), SMALL) for path in PATHS]
    scores = torch.cat([m.z.flatten() for m in measured]).abs()
    assert len(scores) == len(PATHS) * 2 * 5 * len(NAMES)
    assert float((scores > 3).double().mean()) <= 0.01
    assert float(scores.max()) <= 5
    for m in measured:
        if transport == "flow" and len(m.path) > 1:
            continue  # what left the picture and comes back is forgotten
        assert float(m.slope.mean()) == pytest.approx(1.0, abs=0.02), m.path
        assert m.covariance is not None
        error, size = m.covariance.unbind(dim=1)
        assert float((error / size).max()) < 0.16, m.path


def test_a_bridge_of_many_steps_stays_white_and_forgets() -> None:
    measured = measure(("orbit_left",), "bridge", (0, 1), SMALL)
    assert float(measured.z.abs().max()) <= 4
    assert float(measured.slope.mean()) < 0.9


PUSH = latent_poses(synthesize(["push_in"], 17))


def along(poses: Tensor) -> Tensor:
    plan = plan_canvas(poses, focal_per_width=FOCAL_PER_WIDTH, height=SMALL[1], width=SMALL[2])
    return sample_canvas(plan, num_channels=64, seeds=[0])[0]


def slope_of(noise: Tensor) -> float:
    return slope(noise, ideal_covariance(plane_homographies(PUSH, intrinsics_px(*SMALL[1:]))[-1], *SMALL[1:]))


def test_the_slope_finds_noise_that_lags_or_stands_still() -> None:
    """Both are white in every frame: no other number of the benchmark sees them."""
    noise = along(PUSH)
    assert slope_of(noise) == pytest.approx(1.0, abs=0.02)
    late = PUSH.clone()
    late[:, 2, 3] *= 0.9
    assert slope_of(along(late)) < 0.98
    frozen = noise.clone()
    middle = (slice(9, 15), slice(15, 25))  # a sixteenth of the picture
    frozen[:, :, *middle] = noise[:, :1, *middle]
    assert slope_of(frozen) < 0.98
    assert float(check_frames(frozen).z.abs().max()) < 5


def test_overlaps_are_those_of_a_fine_grid() -> None:
    height, width, fineness = 6, 8, 80
    poses = latent_poses(synthesize(["pull_left", "orbit_right"], 17))
    cos, sin = math.cos(0.5), math.sin(0.5)
    rolled = torch.tensor([[cos, -sin, 3.0], [sin, cos, -2.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    homography = rolled @ plane_homographies(poses, intrinsics_px(height, width))[3]
    y, x = torch.meshgrid(
        *((torch.arange(-side * fineness, 2 * side * fineness) + 0.5) / fineness for side in (height, width)),
        indexing="ij",
    )
    u, v, z = homography @ torch.stack((x, y, torch.ones_like(x))).flatten(1).double()
    column, row = torch.floor(u / z).long(), torch.floor(v / z).long()
    arrives = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source_x, source_y = x.flatten().floor().long(), y.flatten().floor().long()
    known = arrives & (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    pixels = height * width
    area = torch.bincount((row * width + column)[arrives], minlength=pixels) / fineness**2
    pairs = (row * width + column)[known] * pixels + (source_y * width + source_x)[known]
    shared = torch.bincount(pairs, minlength=pixels**2).reshape(pixels, pixels) / fineness**2
    counted = shared / area.sqrt()[:, None]
    exact = torch.from_numpy(ideal_covariance(homography, height, width).toarray())
    assert float((exact - counted).abs().max()) < 2 / fineness


def test_overlaps_of_a_shift_are_exact() -> None:
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2], shift[1, 2] = 2.25, -1.0
    exact = ideal_covariance(shift, 4, 6).toarray().reshape(4, 6, 4, 6)
    assert exact[1, 4, 2, 2] == pytest.approx(0.75)
    assert exact[1, 4, 2, 1] == pytest.approx(0.25)
    assert exact[1, 4].sum() == pytest.approx(1.0)
    assert exact[3].sum() == 0.0, "the lowest row comes from below the picture"
    still = ideal_covariance(torch.eye(3, dtype=torch.float64), 4, 6).toarray()
    assert np.array_equal(still, np.eye(24))


def test_the_planes_flow_goes_where_the_homography_does() -> None:
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2] = 1.5
    assert torch.equal(plane_flow(shift, 3, 4), torch.tensor([1.5, 0.0]).double().expand(3, 4, 2))
    zoom = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    assert plane_flow(zoom, 3, 4)[2, 3].tolist() == [3.5, 2.5]
